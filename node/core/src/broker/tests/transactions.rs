//! What takes place together is one record; limits hold whatever comes back; no topology keeps a turn.

use super::*;
use crate::broker::exchange::Kind;
use crate::effect::{Effect, KeyChange};
use crate::engine::{Locked, Transaction};
use crate::ids::PartitionKind;
use crate::journal::Next;

/// The partitions of each record behind an offset.
fn records(master: &Master, mut after: Offset) -> Vec<Vec<PartitionKind>> {
    let mut all = Vec::new();
    while let Next::Block(block) = master.engine.journal.read(after) {
        for (_, record) in block.iter() {
            let mut reader = Reader::new(record);
            let mut partitions = Vec::new();
            while !reader.is_empty() {
                partitions.push(Effect::decode(&mut reader).unwrap().0.kind());
            }
            all.push(partitions);
        }
        after = block.last;
    }
    all
}

fn enqueue(broker: &Broker, batch: &mut Batch<'_>, queue: &str, body: &str) {
    let properties = persistent();
    let route = broker.route(&DEFAULT_VHOST, &short(""), &short(queue), &properties).unwrap();
    let mut draft = Draft::new(b"", queue.as_bytes(), &properties, body.len());
    draft.push(body.as_bytes());
    broker.enqueue(batch, &route, draft).unwrap();
}

#[test]
fn what_is_done_together_is_one_record_and_is_delivered_after_it() {
    let mut master = Master::default();
    let [one, two] = ["one", "two"].map(|name| master.declare(name, durable()).unwrap());
    master.publish("", "one", "first", &persistent());
    let link = link();
    let consumer = master.consume(&one, &link, "t", 0);
    let got = deliveries(&link);
    let before = master.engine.journal.end();
    let ((), depends_on) = master.run(|broker, batch| {
        batch.begin_together();
        enqueue(broker, batch, "two", "second");
        enqueue(broker, batch, "one", "third");
        let settled = Settled { id: got[0].0, consumer: Some(Arc::clone(&consumer)) };
        one.settle(batch, &[settled], Settlement::Remove, Then::Serve);
        assert!(deliveries(&link).is_empty(), "nobody sees it before its record");
        batch.end_together();
    });
    assert_eq!(depends_on, before.next());
    let of = |queue: &Arc<Queue>| queue.partition().kind();
    assert_eq!(records(&master, before), [[of(&two), of(&one), of(&one)]]);
    assert_eq!(bodies(&deliveries(&link)), ["third"]);
    assert_eq!(contents(&master.replica()), contents(&master.engine));
}

#[test]
fn keys_and_messages_change_in_one_record() {
    let mut master = Master::default();
    let queue = master.declare("q", durable()).unwrap();
    let before = master.engine.journal.end();
    let engine = &master.engine;
    let mut record = Vec::new();
    let locked = Locked::keys(&engine.keyspace, [&b"balance"[..]].into_iter());
    let mut transaction = Transaction::new(engine, locked, &mut record, 0, UnixMillis(1));
    let change = KeyChange::SetInteger { value: 7, expiry: crate::effect::Expiry::Never };
    transaction.apply(b"balance", &change).unwrap();
    enqueue(&engine.broker, transaction.broker(), "q", "paid");
    assert_eq!(transaction.finish(), before.next());
    let made = records(&master, before);
    assert_eq!((made.len(), made[0].len(), made[0][1]), (1, 2, queue.partition().kind()));
    let replica = master.replica();
    let found = replica.keyspace.lock(replica.keyspace.shard_of(b"balance")).database(0).find(b"balance").is_some();
    assert!(found && replica.broker.queues()[0].counts().ready == 1);
}

#[test]
fn a_dead_letter_and_its_removal_are_one_record() {
    let mut master = Master::default();
    master.declare("dead", durable()).unwrap();
    let to_dead = [("x-dead-letter-exchange", "".into()), ("x-dead-letter-routing-key", "dead".into())];
    let queue = master.declare_with("q", to_dead);
    master.publish("", "q", "m", &persistent());
    let before = master.engine.journal.end();
    let (taken, _) = master.run(|_, batch| queue.get(batch, Acknowledge::Manually)).0.unwrap();
    let settled = Settled { id: taken.id, consumer: None };
    master.run(|_, batch| queue.settle(batch, &[settled], Settlement::Reject, Then::Serve));
    let made = records(&master, before);
    assert_eq!((made.len(), made[0].len()), (1, 2), "{made:?}");
    assert_eq!((queue.counts().ready, queue.counts().unacknowledged), (0, 0));
}

