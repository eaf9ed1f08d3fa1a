//! What a run prints.

use super::measure::Point;
use super::plan::Setup;

pub const HEADER: &str = "\
test        pipe    requests/s                        CPU us a request
                    redis        ours        ratio    redis    ours     ratio";

/// One line of the table.
#[must_use]
pub fn row(point: &Point) -> String {
    format!(
        "{:<11} {:>4}    {:>9.0}    {:>9.0}    {:>5.2}    {:>6.3}   {:>6.3}   {:>5.2}",
        point.test,
        point.pipeline,
        point.reference.requests_per_second,
        point.ours.requests_per_second,
        point.requests_ratio,
        point.reference.cpu_us_per_request,
        point.ours.cpu_us_per_request,
        point.cpu_ratio,
    )
}

/// What the project promises for SET and GET in memory: CPU a request, as a ratio to redis-server, at most this.
const TARGETS: [(usize, f64); 3] = [(1, 1.0), (16, 0.75), (64, 0.6)];
/// With a disk or a replica: ahead of redis-server with the same.
const TARGET_OF_SETUPS: f64 = 1.0;
/// What the disk may cost beside memory only, at this pipeline: CPU a request, and throughput.
const DISK_PIPELINE: usize = 16;
const DISK_CPU_RATIO: f64 = 1.25;
const DISK_THROUGHPUT_RATIO: f64 = 0.85;

/// One line a missed target, and one if all are met; nothing if none was measured.
#[must_use]
pub fn verdict(points: &[Point]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut judged = 0;
    for point in points.iter().filter(|point| point.test == "SET" || point.test == "GET") {
        let target = TARGETS.into_iter().find(|(pipeline, _)| *pipeline == point.pipeline);
        let most = match target {
            Some((_, most)) if point.setup == Setup::Memory.name() => most,
            _ if point.setup != Setup::Memory.name() => TARGET_OF_SETUPS,
            _ => continue,
        };
        judged += 1;
        if point.cpu_ratio > most {
            lines.push(format!(
                "target missed: {}, {} at pipeline {}: {:.2} of redis-server's CPU, wanted at most {most}",
                point.setup, point.test, point.pipeline, point.cpu_ratio
            ));
        }
    }
    if lines.is_empty() && judged > 0 {
        lines.push(format!("CPU targets of SET and GET: all {judged} met"));
    }
    lines.extend(cost_of_disk(points));
    lines
}

/// Our node with a disk beside our node without: one line a test that was measured with both.
fn cost_of_disk(points: &[Point]) -> Vec<String> {
    let of = |setup: Setup| {
        points.iter().filter(move |point| point.setup == setup.name() && point.pipeline == DISK_PIPELINE)
    };
    let pairs =
        of(Setup::Disk).filter_map(|disk| Some((disk, of(Setup::Memory).find(|memory| memory.test == disk.test)?)));
    pairs
        .map(|(disk, memory)| {
            let cpu = disk.ours.cpu_us_per_request / memory.ours.cpu_us_per_request;
            let throughput = disk.ours.requests_per_second / memory.ours.requests_per_second;
            let is_met = cpu <= DISK_CPU_RATIO && throughput >= DISK_THROUGHPUT_RATIO;
            format!(
                "disk beside memory, {} at pipeline {DISK_PIPELINE}: {cpu:.2} of the CPU (wanted at most {DISK_CPU_RATIO}), {throughput:.2} of the throughput (at least {DISK_THROUGHPUT_RATIO}): {}",
                disk.test,
                if is_met { "met" } else { "missed" }
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::Figure;

    fn point(pipeline: usize, cpu_ratio: f64) -> Point {
        let figure = Figure { requests_per_second: 1.0, cpu_us_per_request: 1.0 };
        Point {
            setup: "memory",
            test: "SET",
            pipeline,
            requests: 1,
            ours: figure,
            reference: figure,
            requests_ratio: 1.0,
            cpu_ratio,
            all_ours: Vec::new(),
            all_reference: Vec::new(),
        }
    }

    #[test]
    fn a_missed_target_is_named() {
        assert_eq!(verdict(&[point(1, 0.99), point(64, 0.6)]), ["CPU targets of SET and GET: all 2 met"]);
        let missed = verdict(&[point(16, 0.8)]);
        assert!(missed[0].contains("pipeline 16: 0.80"), "{missed:?}");
        assert!(verdict(&[point(2, 9.0)]).is_empty());
    }

    #[test]
    fn the_disk_is_measured_against_our_own_memory() {
        let mut disk = Point { setup: "disk", ..point(16, 0.9) };
        disk.ours.cpu_us_per_request = 1.3;
        let lines = verdict(&[point(16, 0.5), disk]);
        assert!(lines[1].contains("1.30 of the CPU") && lines[1].ends_with("missed"), "{lines:?}");
        let behind = verdict(&[Point { setup: "replica", ..point(1, 1.1) }]);
        assert!(behind[0].contains("replica, SET at pipeline 1: 1.10"), "{behind:?}");
    }
}
