//! The table against a map, with all of its invariants, and with hashes that are as poor as can be.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::keyspace::value::{End, Hash, Inserted, List, Set, SortedSet, Value, ValueRef};

/// A hash of so many different values.
#[derive(Debug, Clone, Copy, Default)]
struct Poor(u64);

struct PoorHasher(u64, u64);

impl BuildHasher for Poor {
    type Hasher = PoorHasher;
    fn build_hasher(&self) -> PoorHasher {
        PoorHasher(self.0, 0)
    }
}

impl Hasher for PoorHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.1 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.1);
    }
    fn finish(&self) -> u64 {
        // Both the home and the tag repeat themselves.
        (self.1 % self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

type Model = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

impl<S: BuildHasher> Table<S> {
    /// What has to hold after every change.
    pub(in crate::keyspace) fn check(&self) {
        assert_eq!(self.arena.check(), self.len, "the arena has as many entries as the table");
        assert_eq!(self.iter().filter(|entry| entry.expire_at().is_some()).count(), self.expiring);
        let (mut slots, mut passed) = (HashMap::new(), vec![0usize; self.buckets.len()]);
        for (at, bucket) in self.buckets.iter().enumerate() {
            for slot in bucket.filled() {
                let entry = self.arena.entry(bucket.handle(slot));
                assert!(slots.insert(entry.address(), at).is_none(), "an entry has one slot");
                let mut from = self.home(self.hash(entry.key()));
                while from != at {
                    passed[from] += 1;
                    from = self.after(from);
                }
                if let Some(expire_at) = entry.expire_at() {
                    assert!(self.hints[at] <= moment(expire_at.0), "a hint is never late");
                }
            }
        }
        assert_eq!(slots.len(), self.len, "every entry has a slot");
        for (bucket, passed) in self.buckets.iter().zip(passed) {
            let says = usize::from(bucket.passed());
            assert!(says == passed || says == 255 && passed <= self.len, "{says} passed and not {passed}");
        }
        assert!(self.hints.is_empty() || self.hints.len() == self.buckets.len());
        assert!(self.hints.iter().all(|hint| *hint >= self.earliest));
    }

    fn put(&mut self, key: &[u8], expire_at: u64, new: New<'_>) {
        let hash = self.hash(key);
        let about = About { version: 1, access: 7, expire_at };
        match self.slot_of(hash, key) {
            Some(slot) => self.replace(slot, key, 2, expire_at, new),
            None => _ = self.insert(hash, key, about, new),
        }
        self.tidy();
    }

    fn text(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut scratch = itoa::Buffer::new();
        self.find(self.hash(key), key).map(|entry| match entry.value() {
            ValueRef::Hash(hash) => hash.get(b"f").unwrap().to_vec(),
            value => value.as_bytes(&mut scratch).unwrap().to_vec(),
        })
    }
}

/// A value, and what `text` says of it.
fn value(rng: &mut StdRng) -> (Value, Vec<u8>) {
    let length = match rng.random_range(0..20) {
        0 => rng.random_range(240..270),
        1 => rng.random_range(900..1_100),
        _ => rng.random_range(0..40),
    };
    let text = vec![b'a' + rng.random_range(0..26); length];
    match rng.random_range(0..4) {
        0 => {
            let number = rng.random::<i64>() >> rng.random_range(0..64);
            (Value::Integer(number), number.to_string().into_bytes())
        }
        1 => {
            let mut hash = Hash::new();
            hash.set(b"f", text[..].into());
            (Value::Hash(Box::new(hash)), text)
        }
        _ => (Value::String(text[..].into()), text),
    }
}

fn key(rng: &mut StdRng, distinct: u32) -> Vec<u8> {
    let number = rng.random_range(0..distinct);
    let mut key = format!("k{number}").into_bytes();
    // The same number always has the same length.
    match number % 23 {
        0 => key.resize(253 + (number / 23 % 5) as usize, b'x'),
        1 => key.resize(897 + (number / 23 % 6) as usize, b'x'),
        2 => key.resize(2_000, b'x'),
        _ => {}
    }
    key
}

fn agrees_with_a_map(hashes: u64, steps: usize) {
    let seed: u64 = rand::random();
    println!("seed {seed}, {hashes} hashes");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut table, mut model) = (Table::new(Poor(hashes)), Model::new());
    for step in 0..steps {
        let distinct = if (step * 4 / steps).is_multiple_of(2) { 600 } else { 60 };
        let key = key(&mut rng, distinct);
        let expire_at = match rng.random_range(0..12) {
            0..3 => 1_700_000_000_000 + rng.random_range(0..1 << 30),
            // The last moment that Redis takes, and the milliseconds of today taken for seconds.
            3 => i64::MAX as u64,
            4 => 1_798_000_000_000_000,
            _ => 0,
        };
        let slot = table.slot_of(table.hash(&key), &key);
        assert_eq!(slot.is_some(), model.contains_key(&key), "step {step}");
        match (rng.random_range(0..10), slot) {
            (0..=4, _) => {
                let (new, text) = value(&mut rng);
                table.put(&key, expire_at, New::Value(new));
                model.insert(key.clone(), (text, expire_at));
            }
            (5, Some(slot)) => {
                let changed = table.set_expiry(slot, expire_at);
                let known = model.get_mut(&key).unwrap();
                assert_eq!(changed, known.1 != expire_at);
                known.1 = expire_at;
                table.tidy();
            }
            (6, Some(slot)) => {
                let is_text = !matches!(table.at(slot).value(), ValueRef::Hash(_));
                let length = table.change_text(slot, &key, 3, |text| text.extend(b"12345678901234567890"));
                let known = &mut model.get_mut(&key).unwrap().0;
                if is_text {
                    known.extend(b"12345678901234567890");
                }
                assert_eq!(length, is_text.then_some(known.len()));
                table.tidy();
            }
            (_, Some(slot)) => {
                model.remove(&key);
                table.remove(slot);
                table.tidy();
            }
            _ => {}
        }
        let expected = model.get(&key).map(|known| (known.0.clone(), known.1));
        let expire_at = |entry: Entry<'_>| entry.expire_at().map_or(0, |at| at.0);
        let found = table.find(table.hash(&key), &key).map(expire_at);
        assert_eq!(table.text(&key).zip(found), expected, "step {step}");
        assert_eq!(table.len(), model.len());
        if step % 16 == 0 || steps < 1_000 {
            table.check();
        }
    }
    let found: Model = table
        .iter()
        .map(|e| (e.key().to_vec(), (table.text(e.key()).unwrap(), e.expire_at().map_or(0, |at| at.0))))
        .collect();
    assert!(found == model, "the walk finds what the map has");
}

#[test]
fn random_operations_agree_with_a_map() {
    agrees_with_a_map(u64::MAX, 6_000);
}

#[test]
fn random_operations_agree_with_a_map_whose_hash_is_poor() {
    [1, 5, 40].into_iter().for_each(|hashes| agrees_with_a_map(hashes, 800));
}

#[test]
fn every_length_of_key_and_value_is_kept() {
    let mut table = Table::new(Poor(u64::MAX));
    let lengths =
        [0, 1, 63, 64, 65, 253, 254, 255, 256, 257, 898, 899, 900, 901, 902, 990, 1_014, 1_023, 1_024, 5_000, 70_000];
    for expire_at in [0, 1_800_000_000_000, i64::MAX as u64] {
        for key in lengths {
            for value in lengths {
                let (key, value) = (vec![b'k'; key], vec![b'v'; value]);
                table.put(&key, expire_at, New::Text(&value));
                assert_eq!(table.text(&key), Some(value));
            }
            table.check();
        }
    }
}

#[test]
fn integers_keep_their_value_at_every_width() {
    let mut table = Table::new(Poor(u64::MAX));
    for shift in 0..64 {
        for number in [1i64 << shift, (1i64 << shift).wrapping_sub(1), (1i64 << shift).wrapping_neg()] {
            table.put(b"key", 0, New::Integer(number));
            assert_eq!(table.find(table.hash(b"key"), b"key").unwrap().value(), ValueRef::Integer(number));
        }
    }
}

#[test]
fn what_is_due_is_found_exactly_once() {
    const START: u64 = 1_750_000_000_000;
    let mut table = Table::new(Poor(u64::MAX));
    for number in 0..3_000u64 {
        table.put(number.to_string().as_bytes(), START + number * 10, New::Text(b"v"));
    }
    for number in 0..3_000u64 {
        // A third is put off, a third stays for ever.
        let key = number.to_string().into_bytes();
        match number % 3 {
            0 => table.put(&key, START + 100_000, New::Text(b"w")),
            1 => table.put(&key, 0, New::Text(b"w")),
            _ => {}
        }
    }
    let mut gone = 0;
    let take = |table: &mut Table<Poor>, now: u64| {
        let mut taken = 0;
        while table.may_be_due(UnixMillis(now)) {
            let due = table.due(UnixMillis(now), 7);
            if due.is_empty() {
                break;
            }
            for key in due {
                let slot = table.slot_of(table.hash(&key), &key).expect("what is due is there");
                table.remove(slot);
                taken += 1;
            }
            table.check();
        }
        taken
    };
    for now in (START - 1_000..START + 40_000).step_by(777) {
        gone += take(&mut table, now);
        let due = (0..3_000u64).filter(|number| number % 3 == 2 && START + number * 10 <= now).count();
        assert_eq!(gone, due, "at {}", now - START);
    }
    assert_eq!(take(&mut table, START + 200_000), 1_000);
    assert_eq!((table.len(), table.expiring()), (1_000, 0));
}

#[test]
fn a_table_gives_back_what_it_does_not_need() {
    let mut table = Table::new(Poor(u64::MAX));
    for number in 0..20_000u32 {
        table.put(number.to_string().as_bytes(), 0, New::Text(&[b'v'; 50]));
    }
    let (full, _) = table.bytes();
    assert!(full < 20_000 * 90, "{full} bytes");
    for number in 0..19_000u32 {
        let slot = table.slot_of(table.hash(number.to_string().as_bytes()), number.to_string().as_bytes()).unwrap();
        table.remove(slot);
        table.tidy();
    }
    let (left, dead) = table.bytes();
    assert!(left < full / 10, "{left} bytes of {full} are left");
    assert!(dead * 4 <= left, "{dead} bytes of {left} are dead");
    table.check();
}

#[test]
fn overwriting_with_other_lengths_does_not_scatter_the_memory() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut table = Table::new(Poor(u64::MAX));
    for _ in 0..60_000 {
        let key = rng.random_range(0..2_000u32).to_string();
        table.put(key.as_bytes(), 0, New::Text(&vec![b'v'; rng.random_range(1..60)]));
    }
    let live: usize = table.iter().map(|entry| entry.bytes().next_multiple_of(8)).sum();
    let (bytes, dead) = table.bytes();
    assert!(dead * 4 <= live + 4_096, "{dead} bytes are dead, {live} alive");
    let index = size_of_val(&*table.buckets);
    assert!(bytes <= index + live * 13 / 10 + 4_096, "{bytes} bytes for {live}");
}

