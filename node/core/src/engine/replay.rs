//! Records that come from elsewhere (a master, the disk): decoded and applied, all effects of one record together.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Engine, Locked};
use crate::effect::Effect;
use crate::ids::{Offset, Partition, PartitionKind};
use crate::lent;
use crate::wire::{self, Reader};

/// A record that cannot be applied: the copies have come apart, and only a full sync mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("record {offset} cannot be read: {error}")]
    Record { offset: Offset, error: wire::Error },
    #[error("record {offset} does not fit the state: {what}")]
    State { offset: Offset, what: String },
}

impl Engine {
    /// Applies a record as `wanted` allows: during a full sync a partition takes only what lies behind its cut.
    ///
    /// # Errors
    /// The record is broken, or the state is not the one that it was made for.
    pub fn apply_record(&self, offset: Offset, record: &[u8], wanted: impl Fn(Partition) -> bool) -> Result<(), Error> {
        let mut effects: SmallVec<[(Partition, Effect<'_>); 2]> = SmallVec::new();
        let mut reader = Reader::new(record);
        while !reader.is_empty() {
            let (partition, effect) = Effect::decode(&mut reader).map_err(|error| Error::Record { offset, error })?;
            if wanted(partition) {
                effects.push((partition, effect));
            }
        }
        let mut shards: SmallVec<[usize; 2]> = SmallVec::new();
        for (partition, _) in &effects {
            if let PartitionKind::Shard(shard) = partition.kind() {
                shards.push(shard);
            }
        }
        let mut locked = self.lock_shards(shards);
        let mut awaited = HashSet::new();
        for (partition, effect) in &effects {
            let state = |what: &str| Error::State { offset, what: what.to_owned() };
            match (partition.kind(), effect) {
                (PartitionKind::Shard(index), effect) => {
                    let shard = locked.shard_mut(index).ok_or_else(|| state("no such shard"))?;
                    match effect {
                        Effect::Key { database, key, change } => {
                            if shard.has_waiters() {
                                let name = (*database, key.to_vec());
                                if shard.is_awaited(&name) {
                                    awaited.insert((index, name));
                                }
                            }
                            shard.apply_key(*database, key, change).map_err(|_| state("wrong type"))?;
                        }
                        Effect::Flush { database } => _ = shard.apply_flush(*database),
                        Effect::Swap { first, second } => shard.apply_swap(*first, *second),
                        Effect::Broker(_) | Effect::Account(_) => {
                            return Err(state("an effect of another kind on a shard"));
                        }
                    }
                    shard.changed_at(offset);
                }
                (PartitionKind::Accounts, Effect::Account(change)) => self.accounts.apply(offset, change),
                (_, Effect::Broker(effect)) => {
                    self.broker.apply(offset, *partition, effect).map_err(|error| state(&error.to_string()))?;
                }
                _ => return Err(state("a key's effect on another partition")),
            }
        }
        let mut woken = Vec::new();
        for (index, name) in awaited {
            woken.extend(locked.shard(index).into_iter().flat_map(|shard| shard.waiters(&name)).cloned());
        }
        drop(locked);
        self.wake(&woken);
        Ok(())
    }

    /// As `apply_record`; a large text of a record that is owned keeps the record's memory.
    ///
    /// # Errors
    /// As `apply_record`.
    pub fn apply_owned(
        &self,
        offset: Offset,
        record: Cow<'_, [u8]>,
        wanted: impl Fn(Partition) -> bool,
    ) -> Result<(), Error> {
        match record {
            Cow::Owned(record) if record.len() >= lent::SHARED_BYTES => {
                let capacity = record.capacity();
                let record = Bytes::from(record);
                let _lending = lent::lend(record.clone(), capacity);
                self.apply_record(offset, &record, wanted)
            }
            record => self.apply_record(offset, &record, wanted),
        }
    }

    fn lock_shards(&self, mut shards: SmallVec<[usize; 2]>) -> Locked<'_> {
        shards.sort_unstable();
        shards.dedup();
        let shards: SmallVec<[usize; 2]> = shards.into_iter().filter(|index| *index < self.keyspace.len()).collect();
        match shards[..] {
            [] => Locked::Nothing,
            [only] => Locked::One(only, self.keyspace.lock(only)),
            _ => Locked::Some(shards.into_iter().map(|index| (index, self.keyspace.lock(index))).collect()),
        }
    }
}
