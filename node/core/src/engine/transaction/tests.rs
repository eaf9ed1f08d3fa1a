use std::borrow::Cow;

use super::*;
use crate::effect::{End, StreamChange};
use crate::keyspace::value::stream::{Exactness, Keep, StreamId};

fn transaction<'e>(engine: &'e Engine, record: &'e mut Vec<u8>) -> Transaction<'e> {
    Transaction::new(engine, Locked::all(&engine.keyspace), record, 0, UnixMillis(1))
}

#[test]
fn what_a_change_says_of_its_record_is_never_too_little() {
    let items: [&[u8]; 4] = [b"", b"one", &[7; 300], &[8; 70_000]];
    let items = || Cow::Borrowed(&items[..]);
    let pairs: [(f64, &[u8]); 2] = [(1.5, b"one"), (-2.0, &[9; 300])];
    let changes = [
        KeyChange::Delete,
        KeyChange::SetString { value: &[1; 200], expiry: Expiry::At(UnixMillis(u64::MAX)) },
        KeyChange::SetInteger { value: i64::MIN, expiry: Expiry::Keep },
        KeyChange::Append { bytes: &[1; 200] },
        KeyChange::SetRange { offset: u64::MAX, bytes: b"x" },
        KeyChange::Expire { at: UnixMillis(u64::MAX) },
        KeyChange::Persist,
        KeyChange::Restore { image: &[1; 200], expiry: Expiry::At(UnixMillis(u64::MAX)) },
        KeyChange::ListPush { end: End::Back, values: items() },
        KeyChange::ListPop { end: End::Back, count: u64::MAX },
        KeyChange::ListSet { index: u64::MAX, value: b"x" },
        KeyChange::ListInsert { index: u64::MAX, value: b"x" },
        KeyChange::ListRemove { indexes: vec![u64::MAX; 50].into() },
        KeyChange::ListRemoveMatching { end: End::Back, limit: u64::MAX, value: b"x" },
        KeyChange::ListTrim { start: u64::MAX, end: u64::MAX },
        KeyChange::HashSet { pairs: items() },
        KeyChange::HashRemove { fields: items() },
        KeyChange::HashExpire { at: Some(UnixMillis(u64::MAX)), fields: items() },
        KeyChange::SetAdd { members: items() },
        KeyChange::SetRemove { members: items() },
        KeyChange::SortedAdd { pairs: Cow::Borrowed(&pairs) },
        KeyChange::SortedRemove { members: items() },
        KeyChange::SortedRemoveRanks { start: u64::MAX, end: u64::MAX },
        KeyChange::Stream(StreamChange::Add { id: StreamId::MAX, starts_node: true, pairs: items() }),
        KeyChange::Stream(StreamChange::Delete { ids: vec![StreamId::MAX; 50].into() }),
        KeyChange::Stream(StreamChange::Trim { keep: Keep::Newest(u64::MAX), exactness: Exactness::Exact }),
        KeyChange::Stream(StreamChange::See {
            group: &[1; 300],
            consumer: &[2; 300],
            seen_at: u64::MAX,
            active_at: Some(u64::MAX),
        }),
    ];
    let key = [b'k'; 300];
    // The partition, the database and the key's own length.
    const BESIDE: usize = 20;
    for change in &changes {
        let mut record = Vec::new();
        effect::encode_key_change(Partition::shard(1023), 15, &key, change, &mut record);
        let said = key.len() + change.record_bytes() + BESIDE;
        assert!(record.len() <= said, "{change:?}: {} bytes, {said} were said", record.len());
    }
}

#[test]
fn what_makes_a_record_too_large_is_refused_before_anything_is_done() {
    let engine = Engine::default();
    engine.journal.retain();
    let mut record = Vec::new();
    let mut transaction = transaction(&engine, &mut record);
    let set = KeyChange::SetString { value: b"value", expiry: Expiry::Never };
    transaction.apply(b"key", &set).unwrap();
    assert_eq!(transaction.check_room(limits::TRANSACTION_BYTES - 100), Ok(()));
    assert_eq!(transaction.check_room(limits::TRANSACTION_BYTES), Err(Refused::TooLarge));
    // As if so much had been changed already.
    let vast = vec![0; limits::TRANSACTION_BYTES - 100];
    let before = std::mem::replace(transaction.record, vast);
    let large = [b'x'; 200];
    let members: [&[u8]; 1] = [&large];
    let add = KeyChange::SetAdd { members: Cow::Borrowed(&members) };
    assert_eq!(transaction.apply(b"other", &add), Err(Refused::TooLarge));
    assert_eq!(transaction.replace(b"key", (class::LIST, "rpush"), Some(&add)), Err(Refused::TooLarge));
    let name = |key, event| Name { database: 0, key, event };
    assert_eq!(transaction.carry(name(b"key", ""), name(&large, "")), Err(Refused::TooLarge));
    assert!(
        transaction.get(b"other").is_none() && transaction.get(b"key").is_some() && transaction.get(&large).is_none()
    );
    *transaction.record = before;
    transaction.finish();
}

