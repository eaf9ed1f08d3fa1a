//! SCAN: keys in the order of the fixed hash.
//!
//! The cursor is a position in the hash and nothing else. So it survives every resize, needs no memory in the server,
//! and stays valid when another node becomes master. A key that is there all the time is returned exactly once.

use std::collections::BinaryHeap;

use super::value::ShortBytes;
use super::{Keyspace, position};
use crate::engine::Locked;
use crate::ids::UnixMillis;

impl Keyspace {
    /// At least `count` keys (if there are so many) at positions from `cursor` on, and the cursor to go on from; 0 when
    /// there are no more. Keys that `wanted` refuses count, as in Redis.
    pub fn scan(
        &self,
        locked: &Locked<'_>,
        database: u8,
        cursor: u64,
        count: usize,
        now: UnixMillis,
        mut wanted: impl FnMut(&super::Entry) -> Option<ShortBytes>,
    ) -> (u64, Vec<ShortBytes>) {
        let mut found = Vec::new();
        let mut visited = 0;
        let mut cursor = cursor;
        let mut index = (cursor >> (64 - self.bits)) as usize;
        while index < self.shards.len() {
            let guard;
            let shard = match locked.shard(index) {
                Some(held) => held,
                None => {
                    guard = self.lock(index);
                    &*guard
                }
            };
            let table = shard.database(database);
            let left = count.saturating_sub(visited).max(1);
            // The `left` smallest positions; a max-heap keeps the greatest of them on top.
            let mut nearest = BinaryHeap::with_capacity(left.min(table.len()) + 1);
            for entry in table.iter() {
                let at = position(&entry.key);
                if at >= cursor {
                    nearest.push(at);
                    if nearest.len() > left {
                        nearest.pop();
                    }
                }
            }
            let is_cut = nearest.len() == left;
            if let Some(&last) = nearest.peek() {
                for entry in table.iter() {
                    let at = position(&entry.key);
                    if at >= cursor && at <= last {
                        visited += 1;
                        if !entry.is_expired(now) {
                            found.extend(wanted(entry));
                        }
                    }
                }
                if is_cut && visited >= count {
                    return (last.wrapping_add(1), found);
                }
            }
            index += 1;
            cursor = (index as u64) << (64 - self.bits);
        }
        (0, found)
    }
}
