//! Streams: what is read stays, each consumer has its own place, and what is too old or too much goes.

use tercet_proto::amqp::FieldValue;

use super::*;

fn stream<const N: usize>(master: &mut Master, arguments: [(&'static str, FieldValue); N]) -> Arc<Queue> {
    let mut table: FieldTable =
        [("x-queue-type".try_into().unwrap(), FieldValue::from("stream"))].into_iter().collect();
    arguments.into_iter().for_each(|(key, value)| table.insert(key.try_into().unwrap(), value));
    master.declare("s", QueueDeclaration { arguments: table, ..durable() }).unwrap()
}

fn publish(master: &mut Master, bodies: &[&str]) {
    for body in bodies {
        // A stream keeps what nobody asked to be kept.
        assert!(master.publish("", "s", body, &Properties::default()).unwrap() > Offset::ZERO);
    }
}

fn read(master: &mut Master, queue: &Arc<Queue>, link: &Arc<Link>, start: Start, prefetch: u16) -> Arc<Consumer> {
    let consume = Consume {
        tag: short("reader"),
        channel: 1,
        acknowledge: Acknowledge::Manually,
        share: Share::Shared,
        priority: 0,
        prefetch,
        timeout: None,
        start,
        credit: Arc::default(),
        link: Arc::clone(link),
    };
    master.run(|broker, batch| broker.consume(batch, queue, consume)).0.unwrap()
}

/// What a new reader gets at once.
fn from(master: &mut Master, queue: &Arc<Queue>, start: Start) -> Vec<String> {
    let link = link();
    let reader = read(master, queue, &link, start, 100);
    let got = deliveries(&link);
    master.run(|broker, batch| broker.cancel(batch, &reader, Then::Serve));
    got.into_iter().map(|(_, got)| got.body).collect()
}

#[test]
fn every_reader_has_its_own_place_and_nothing_goes_when_it_is_read() {
    let mut master = Master::default();
    let queue = stream(&mut master, []);
    publish(&mut master, &["0", "1", "2"]);
    master.now = 100;
    publish(&mut master, &["3", "4"]);
    master.now = 150;
    let mut all = |start| from(&mut master, &queue, start);
    assert_eq!(all(Start::First), ["0", "1", "2", "3", "4"]);
    assert_eq!(all(Start::First).len(), 5, "it is all still there");
    assert_eq!(all(Start::Last), ["4"]);
    assert_eq!(all(Start::Offset(2)), ["2", "3", "4"]);
    assert_eq!(all(Start::At(2)), ["3", "4"]);
    assert_eq!(all(Start::Within(50)), ["3", "4"]);
    assert!(all(Start::Within(49)).is_empty() && all(Start::Next).is_empty() && all(Start::Offset(9)).is_empty());

    let (fast, slow, late) = (link(), link(), link());
    read(&mut master, &queue, &fast, Start::Next, 100);
    let reader = read(&mut master, &queue, &slow, Start::First, 2);
    read(&mut master, &queue, &late, Start::Offset(6), 100);
    publish(&mut master, &["5", "6"]);
    let first = deliveries(&slow);
    assert_eq!(bodies(&first), ["0", "1"]);
    assert!(first.iter().all(|(_, got)| got.delivered == Delivered::Never));
    assert_eq!(bodies(&deliveries(&fast)), ["5", "6"]);
    assert_eq!(bodies(&deliveries(&late)), ["6"], "an offset that is still to come is waited for");
    // However a delivery is settled, it makes room for the next one and does not come again.
    for (id, settlement) in [(1, Settlement::Remove), (2, Settlement::Requeue)] {
        master.settle(&reader, id, settlement);
    }
    assert_eq!(bodies(&deliveries(&slow)), ["2", "3"]);
    assert_eq!(queue.counts().ready, 7);
    assert!(master.run(|_, batch| queue.get(batch, Acknowledge::Automatically)).0.is_none());
    assert_eq!(master.run(|_, batch| queue.purge(batch)).0, 0);
}

#[test]
fn what_is_too_old_or_too_much_goes_and_offsets_stay() {
    let mut master = Master::default();
    let queue = stream(&mut master, [("x-max-age", "1s".into()), ("x-max-length-bytes", 4.into())]);
    publish(&mut master, &["00", "11", "22"]);
    assert_eq!(from(&mut master, &queue, Start::First), ["11", "22"]);
    assert_eq!(from(&mut master, &queue, Start::Offset(0)), ["11", "22"], "what is gone is passed over");
    assert_eq!(from(&mut master, &queue, Start::Offset(2)), ["22"]);
    master.now = 900;
    publish(&mut master, &["33"]);
    master.now = 1001;
    assert!(master.engine.broker.is_timed());
    master.run(|broker, batch| broker.sweep(batch));
    assert_eq!(from(&mut master, &queue, Start::First), ["33"]);
    let replica = master.replica();
    assert_eq!(contents(&replica), contents(&master.engine));
    // The clock of the next master is behind: times ascend all the same.
    let mut promoted = Master { engine: replica, now: 500, ..Master::default() };
    promoted.engine.journal.retain();
    let queue = promoted.engine.broker.queues().remove(0);
    publish(&mut promoted, &["4"]);
    assert_eq!(from(&mut promoted, &queue, Start::At(900)), ["33", "4"]);
    assert_eq!(from(&mut promoted, &queue, Start::Offset(4)), ["4"]);
}

#[test]
fn a_stream_is_durable_and_nobodys_and_takes_no_argument_of_a_queue() {
    let mut master = Master::default();
    let arguments: FieldTable = [("x-queue-type".try_into().unwrap(), "stream".into())].into_iter().collect();
    let mut refused = |name: &str, declaration| master.declare(name, declaration).unwrap_err().to_string();
    let of = |declaration| QueueDeclaration { arguments: arguments.clone(), ..declaration };
    assert_eq!(refused("s", of(transient())), "invalid property 'non-durable' for queue 's' in vhost '/'");
    let exclusive = QueueDeclaration { owner: Some(ConnectionId(1)), ..durable() };
    assert_eq!(refused("s", of(exclusive)), "invalid property 'exclusive-owner' for queue 's' in vhost '/'");
    assert_eq!(refused("", of(durable())), "Cannot declare a server-named queue for type rabbit_stream_queue");
}

#[test]
fn a_long_stream_slows_no_publisher_and_a_slow_reader_goes_on_where_it_was() {
    let mut master = Master::default();
    let queue = stream(&mut master, []);
    let link = link();
    read(&mut master, &queue, &link, Start::First, 0);
    let body = "x".repeat(100 << 10);
    for _ in 0..20 {
        publish(&mut master, &[&body]);
    }
    let mut ids: Vec<u64> = Vec::new();
    while ids.len() < 20 {
        let got = deliveries(&link);
        assert!(!got.is_empty() && got.len() <= 2, "the inbox is bounded: {}", got.len());
        ids.extend(got.iter().map(|(id, _)| *id));
        assert_eq!(link.take_starved(), ids.len() < 20);
        master.run(|_, batch| queue.serve(batch));
    }
    assert_eq!(ids, (1..=20).collect::<Vec<_>>());
    assert!(!queue.is_long());
}
