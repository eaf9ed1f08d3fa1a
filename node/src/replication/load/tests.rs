use super::super::image::chunks;
use super::*;
use crate::effect::{Expiry, KeyChange};
use crate::engine::{Locked, Transaction};
use crate::ids::UnixMillis;
use crate::keyspace::value::End;

fn change(engine: &Engine, database: u8, key: &[u8], change: &KeyChange<'_>) {
    let locked = Locked::keys(&engine.keyspace, std::iter::once(key));
    let mut record = Vec::new();
    let mut transaction = Transaction::new(engine, locked, &mut record, database, UnixMillis(1));
    transaction.apply(key, change).unwrap();
    transaction.finish();
}

/// A state with everything that there is, in every size.
fn engine() -> Engine {
    let engine = Engine::default();
    for number in 0..500 {
        let key = format!("key:{number}");
        let expiry = if number % 3 == 0 { Expiry::At(UnixMillis(1_000_000 + number)) } else { Expiry::Never };
        change(&engine, number as u8 % 3, key.as_bytes(), &KeyChange::SetString { value: b"some value", expiry });
    }
    let elements: Vec<Vec<u8>> = (0..20_000u32).map(|number| format!("element {number}").into_bytes()).collect();
    let elements: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
    change(&engine, 0, b"list", &KeyChange::ListPush { end: End::Back, values: elements.clone().into() });
    change(&engine, 1, b"hash", &KeyChange::HashSet { pairs: elements.clone().into() });
    change(&engine, 2, b"set", &KeyChange::SetAdd { members: elements.clone().into() });
    let pairs: Vec<(f64, &[u8])> = elements.iter().map(|member| (member.len() as f64, *member)).collect();
    change(&engine, 0, b"sorted", &KeyChange::SortedAdd { pairs: pairs.into() });
    let text: Vec<u8> = (0..1_000_000u32).map(|number| (number % 253) as u8).collect();
    change(&engine, 0, b"text", &KeyChange::SetString { value: &text, expiry: Expiry::At(UnixMillis(2_000_000)) });
    let few: [&[u8]; 4] = [b"field", &text, b"other", b"2"];
    change(&engine, 0, b"few", &KeyChange::HashSet { pairs: (&few[..]).into() });
    engine
}

#[test]
fn a_state_reads_back_as_it_was_in_chunks_that_are_all_small() {
    let (here, there) = (engine(), Engine::default());
    let (mut loader, mut loaded) = (Loader::default(), 0);
    for index in 0..here.keyspace.len() {
        let chunks = chunks(&here, Partition::shard(index));
        assert!(chunks.iter().all(|chunk| chunk.cut == here.journal.end().0));
        assert!(chunks.iter().all(|chunk| chunk.chunk.len() <= limits::IMAGE_CHUNK_BYTES));
        let ends: Vec<_> = chunks.iter().map(|chunk| (chunk.first, chunk.last)).collect();
        assert!(ends[0].0 && ends[ends.len() - 1].1);
        assert_eq!(ends.iter().filter(|(first, _)| *first).count() + ends.iter().filter(|(_, last)| *last).count(), 2);
        chunks.into_iter().for_each(|chunk| loader.push(&there, &chunk.into()).unwrap());
        let entries = |engine: &Engine| {
            let shard = engine.keyspace.lock(index);
            let entries =
                shard.databases().flat_map(|(database, table)| table.iter().map(move |entry| (database, entry)));
            let entries = entries.map(|(database, entry)| {
                ((database, entry.key().to_vec()), (entry.value().to_owned(), entry.expire_at()))
            });
            entries.collect::<std::collections::BTreeMap<_, _>>()
        };
        let expected = entries(&here);
        assert!(entries(&there) == expected, "shard {index}");
        loaded += expected.len();
    }
    assert_eq!(loaded, 506);
    for database in 0..3 {
        assert_eq!(here.keyspace.count(database), there.keyspace.count(database));
        assert_eq!(here.keyspace.seen_keys(database), there.keyspace.seen_keys(database));
    }
}

#[test]
fn an_image_that_was_not_ended_begins_again() {
    let (here, there) = (engine(), Engine::default());
    let index = here.keyspace.shard_of(b"list");
    let chunks: Vec<Chunk> = chunks(&here, Partition::shard(index)).into_iter().map(Chunk::from).collect();
    let mut loader = Loader::default();
    for chunk in &chunks[..chunks.len() / 2] {
        loader.push(&there, chunk).unwrap();
    }
    for chunk in &chunks {
        loader.push(&there, chunk).unwrap();
    }
    let value = |engine: &Engine| engine.keyspace.lock(index).database(0).find(b"list").unwrap().value().to_owned();
    assert_eq!(value(&there), value(&here));
}

#[test]
fn broken_images_are_errors() {
    let engine = Engine::default();
    let chunk = |partition, bytes: &'static [u8], is_first, is_last| Chunk {
        partition,
        cut: Offset(1),
        bytes: bytes.into(),
        is_first,
        is_last,
    };
    let push = |chunk| Loader::default().push(&engine, &chunk);
    assert!(push(chunk(Partition::shard(0), &[0, 200], true, true)).is_err(), "it ends amid an entry");
    assert!(push(chunk(Partition::shard(0), &[61], true, false)).is_err(), "no such database");
    assert!(push(chunk(Partition::shard(9999), &[], true, true)).is_err());
    assert!(push(chunk(Partition::shard(0), &[], false, true)).is_err(), "it has not begun");
    assert!(push(chunk(Partition::queue(1), &[0x80], true, true)).is_err());
    assert!(push(chunk(Partition::queue(1), &[], true, true)).is_ok(), "a queue that is gone");
}
