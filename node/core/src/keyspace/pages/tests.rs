//! A shard under random changes, and rows that only ever get what was taken: they agree with the shard, always.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::effect::{Expiry, KeyChange};
use crate::ids::UnixMillis;
use crate::keyspace::entry_image::take_entry;
use crate::keyspace::value::{End, Value, image};
use crate::wire::Reader;

const SHARD_BITS: u32 = 4;

fn shard() -> Shard {
    Shard::new(SHARD_BITS, foldhash::fast::RandomState::default(), std::sync::Arc::default())
}

/// What a disk would hold.
#[derive(Default)]
struct Rows {
    bits: u32,
    pages: BTreeMap<usize, Vec<u8>>,
}

/// By their meaning: the elements of a set that was loaded may lie in another order.
type Contents = BTreeMap<(u8, Vec<u8>), (Option<UnixMillis>, Value)>;

impl Rows {
    fn write(&mut self, taken: &Taken) {
        if taken.bits != self.bits {
            assert_eq!(taken.pages.len(), 1 << taken.bits, "a new division takes every page");
            self.pages.clear();
        }
        self.bits = taken.bits;
        taken.each_page(|page, row| {
            self.pages.insert(page, row.to_vec());
        });
    }

    fn contents(&self) -> Contents {
        let mut contents = Contents::new();
        for (page, row) in &self.pages {
            let mut reader = Reader::new(row);
            while !reader.is_empty() {
                let entry = take_entry(&mut reader).unwrap();
                assert_eq!(page_of(position(entry.key), SHARD_BITS, self.bits), *page);
                let before = contents.insert(
                    (entry.database, entry.key.to_vec()),
                    (entry.expire_at, image::decode(entry.value).unwrap()),
                );
                assert_eq!(before, None, "a key stands on one page");
            }
        }
        contents
    }

    fn loaded(&self, keys: &[usize], cut: Offset) -> Shard {
        let mut shard = shard();
        shard.reserve(keys);
        for row in self.pages.values() {
            let mut reader = Reader::new(row);
            while !reader.is_empty() {
                shard.load(&take_entry(&mut reader).unwrap()).unwrap();
            }
        }
        shard.loaded(self.bits, cut);
        shard
    }
}

fn contents(shard: &Shard) -> Contents {
    let mut contents = Contents::new();
    for (number, database) in shard.databases() {
        for entry in database.iter() {
            contents.insert((number, entry.key().to_vec()), (entry.expire_at(), entry.value().to_owned()));
        }
    }
    contents
}

