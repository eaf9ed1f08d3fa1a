//! What was when: counters and levels of the node, sampled every second, for rates and charts.
//!
//! ```text
//! 1 s x 120 --every 10th--> 10 s x 360 --every 30th--> 5 min x 288
//! ```
//!
//! A fresh page has a past, and no number of pages costs the node more than one sampling a second.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::limits;
use crate::broker::Statistics;
use crate::console::Command;
use crate::node::{Node, Shared};
use crate::{clock, memory};

/// Between two samples.
const EVERY: Duration = Duration::from_secs(1);

/// Seconds between two samples of a ring, and how many it keeps.
const RINGS: [(u64, usize); 3] = [(1, 120), (10, 360), (300, 288)];

/// Seconds over which a rate is taken.
const RATE_SECONDS: u64 = 5;

/// Seconds between two samples of a queue, and how many are kept.
const QUEUE_SECONDS: u64 = 5;
const QUEUE_SAMPLES: usize = 60;

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Only grows: shown as a rate.
    Counter,
    Level,
}

/// What a sample reads once for all series.
struct Reading<'n> {
    node: &'n Node,
    statistics: Statistics,
    ready: u64,
    unacknowledged: u64,
    keys: u64,
}

/// A series: name, kind, and where it is read.
type Series = (&'static str, Kind, fn(&Reading<'_>) -> u64);

const SERIES: &[Series] = &[
    ("publish", Kind::Counter, |from| from.statistics.published),
    ("confirm", Kind::Counter, |from| from.statistics.confirmed),
    ("deliver", Kind::Counter, |from| from.statistics.delivered),
    ("deliver_no_ack", Kind::Counter, |from| from.statistics.delivered_no_ack),
    ("get", Kind::Counter, |from| from.statistics.got),
    ("get_no_ack", Kind::Counter, |from| from.statistics.got_no_ack),
    ("get_empty", Kind::Counter, |from| from.statistics.got_empty),
    ("ack", Kind::Counter, |from| from.statistics.acknowledged),
    ("redeliver", Kind::Counter, |from| from.statistics.redelivered),
    ("return_unroutable", Kind::Counter, |from| from.statistics.returned),
    ("drop_unroutable", Kind::Counter, |from| from.statistics.dropped),
    ("messages_ready", Kind::Level, |from| from.ready),
    ("messages_unacknowledged", Kind::Level, |from| from.unacknowledged),
    ("commands", Kind::Counter, |from| read(&from.node.stats.commands)),
    ("hits", Kind::Counter, |from| read(&from.node.stats.hits)),
    ("misses", Kind::Counter, |from| read(&from.node.stats.misses)),
    ("expired", Kind::Counter, |from| read(&from.node.stats.expired)),
    ("bytes_in", Kind::Counter, |from| read(&from.node.stats.bytes_in)),
    ("bytes_out", Kind::Counter, |from| read(&from.node.stats.bytes_out)),
    ("connections_opened", Kind::Counter, |from| read(&from.node.stats.connections)),
    ("clients", Kind::Level, |from| from.node.clients.len() as u64),
    ("keys", Kind::Level, |from| from.keys),
    ("memory", Kind::Level, |_| memory::allocated()),
    ("evicted", Kind::Counter, |from| read(&from.node.eviction.evicted)),
    ("gateway", Kind::Counter, |from| from.node.streams.requests()),
    ("streams", Kind::Level, |from| from.node.streams.len() as u64),
    ("journal", Kind::Counter, |from| from.node.engine.journal.end().0),
    ("lag", Kind::Level, |from| lag(from.node)),
];

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

/// Records that the slowest member of the ISR has not acknowledged.
fn lag(node: &Node) -> u64 {
    let end = node.engine.journal.end().0;
    let replicas = node.replicas.read();
    let in_sync = replicas.iter().filter(|replica| replica.in_sync);
    in_sync.map(|replica| end.saturating_sub(replica.held.received.0)).max().unwrap_or(0)
}

#[derive(Debug, Clone)]
struct Sample {
    at_ms: u64,
    values: Box<[u64]>,
    /// Calls of Redis's commands, by family.
    families: Box<[u64]>,
}

/// A queue at one moment.
#[derive(Debug, Clone, Copy)]
struct QueueSample {
    at_ms: u64,
    statistics: Statistics,
    ready: u64,
    unacknowledged: u64,
}

