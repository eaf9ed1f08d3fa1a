//! Settings with a form of their own: policies of eviction, classes of events, limits of output buffers, save points, percentiles.

use std::fmt;

use parking_lot::RwLock;

use super::bytes::memory;
use crate::effect::class as event;

/// The policy that Redis does not have.
pub const OUR_POLICY: &str = "allkeys-s3fifo";

/// Names of `maxmemory-policy`, in the order of their indexes.
pub const POLICIES: &[&str] = &[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
    OUR_POLICY,
];

/// Letters of single classes, in the order in which they are shown.
const LETTERS: &[(char, u32)] = &[
    ('g', event::GENERIC),
    ('$', event::STRING),
    ('l', event::LIST),
    ('s', event::SET),
    ('h', event::HASH),
    ('z', event::SORTED_SET),
    ('x', event::EXPIRED),
    ('e', event::EVICTED),
    ('t', event::STREAM),
    ('d', event::MODULE),
    ('n', event::NEW),
    ('K', event::KEYSPACE),
    ('E', event::KEYEVENT),
    ('m', event::MISS),
];

pub(super) fn read_events(text: &str) -> Result<u32, String> {
    text.chars().try_fold(0, |bits, letter| {
        if letter == 'A' {
            return Ok(bits | event::ALL);
        }
        let class = LETTERS.iter().find(|(known, _)| *known == letter);
        let (_, class) = class.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
        Ok(bits | class)
    })
}

pub(super) fn show_events(bits: u32) -> String {
    let mut text = String::new();
    let mut hidden = 0;
    if bits & event::ALL == event::ALL {
        text.push('A');
        // As Redis, which does not show `n` beside `A`.
        hidden = event::ALL | event::NEW;
    }
    text.extend(LETTERS.iter().filter(|(_, class)| bits & class & !hidden != 0).map(|(letter, _)| letter));
    text
}

/// How much may wait to be sent to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputLimit {
    /// Beyond so many bytes it is closed at once; 0 = no limit.
    pub hard: u64,
    /// Beyond so many bytes for `soft_seconds` it is closed; 0 = no limit.
    pub soft: u64,
    pub soft_seconds: u64,
}

/// Classes of clients with limits of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputClass {
    Normal = 0,
    Replica = 1,
    PubSub = 2,
}

const CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];

/// New limits of some classes.
pub type OutputLimitsChange = [Option<OutputLimit>; 3];

/// `client-output-buffer-limit`.
#[derive(Debug, Default)]
pub struct OutputLimits(RwLock<[OutputLimit; 3]>);

impl OutputLimits {
    #[must_use]
    pub fn of(&self, class: OutputClass) -> OutputLimit {
        self.0.read()[class as usize]
    }

    pub(super) fn change(&self, change: &OutputLimitsChange) {
        let mut limits = self.0.write();
        for (limit, new) in limits.iter_mut().zip(change) {
            *limit = new.unwrap_or(*limit);
        }
    }
}

impl fmt::Display for OutputLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (class, limit)) in CLASSES.iter().zip(self.0.read().iter()).enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{class} {} {} {}", limit.hard, limit.soft, limit.soft_seconds)?;
        }
        Ok(())
    }
}

pub(super) fn read_output_limits(text: &str) -> Result<OutputLimitsChange, String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (limits, []) = words.as_chunks::<4>() else {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    };
    let mut change = OutputLimitsChange::default();
    for [class, hard, soft, seconds] in limits {
        let class = if class.eq_ignore_ascii_case("replica") { "slave" } else { class };
        let index = CLASSES.iter().position(|known| known.eq_ignore_ascii_case(class));
        let index = index.ok_or("Invalid client class specified in buffer limit configuration.")?;
        let bytes = |text: &str| memory(text).and_then(|bytes| u64::try_from(bytes).ok());
        let limit = match (bytes(hard), bytes(soft), seconds.parse().ok()) {
            (Some(hard), Some(soft), Some(soft_seconds)) => OutputLimit { hard, soft, soft_seconds },
            _ => {
                return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".into());
            }
        };
        change[index] = Some(limit);
    }
    Ok(change)
}

/// Pairs of seconds and changes. Kept and shown: the data on disk follows every write here, whatever the save points are.
pub(super) fn read_save(text: &str) -> Result<String, String> {
    let wrong = || "Invalid save parameters".to_owned();
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (pairs, []) = words.as_chunks::<2>() else { return Err(wrong()) };
    for [seconds, changes] in pairs {
        let seconds = seconds.parse::<u32>().ok().filter(|seconds| *seconds > 0);
        if seconds.is_none() || changes.parse::<u32>().is_err() {
            return Err(wrong());
        }
    }
    Ok(words.join(" "))
}

/// `latency-tracking-info-percentiles`.
#[derive(Debug, Default)]
pub struct Percentiles(RwLock<Vec<f64>>);

impl Percentiles {
    #[must_use]
    pub fn load(&self) -> Vec<f64> {
        self.0.read().clone()
    }

    pub(super) fn replace(&self, percentiles: Vec<f64>) {
        *self.0.write() = percentiles;
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, percentile) in self.0.read().iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{percentile}")?;
        }
        Ok(())
    }
}

pub(super) fn read_percentiles(text: &str) -> Result<Vec<f64>, String> {
    text.split_ascii_whitespace()
        .map(|word| {
            let percentile: f64 =
                word.parse().map_err(|_| "Invalid latency-tracking-info-percentiles parameters".to_owned())?;
            if (0.0..=100.0).contains(&percentile) {
                Ok(percentile)
            } else {
                Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into())
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_events_are_shown_as_redis_shows_them() {
        for (given, shown) in [("KEA", "AKE"), ("gxKt", "gxtK"), ("AKEmn", "AKEm"), ("", ""), ("mK", "Km")] {
            assert_eq!(show_events(read_events(given).unwrap()), shown, "{given}");
        }
        assert!(read_events("K1").is_err());
    }

    #[test]
    fn limits_of_one_class_leave_the_others_as_they_are() {
        let limits = OutputLimits::default();
        limits.change(&read_output_limits("slave 256mb 64mb 60 pubsub 32mb 8mb 60").unwrap());
        limits.change(&read_output_limits("pubsub 1mb 2kb 3").unwrap());
        assert_eq!(limits.to_string(), "normal 0 0 0 slave 268435456 67108864 60 pubsub 1048576 2048 3");
        for wrong in ["normal 1 2", "foo 1 2 3", "pubsub 1 a 3"] {
            assert!(read_output_limits(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn save_points_are_pairs() {
        assert_eq!(read_save("3600 1  300 100"), Ok("3600 1 300 100".into()));
        assert_eq!(read_save(""), Ok(String::new()));
        assert!(read_save("1 a").is_err() && read_save("1").is_err() && read_save("0 1").is_err());
    }
}
