//! SCAN: keys in the order of the fixed hash.
//!
//! The cursor is a position in the hash and nothing else, to its upper 53 bits: php-redis keeps cursors as signed numbers, and
//! JavaScript as floating ones. So it survives every resize, needs no memory in the server,
//! and stays valid when another node becomes master. A key that is there all the time is returned exactly once.

use super::value::ShortBytes;
use super::{Held, Keyspace, position};
use crate::ids::UnixMillis;

/// Pages in which a shard is returned at the most. Each page looks at all keys of its shard to find the next ones, so a
/// whole scan costs this many looks a key, however small the count.
const PAGES_A_SHARD: usize = 64;

/// Bits of a position that a cursor does not say. Keys whose positions differ in them only stay together.
const UNSAID_BITS: u32 = 11;

/// The cursor that goes on from a position: with the next one that a cursor can say.
fn cursor_from(at: u64) -> u64 {
    at.div_ceil(1 << UNSAID_BITS)
}

/// Where a scan goes on; what no cursor says is ignored.
fn position_of(cursor: u64) -> u64 {
    cursor << UNSAID_BITS
}

impl Keyspace {
    /// At least `count` keys (if there are so many) at positions from `cursor` on, and the cursor to go on from; 0 when
    /// there are no more. Keys that `wanted` refuses count, as in Redis.
    pub fn scan(
        &self,
        locked: &impl Held,
        database: u8,
        cursor: u64,
        count: usize,
        now: UnixMillis,
        mut wanted: impl FnMut(super::Entry<'_>) -> Option<ShortBytes>,
    ) -> (u64, Vec<ShortBytes>) {
        let mut found = Vec::new();
        let mut visited = 0;
        let mut cursor = position_of(cursor);
        let mut index = (cursor >> (64 - self.bits)) as usize;
        while index < self.shards.len() {
            let guard;
            let shard = match locked.held(index) {
                Some(held) => held,
                None => {
                    guard = self.lock(index);
                    &*guard
                }
            };
            let table = shard.database(database);
            let left = count.saturating_sub(visited).max(table.len() / PAGES_A_SHARD).max(1);
            let said = |entry: &super::Entry<'_>| position(entry.key()) >> UNSAID_BITS << UNSAID_BITS;
            let positions = table.iter().map(|entry| (said(&entry), entry));
            let mut met: Vec<_> = positions.filter(|(at, _)| *at >= cursor).collect();
            let mut last = None;
            if met.len() > left {
                let greatest = met.select_nth_unstable_by_key(left - 1, |(at, _)| *at).1.0;
                // Keys at the same position stay together.
                met.retain(|(at, _)| *at <= greatest);
                last = Some(greatest);
            }
            visited += met.len();
            let live = met.into_iter().filter(|(_, entry)| !entry.is_expired(now));
            found.extend(live.filter_map(|(_, entry)| wanted(entry)));
            if let Some(last) = last {
                // Behind the greatest position of all comes 0, the end.
                return (cursor_from(last.wrapping_add(1 << UNSAID_BITS)), found);
            }
            index += 1;
            cursor = (index as u64).checked_shl(64 - self.bits).unwrap_or(0);
            if visited >= count && index < self.shards.len() {
                return (cursor_from(cursor), found);
            }
        }
        (0, found)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::Locked;

    use super::*;
    use crate::effect::{Expiry, KeyChange};

    fn put(keyspace: &Keyspace, key: &str) {
        let change = KeyChange::SetString { value: b"v", expiry: Expiry::Never };
        keyspace.lock(keyspace.shard_of(key.as_bytes())).apply_key(0, key.as_bytes(), &change).unwrap();
    }

    fn remove(keyspace: &Keyspace, key: &str) {
        keyspace.lock(keyspace.shard_of(key.as_bytes())).apply_key(0, key.as_bytes(), &KeyChange::Delete).unwrap();
    }

    /// All pages; `change` runs between two of them.
    fn scan_all(keyspace: &Keyspace, count: usize, mut change: impl FnMut(usize)) -> Vec<String> {
        let (mut cursor, mut found) = (0, Vec::new());
        for page in 0.. {
            let all = |entry: crate::keyspace::Entry<'_>| Some(entry.key().into());
            let (next, keys) = keyspace.scan(&Locked::Nothing, 0, cursor, count, UnixMillis(0), all);
            found.extend(keys.iter().map(|key| String::from_utf8(key.to_vec()).unwrap()));
            if next == 0 {
                break;
            }
            assert!(next > cursor, "a cursor moves on");
            assert!(next < 1 << 53, "a floating number holds it exactly");
            cursor = next;
            change(page);
        }
        found
    }

    #[test]
    fn a_scan_returns_every_key_once_whatever_the_count() {
        for keys in [0, 1, 10, 3_000] {
            let keyspace = Keyspace::new(2);
            (0..keys).for_each(|number| put(&keyspace, &format!("key:{number}")));
            for count in [1, 7, 100, 10_000] {
                let mut found = scan_all(&keyspace, count, |_| {});
                found.sort();
                found.dedup();
                assert_eq!(found.len(), keys, "{keys} keys, {count} a page");
            }
        }
    }

    #[test]
    fn a_key_that_stays_is_returned_once_while_others_come_and_go() {
        let keyspace = Keyspace::new(2);
        (0..2_000).for_each(|number| put(&keyspace, &format!("stays:{number}")));
        (0..2_000).for_each(|number| put(&keyspace, &format!("goes:{number}")));
        let found = scan_all(&keyspace, 10, |page| {
            (page * 20..page * 20 + 20).for_each(|number| remove(&keyspace, &format!("goes:{number}")));
            (page * 20..page * 20 + 20).for_each(|number| put(&keyspace, &format!("comes:{number}")));
        });
        let mut stayed: Vec<_> = found.iter().filter(|key| key.starts_with("stays:")).collect();
        assert_eq!(stayed.len(), 2_000);
        stayed.sort();
        stayed.dedup();
        assert_eq!(stayed.len(), 2_000, "none twice");
    }

    #[test]
    fn a_small_count_does_not_make_a_large_shard_slow() {
        let keyspace = Keyspace::new(1);
        (0..20_000).for_each(|number| put(&keyspace, &number.to_string()));
        let mut pages = 1;
        scan_all(&keyspace, 1, |_| pages += 1);
        assert!(pages <= 2 * (PAGES_A_SHARD + 1), "{pages} pages");
    }
}
