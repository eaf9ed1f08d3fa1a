//! Messages on their way: publish, deliver, settle, confirm.

use tercet_proto::amqp::{BasicProperties, FieldValue, Method, Properties};

use crate::client::{Received, Server, bind, consume, declare, declare_with, declared, get, publish, short};

fn delivery(received: &Received) -> (u64, bool, &[u8]) {
    match &received.method {
        Method::BasicDeliver { delivery_tag, redelivered, .. } => (*delivery_tag, *redelivered, &received.body),
        Method::BasicGetOk { delivery_tag, redelivered, .. } => (*delivery_tag, *redelivered, &received.body),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_of_messages_is_confirmed_at_once() {
    let server = Server::start();
    let mut client = server.channel();
    client.call(1, declare("q"));
    client.call(1, Method::ConfirmSelect { no_wait: false });
    let bytes: Vec<u8> = (0..50).flat_map(|_| publish("", "q", &Properties::default(), b"x")).collect();
    client.raw(&bytes);
    let (mut confirmed, mut frames) = (0, 0);
    while confirmed < 50 {
        let Method::BasicAck { delivery_tag, multiple } = client.method() else { panic!("no confirm") };
        assert!(multiple || delivery_tag == confirmed + 1);
        assert!(delivery_tag > confirmed);
        confirmed = delivery_tag;
        frames += 1;
    }
    assert!(frames < 25, "{frames} frames for 50 messages");
    assert_eq!(client.call(1, declare("q")), declared("q", 50, 0));
}

#[test]
fn bodies_of_every_size_come_back_as_they_were() {
    let server = Server::start();
    let mut client = server.channel();
    client.call(1, declare("q"));
    for size in [0, 1, 131_064, 131_065, 3 << 20] {
        let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        client.publish("", "q", &Properties::default(), &body);
        client.send(1, get("q"));
        let received = client.receive();
        assert!(received.body == body, "{size} bytes");
    }
}

#[test]
fn prefetch_holds_back_until_an_acknowledgement() {
    let server = Server::start();
    let mut client = server.channel();
    client.call(1, declare("q"));
    client.call(1, Method::BasicQos { prefetch_size: 0, prefetch_count: 2, global: false });
    client.call(1, consume("q", "c"));
    for body in [b"1", b"2", b"3", b"4"] {
        client.publish("", "q", &Properties::default(), body);
    }
    let [first, second] = [client.receive(), client.receive()];
    assert_eq!([delivery(&first), delivery(&second)], [(1, false, &b"1"[..]), (2, false, &b"2"[..])]);
    assert!(client.is_silent());
    client.send(1, Method::BasicAck { delivery_tag: 2, multiple: true });
    let [third, fourth] = [client.receive(), client.receive()];
    assert_eq!([delivery(&third).2, delivery(&fourth).2], [b"3", b"4"]);
    assert!(client.is_silent());
}

#[test]
fn what_is_not_acknowledged_comes_back_in_order_and_marked() {
    let server = Server::start();
    let mut first = server.channel();
    first.call(1, declare("q"));
    for body in [b"1", b"2", b"3"] {
        first.publish("", "q", &Properties::default(), body);
    }
    first.call(1, consume("q", "c"));
    for _ in 0..3 {
        first.receive();
    }
    first.send(1, Method::BasicNack { delivery_tag: 2, multiple: false, requeue: false });
    let close = Method::ChannelClose { reply_code: 200, reply_text: short(""), class_id: 0, method_id: 0 };
    assert_eq!(first.call(1, close), Method::ChannelCloseOk {});
    let mut second = server.channel();
    second.call(1, consume("q", "d"));
    let [one, three] = [second.receive(), second.receive()];
    assert_eq!([delivery(&one), delivery(&three)], [(1, true, &b"1"[..]), (2, true, &b"3"[..])]);
}

#[test]
fn a_socket_that_breaks_gives_everything_back() {
    let server = Server::start();
    let mut first = server.channel();
    first.call(1, declare("q"));
    first.publish("", "q", &Properties::default(), b"m");
    first.call(1, consume("q", "c"));
    first.receive();
    drop(first);
    server.until("the return of the message", |node| node.engine.broker.queues()[0].counts().ready == 1);
    let counts = server.node.engine.broker.queues()[0].counts();
    assert_eq!((counts.unacknowledged, counts.consumers), (0, 0));
}

#[test]
fn consumers_are_told_when_their_queue_goes() {
    let server = Server::start();
    let mut consumer = server.channel();
    consumer.call(1, declare("q"));
    consumer.call(1, consume("q", "c"));
    let mut other = server.channel();
    other.call(1, Method::QueueDelete { queue: short("q"), if_unused: false, if_empty: false, no_wait: false });
    let cancel = Method::BasicCancel { consumer_tag: short("c"), no_wait: true };
    assert_eq!(consumer.method(), cancel);
}

#[test]
fn a_slow_consumer_holds_its_queue_back_and_loses_nothing() {
    let server = Server::start();
    let mut consumer = server.channel();
    consumer.call(1, declare("q"));
    let automatic = Method::BasicConsume {
        queue: short("q"),
        consumer_tag: short("c"),
        no_local: false,
        no_ack: true,
        exclusive: false,
        no_wait: false,
        arguments: Default::default(),
    };
    consumer.call(1, automatic);
    let mut publisher = server.channel();
    publisher.call(1, Method::ConfirmSelect { no_wait: false });
    let count = 3_000u32;
    let mut confirmed = 0;
    for number in 0..count {
        let mut body = vec![0; 8 << 10];
        body[..4].copy_from_slice(&number.to_be_bytes());
        publisher.publish("", "q", &Properties::default(), &body);
        while number + 1 == count && confirmed < u64::from(count) {
            let Method::BasicAck { delivery_tag, .. } = publisher.method() else { panic!("no confirm") };
            confirmed = delivery_tag;
        }
    }
    // 24 MB were published, and the consumer has read nothing: sockets and inbox hold a few of them.
    let ready = server.node.engine.broker.queues()[0].counts().ready;
    assert!(ready > 500, "only {ready} wait in the queue");
    for number in 0..count {
        assert_eq!(consumer.receive().body[..4], number.to_be_bytes());
    }
}

#[test]
fn a_transaction_is_seen_at_commit() {
    let server = Server::start();
    let mut client = server.channel();
    client.call(1, declare("q"));
    client.call(1, Method::TxSelect {});
    client.publish("", "q", &Properties::default(), b"1");
    assert_eq!(client.call(1, declare("q")), declared("q", 0, 0));
    assert_eq!(client.call(1, Method::TxCommit {}), Method::TxCommitOk {});
    assert_eq!(client.call(1, declare("q")), declared("q", 1, 0));
    client.publish("", "q", &Properties::default(), b"2");
    client.send(1, get("q"));
    assert_eq!(delivery(&client.receive()).2, b"1");
    client.send(1, Method::BasicAck { delivery_tag: 1, multiple: false });
    assert_eq!(client.call(1, Method::TxRollback {}), Method::TxRollbackOk {});
    let counts = server.node.engine.broker.queues()[0].counts();
    assert_eq!((counts.ready, counts.unacknowledged), (0, 1));
    client.send(1, Method::BasicAck { delivery_tag: 1, multiple: false });
    client.call(1, Method::TxCommit {});
    assert_eq!(server.node.engine.broker.queues()[0].counts().unacknowledged, 0);
}

#[test]
fn a_cancelled_consumer_gets_nothing_more() {
    let server = Server::start();
    let mut client = server.channel();
    client.call(1, declare("q"));
    client.call(1, consume("q", "c"));
    client.publish("", "q", &Properties::default(), b"1");
    assert_eq!(client.receive().body, b"1");
    let cancel = Method::BasicCancel { consumer_tag: short("c"), no_wait: false };
    assert_eq!(client.call(1, cancel), Method::BasicCancelOk { consumer_tag: short("c") });
    client.publish("", "q", &Properties::default(), b"2");
    assert_eq!(client.call(1, declare("q")), declared("q", 1, 0));
}

#[test]
fn topics_reach_the_queues_that_asked_for_them() {
    let server = Server::start();
    let mut client = server.channel();
    client.call(1, declare("q"));
    client.call(1, bind("q", "amq.topic", "a.*.#"));
    for key in ["a", "a.b", "a.b.c", "b.a"] {
        client.publish("amq.topic", key, &Properties::default(), key.as_bytes());
    }
    assert_eq!(client.call(1, declare("q")), declared("q", 2, 0));
}

#[test]
fn a_queue_that_is_full_refuses_with_nack() {
    let server = Server::start();
    let mut client = server.channel();
    let mut wish = declare_with("q", "x-max-length", 1);
    if let Method::QueueDeclare { arguments, .. } = &mut wish {
        arguments.insert("x-overflow".try_into().unwrap(), "reject-publish");
    }
    client.call(1, wish);
    client.call(1, Method::ConfirmSelect { no_wait: false });
    for _ in 0..2 {
        client.publish("", "q", &Properties::default(), b"x");
    }
    assert_eq!(client.method(), Method::BasicAck { delivery_tag: 1, multiple: false });
    assert_eq!(client.method(), Method::BasicNack { delivery_tag: 2, multiple: false, requeue: false });
}

#[test]
fn copies_go_to_further_keys_and_blind_ones_are_not_seen() {
    let server = Server::start();
    let mut client = server.channel();
    for queue in ["to", "cc", "bcc"] {
        client.call(1, declare(queue));
    }
    let keys = |key: &str| FieldValue::Array(vec![key.into()]);
    let headers = [("CC", keys("cc")), ("BCC", keys("bcc"))];
    let headers = headers.into_iter().map(|(name, keys)| (name.try_into().unwrap(), keys)).collect();
    let properties = BasicProperties { headers: Some(headers), ..BasicProperties::default() }.encode();
    client.publish("", "to", &properties, b"x");
    for queue in ["to", "cc", "bcc"] {
        assert_eq!(client.call(1, declare(queue)), declared(queue, 1, 0));
    }
    for queue in server.node.engine.broker.queues() {
        let mut record = Vec::new();
        let mut batch =
            server.node.engine.broker.begin(&server.node.engine.journal, &mut record, tercet_node::ids::UnixMillis(1));
        let (taken, _) = queue.get(&mut batch, tercet_node::broker::Acknowledge::Automatically).unwrap();
        let raw = taken.message.content().properties.to_vec();
        let headers = Properties::from_raw(raw.into()).unwrap().headers().unwrap().to_table();
        assert!(headers.get("CC").is_some() && headers.get("BCC").is_none());
        batch.finish();
    }
}
