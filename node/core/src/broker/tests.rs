//! The core as a whole: what a replica has, what consumers get, and what is left behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::{Rng as _, SeedableRng as _};
use tercet_proto::amqp::{BasicProperties, FieldTable, Properties};

use super::effect::BrokerEffect;
use super::testing::{Got, Master, deliveries, durable, named, persistent, short, transient};
use super::*;
use crate::engine::Engine;
use crate::wire::Reader;

mod own_queues;
mod streams;
mod transactions;

/// All that is replicated, as text: the effects in the images of all partitions.
fn contents(engine: &Engine) -> Vec<String> {
    let mut all = Vec::new();
    for partition in engine.broker.partitions() {
        let mut image = Vec::new();
        engine.broker.image(partition, || Offset::ZERO, &mut image);
        let mut reader = Reader::new(&image);
        // The last id counts transient messages too.
        reader.varint().unwrap();
        all.push(format!("{partition:?}"));
        while !reader.is_empty() {
            let tag = reader.byte().unwrap();
            all.push(format!("{:?}", BrokerEffect::decode_body(tag, &mut reader).unwrap()));
        }
    }
    all
}

fn link() -> Arc<Link> {
    Arc::new(Link::new(ConnectionId(1)))
}

fn bodies(got: &[(u64, Got)]) -> Vec<&str> {
    got.iter().map(|(_, got)| got.body.as_str()).collect()
}

#[test]
fn what_is_durable_is_on_the_replica_and_nothing_else() {
    let mut master = Master::default();
    master.declare("durable", durable()).unwrap();
    master.declare("transient", transient()).unwrap();
    master.exchange("logs", ExchangeKind::Fanout, true).unwrap();
    for queue in ["durable", "transient"] {
        master.bind("logs", queue, "").unwrap();
    }
    assert!(master.publish("logs", "", "kept", &persistent()).unwrap() > Offset::ZERO);
    assert_eq!(master.publish("logs", "", "local", &Properties::default()), Some(Offset::ZERO));
    assert_eq!(master.publish("", "transient", "local too", &persistent()), Some(Offset::ZERO));

    let replica = master.replica();
    assert_eq!(contents(&replica), contents(&master.engine));
    let queues = replica.broker.queues();
    assert_eq!(queues.len(), 1);
    assert_eq!((queues[0].name.as_str(), queues[0].counts().ready), ("durable", 1));
    let mut next = Master { engine: replica, ..Master::default() };
    assert!(next.publish("logs", "", "after the failover", &persistent()).is_some());
    assert_eq!(queues[0].counts().ready, 2);
}

#[test]
fn what_was_delivered_and_not_acknowledged_comes_again_and_is_marked() {
    let mut master = Master::default();
    let queue = master.declare("q", durable()).unwrap();
    for body in ["1", "2", "3"] {
        master.publish("", "q", body, &persistent());
    }
    let link = link();
    let consumer = master.consume(&queue, &link, "t", 0);
    let got = deliveries(&link);
    assert_eq!(bodies(&got), ["1", "2", "3"]);
    master.settle(&consumer, got[1].0, Settlement::Remove);

    let mut next = Master { engine: master.replica(), ..Master::default() };
    let link = self::link();
    let queue = next.engine.broker.queues().remove(0);
    next.consume(&queue, &link, "t", 0);
    let got = deliveries(&link);
    assert_eq!(bodies(&got), ["1", "3"]);
    assert!(got.iter().all(|(_, got)| got.delivered == Delivered::Maybe));
}