/// Changes a second of a queue's numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct QueueRates {
    pub(super) ready: f64,
    pub(super) unacknowledged: f64,
    seconds: f64,
    first: Statistics,
    last: Statistics,
}

/// The past of this node.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Families of Redis's commands, and the family of each command by the number that it is counted under.
    families: Vec<&'static str>,
    family_of: Vec<usize>,
    rings: Mutex<[VecDeque<Sample>; 3]>,
    queues: Mutex<HashMap<u32, VecDeque<QueueSample>>>,
}

/// Samples for as long as the node lives.
pub(super) async fn run(node: Shared, history: Arc<History>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for tick in 0u64.. {
        ticks.tick().await;
        history.sample(&node, tick);
    }
}

impl History {
    /// A history that tells the families of these commands apart.
    pub(super) fn of(commands: &[Command]) -> Self {
        let mut families: Vec<_> = commands.iter().map(|command| command.family).collect();
        families.sort_unstable();
        families.dedup();
        let mut family_of = vec![0; commands.iter().map(|command| command.id + 1).max().unwrap_or(0)];
        for command in commands {
            family_of[command.id] = families.binary_search(&command.family).unwrap_or(0);
        }
        Self { families, family_of, ..Self::default() }
    }

    fn calls_by_family(&self, node: &Node) -> Box<[u64]> {
        let mut sums = vec![0; self.families.len()];
        for (calls, family) in node.counters.all_calls().into_iter().zip(&self.family_of) {
            if let Some(sum) = sums.get_mut(*family) {
                *sum += calls;
            }
        }
        sums.into()
    }

    /// Calls a second of each family that has any.
    pub(super) fn families(&self) -> Value {
        let rings = self.rings.lock();
        let ring = &rings[0];
        let Some((first, last)) = ring.get(ring.len().saturating_sub(RATE_SECONDS as usize + 1)).zip(ring.back())
        else {
            return json!({});
        };
        let rates = self.families.iter().zip(first.families.iter().zip(&last.families));
        let rates = rates.map(|(name, (from, to))| (*name, slope((first.at_ms, *from), (last.at_ms, *to))));
        Value::Object(
            rates.filter(|(_, rate)| *rate > 0.0).map(|(name, rate)| (name.to_owned(), json!(rate))).collect(),
        )
    }

    fn sample(&self, node: &Node, tick: u64) {
        let queues = node.engine.broker.queues();
        let with_queues = tick.is_multiple_of(QUEUE_SECONDS);
        let at_ms = clock::unix_now().0;
        let (mut ready, mut unacknowledged) = (0, 0);
        let mut kept = self.queues.lock();
        for queue in &queues {
            let counts = queue.counts();
            ready += counts.ready as u64;
            unacknowledged += counts.unacknowledged as u64;
            if with_queues && (kept.contains_key(&queue.number) || kept.len() < limits::QUEUES_WITH_HISTORY) {
                let (ready, unacknowledged) = (counts.ready as u64, counts.unacknowledged as u64);
                let sample = QueueSample { at_ms, statistics: queue.statistics(), ready, unacknowledged };
                push(kept.entry(queue.number).or_default(), sample, QUEUE_SAMPLES);
            }
        }
        if with_queues {
            kept.retain(|_, samples| samples.back().is_some_and(|sample| sample.at_ms == at_ms));
        }
        drop(kept);
        let keys =
            (0..crate::limits::DATABASES).map(|database| node.engine.keyspace.seen_keys(database).0 as u64).sum();
        let reading = Reading { node, statistics: node.engine.broker.statistics(), ready, unacknowledged, keys };
        let values = SERIES.iter().map(|(_, _, read)| read(&reading)).collect();
        let sample = Sample { at_ms, values, families: self.calls_by_family(node) };
        let mut rings = self.rings.lock();
        for (ring, (seconds, most)) in rings.iter_mut().zip(RINGS) {
            if tick.is_multiple_of(seconds) {
                push(ring, sample.clone(), most);
            }
        }
    }

    /// Now, and the change a second of a series.
    pub(super) fn rate(&self, name: &str) -> f64 {
        let Some(index) = SERIES.iter().position(|(series, ..)| *series == name) else { return 0.0 };
        let rings = self.rings.lock();
        let ring = &rings[0];
        let (Some(last), Some(first)) = (ring.back(), ring.get(ring.len().saturating_sub(RATE_SECONDS as usize + 1)))
        else {
            return 0.0;
        };
        slope((first.at_ms, first.values[index]), (last.at_ms, last.values[index]))
    }