#[test]
fn random_entries_are_all_met() {
    let mut table = Table::new(Poor(u64::MAX));
    (0..100u32).for_each(|number| table.put(number.to_string().as_bytes(), 0, New::Integer(1)));
    let mut met = HashMap::new();
    let mut random = rand::random::<u64>;
    for _ in 0..10_000 {
        *met.entry(table.random(&mut random).unwrap().key().to_vec()).or_insert(0) += 1;
    }
    assert_eq!(met.len(), 100);
    assert!(met.values().all(|times| (30..250).contains(times)), "{met:?}");
    assert!(Table::new(Poor(1)).random(random).is_none());
}

/// What a key of `random_changes_of_collections_agree_with_models` holds.
#[derive(Debug, Clone, PartialEq)]
enum Held {
    List(Vec<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Set(std::collections::BTreeSet<Vec<u8>>),
    Sorted(BTreeMap<Vec<u8>, i64>),
}

impl Held {
    fn of(value: ValueRef<'_>) -> Held {
        match value {
            ValueRef::List(list) => Held::List(list.iter().map(|item| item.to_vec()).collect()),
            ValueRef::Hash(hash) => Held::Hash(hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect()),
            ValueRef::Set(set) => Held::Set(set.iter().map(|member| member.to_vec()).collect()),
            ValueRef::SortedSet(set) => Held::Sorted(set.iter().map(|(m, s)| (m.to_vec(), s as i64)).collect()),
            other => panic!("{other:?} is no collection"),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Held::List(items) => items.is_empty(),
            Held::Hash(fields) => fields.is_empty(),
            Held::Set(members) => members.is_empty(),
            Held::Sorted(members) => members.is_empty(),
        }
    }
}

/// A random change of one kind, made to the table and to the model.
fn change_one(table: &mut Table<Poor>, slot: Slot, key: &[u8], held: &mut Held, rng: &mut StdRng) {
    let number = rng.random::<i64>() >> rng.random_range(30..64);
    let length = if rng.random_ratio(1, 60) { 200 } else { rng.random_range(0..30) };
    let text = match rng.random_range(0..3) {
        0 => number.to_string().into_bytes(),
        1 => format!("element:{}", number % 300).into_bytes(),
        _ => vec![b'x'; length],
    };
    let adds = rng.random_ratio(2, 3);
    let end = if rng.random() { End::Front } else { End::Back };
    match held {
        Held::List(items) => {
            let change = |list: &mut List| if adds { (list.push(end, &text), true) } else { (_ = list.pop(end), true) };
            assert!(table.change(slot, key, 9, |_, _| None, change).is_some());
            match (adds, end) {
                (true, End::Front) => items.insert(0, text.clone()),
                (true, End::Back) => items.push(text.clone()),
                (false, End::Front) => _ = items.remove(0),
                (false, End::Back) => _ = items.pop(),
            }
        }
        Held::Hash(fields) => {
            let value = number.to_string().into_bytes();
            let expected = if adds {
                fields.insert(text.clone(), value.clone()).is_none()
            } else {
                fields.remove(&text).is_some()
            };
            let change = |hash: &mut Hash| (if adds { hash.set(&text, &value) } else { hash.remove(&text) }, true);
            assert_eq!(table.change(slot, key, 9, |_, _| None, change), Some(expected));
        }
        Held::Set(members) => {
            let expected = if adds { members.insert(text.clone()) } else { members.remove(&text) };
            let change = |set: &mut Set| (if adds { set.insert(&text) } else { set.remove(&text) }, true);
            assert_eq!(table.change(slot, key, 9, |_, _| None, change), Some(expected));
        }
        Held::Sorted(members) => {
            let score = number % 5_000;
            let expected =
                if adds { members.insert(text.clone(), score).is_none() } else { members.remove(&text).is_some() };
            let change = |set: &mut SortedSet| {
                (
                    if adds { set.insert(&text, score as f64) == Inserted::Added } else { set.remove(&text).is_some() },
                    true,
                )
            };
            assert_eq!(table.change(slot, key, 9, |_, _| None, change), Some(expected));
        }
    }
}

#[test]
fn random_changes_of_collections_agree_with_models() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut table, mut model) = (Table::new(Poor(u64::MAX)), BTreeMap::<Vec<u8>, Held>::new());
    let mut forms = Vec::new();
    for step in 0..12_000 {
        let key = key(&mut rng, 24);
        let hash = table.hash(&key);
        match (table.slot_of(hash, &key), rng.random_range(0..40)) {
            (None, kind) => {
                let (value, held) = match kind % 4 {
                    0 => (
                        Value::List(Box::new([b"a"].map(|a| a.into()).into_iter().collect())),
                        Held::List(vec![b"a".into()]),
                    ),
                    1 => {
                        let mut hash = Hash::new();
                        hash.set(b"f", b"v");
                        (Value::Hash(Box::new(hash)), Held::Hash([(b"f".to_vec(), b"v".to_vec())].into()))
                    }
                    2 => (Value::Set(Box::new([b"7"].into_iter().collect())), Held::Set([b"7".to_vec()].into())),
                    _ => {
                        let mut set = SortedSet::new();
                        set.insert(b"m", 3.0);
                        (Value::SortedSet(Box::new(set)), Held::Sorted([(b"m".to_vec(), 3)].into()))
                    }
                };
                table.put(&key, 0, New::Value(value));
                model.insert(key.clone(), held);
            }
            (Some(slot), 0) => {
                table.remove(slot);
                model.remove(&key);
            }
            (Some(slot), 1) => _ = table.set_expiry(slot, 1_700_000_000_000 + step),
            (Some(slot), 2) => _ = table.set_expiry(slot, 0),
            (Some(slot), _) => {
                let held = model.get_mut(&key).unwrap();
                change_one(&mut table, slot, &key, held, &mut rng);
                if held.is_empty() {
                    model.remove(&key);
                }
            }
        }
        table.tidy();
        let found = table.find(hash, &key).map(|entry| Held::of(entry.value()));
        forms.extend(table.find(hash, &key).map(|entry| entry.value().heap_bytes(0) > 0));
        assert_eq!(found.as_ref(), model.get(&key), "step {step}");
        if step % 16 == 0 {
            table.check();
        }
    }
    let found: BTreeMap<_, _> = table.iter().map(|entry| (entry.key().to_vec(), Held::of(entry.value()))).collect();
    assert!(found == model, "the walk finds what the map has");
    assert!(forms.contains(&true) && forms.contains(&false), "both forms were there");
}

