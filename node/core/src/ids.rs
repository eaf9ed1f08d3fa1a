//! The numbers that everything is ordered by, as types of their own.

/// Position of a transaction in the journal: the first record of a cluster's life is 1, and 0 means "nothing yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u64);

impl Offset {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a mastership. Grows with every promotion; 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The unit of locking, of images and of replay. Numbers are part of the journal's format:
///
/// ```text
/// 0 ..= 0xFFFE      shards of the key space
/// 0xFFFF            the accounts
/// 0x1_0000          the broker's topology
/// 0x1_0001 ..       queues, numbered by the topology
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

impl Partition {
    pub const ACCOUNTS: Self = Self(0xFFFF);
    pub const TOPOLOGY: Self = Self(0x1_0000);

    #[must_use]
    pub fn shard(index: usize) -> Self {
        debug_assert!(index < Self::ACCOUNTS.0 as usize, "a shard's number fits in 16 bits");
        Self(index as u32)
    }

    /// The queue with this number (1 is the first).
    #[must_use]
    pub fn queue(number: u32) -> Self {
        Self(Self::TOPOLOGY.0 + number)
    }

    #[must_use]
    pub fn kind(self) -> PartitionKind {
        match self.0 {
            0..=0xFFFE => PartitionKind::Shard(self.0 as usize),
            0xFFFF => PartitionKind::Accounts,
            0x1_0000 => PartitionKind::Topology,
            other => PartitionKind::Queue(other - Self::TOPOLOGY.0),
        }
    }
}

/// What a partition's number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionKind {
    Shard(usize),
    Accounts,
    Topology,
    Queue(u32),
}

/// Milliseconds since the Unix epoch: the time of expiry. It comes in with each batch; the core never asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct UnixMillis(pub u64);
