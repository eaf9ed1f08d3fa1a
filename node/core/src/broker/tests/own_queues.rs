//! x-delayed-message and x-recent-history: what an exchange keeps, and when it goes on.

use tercet_proto::amqp::FieldValue;

use super::*;

fn table<const N: usize>(fields: [(&'static str, FieldValue); N]) -> FieldTable {
    fields.into_iter().map(|(key, value)| (key.try_into().unwrap(), value)).collect()
}

fn with_headers<const N: usize>(fields: [(&'static str, FieldValue); N], delivery_mode: Option<u8>) -> Properties {
    BasicProperties { headers: Some(table(fields)), delivery_mode, ..BasicProperties::default() }.encode()
}

fn declare<const N: usize>(
    master: &mut Master,
    name: &str,
    kind: ExchangeKind,
    arguments: [(&'static str, FieldValue); N],
) -> Result<(), Refusal> {
    let arguments = table(arguments);
    let declaration = ExchangeDeclaration { kind, durable: true, auto_delete: false, internal: false, arguments };
    let name = short(name);
    master.run(|broker, batch| broker.declare_exchange(batch, named(&name), declaration)).0
}

fn delayed(master: &mut Master, name: &str, kind: &'static str) {
    declare(master, name, ExchangeKind::Delayed, [("x-delayed-type", kind.into())]).unwrap();
}

fn sweep(master: &mut Master, now: u64) {
    master.now = now;
    master.run(|broker, batch| broker.sweep(batch));
}

fn queue(engine: &Engine, name: &str) -> Arc<Queue> {
    engine.broker.find_queue(&DEFAULT_VHOST, &short(name)).unwrap()
}

#[test]
fn delayed_messages_go_in_the_order_of_their_times_by_the_type_of_the_exchange() {
    let mut master = Master::default();
    delayed(&mut master, "later", "topic");
    let jobs = master.declare("jobs", durable()).unwrap();
    master.bind("later", "jobs", "job.*").unwrap();
    for (body, delay) in [("c", 300), ("a", 100), ("b", 200)] {
        let properties = with_headers([("x-delay", delay.into())], Some(2));
        assert!(master.publish("later", "job.x", body, &properties).unwrap() > Offset::ZERO, "it is confirmed at once");
    }
    master.publish("later", "job.x", "at once", &persistent());
    master.publish("later", "job.x", "at once too", &with_headers([("x-delay", (-1).into())], None));
    // Routed when it is due, so to nobody.
    master.publish("later", "other", "nowhere", &with_headers([("x-delay", 100.into())], Some(2)));
    assert_eq!(master.engine.broker.exchanges().iter().filter_map(|exchange| exchange.delayed).sum::<usize>(), 4);
    assert_eq!(master.drain(&jobs), ["at once", "at once too"]);
    sweep(&mut master, 100);
    assert_eq!(jobs.counts().ready, 0, "the time begins with the message, which came at 1");
    sweep(&mut master, 101);
    let (taken, _) = master.run(|_, batch| jobs.get(batch, Acknowledge::Automatically)).0.unwrap();
    assert_eq!(taken.message.content().body, b"a");
    let properties = Properties::from_raw(taken.message.content().properties.to_vec().into()).unwrap();
    let headers = properties.headers().unwrap().to_table();
    assert_eq!(headers, table([("x-delay", (-100).into())]), "it is told, and nothing delays it again");
    sweep(&mut master, 400);
    assert_eq!(master.drain(&jobs), ["b", "c"]);
    assert_eq!(queue(&master.engine, "amq.delayed.later").counts().ready, 0);
}

#[test]
fn delayed_messages_are_on_the_replica_and_in_images_and_go_once() {
    let mut master = Master::default();
    delayed(&mut master, "later", "fanout");
    master.declare("jobs", durable()).unwrap();
    master.bind("later", "jobs", "").unwrap();
    for (body, delay) in [("second", 900), ("first", 500)] {
        // The exchange is durable: its publisher need not say so of the message.
        master.publish("later", "", body, &with_headers([("x-delay", delay.into())], None));
    }
    let replica = master.replica();
    assert_eq!(contents(&replica), contents(&master.engine));
    let loaded = Engine::default();
    for partition in master.engine.broker.partitions() {
        let mut image = Vec::new();
        let cut = master.engine.broker.image(partition, || master.engine.journal.end(), &mut image);
        loaded.broker.load_image(partition, cut, &image).unwrap();
    }
    assert_eq!(contents(&loaded), contents(&master.engine));
    for engine in [replica, loaded] {
        let mut promoted = Master { engine, ..Master::default() };
        promoted.engine.journal.retain();
        let jobs = queue(&promoted.engine, "jobs");
        assert!(promoted.engine.broker.is_timed(), "time alone changes something");
        sweep(&mut promoted, 901);
        sweep(&mut promoted, 901);
        assert_eq!(promoted.drain(&jobs), ["first", "second"]);
    }
}

#[test]
fn what_a_delayed_message_meets_on_its_way() {
    let mut master = Master::default();
    delayed(&mut master, "later", "direct");
    delayed(&mut master, "second", "direct");
    master.exchange("first", ExchangeKind::Fanout, true).unwrap();
    let [now, then] = ["now", "then"].map(|name| master.declare(name, durable()).unwrap());
    master.bind("first", "now", "").unwrap();
    master.bind("second", "then", "k").unwrap();
    let bind = |master: &mut Master, source: &str, to: &str, key: &str| {
        let (source, to, key) = (short(source), short(to), short(key));
        let to = BindTo::Exchange(&to);
        let bound = |broker: &Broker, batch: &mut Batch<'_>| {
            broker.bind(batch, ConnectionId(1), named(&source), to, &key, FieldTable::new())
        };
        master.run(bound).0.unwrap();
    };
    bind(&mut master, "first", "later", "");
    bind(&mut master, "later", "second", "k");
    let headers = BasicProperties {
        headers: Some(table([("x-delay", 50.into())])),
        expiration: Some("20".try_into().unwrap()),
        delivery_mode: Some(2),
        ..BasicProperties::default()
    };
    master.publish("first", "k", "m", &headers.encode());
    assert_eq!((now.counts().ready, then.counts().ready), (1, 0), "only the exchange that delays it keeps it");
    sweep(&mut master, 30);
    assert_eq!(now.counts().ready, 0, "its own time is over where it waits for a consumer");
    sweep(&mut master, 51);
    assert_eq!(then.counts().ready, 1, "and begins anew where it was not; the second exchange does not delay it again");
    sweep(&mut master, 80);
    assert_eq!(then.counts().ready, 0);
}

#[test]
fn the_queue_of_an_exchange_is_nobodys_and_ends_with_it() {
    let mut master = Master::default();
    delayed(&mut master, "later", "direct");
    master.publish("later", "k", "m", &with_headers([("x-delay", 50.into())], Some(2)));
    let name = short("amq.delayed.later");
    let client = ConnectionId(1);
    assert!(matches!(master.engine.broker.queue(client, named(&name)), Err(Refusal::Locked(_))));
    assert!(matches!(master.declare("amq.delayed.later", durable()), Err(Refusal::Locked(_))));
    assert!(matches!(master.declare("amq.delayed.other", durable()), Err(Refusal::ReservedName(_))));
    assert!(matches!(master.bind("amq.direct", "amq.delayed.later", "k"), Err(Refusal::Locked(_))));
    assert_eq!(master.publish("", "amq.delayed.later", "m", &persistent()), None, "no way leads into it");
    let later = short("later");
    let delete =
        |broker: &Broker, batch: &mut Batch<'_>| broker.delete_exchange(batch, named(&later), Deletion::default());
    master.run(delete).0.unwrap();
    assert!(master.engine.broker.queues().is_empty());
    let replica = master.replica();
    assert_eq!(contents(&replica), contents(&master.engine));
    sweep(&mut master, 100);
    delayed(&mut master, "later", "direct");
    assert_eq!(queue(&master.engine, "amq.delayed.later").counts().ready, 0);
}

#[test]
fn wrong_types_and_lengths_are_told_in_the_words_of_the_plugins() {
    let mut master = Master::default();
    let mut told = |kind, arguments| declare(&mut master, "x", kind, arguments).unwrap_err().to_string();
    let unknown = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
    assert_eq!(told(ExchangeKind::Delayed, [("x-delayed-type", "nothing".into())]), unknown);
    assert_eq!(told(ExchangeKind::Delayed, [("other", "direct".into())]), unknown);
    let itself = "Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'";
    assert_eq!(told(ExchangeKind::Delayed, [("x-delayed-type", "x-delayed-message".into())]), itself);
    let length = "Invalid argument 0, 'x-recent-history-length' must be a positive integer";
    assert_eq!(told(ExchangeKind::RecentHistory, [("x-recent-history-length", 0.into())]), length);
}

#[test]
fn who_comes_late_gets_the_messages_that_came_last() {
    let mut master = Master::default();
    declare(&mut master, "news", ExchangeKind::RecentHistory, [("x-recent-history-length", 3.into())]).unwrap();
    for body in ["1", "2", "3", "4"] {
        assert_eq!(master.publish("news", "k", body, &persistent()), None, "nobody wants it yet");
    }
    let secret = with_headers([("x-recent-history-no-store", true.into())], Some(2));
    assert_eq!(master.publish("news", "k", "secret", &secret), None);
    let early = master.declare("early", durable()).unwrap();
    master.bind("news", "early", "").unwrap();
    assert!(master.publish("news", "k", "5", &persistent()).is_some());
    master.bind("news", "early", "").unwrap();
    assert_eq!(master.drain(&early), ["2", "3", "4", "5"], "a binding that is there already brings nothing");
    let replica = master.replica();
    assert_eq!(contents(&replica), contents(&master.engine));
    let mut promoted = Master { engine: replica, ..Master::default() };
    promoted.engine.journal.retain();
    let late = promoted.declare("late", durable()).unwrap();
    promoted.bind("news", "late", "").unwrap();
    assert_eq!(promoted.drain(&late), ["3", "4", "5"]);
}