#[test]
fn another_type_is_left_as_it_is() {
    let mut table = Table::new(Poor(u64::MAX));
    table.put(b"set", 0, New::Value(Value::Set(Box::new([b"7"].into_iter().collect()))));
    table.put(b"text", 0, New::Text(b"v"));
    for key in [&b"set"[..], b"text"] {
        let slot = table.slot_of(table.hash(key), key).unwrap();
        assert!(table.change(slot, key, 9, |_, _| None, |hash: &mut Hash| (hash.set(b"f", b"v"), true)).is_none());
        assert_eq!(table.at(slot).version(), 1);
    }
    assert_eq!(table.text(b"text"), Some(b"v".to_vec()));
    table.check();
}

#[test]
fn a_compacted_table_goes_on_with_entries_of_every_size() {
    let mut rng = StdRng::seed_from_u64(11);
    let mut table = Table::new(Poor(u64::MAX));
    for round in 0..200 {
        for _ in 0..rng.random_range(1..40) {
            let key = rng.random_range(0..60u32).to_string();
            table.put(key.as_bytes(), 0, New::Text(&vec![b'v'; rng.random_range(1..1_000)]));
        }
        let buckets = table.buckets.len();
        table.rebuild(buckets, Walk::Compact);
        table.check();
        let (bytes, dead) = table.bytes();
        let live: usize = table.iter().map(|entry| entry.bytes().next_multiple_of(8)).sum();
        assert!(bytes - dead <= live + live / 6 + 2_048, "{bytes} bytes, {dead} dead, for {live} in round {round}");
    }
}