#[test]
fn a_deposed_master_forgets_what_only_it_knew() {
    let mut old = Master::default();
    let queue = old.declare("q", durable()).unwrap();
    old.declare("mine", transient()).unwrap();
    let new_record = {
        let mut new = Master { engine: old.replica(), ..Master::default() };
        new.engine.journal.retain();
        new.publish("", "q", "by the new one", &persistent());
        match new.engine.journal.read(Offset::ZERO) {
            crate::journal::Next::Block(block) => block.iter().next().map(|(_, record)| record.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    old.publish("", "q", "local", &Properties::default());
    let link = link();
    old.consume(&queue, &link, "t", 0);
    old.engine.apply_record(Offset(2), &new_record, |_| true).unwrap();

    let names: Vec<_> = old.engine.broker.queues().iter().map(|queue| queue.name.to_string()).collect();
    assert_eq!(names, ["q"]);
    let counts = queue.counts();
    assert_eq!((counts.ready, counts.unacknowledged, counts.consumers), (1, 0, 0));
}

#[test]
fn a_queue_whose_image_comes_before_its_declaration_is_whole() {
    let mut master = Master::default();
    let empty = {
        let mut image = Vec::new();
        master.engine.broker.image(Partition::TOPOLOGY, || Offset::ZERO, &mut image);
        image
    };
    let queue = master.declare("q", durable()).unwrap();
    master.publish("", "q", "in the image", &persistent());
    let mut image = Vec::new();
    let cut = master.engine.broker.image(queue.partition(), || master.engine.journal.end(), &mut image);
    master.publish("", "q", "behind the cut", &persistent());

    let replica = Engine::default();
    replica.broker.load_image(Partition::TOPOLOGY, Offset::ZERO, &empty).unwrap();
    replica.broker.load_image(queue.partition(), cut, &image).unwrap();
    let crate::journal::Next::Block(block) = master.engine.journal.read(Offset::ZERO) else { panic!("no records") };
    for (offset, record) in block.iter() {
        let wanted = |partition| partition == Partition::TOPOLOGY || offset > cut;
        replica.apply_record(offset, record, wanted).unwrap();
    }
    assert_eq!(contents(&replica), contents(&master.engine));
}

#[test]
fn effects_on_a_queue_that_was_never_declared_are_refused_and_on_a_deleted_one_ignored() {
    let broker = Broker::default();
    let remove = BrokerEffect::Remove { ranges: vec![(1, 1)].into() };
    assert_eq!(broker.apply(Offset(1), Partition::queue(1), &remove), Err(Error::NoQueue(1)));
    let declare = BrokerEffect::DeclareQueue { number: 1, vhost: "/", name: "q", flags: 0, arguments: &[0; 4] };
    broker.apply(Offset(1), Partition::TOPOLOGY, &declare).unwrap();
    broker.apply(Offset(2), Partition::TOPOLOGY, &BrokerEffect::DeleteQueue { number: 1 }).unwrap();
    assert_eq!(broker.apply(Offset(3), Partition::queue(1), &remove), Ok(()));
    assert_eq!(broker.apply(Offset(3), Partition::TOPOLOGY, &remove), Err(Error::Misplaced));
}

#[test]
fn consumers_take_turns_within_their_prefetch() {
    let mut master = Master::default();
    let queue = master.declare("q", transient()).unwrap();
    let link = link();
    let one = master.consume(&queue, &link, "one", 2);
    master.consume(&queue, &link, "two", 0);
    for number in 0..6 {
        master.publish("", "q", &number.to_string(), &Properties::default());
    }
    let got = deliveries(&link);
    let tags: Vec<_> = got.iter().map(|(_, got)| got.tag.as_str()).collect();
    assert_eq!(tags, ["one", "two", "one", "two", "two", "two"], "one has two, which is all it may");
    master.settle(&one, got[0].0, Settlement::Remove);
    master.publish("", "q", "6", &Properties::default());
    assert_eq!(deliveries(&link)[0].1.tag, "one");
}

#[test]
fn higher_priorities_are_served_first() {
    let mut master = Master::default();
    let queue = master.declare("q", transient()).unwrap();
    let link = link();
    for (tag, priority, prefetch) in [("low", 0, 0), ("high", 5, 2)] {
        let consume = Consume {
            tag: short(tag),
            channel: 1,
            acknowledge: Acknowledge::Manually,
            share: Share::Shared,
            priority,
            prefetch,
            timeout: None,
            start: Start::default(),
            credit: Arc::default(),
            link: Arc::clone(&link),
        };
        master.run(|broker, batch| broker.consume(batch, &queue, consume)).0.unwrap();
    }
    for _ in 0..4 {
        master.publish("", "q", "m", &Properties::default());
    }
    let tags: Vec<_> = deliveries(&link).into_iter().map(|(_, got)| got.tag).collect();
    assert_eq!(tags, ["high", "high", "low", "low"]);
}

#[test]
fn a_successor_waits_for_what_its_predecessor_has_and_not_for_ever() {
    let mut master = Master::default();
    let queue = master.declare_with("q", [("x-single-active-consumer", true.into())]);
    let [one, two] = [link(), link()];
    for number in 0..5 {
        master.publish("", "q", &number.to_string(), &persistent());
    }
    let first = master.consume(&queue, &one, "first", 2);
    master.consume(&queue, &two, "second", 0);
    let held = deliveries(&one);
    master.run(|broker, batch| broker.cancel(batch, &first, Then::Serve));
    master.publish("", "q", "5", &persistent());
    assert_eq!(deliveries(&two), [], "or it would get the later ones first");
    master.settle(&first, held[0].0, Settlement::Remove);
    assert_eq!(deliveries(&two), []);
    master.settle(&first, held[1].0, Settlement::Requeue);
    assert_eq!(bodies(&deliveries(&two)), ["1", "2", "3", "4", "5"]);

    // Who cancels, and neither settles what it has nor goes, is waited for no longer.
    let mut master = Master::default();
    let queue = master.declare_with("q", [("x-single-active-consumer", true.into())]);
    for number in 0..2 {
        master.publish("", "q", &number.to_string(), &persistent());
    }
    let first = master.consume(&queue, &one, "first", 1);
    master.consume(&queue, &two, "second", 0);
    master.run(|broker, batch| broker.cancel(batch, &first, Then::Serve));
    assert!(master.engine.broker.is_timed());
    for (now, expected) in [(1000, &[][..]), (1001, &["1"][..])] {
        master.now = now;
        master.run(|broker, batch| broker.sweep(batch));
        assert_eq!(bodies(&deliveries(&two)), expected);
    }
}

#[test]
fn a_full_inbox_holds_the_queue_back_and_nothing_is_lost() {
    let mut master = Master::default();
    let queue = master.declare("q", transient()).unwrap();
    let link = link();
    master.consume(&queue, &link, "t", 0);
    for number in 0..5_000 {
        master.publish("", "q", &number.to_string(), &Properties::default());
    }
    let mut got = Vec::new();
    loop {
        let more = deliveries(&link);
        assert!(more.len() <= limits::INBOX_DELIVERIES, "the inbox is bounded");
        got.extend(more.into_iter().map(|(_, got)| got.body));
        if !link.take_starved() {
            break;
        }
        master.run(|_, batch| queue.serve(batch));
    }
    let expected: Vec<_> = (0..5_000).map(|number| number.to_string()).collect();
    assert_eq!(got, expected);
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer_and_takes_abandoned_exchanges_along() {
    let mut master = Master::default();
    let declaration = QueueDeclaration { auto_delete: true, ..durable() };
    let queue = master.declare("q", declaration).unwrap();
    let exchange = ExchangeDeclaration {
        kind: ExchangeKind::Direct,
        durable: true,
        auto_delete: true,
        internal: false,
        arguments: FieldTable::new(),
    };
    let name = short("x");
    master.run(|broker, batch| broker.declare_exchange(batch, named(&name), exchange)).0.unwrap();
    master.bind("x", "q", "k").unwrap();
    let link = link();
    let [one, two] = ["one", "two"].map(|tag| master.consume(&queue, &link, tag, 0));
    master.run(|broker, batch| broker.cancel(batch, &one, Then::Serve));
    assert_eq!(master.engine.broker.queues().len(), 1);
    master.run(|broker, batch| broker.cancel(batch, &two, Then::Serve));
    assert!(master.engine.broker.queues().is_empty());
    let found = master.run(|broker, batch| broker.find_exchange(batch, named(&name))).0;
    assert_eq!(found.unwrap_err().to_string(), "no exchange 'x' in vhost '/'");
    assert_eq!(contents(&master.replica()), contents(&master.engine));
}

#[test]
fn messages_follow_bindings_between_exchanges_once_and_never_in_circles() {
    let mut master = Master::default();
    let queue = master.declare("q", transient()).unwrap();
    for name in ["a", "b"] {
        master.exchange(name, ExchangeKind::Fanout, false).unwrap();
        master.bind(name, "q", "").unwrap();
    }
    let (a, b) = (short("a"), short("b"));
    for (source, to) in [(&a, &b), (&b, &a)] {
        let bind = |broker: &Broker, batch: &mut Batch<'_>| {
            let to = BindTo::Exchange(to);
            broker.bind(batch, ConnectionId(1), named(source), to, &short(""), FieldTable::new())
        };
        master.run(bind).0.unwrap();
    }
    master.publish("a", "", "m", &Properties::default());
    assert_eq!(queue.counts().ready, 1);
}

#[test]
fn an_alternate_exchange_takes_what_finds_no_way() {
    let mut master = Master::default();
    let queue = master.declare("q", transient()).unwrap();
    master.exchange("rest", ExchangeKind::Fanout, false).unwrap();
    master.bind("rest", "q", "").unwrap();
    let arguments = [("alternate-exchange".try_into().unwrap(), "rest".into())].into_iter().collect();
    let declaration = ExchangeDeclaration {
        kind: ExchangeKind::Direct,
        durable: false,
        auto_delete: false,
        internal: false,
        arguments,
    };
    let name = short("x");
    master.run(|broker, batch| broker.declare_exchange(batch, named(&name), declaration)).0.unwrap();
    master.publish("x", "nowhere", "m", &Properties::default());
    assert_eq!(queue.counts().ready, 1);
}

#[test]
fn a_route_is_not_current_once_the_topology_has_changed() {
    let mut master = Master::default();
    master.declare("q", transient()).unwrap();
    let (exchange, key) = (short(""), short("q"));
    let route = |broker: &Broker| broker.route(&DEFAULT_VHOST, &exchange, &key, &Properties::default()).unwrap();
    let old = route(&master.engine.broker);
    assert!(master.engine.broker.is_current(&old));
    master.declare("other", transient()).unwrap();
    assert!(!master.engine.broker.is_current(&old));
}

#[test]
fn messages_go_when_their_time_has_come_and_the_replica_is_told() {
    let mut master = Master::default();
    let queue = master.declare_with("q", [("x-message-ttl", 100.into())]);
    let brief = BasicProperties {
        delivery_mode: Some(2),
        expiration: Some("30".try_into().unwrap()),
        ..BasicProperties::default()
    };
    master.publish("", "q", "brief", &brief.encode());
    master.publish("", "q", "long", &persistent());
    master.now += 30;
    assert!(master.engine.broker.is_timed());
    master.run(|broker, batch| broker.sweep(batch));
    assert_eq!(queue.counts().ready, 1);
    // The deadline itself is replicated: a new master keeps it.
    let mut next = Master { engine: master.replica(), now: master.now + 69, ..Master::default() };
    let copy = next.engine.broker.queues().remove(0);
    next.run(|broker, batch| broker.sweep(batch));
    assert_eq!(copy.counts().ready, 1);
    next.now += 1;
    next.run(|broker, batch| broker.sweep(batch));
    assert_eq!(copy.counts().ready, 0);
}

#[test]
fn a_message_without_time_goes_to_who_waits_for_it_and_to_nobody_else() {
    let mut master = Master::default();
    let queue = master.declare_with("q", [("x-message-ttl", 0.into())]);
    master.publish("", "q", "nobody waits", &persistent());
    assert_eq!(queue.counts().ready, 0);
    let link = link();
    master.consume(&queue, &link, "t", 0);
    master.publish("", "q", "somebody waits", &persistent());
    assert_eq!(bodies(&deliveries(&link)), ["somebody waits"]);
}

#[test]
fn dead_letters_say_where_they_died_and_are_on_the_replica() {
    let mut master = Master::default();
    let dead = master.declare("dead", durable()).unwrap();
    let dead_letters = [("x-dead-letter-exchange", "".into()), ("x-dead-letter-routing-key", "dead".into())];
    let queue = master.declare_with("q", dead_letters);
    master.publish("", "q", "m", &persistent());
    for _ in 0..2 {
        let (taken, _) = master.run(|_, batch| queue.get(batch, Acknowledge::Manually)).0.unwrap();
        let settled = Settled { id: taken.id, consumer: None };
        master.run(|_, batch| queue.settle(batch, &[settled], Settlement::Reject, Then::Serve));
        assert_eq!((queue.counts().ready, dead.counts().ready), (0, 1));
        assert_eq!(contents(&master.replica()), contents(&master.engine));
        let (taken, _) = master.run(|_, batch| dead.get(batch, Acknowledge::Automatically)).0.unwrap();
        let properties = Properties::from_raw(taken.message.content().properties.to_vec().into()).unwrap();
        let headers = properties.headers().unwrap().to_table();
        let death = headers.get("x-death").unwrap().as_array().unwrap()[0].as_table().unwrap().clone();
        assert_eq!(death.get("reason").unwrap().as_str(), Some("rejected"));
        assert_eq!(death.get("queue").unwrap().as_str(), Some("q"));
        assert_eq!(headers.get("x-first-death-queue").unwrap().as_str(), Some("q"));
        master.publish("", "q", "m", &properties);
    }
    let (taken, _) = master.run(|_, batch| queue.get(batch, Acknowledge::Manually)).0.unwrap();
    let properties = Properties::from_raw(taken.message.content().properties.to_vec().into()).unwrap();
    let headers = properties.headers().unwrap().to_table();
    let deaths = headers.get("x-death").unwrap().as_array().unwrap();
    let count = deaths[0].as_table().unwrap().get("count").unwrap().as_i64();
    assert_eq!((deaths.len(), count), (1, Some(2)), "the same death twice is one entry");
}

#[test]
fn a_dead_letter_that_comes_round_unrejected_ends() {
    let mut master = Master::default();
    let circle = [("x-message-ttl", 10.into()), ("x-dead-letter-exchange", "".into())];
    let queue = master.declare_with("q", circle);
    master.publish("", "q", "m", &persistent());
    master.now += 10;
    master.run(|broker, batch| broker.sweep(batch));
    assert_eq!(queue.counts().ready, 0);
    assert_eq!(contents(&master.replica()), contents(&master.engine));
}

#[test]
fn a_full_queue_drops_its_head_or_refuses() {
    let mut master = Master::default();
    let dropping = master.declare_with("drop", [("x-max-length", 2.into())]);
    let bytes = master.declare_with("bytes", [("x-max-length-bytes", 10.into())]);
    let refusing = [("x-max-length", 2.into()), ("x-overflow", "reject-publish".into())];
    let refusing = master.declare_with("refuse", refusing);
    for body in ["1111", "2222", "3333"] {
        for queue in ["drop", "bytes", "refuse"] {
            master.publish("", queue, body, &persistent());
        }
    }
    assert_eq!(contents(&master.replica()), contents(&master.engine));
    assert_eq!(master.drain(&dropping), ["2222", "3333"]);
    assert_eq!(master.drain(&bytes), ["2222", "3333"]);
    assert_eq!(master.drain(&refusing), ["1111", "2222"]);
}

#[test]
fn a_queue_that_nobody_uses_goes() {
    let mut master = Master::default();
    let queue = master.declare_with("q", [("x-expires", 100.into())]);
    let link = link();
    let consumer = master.consume(&queue, &link, "t", 0);
    master.now += 500;
    master.run(|broker, batch| broker.sweep(batch));
    master.run(|broker, batch| broker.cancel(batch, &consumer, Then::Serve));
    master.now += 99;
    master.run(|broker, batch| broker.sweep(batch));
    assert_eq!(master.engine.broker.queues().len(), 1);
    master.now += 1;
    master.run(|broker, batch| broker.sweep(batch));
    assert!(master.engine.broker.queues().is_empty());
    assert!(master.replica().broker.queues().is_empty());
}

#[test]
fn one_consumer_is_active_until_it_ends() {
    let mut master = Master::default();
    let queue = master.declare_with("q", [("x-single-active-consumer", true.into())]);
    let link = link();
    let [one, _two] = ["one", "two"].map(|tag| master.consume(&queue, &link, tag, 1));
    for body in ["1", "2"] {
        master.publish("", "q", body, &persistent());
    }
    let got = deliveries(&link);
    assert_eq!((got.len(), got[0].1.tag.as_str()), (1, "one"), "its prefetch is one, and nobody else is active");
    master.settle(&one, got[0].0, Settlement::Remove);
    let next = deliveries(&link);
    assert_eq!(next[0].1.tag, "one");
    master.settle(&one, next[0].0, Settlement::Remove);
    master.run(|broker, batch| broker.cancel(batch, &one, Then::Serve));
    master.publish("", "q", "3", &persistent());
    assert_eq!(deliveries(&link)[0].1.tag, "two");
}

/// Random operations on the master: consumers get what a model says, and a replica has what is durable.
#[test]
fn random_operations_agree_with_a_model_and_with_the_replica() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("SEED={seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut master = Master::default();
    // By queue: ready bodies by their number. Bodies are numbers that ascend.
    let mut model: BTreeMap<String, BTreeMap<u64, bool>> = BTreeMap::new();
    let mut taken: Vec<(String, u64, u64)> = Vec::new();
    let mut count = 0u64;
    for exchange in ["durable-x", "transient-x"] {
        master.exchange(exchange, ExchangeKind::Topic, exchange == "durable-x").unwrap();
    }
    for _ in 0..4_000 {
        let name = format!("q{}", random.random_range(0..4));
        let exchange = if random.random() { "durable-x" } else { "transient-x" };
        match random.random_range(0..20) {
            0 => {
                let declaration = if name.as_str() < "q2" { durable() } else { transient() };
                master.declare(&name, declaration).unwrap();
                model.entry(name).or_default();
            }
            1 if random.random_range(0..4) == 0 => {
                if let Ok(queue) = master.engine.broker.queue(ConnectionId(1), named(&short(&name))) {
                    master.run(|broker, batch| broker.delete_queue(batch, &queue, Deletion::default())).0.unwrap();
                    model.remove(&name);
                    taken.retain(|(queue, ..)| *queue != name);
                }
            }
            2 => _ = master.bind(exchange, &name, &format!("{name}.*")),
            3 => _ = master.unbind(exchange, &name, &format!("{name}.*")),
            4 if random.random_range(0..4) == 0 => {
                if let Ok(queue) = master.engine.broker.queue(ConnectionId(1), named(&short(&name))) {
                    let purged = master.run(|_, batch| queue.purge(batch)).0;
                    let queue = model.get_mut(&name).unwrap();
                    assert_eq!(purged, queue.values().filter(|taken| !**taken).count());
                    queue.retain(|_, taken| *taken);
                }
            }
            5..12 => {
                count += 1;
                let is_persistent = random.random_range(0..3) > 0;
                let properties = if is_persistent { persistent() } else { Properties::default() };
                let published = master.publish("", &name, &count.to_string(), &properties);
                assert_eq!(published.is_some(), model.contains_key(&name));
                if let Some(queue) = model.get_mut(&name) {
                    queue.insert(count, false);
                }
            }
            12..16 => {
                let Ok(queue) = master.engine.broker.queue(ConnectionId(1), named(&short(&name))) else { continue };
                let got = master.run(|_, batch| queue.get(batch, Acknowledge::Manually)).0;
                let queue = model.get_mut(&name).unwrap();
                let expected = queue.iter().find(|(_, taken)| !**taken).map(|(body, _)| *body);
                let body =
                    |taken: &Taken| String::from_utf8_lossy(taken.message.content().body).parse::<u64>().unwrap();
                assert_eq!(got.as_ref().map(|(taken, _)| body(taken)), expected);
                if let (Some(body), Some((got, _))) = (expected, got) {
                    queue.insert(body, true);
                    taken.push((name, got.id, body));
                }
            }
            _ if !taken.is_empty() => {
                let (name, id, body) = taken.swap_remove(random.random_range(0..taken.len()));
                let queue = master.engine.broker.queue(ConnectionId(1), named(&short(&name))).unwrap();
                let settlement = if random.random() { Settlement::Remove } else { Settlement::Requeue };
                let settled = Settled { id, consumer: None };
                master.run(|_, batch| queue.settle(batch, &[settled], settlement, Then::Serve));
                match settlement {
                    Settlement::Remove => _ = model.get_mut(&name).unwrap().remove(&body),
                    _ => _ = model.get_mut(&name).unwrap().insert(body, false),
                }
            }
            _ => {}
        }
    }
    for queue in master.engine.broker.queues() {
        let expected = &model[queue.name.as_str()];
        let ready = expected.values().filter(|taken| !**taken).count();
        let counts = queue.counts();
        assert_eq!((counts.ready, counts.unacknowledged), (ready, expected.len() - ready));
    }
    let replica = master.replica();
    assert_eq!(contents(&replica), contents(&master.engine));

    let loaded = Engine::default();
    for partition in master.engine.broker.partitions() {
        let mut image = Vec::new();
        let cut = master.engine.broker.image(partition, || master.engine.journal.end(), &mut image);
        loaded.broker.load_image(partition, cut, &image).unwrap();
        for end in 0..image.len().min(64) {
            _ = Engine::default().broker.load_image(partition, cut, &image[..end]);
        }
    }
    assert_eq!(contents(&loaded), contents(&master.engine));
}