#[test]
fn a_value_that_was_carried_is_said_to_replicas_as_a_whole() {
    let (engine, replica) = (Engine::default(), Engine::default());
    engine.journal.retain();
    let long = vec![b'x'; 5000];
    let items: Vec<Vec<u8>> = (0..5000).map(|item| format!("item {item}").into_bytes()).collect();
    let items: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
    let mut record = Vec::new();
    let mut transaction = transaction(&engine, &mut record);
    transaction.apply(b"text", &KeyChange::SetString { value: &long, expiry: Expiry::At(UnixMillis(99)) }).unwrap();
    transaction.apply(b"list", &KeyChange::ListPush { end: End::Back, values: items.into() }).unwrap();
    transaction.apply(b"there", &KeyChange::SetString { value: b"before", expiry: Expiry::Never }).unwrap();
    let name = |key, database| Name { database, key, event: "" };
    assert_eq!(transaction.carry(name(b"text", 0), name(b"renamed", 0)), Ok(true));
    assert_eq!(transaction.carry(name(b"list", 0), name(b"list", 3)), Ok(true));
    assert_eq!(transaction.carry(name(b"list", 3), name(b"there", 0)), Ok(true));
    assert_eq!(transaction.carry(name(b"nothing", 0), name(b"there", 0)), Ok(false));
    assert_eq!(transaction.database(), 0);
    let whole = transaction.record.clone();
    let offset = transaction.finish();
    replica.apply_record(offset, &whole, |_| true).unwrap();
    let contents = |engine: &Engine| {
        let mut all = Vec::new();
        for index in 0..engine.keyspace.len() {
            let shard = engine.keyspace.lock(index);
            for (database, keys) in shard.databases() {
                all.extend(
                    keys.iter()
                        .map(|entry| (database, entry.key().to_vec(), entry.expire_at(), entry.value().to_owned())),
                );
            }
        }
        all.sort_by(|left, right| left.1.cmp(&right.1));
        all
    };
    let found = contents(&engine);
    assert_eq!(found, contents(&replica));
    let names: Vec<_> = found.iter().map(|(database, key, expiry, _)| (*database, &key[..], *expiry)).collect();
    assert_eq!(names, [(0, &b"renamed"[..], Some(UnixMillis(99))), (0, b"there", None)]);
}

/// A hash of so many fields, the first `timed` of which expire at 100.
fn timed_hash(transaction: &mut Transaction<'_>, key: &[u8], fields: usize, timed: usize) {
    let names: Vec<String> = (0..fields).map(|field| format!("f{field}")).collect();
    let pairs = names.iter().flat_map(|name| [name.as_bytes(), b"value"]).collect();
    transaction.apply(key, &KeyChange::HashSet { pairs }).unwrap();
    let fields: Vec<&[u8]> = names[..timed].iter().map(String::as_bytes).collect();
    let expire = KeyChange::HashExpire { at: Some(UnixMillis(100)), fields: fields.into() };
    assert_eq!(transaction.apply(key, &expire).unwrap().count, timed);
}

fn at<'e>(engine: &'e Engine, record: &'e mut Vec<u8>, now: u64) -> Transaction<'e> {
    Transaction::new(engine, Locked::all(&engine.keyspace), record, 0, UnixMillis(now))
}

fn fields(engine: &Engine, key: &[u8]) -> Option<usize> {
    let shard = engine.keyspace.lock(engine.keyspace.shard_of(key));
    match shard.database(0).find(key)?.value() {
        ValueRef::Hash(hash) => Some(hash.len()),
        other => panic!("{other:?}"),
    }
}

/// Ends a transaction, and lets a replica do the same.
fn replicate(transaction: Transaction<'_>, replica: &Engine) {
    let record = transaction.record.clone();
    let offset = transaction.finish();
    replica.apply_record(offset, &record, |_| true).unwrap();
}