#[test]
fn queues_that_bury_into_each_other_keep_no_turn() {
    let mut master = Master::default();
    master.exchange("all", Kind::Fanout, true).unwrap();
    for number in 0..10 {
        let name = format!("q{number}");
        master.declare_with(&name, [("x-max-length", 0.into()), ("x-dead-letter-exchange", "all".into())]);
        master.bind("all", &name, "").unwrap();
    }
    // Every order of ten queues is a way of its own: millions.
    master.run(|broker, batch| {
        enqueue(broker, batch, "q0", "m");
        batch.bury_some();
        assert!(batch.work() < 10 * limits::DEAD_LETTERS_A_TURN, "{} steps", batch.work());
    });
    assert!(master.engine.broker.has_dead());
    for _ in 0..5 {
        master.run(|broker, batch| broker.bury_waiting(batch));
        let waiting = master.engine.broker.dead_letters();
        assert!(waiting < 200, "{waiting} wait: what is made goes first, so few do");
    }
    master.engine.broker.forget_transient();
    assert!(!master.engine.broker.has_dead());
}

#[test]
fn a_limit_of_length_holds_for_what_comes_back() {
    let mut master = Master::default();
    let queue = master.declare_with("q", [("x-max-length", 2.into())]);
    let mut taken = Vec::new();
    for body in ["a", "b", "c", "d"] {
        master.publish("", "q", body, &persistent());
        if taken.len() < 2 {
            let (got, _) = master.run(|_, batch| queue.get(batch, Acknowledge::Manually)).0.unwrap();
            taken.push(Settled { id: got.id, consumer: None });
        }
    }
    master.run(|_, batch| queue.settle(batch, &taken, Settlement::Requeue, Then::Serve));
    assert_eq!(contents(&master.replica()), contents(&master.engine));
    assert_eq!(master.drain(&queue), ["c", "d"]);
}

#[test]
fn queues_count_in_the_budget_and_a_shared_message_counts_once() {
    let mut master = Master::default();
    master.exchange("all", Kind::Fanout, true).unwrap();
    for number in 0..100 {
        master.declare(&format!("q{number}"), durable()).unwrap();
        master.bind("all", &format!("q{number}"), "").unwrap();
    }
    let body = "x".repeat(10 << 20);
    master.publish("all", "", &body, &persistent());
    let total = master.engine.budget.total();
    assert!(total > 9 << 20 && total < 12 << 20, "{total}");
    for queue in master.engine.broker.queues() {
        master.run(|_, batch| queue.purge(batch));
    }
    assert_eq!(master.engine.budget.total(), 0);
}

fn once(master: &mut Master, id: &str, body: &str) -> Option<Offset> {
    let properties = persistent();
    let mut extras = Vec::new();
    Extra::Unique(id.as_bytes()).put(&mut extras);
    Extra::PublishedAt(master.now).put(&mut extras);
    master
        .run(|broker, batch| {
            let route = broker.route(&DEFAULT_VHOST, &short(""), &short("q"), &properties).unwrap();
            let mut draft = Draft::noted(b"", b"q", &properties, &extras, body.len());
            draft.push(body.as_bytes());
            broker.enqueue(batch, &route, draft).ok().map(|placed| placed.offset)
        })
        .0
}

#[test]
fn a_message_of_a_known_id_is_confirmed_and_not_there_twice_also_after_a_failover() {
    let mut master = Master::default();
    let window = [("x-message-deduplication", true.into()), ("x-cache-ttl", 1_000.into())];
    let queue = master.declare_with("q", window);
    let first = once(&mut master, "1", "one");
    assert_eq!(once(&mut master, "1", "one again"), first, "it is confirmed with the record of the first");
    once(&mut master, "2", "two");
    // What is consumed is remembered too.
    master.run(|_, batch| queue.get(batch, Acknowledge::Automatically));
    for (engine, what) in [(master.replica(), "replica"), (reloaded(&master), "image")] {
        let mut next = Master { engine, now: master.now + 500, ..Master::default() };
        let queue = next.engine.broker.queues().remove(0);
        once(&mut next, "1", "after the failover");
        assert_eq!(next.drain(&queue), ["two"], "{what}");
        next.now += 500;
        once(&mut next, "1", "out of the window");
        assert_eq!(next.drain(&queue), ["out of the window"], "{what}");
    }
}

/// As a replica after a full sync.
fn reloaded(master: &Master) -> Engine {
    let loaded = Engine::default();
    for partition in master.engine.broker.partitions() {
        let mut image = Vec::new();
        let cut = master.engine.broker.image(partition, || master.engine.journal.end(), &mut image);
        loaded.broker.load_image(partition, cut, &image).unwrap();
    }
    loaded
}