fn seeded() -> StdRng {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Any change at all of a key out of a few, so that every kind meets keys of its own type.
fn change(rng: &mut StdRng, shard: &mut Shard, keys: u32) {
    let number = rng.random_range(0..keys);
    let database = [0, 0, 0, 3][rng.random_range(0..4)];
    let kind = ["string", "list", "hash", "set", "sorted"][number as usize % 5];
    let key = format!("{kind}:{number}");
    let member = format!("member:{}", rng.random_range(0..6)).into_bytes();
    let other = vec![b'o'; rng.random_range(1..60)];
    let items: [&[u8]; 2] = [&member, &other];
    let items = || Cow::Borrowed(&items[..]);
    let expiry = match rng.random_range(0..4) {
        0 => Expiry::At(UnixMillis(rng.random_range(1..1_000_000))),
        1 => Expiry::Keep,
        _ => Expiry::Never,
    };
    let end = if rng.random() { End::Front } else { End::Back };
    let mut value = Vec::new();
    image::encode(Value::from_bytes(&other).as_ref(), &mut value);
    let scores = [(rng.random_range(0..5).into(), &member[..]), (1.5, &other[..])];
    let index = rng.random_range(0..3);
    let change = match (kind, rng.random_range(0..9)) {
        (_, 0) => KeyChange::Delete,
        (_, 1) => KeyChange::Expire { at: UnixMillis(rng.random_range(1..1_000_000)) },
        (_, 2) => KeyChange::Persist,
        ("string", 3) => KeyChange::Append { bytes: &other },
        ("string", 4) => KeyChange::SetRange { offset: index, bytes: &other },
        ("string", 5) => KeyChange::SetInteger { value: index as i64, expiry },
        ("string", 6) => KeyChange::Restore { image: &value, expiry },
        ("string", _) => KeyChange::SetString { value: &other, expiry },
        ("list", 3) => KeyChange::ListPop { end, count: index },
        ("list", 4) => KeyChange::ListSet { index, value: &member },
        ("list", 5) => KeyChange::ListRemove { indexes: Cow::Borrowed(&[0]) },
        ("list", 6) => KeyChange::ListTrim { start: 0, end: index },
        ("list", 7) => KeyChange::ListRemoveMatching { end, limit: 2, value: &member },
        ("list", _) => KeyChange::ListPush { end, values: items() },
        ("hash", 3..6) => KeyChange::HashRemove { fields: items() },
        ("hash", _) => KeyChange::HashSet { pairs: items() },
        ("set", 3..6) => KeyChange::SetRemove { members: items() },
        ("set", _) => KeyChange::SetAdd { members: items() },
        ("sorted", 3) => KeyChange::SortedRemoveRanks { start: 0, end: 1 },
        ("sorted", 4..6) => KeyChange::SortedRemove { members: items() },
        _ => KeyChange::SortedAdd { pairs: Cow::Borrowed(&scores) },
    };
    shard.apply_key(database, key.as_bytes(), &change).unwrap();
}

#[test]
fn rows_of_taken_pages_are_the_shard() {
    let mut rng = seeded();
    let (mut shard, mut rows, mut taken) = (shard(), Rows::default(), Taken::default());
    // The counter of changes wraps on the way.
    shard.changes = u32::MAX - 40_000;
    let mut offset = Offset(1);
    for round in 0..400 {
        // Many keys now and few then: the number of pages grows and shrinks.
        let keys = if round % 100 < 50 { 4_000 } else { 40 };
        for _ in 0..rng.random_range(0..400) {
            change(&mut rng, &mut shard, keys);
            offset = offset.next();
            shard.changed_at(offset);
        }
        match rng.random_range(0..60) {
            0 => _ = shard.apply_flush(if rng.random() { None } else { Some(3) }),
            1 => shard.apply_swap(0, 3),
            2 => shard.reset(),
            _ => {}
        }
        offset = offset.next();
        shard.changed_at(offset);
        let size: usize = rows.pages.values().map(Vec::len).sum();
        let extent = if is_unsuitable(size as u64, rows.bits) { Extent::Whole } else { Extent::Changed };
        shard.take(extent, &mut taken);
        if rng.random_range(0..10) == 0 {
            shard.give_back(taken.bits, &taken.pages);
            assert!(shard.is_changed() || taken.pages.is_empty());
            continue;
        }
        rows.write(&taken);
        assert!(rows.contents() == contents(&shard), "round {round}: the rows are not the shard");
        assert!(!shard.is_changed());
        if rng.random_range(0..20) == 0 {
            shard = rows.loaded(&taken.keys, taken.cut);
            assert!(rows.contents() == contents(&shard), "round {round}: what was loaded is not the rows");
            assert!(!shard.is_changed());
        }
    }
}

#[test]
fn a_page_without_changes_is_not_taken() {
    let (mut shard, mut taken) = (shard(), Taken::default());
    let set = |shard: &mut Shard, number: u32| {
        let change = KeyChange::SetString { value: &[b'x'; 100], expiry: Expiry::Never };
        shard.apply_key(0, format!("key:{number}").as_bytes(), &change).unwrap();
    };
    (0..5_000).for_each(|number| set(&mut shard, number));
    shard.take(Extent::Changed, &mut taken);
    assert_eq!((taken.bits, taken.changed), (6, 5_000), "{} bytes", taken.bytes());
    set(&mut shard, 17);
    shard.take(Extent::Changed, &mut taken);
    assert_eq!((taken.pages.len(), taken.changed), (1, 1));
    shard.apply_key(0, b"key:18", &KeyChange::Delete).unwrap();
    shard.take(Extent::Changed, &mut taken);
    assert_eq!((taken.pages.len(), taken.changed), (1, 0), "a deletion is its page");
    shard.take(Extent::Changed, &mut taken);
    assert!(taken.pages.is_empty());
}

#[test]
fn attempts_that_change_nothing_never_hide_a_change() {
    let (mut shard, mut taken) = (shard(), Taken::default());
    let members: [&[u8]; 1] = [b"m"];
    let add = KeyChange::SetAdd { members: Cow::Borrowed(&members) };
    shard.apply_key(0, b"set", &add).unwrap();
    shard.changed_at(Offset(1));
    shard.take(Extent::Changed, &mut taken);
    for apart in [1u32 << 30, 1 << 31, 3 << 30, u32::MAX] {
        // So many attempts, with a look every 2^30 of them.
        for _ in 0..apart >> 30 {
            shard.changes = shard.changes.wrapping_add((1 << 30) + 1);
            shard.settle();
        }
        assert!(!shard.is_changed());
        shard.apply_key(0, b"other", &KeyChange::SetAdd { members: Cow::Borrowed(&members) }).unwrap();
        shard.changed_at(Offset(u64::from(apart)));
        shard.take(Extent::Changed, &mut taken);
        assert!(!taken.pages.is_empty(), "{apart} attempts later");
        shard.apply_key(0, b"other", &KeyChange::Delete).unwrap();
        shard.changed_at(Offset(u64::from(apart) + 1));
        shard.take(Extent::Changed, &mut taken);
    }
    // A change, and then more attempts than versions can tell apart.
    shard.apply_key(0, b"third", &add).unwrap();
    shard.changed_at(Offset(u64::MAX));
    for _ in 0..3 {
        shard.changes = shard.changes.wrapping_add((1 << 30) + 1);
        shard.settle();
    }
    shard.take(Extent::Changed, &mut taken);
    assert_eq!(taken.pages.len(), 1 << taken.bits, "all of it");
}

#[test]
fn pages_are_divided_anew_with_hysteresis() {
    assert_eq!([0, 8 << 10, 12 << 10, 1 << 20, 1 << 40].map(suitable_bits), [0, 0, 0, 7, PAGE_BITS_MAX]);
    for bytes in (0..27).map(|shift| 3u64 << shift) {
        let bits = suitable_bits(bytes);
        for near in [bytes - bytes / 4, bytes, bytes + bytes / 4] {
            assert!(!is_unsuitable(near, bits), "{near} bytes in 2^{bits} pages");
        }
        assert!(is_unsuitable(bytes / 20, bits) || bits == 0);
    }
    assert!(is_unsuitable(30 << 10, 0));
}
