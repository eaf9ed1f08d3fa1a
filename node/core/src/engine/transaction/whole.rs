//! Changes of whole databases: FLUSHDB, FLUSHALL, SWAPDB.

use super::Transaction;
use crate::effect::Effect;
use crate::ids::Partition;

impl Transaction<'_> {
    /// Empties one database or all, in every shard that is held.
    pub fn flush(&mut self, database: Option<u8>) {
        let Self { locked, record, retaining, effects, ready, .. } = self;
        locked.each_mut(|index, shard| {
            for name in shard.names_of_interest(database) {
                ready.push(index, shard, name);
            }
            if shard.apply_flush(database) > 0 {
                *effects += 1;
                if *retaining {
                    Effect::Flush { database }.encode(Partition::shard(index), record);
                }
            }
        });
    }

    pub fn swap(&mut self, first: u8, second: u8) {
        let Self { locked, record, retaining, effects, ready, .. } = self;
        locked.each_mut(|index, shard| {
            for database in [first, second] {
                for name in shard.names_of_interest(Some(database)) {
                    ready.push(index, shard, name);
                }
            }
            if !shard.is_empty() {
                shard.apply_swap(first, second);
                *effects += 1;
                if *retaining {
                    Effect::Swap { first, second }.encode(Partition::shard(index), record);
                }
            }
        });
    }
}