#[test]
fn a_message_that_no_consumer_survives_comes_to_an_end_whoever_is_master() {
    let mut master = Master::default();
    master.declare("dead", durable()).unwrap();
    let arguments = [
        ("x-queue-type", "quorum".into()),
        ("x-delivery-limit", 2.into()),
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", "dead".into()),
    ];
    let mut queue = master.declare_with("q", arguments);
    master.publish("", "q", "poison", &persistent());
    for returns in 0..3 {
        if returns == 1 {
            master = Master { engine: master.replica(), ..Master::default() };
            queue = master.engine.broker.queue(ConnectionId(1), named(&short("q"))).unwrap();
        }
        let (taken, _) = master.run(|_, batch| queue.get(batch, Acknowledge::Manually)).0.unwrap();
        assert_eq!(taken.returns, returns);
        let settled = Settled { id: taken.id, consumer: None };
        master.run(|_, batch| queue.settle(batch, &[settled], Settlement::Requeue, Then::Serve));
    }
    assert_eq!(queue.counts().ready, 0);
    let dead = master.engine.broker.queue(ConnectionId(1), named(&short("dead"))).unwrap();
    assert_eq!(dead.counts().ready, 1);
}

#[test]
fn what_was_lent_comes_back_after_its_time_and_is_settled_by_its_borrower_only() {
    let mut master = Master::default();
    let queue = master.declare("q", durable()).unwrap();
    for body in ["a", "b"] {
        master.publish("", "q", body, &persistent());
    }
    let (_, first) = master.run(|_, batch| queue.lend(batch, 100)).0.unwrap();
    let (_, second) = master.run(|_, batch| queue.lend(batch, 1_000)).0.unwrap();
    let settle =
        |master: &mut Master, loan| master.run(|_, batch| queue.settle_loan(batch, loan, Settlement::Remove)).0;
    assert!(!settle(&mut master, Loan { token: second.token ^ 1, ..second }));
    assert!(settle(&mut master, second));
    assert!(!settle(&mut master, second), "it is gone");
    master.now += 100;
    assert!(master.engine.broker.is_timed());
    master.run(|broker, batch| broker.sweep(batch));
    let (taken, again) = master.run(|_, batch| queue.lend(batch, 100)).0.unwrap();
    assert_eq!((taken.id, taken.delivered), (first.id, Delivered::Maybe));
    assert!(!settle(&mut master, first), "another has it now");
    // A new master knows of no loan: the message is ready, and its borrower may settle it.
    let mut next = Master { engine: master.replica(), ..Master::default() };
    let copy = next.engine.broker.queues().remove(0);
    assert!(next.run(|_, batch| copy.settle_loan(batch, again, Settlement::Remove)).0);
    assert_eq!(copy.counts().ready, 0);
}

#[test]
fn a_message_whose_copies_are_more_than_a_record_takes_is_refused_by_all_of_its_queues() {
    let mut master = Master::default();
    master.exchange("all", Kind::Fanout, true).unwrap();
    let queues: Vec<Arc<Queue>> = (0..20)
        .map(|number| {
            let name = format!("q{number}");
            let queue = master.declare(&name, durable()).unwrap();
            master.bind("all", &name, "").unwrap();
            queue
        })
        .collect();
    let body = vec![b'x'; crate::limits::FAN_OUT_BYTES / 20 + 1];
    let mut publish = |properties: &Properties, is_together: bool| {
        let exchange = short("all");
        let before = master.engine.journal.end();
        let (verdict, _) = master.run(|broker, batch| {
            if is_together {
                batch.begin_together();
                batch.shares_record_with(crate::limits::TRANSACTION_BYTES);
            }
            let route = broker.route(&DEFAULT_VHOST, &exchange, &exchange, properties).unwrap();
            let mut draft = Draft::new(b"all", b"", properties, body.len());
            draft.push(&body);
            let placed = broker.enqueue(batch, &route, draft).unwrap();
            batch.end_together();
            placed.verdict
        });
        (verdict, master.engine.journal.end() == before)
    };
    assert_eq!(publish(&persistent(), false), (Verdict::Refused, true));
    assert_eq!(publish(&persistent(), true), (Verdict::Refused, true));
    assert!(queues.iter().all(|queue| queue.counts().ready == 0));
    // In no journal: each queue has the same message.
    assert_eq!(publish(&Properties::default(), false), (Verdict::Taken, true));
    assert!(queues.iter().all(|queue| queue.counts().ready == 1));
}