    pub(super) fn queue(&self, number: u32) -> Option<QueueRates> {
        let queues = self.queues.lock();
        let samples = queues.get(&number)?;
        let last = samples.back()?;
        let first = samples.iter().rev().nth(1)?;
        let change = |value: fn(&QueueSample) -> u64| slope((first.at_ms, value(first)), (last.at_ms, value(last)));
        Some(QueueRates {
            ready: change(|sample| sample.ready),
            unacknowledged: change(|sample| sample.unacknowledged),
            seconds: last.at_ms.saturating_sub(first.at_ms) as f64 / 1000.0,
            first: first.statistics,
            last: last.statistics,
        })
    }

    /// Series as points `[milliseconds since 1970, value]`, of the finest ring that reaches back so far.
    pub(super) fn points(&self, names: &[&str], seconds: u64) -> Value {
        let tier = RINGS.iter().position(|(every, most)| every * *most as u64 >= seconds).unwrap_or(RINGS.len() - 1);
        let every = RINGS[tier].0;
        let rings = self.rings.lock();
        let ring = &rings[tier];
        let skipped = ring.len().saturating_sub((seconds / every) as usize + 1);
        let mut series = Map::new();
        for (index, (name, kind, _)) in SERIES.iter().enumerate() {
            if !names.is_empty() && !names.contains(name) {
                continue;
            }
            let shown = ring.iter().skip(skipped);
            let points: Vec<Value> = match kind {
                Kind::Level => shown.map(|sample| json!([sample.at_ms, sample.values[index]])).collect(),
                Kind::Counter => shown
                    .clone()
                    .zip(shown.skip(1))
                    .map(|(one, next)| {
                        let rate = slope((one.at_ms, one.values[index]), (next.at_ms, next.values[index]));
                        json!([next.at_ms, rate])
                    })
                    .collect(),
            };
            series.insert((*name).to_owned(), Value::Array(points));
        }
        if names.contains(&"families") {
            for (index, name) in self.families.iter().enumerate() {
                let shown = ring.iter().skip(skipped);
                let calls = |sample: &Sample| (sample.at_ms, sample.families.get(index).copied().unwrap_or(0));
                let points = shown.clone().zip(shown.skip(1));
                let points: Vec<Value> =
                    points.map(|(one, next)| json!([next.at_ms, slope(calls(one), calls(next))])).collect();
                if points.iter().any(|point| point[1] != json!(0.0)) {
                    series.insert(format!("family.{name}"), Value::Array(points));
                }
            }
        }
        json!({ "every": every, "series": series })
    }

    /// A queue's numbers over the last five minutes, in the form of `points`.
    pub(super) fn queue_points(&self, number: u32) -> Value {
        let queues = self.queues.lock();
        let samples = queues.get(&number);
        let level = |value: fn(&QueueSample) -> u64| -> Vec<Value> {
            samples.into_iter().flatten().map(|sample| json!([sample.at_ms, value(sample)])).collect()
        };
        let rate = |value: fn(&Statistics) -> u64| -> Vec<Value> {
            let Some(samples) = samples else { return Vec::new() };
            let pairs = samples.iter().zip(samples.iter().skip(1));
            pairs
                .map(|(one, next)| {
                    let change = slope((one.at_ms, value(&one.statistics)), (next.at_ms, value(&next.statistics)));
                    json!([next.at_ms, change])
                })
                .collect()
        };
        json!({
            "every": QUEUE_SECONDS,
            "series": {
                "messages_ready": level(|sample| sample.ready),
                "messages_unacknowledged": level(|sample| sample.unacknowledged),
                "publish": rate(|statistics| statistics.published),
                "deliver": rate(|statistics| statistics.delivered + statistics.delivered_no_ack),
                "ack": rate(|statistics| statistics.acknowledged),
                "redeliver": rate(|statistics| statistics.redelivered),
            },
        })
    }
}

fn push<T>(ring: &mut VecDeque<T>, sample: T, most: usize) {
    while ring.len() >= most {
        ring.pop_front();
    }
    ring.push_back(sample);
}

