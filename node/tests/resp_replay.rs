//! Does whoever replays the journal come to hold the same? Every command that the transcripts know is executed, and its
//! records are applied to an engine that has seen no command.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod player;

use std::collections::BTreeMap;

use player::{ask, directory, node, parse};
use tercet_node::engine::Engine;
use tercet_node::ids::{Offset, UnixMillis};
use tercet_node::journal::Next;
use tercet_node::keyspace::value::Value;

/// All databases: what each key holds and until when.
type Content = BTreeMap<(u8, Vec<u8>), (Value, Option<UnixMillis>)>;

fn content(engine: &Engine) -> Content {
    let mut content = BTreeMap::new();
    for index in 0..engine.keyspace.len() {
        let shard = engine.keyspace.lock(index);
        for (number, database) in shard.databases() {
            for entry in database.iter() {
                content.insert((number, entry.key().to_vec()), (entry.value().to_owned(), entry.expire_at()));
            }
        }
    }
    content
}

/// Applies what the journal has behind `from`, and says where it ends.
fn catch_up(master: &Engine, replica: &Engine, mut from: Offset) -> Offset {
    loop {
        match master.journal.read(from) {
            Next::AtEnd => return from,
            Next::OnDisk { .. } | Next::Gone => panic!("the journal no longer has what lies behind {from}"),
            Next::Block(block) => {
                for (offset, record) in block.iter() {
                    replica.apply_record(offset, record, |_| true).unwrap();
                }
                from = block.last;
            }
        }
    }
}

#[test]
fn a_replayed_journal_gives_the_same_keys() {
    let (node, mut connection) = node();
    node.engine.journal.retain();
    let replica = Engine::default();
    let mut replayed = Offset::ZERO;
    let mut transcripts: Vec<_> = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    transcripts.sort();
    for path in transcripts {
        ask(&mut connection, "flushall");
        ask(&mut connection, "hello 2");
        for case in parse(&std::fs::read_to_string(&path).unwrap()) {
            case.put(&mut connection);
            let before = replayed;
            replayed = catch_up(&node.engine, &replica, replayed);
            let (master, copy) = (content(&node.engine), content(&replica));
            assert_eq!(master, copy, "{}: {:?} has records {before}..{replayed}", path.display(), case.request);
        }
    }
    assert!(replayed > Offset(200), "the transcripts write: {replayed}");
}
