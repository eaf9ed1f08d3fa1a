//! One measurement, and the points that are made of them: medians of alternating repetitions.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use super::plan::{CONNECTIONS, KEYS, Plan, Setup, Test};
use super::server::{self, Server};

/// Requests of the run that finds out how many a measurement takes, before weight and pipeline.
const PROBE_REQUESTS: usize = 20_000;
const LEAST_REQUESTS: usize = 10_000;

/// What one server did in one measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    pub requests_per_second: f64,
    pub cpu_us_per_request: f64,
}

/// One test at one pipeline depth: the medians of both servers, and every measurement that they are of.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    pub setup: &'static str,
    pub test: &'static str,
    pub pipeline: usize,
    pub requests: usize,
    pub ours: Figure,
    pub reference: Figure,
    pub requests_ratio: f64,
    pub cpu_ratio: f64,
    pub all_ours: Vec<Figure>,
    pub all_reference: Vec<Figure>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Server(#[from] server::Error),
    #[error("cannot start redis-benchmark (Debian: apt-get install redis-tools): {0}")]
    NoGenerator(std::io::Error),
    #[error("redis-benchmark failed: {0}")]
    Generator(String),
}

/// Both servers.
#[derive(Debug)]
pub struct Pair {
    setup: Setup,
    pub ours: Server,
    pub reference: Server,
}

impl Pair {
    /// # Errors
    /// One of them does not come up.
    pub fn start(plan: &Plan, setup: Setup, folder: &Path) -> Result<Self, Error> {
        let start = |program| Server::start(program, &plan.sentinel, setup, folder);
        Ok(Self { setup, reference: start(&plan.reference)?, ours: start(&plan.ours)? })
    }

    /// Measures one test at one depth: both servers filled alike, then in turn, the first of them changing.
    ///
    /// # Errors
    /// A server or the generator fails.
    pub fn point(&self, plan: &Plan, test: Test, pipeline: usize) -> Result<Point, Error> {
        self.fill(test, pipeline, PROBE_REQUESTS * pipeline)?;
        let probe = measure(
            &self.reference,
            test,
            pipeline,
            (PROBE_REQUESTS * pipeline.min(16) / test.weight()).max(LEAST_REQUESTS),
        )?;
        let requests = ((probe.requests_per_second * plan.seconds) as usize).max(LEAST_REQUESTS);

        let (mut all_ours, mut all_reference) = (Vec::new(), Vec::new());
        for repetition in 0..plan.repetitions {
            // RPOP empties and LPUSH grows what it measures: fresh for each repetition, the same for both.
            if repetition == 0 || matches!(test, Test::Rpop | Test::Lpush) {
                self.fill(test, pipeline, requests)?;
            }
            if repetition % 2 == 0 {
                all_reference.push(measure(&self.reference, test, pipeline, requests)?);
                all_ours.push(measure(&self.ours, test, pipeline, requests)?);
            } else {
                all_ours.push(measure(&self.ours, test, pipeline, requests)?);
                all_reference.push(measure(&self.reference, test, pipeline, requests)?);
            }
        }
        let (ours, reference) = (median_figure(&all_ours), median_figure(&all_reference));
        Ok(Point {
            setup: self.setup.name(),
            test: test.name(),
            pipeline,
            requests,
            ours,
            reference,
            requests_ratio: ours.requests_per_second / reference.requests_per_second,
            cpu_ratio: ours.cpu_us_per_request / reference.cpu_us_per_request,
            all_ours,
            all_reference,
        })
    }

    fn fill(&self, test: Test, pipeline: usize, requests: usize) -> Result<(), Error> {
        let length = requests + CONNECTIONS * pipeline;
        self.reference.prepare(test.before(), length)?;
        self.ours.prepare(test.before(), length)?;
        Ok(())
    }
}

fn measure(server: &Server, test: Test, pipeline: usize, requests: usize) -> Result<Figure, Error> {
    let before = server.cpu_time()?;
    let requests_per_second = generate(server.port(), test, pipeline, requests)?;
    let used: Duration = server.cpu_time()? - before;
    Ok(Figure { requests_per_second, cpu_us_per_request: used.as_secs_f64() * 1e6 / requests as f64 })
}

fn generate(port: u16, test: Test, pipeline: usize, requests: usize) -> Result<f64, Error> {
    let output = Command::new("redis-benchmark")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "--csv"])
        .args(["-c", &CONNECTIONS.to_string(), "-r", &KEYS.to_string(), "-P", &pipeline.to_string()])
        .args(["-n", &requests.to_string()])
        .args(test.arguments())
        .output()
        .map_err(Error::NoGenerator)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(Error::Generator(format!("{} {text} {}", test.name(), String::from_utf8_lossy(&output.stderr))));
    }
    requests_per_second(&text).ok_or_else(|| Error::Generator(format!("its output has no figure: {text}")))
}

/// The second column of the last line: `"SET","142857.14","0.183",...`.
fn requests_per_second(csv: &str) -> Option<f64> {
    csv.lines().last()?.split("\",\"").nth(1)?.trim_matches('"').parse().ok()
}

fn median_figure(figures: &[Figure]) -> Figure {
    Figure {
        requests_per_second: median(figures.iter().map(|figure| figure.requests_per_second)),
        cpu_us_per_request: median(figures.iter().map(|figure| figure.cpu_us_per_request)),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_read_from_the_generators_csv() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"LRANGE mylist 0 99\",\"51020.41\",\"0.483\"\n";
        assert_eq!(requests_per_second(csv), Some(51_020.41));
        assert_eq!(requests_per_second(""), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()).to_bits(), 2.5_f64.to_bits());
    }
}