#[test]
fn fields_expire_by_effect_and_a_replica_removes_the_same() {
    let (engine, replica) = (Engine::default(), Engine::default());
    engine.journal.retain();
    let mut record = Vec::new();
    let mut first = at(&engine, &mut record, 50);
    timed_hash(&mut first, b"some", 5, 2);
    timed_hash(&mut first, b"all", 3, 3);
    replicate(first, &replica);
    assert_eq!((fields(&replica, b"some"), fields(&replica, b"all")), (Some(5), Some(3)));
    let shard = replica.keyspace.shard_of(b"some");
    assert!(replica.keyspace.lock(shard).has_due_fields(UnixMillis(100)), "a replica knows when they are due");
    assert!(!replica.keyspace.lock(shard).has_due_fields(UnixMillis(99)));
    // Who only reads sees them no longer, and changes nothing.
    let (hits, misses) = (Cell::default(), Cell::default());
    let mut later = at(&engine, &mut record, 150);
    let seen = match later.view(&hits, &misses).get(b"some").map(Entry::value) {
        Some(ValueRef::Hash(hash)) => (hash.len(), hash.get(b"f0").is_some(), hash.get(b"f2").is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!((seen, later.has_effects()), ((3, false, true), false));
    // Who opens them to write removes them; a hash without fields goes.
    assert!(later.open(b"all").entry().is_none());
    assert_eq!(
        later.apply(b"some", &KeyChange::HashSet { pairs: vec![&b"f0"[..], b"again"].into() }).unwrap().count,
        1
    );
    assert_eq!(later.expired_fields(), 5);
    replicate(later, &replica);
    for engine in [&engine, &replica] {
        assert_eq!((fields(engine, b"some"), fields(engine, b"all")), (Some(4), None));
        assert!(!engine.keyspace.lock(shard).has_due_fields(UnixMillis(u64::MAX)), "nothing is left to expire");
    }
}

#[test]
fn fields_that_nobody_opens_are_removed_when_they_are_due() {
    let engine = Engine::default();
    let mut record = Vec::new();
    let mut transaction = at(&engine, &mut record, 50);
    timed_hash(&mut transaction, b"some", 5, 2);
    timed_hash(&mut transaction, b"all", 3, 3);
    transaction.finish();
    for key in [&b"some"[..], b"all"] {
        let shard = engine.keyspace.shard_of(key);
        assert!(engine.expire_due(shard, UnixMillis(99), 10, &mut record).0.is_empty());
        assert_eq!(engine.expire_due(shard, UnixMillis(100), 10, &mut record).0, [(0, key.into())]);
        assert!(engine.expire_due(shard, UnixMillis(100), 10, &mut record).0.is_empty());
    }
    assert_eq!((fields(&engine, b"some"), fields(&engine, b"all")), (Some(3), None));
}

#[test]
fn what_is_due_and_not_removed_yet_is_not_met_by_a_change() {
    const FIELDS: usize = 3 * limits::FIELDS_EXPIRED_AT_ONCE;
    let (engine, replica) = (Engine::default(), Engine::default());
    engine.journal.retain();
    let mut record = Vec::new();
    let mut transaction = at(&engine, &mut record, 50);
    timed_hash(&mut transaction, b"key", FIELDS + 1, FIELDS);
    replicate(transaction, &replica);
    let mut later = at(&engine, &mut record, 150);
    let last = format!("f{}", FIELDS - 1).into_bytes();
    let before = format!("f{}", FIELDS - 2).into_bytes();
    let fields_of = |names: &[&'static [u8]]| Cow::Owned(names.to_vec());
    let names: Vec<&[u8]> = vec![&before];
    assert_eq!(later.apply(b"key", &KeyChange::HashRemove { fields: names.into() }).unwrap().count, 0);
    let pairs: Vec<&[u8]> = vec![&last, b"again"];
    assert_eq!(later.apply(b"key", &KeyChange::HashSet { pairs: pairs.into() }).unwrap().count, 1);
    assert!(later.has_effects() && later.expired_fields() > limits::FIELDS_EXPIRED_AT_ONCE);
    while later.open(b"key").entry().is_some() && later.expired_fields() < FIELDS {}
    assert_eq!(later.apply(b"key", &KeyChange::HashRemove { fields: fields_of(&[b"f0"]) }).unwrap().count, 0);
    replicate(later, &replica);
    assert_eq!((fields(&engine, b"key"), fields(&replica, b"key")), (Some(2), Some(2)));
}