/// The change a second between two points. What falls where it should grow began anew.
fn slope((from_ms, from): (u64, u64), (to_ms, to): (u64, u64)) -> f64 {
    let seconds = to_ms.saturating_sub(from_ms) as f64 / 1000.0;
    if seconds <= 0.0 {
        return 0.0;
    }
    let change = to as f64 - from as f64;
    (change / seconds * 100.0).round() / 100.0
}

/// A number of the statistics.
type Pick = fn(&Statistics) -> u64;

/// RabbitMQ's names of the statistics.
const STATISTICS: &[(&str, Pick)] = &[
    ("publish", |from| from.published),
    ("confirm", |from| from.confirmed),
    ("return_unroutable", |from| from.returned),
    ("drop_unroutable", |from| from.dropped),
    ("deliver", |from| from.delivered),
    ("deliver_no_ack", |from| from.delivered_no_ack),
    ("get", |from| from.got),
    ("get_no_ack", |from| from.got_no_ack),
    ("get_empty", |from| from.got_empty),
    ("redeliver", |from| from.redelivered),
    ("ack", |from| from.acknowledged),
    ("deliver_get", |from| from.delivered + from.delivered_no_ack + from.got + from.got_no_ack),
];

/// `message_stats` of a queue.
pub(super) fn message_stats(statistics: &Statistics, rates: Option<&QueueRates>) -> Value {
    stats(statistics, |value| {
        let Some(rates) = rates.filter(|rates| rates.seconds > 0.0) else { return 0.0 };
        let change = value(&rates.last) as f64 - value(&rates.first) as f64;
        (change.max(0.0) / rates.seconds * 100.0).round() / 100.0
    })
}

/// `message_stats` of the whole.
pub(super) fn total_stats(statistics: &Statistics, history: &History) -> Value {
    let rings = history.rings.lock();
    let ring = &rings[0];
    let (first, last) = (ring.get(ring.len().saturating_sub(RATE_SECONDS as usize + 1)), ring.back());
    let of = |sample: &Sample| {
        let value =
            |name: &str| SERIES.iter().position(|(series, ..)| *series == name).map_or(0, |index| sample.values[index]);
        Statistics {
            published: value("publish"),
            confirmed: value("confirm"),
            returned: value("return_unroutable"),
            dropped: value("drop_unroutable"),
            delivered: value("deliver"),
            delivered_no_ack: value("deliver_no_ack"),
            got: value("get"),
            got_no_ack: value("get_no_ack"),
            got_empty: value("get_empty"),
            redelivered: value("redeliver"),
            acknowledged: value("ack"),
            ..Statistics::default()
        }
    };
    let ends = first.zip(last).map(|(first, last)| (of(first), of(last), last.at_ms.saturating_sub(first.at_ms)));
    stats(statistics, |value| match &ends {
        Some((first, last, ms)) if *ms > 0 => {
            let change = value(last).saturating_sub(value(first)) as f64;
            (change * 100_000.0 / *ms as f64).round() / 100.0
        }
        _ => 0.0,
    })
}

fn stats(statistics: &Statistics, rate: impl Fn(Pick) -> f64) -> Value {
    let mut object = Map::new();
    for (name, value) in STATISTICS {
        object.insert((*name).to_owned(), Value::from(value(statistics)));
        object.insert(format!("{name}_details"), json!({ "rate": rate(*value) }));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_forgets_its_oldest_and_a_rate_is_a_change_a_second() {
        let mut ring = VecDeque::new();
        (0..10).for_each(|number| push(&mut ring, number, 3));
        assert_eq!(ring, [7, 8, 9]);
        assert_eq!(slope((1000, 10), (3000, 30)), 10.0);
        assert_eq!(slope((1000, 10), (1000, 30)), 0.0);
        assert_eq!(slope((0, 10), (1000, 4)), -6.0);
    }

    #[test]
    fn rings_cover_two_minutes_an_hour_and_a_day() {
        let covered = RINGS.map(|(every, most)| every * most as u64);
        assert_eq!(covered, [120, 3600, 86_400]);
    }

    #[test]
    fn names_of_series_are_unique() {
        for (index, (name, ..)) in SERIES.iter().enumerate() {
            assert!(SERIES[..index].iter().all(|(other, ..)| other != name), "{name}");
        }
    }
}
