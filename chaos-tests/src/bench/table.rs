//! What a run prints.

use super::measure::Point;

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

/// What the project promises for SET and GET: CPU a request, as a ratio to redis-server, at most this.
const TARGETS: [(usize, f64); 3] = [(1, 1.0), (16, 0.75), (64, 0.6)];

/// One line a missed target, and one if all are met; nothing if none was measured.
#[must_use]
pub fn verdict(points: &[Point]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut judged = 0;
    for point in points.iter().filter(|point| point.test == "SET" || point.test == "GET") {
        let Some((_, most)) = TARGETS.into_iter().find(|(pipeline, _)| *pipeline == point.pipeline) else { continue };
        judged += 1;
        if point.cpu_ratio > most {
            lines.push(format!(
                "target missed: {} at pipeline {}: {:.2} of redis-server's CPU, wanted at most {most}",
                point.test, point.pipeline, point.cpu_ratio
            ));
        }
    }
    if lines.is_empty() && judged > 0 {
        lines.push(format!("CPU targets of SET and GET: all {judged} met"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::Figure;

    fn point(pipeline: usize, cpu_ratio: f64) -> Point {
        let figure = Figure { requests_per_second: 1.0, cpu_us_per_request: 1.0 };
        Point {
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
}
