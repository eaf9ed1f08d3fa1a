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
