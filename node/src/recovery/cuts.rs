//! What the rows on disk hold of each partition, and which records of the journal they make superfluous.

use std::collections::{HashMap, HashSet};

use super::Error;
use crate::ids::{Offset, Partition, PartitionKind};
use crate::node;
use crate::storage::{Family, Storage};
use crate::wire::Reader;

/// The cut of each partition that has rows.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    by_partition: HashMap<Partition, Offset>,
    /// Queues that the loaded topology knows.
    queues: HashSet<Partition>,
    topology: Offset,
    oldest: Offset,
    youngest: Offset,
}

impl Cuts {
    /// Loads the rows of all partitions into the engine.
    pub(super) fn load(node: &node::Shared, storage: &Storage) -> Result<Self, Error> {
        let mut by_partition = HashMap::new();
        for row in storage.rows(Family::Cuts, &[]) {
            let (key, value) = row?;
            let damaged = || Error::Damaged {
                path: storage.path().display().to_string(),
                reason: format!("the cut of partition {key:?} cannot be read"),
            };
            let partition = <[u8; 4]>::try_from(&*key).map(u32::from_be_bytes).map_err(|_| damaged())?;
            let cut = Reader::new(&value).varint().map_err(|_| damaged())?;
            by_partition.insert(Partition(partition), Offset(cut));
        }
        let cut = |partition: Partition| by_partition.get(&partition).copied();
        let queues: HashSet<_> = node.engine.broker.partitions().into_iter().collect();
        // A queue without a cut was made behind the topology's.
        let of_queues = queues.iter().filter_map(|queue| cut(*queue));
        let shards = (0..node.engine.keyspace.len()).map(Partition::shard);
        let of_shards = shards.map(|shard| cut(shard).unwrap_or_default());
        let topology = cut(Partition::TOPOLOGY).unwrap_or_default();
        let oldest = of_shards.chain(of_queues).fold(topology, Offset::min);
        let youngest = by_partition.values().copied().max().unwrap_or_default();
        Ok(Self { by_partition, queues, topology, oldest, youngest })
    }

    /// The replay begins behind this.
    pub(super) fn oldest(&self) -> Offset {
        self.oldest
    }

    /// Behind this the state is that of one moment.
    pub(super) fn youngest(&self) -> Offset {
        self.youngest
    }

    /// Whether a record's effects on `partition` are to be applied.
    #[inline]
    pub(super) fn wants(&self, partition: Partition, offset: Offset) -> bool {
        if offset > self.youngest {
            return true;
        }
        if let PartitionKind::Queue(_) = partition.kind()
            && offset <= self.topology
            && !self.queues.contains(&partition)
        {
            // The topology says that it was deleted by then.
            return false;
        }
        match self.by_partition.get(&partition) {
            Some(cut) => offset > *cut,
            None => true,
        }
    }
}
