//! What is measured: the tests, what each needs beforehand, and the options of a run.

use std::path::PathBuf;

/// The keyspace of `redis-benchmark -r`: `key:000000000000` to `key:000000999999`.
pub const KEYS: usize = 1_000_000;
/// Connections, redis-benchmark's own default.
pub const CONNECTIONS: usize = 50;

/// One of redis-benchmark's tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    Set,
    Get,
    Incr,
    Lpush,
    Rpop,
    Sadd,
    Hset,
    Zadd,
    Mset,
    Lrange,
}

/// What is in the server before the first request of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Every key of the keyspace with a value of three bytes.
    Keys,
    /// Every counter of the keyspace.
    Counters,
    /// A list, long enough that no RPOP of the measurement finds it empty.
    LongList,
    /// A list of a thousand elements.
    ShortList,
    /// One aggregate that holds every element which the test may add.
    Members,
    /// Nothing.
    Empty,
}

impl Test {
    pub const ALL: [Self; 10] = [
        Self::Set,
        Self::Get,
        Self::Incr,
        Self::Lpush,
        Self::Rpop,
        Self::Sadd,
        Self::Hset,
        Self::Zadd,
        Self::Mset,
        Self::Lrange,
    ];
    pub const QUICK: [Self; 2] = [Self::Set, Self::Get];
    /// Those that are also measured with a disk and with a replica.
    pub const WITH_SETUPS: [Self; 4] = [Self::Set, Self::Get, Self::Lpush, Self::Hset];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Get => "GET",
            Self::Incr => "INCR",
            Self::Lpush => "LPUSH",
            Self::Rpop => "RPOP",
            Self::Sadd => "SADD",
            Self::Hset => "HSET",
            Self::Zadd => "ZADD",
            Self::Mset => "MSET",
            Self::Lrange => "LRANGE_100",
        }
    }

    /// The arguments by which redis-benchmark knows the test. Not `-t lrange_100`: that fills a list first and would
    /// count the filling as the server's work.
    #[must_use]
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Set => &["-t", "set"],
            Self::Get => &["-t", "get"],
            Self::Incr => &["-t", "incr"],
            Self::Lpush => &["-t", "lpush"],
            Self::Rpop => &["-t", "rpop"],
            Self::Sadd => &["-t", "sadd"],
            Self::Hset => &["-t", "hset"],
            Self::Zadd => &["-t", "zadd"],
            Self::Mset => &["-t", "mset"],
            Self::Lrange => &["LRANGE", "mylist", "0", "99"],
        }
    }

    #[must_use]
    pub fn before(self) -> Before {
        match self {
            Self::Set | Self::Get | Self::Mset => Before::Keys,
            Self::Incr => Before::Counters,
            Self::Lpush => Before::Empty,
            Self::Rpop => Before::LongList,
            Self::Sadd | Self::Hset | Self::Zadd => Before::Members,
            Self::Lrange => Before::ShortList,
        }
    }

    /// How much less than the quickest test this does a second, roughly: it scales the first guess of the load.
    #[must_use]
    pub fn weight(self) -> usize {
        match self {
            Self::Mset => 6,
            Self::Lrange => 10,
            Self::Zadd => 2,
            _ => 1,
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|test| {
            test.name().eq_ignore_ascii_case(name) || name.eq_ignore_ascii_case("lrange") && *test == Self::Lrange
        })
    }
}

/// What the server does besides answering, the same on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// One process, nothing on disk.
    Memory,
    /// One process, a log on disk that is synced every second: `--fsync everysec`, `--appendonly yes`.
    Disk,
    /// Nothing on disk, one replica attached. Ours acknowledges what the replica has (`ack=replicated`), Redis what it has
    /// itself: it knows nothing else.
    Replica,
}

impl Setup {
    pub const ALL: [Self; 3] = [Self::Memory, Self::Disk, Self::Replica];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Replica => "replica",
        }
    }

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Memory => "memory only",
            Self::Disk => "on disk, synced every second",
            Self::Replica => "one replica",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setup| setup.name() == name)
    }
}

/// One run of the bench.
#[derive(Debug, Clone)]
pub struct Plan {
    pub setups: Vec<Setup>,
    pub tests: Vec<Test>,
    pub pipelines: Vec<usize>,
    pub repetitions: usize,
    /// How long one measurement is to take on the reference server.
    pub seconds: f64,
    pub ours: PathBuf,
    /// For a replica: nodes follow one another as sentinels say.
    pub sentinel: PathBuf,
    pub reference: PathBuf,
}

impl Plan {
    /// The tests of a setup. What a setup adds is a matter of writes; the other setups are measured with some of each
    /// kind.
    #[must_use]
    pub fn tests_of(&self, setup: Setup) -> Vec<Test> {
        let is_wanted = |test: &Test| setup == Setup::Memory || Test::WITH_SETUPS.contains(test);
        self.tests.iter().copied().filter(is_wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_is_found_by_its_name() {
        for test in Test::ALL {
            assert_eq!(Test::named(&test.name().to_lowercase()), Some(test));
        }
        assert_eq!(Test::named("lrange"), Some(Test::Lrange));
        assert_eq!(Test::named("nothing"), None);
        for setup in Setup::ALL {
            assert_eq!(Setup::named(setup.name()), Some(setup));
        }
    }
}
