//! The order in which messages come again, and where dead letters go.

use tercet_proto::amqp::{BasicProperties, FieldTable, FieldValue, Method, Properties};

use crate::client::{Client, Server, bind, consume, declare, declare_with, declared, get, short};

fn close(client: &mut Client) {
    let close = Method::ChannelClose { reply_code: 200, reply_text: short(""), class_id: 0, method_id: 0 };
    while client.call(1, close.clone()) != (Method::ChannelCloseOk {}) {}
}

#[test]
fn the_next_single_active_consumer_gets_what_the_last_one_had_in_order() {
    let server = Server::start();
    let mut first = server.channel();
    first.call(1, declare_with("q", "x-single-active-consumer", true));
    first.call(1, Method::BasicQos { prefetch_size: 0, prefetch_count: 3, global: false });
    first.call(1, consume("q", "first"));
    let mut second = server.channel();
    second.call(1, consume("q", "second"));
    for body in 0..8u8 {
        first.publish("", "q", &Properties::default(), &[body]);
    }
    for body in 0..3 {
        assert_eq!(first.receive().body, [body]);
    }
    close(&mut first);
    let got: Vec<u8> = (0..8).map(|_| second.receive().body[0]).collect();
    assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7]);
}

fn keys(key: &str) -> FieldValue {
    FieldValue::Array(vec![key.into()])
}

/// Publishes to queue `s`, and rejects what comes of it.
fn die(client: &mut Client, arguments: &[(&str, &str)], headers: &[(&str, &str)]) {
    let mut wish = declare("s");
    if let Method::QueueDeclare { arguments: table, .. } = &mut wish {
        for (name, value) in arguments {
            table.insert((*name).try_into().unwrap(), *value);
        }
    }
    client.call(1, wish);
    let headers: FieldTable = headers.iter().map(|(name, key)| ((*name).try_into().unwrap(), keys(key))).collect();
    let properties = BasicProperties { headers: Some(headers), ..BasicProperties::default() }.encode();
    client.publish("", "s", &properties, b"x");
    client.send(1, get("s"));
    let Method::BasicGetOk { delivery_tag, .. } = client.method() else { panic!("no message") };
    client.send(1, Method::BasicReject { delivery_tag, requeue: false });
    client.call(1, Method::QueueDelete { queue: short("s"), if_unused: false, if_empty: false, no_wait: false });
}

#[test]
fn a_dead_letter_goes_where_its_copies_went_and_says_so() {
    let server = Server::start();
    let mut client = server.channel();
    for queue in ["d", "cc", "bcc"] {
        client.call(1, declare(queue));
        client.call(1, bind(queue, "amq.direct", queue));
    }
    let to_direct = [("x-dead-letter-exchange", "amq.direct")];
    die(&mut client, &to_direct, &[("CC", "cc"), ("BCC", "bcc")]);
    for queue in ["cc", "bcc"] {
        // One of the publish itself, one of the dead letter.
        assert_eq!(client.call(1, declare(queue)), declared(queue, 2, 0));
    }
    let to_d = [("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", "d")];
    die(&mut client, &to_d, &[("CC", "other")]);
    let queue = server.node.engine.broker.queues().into_iter().find(|queue| queue.name.as_str() == "d").unwrap();
    let mut record = Vec::new();
    let engine = &server.node.engine;
    let mut batch = engine.broker.begin(&engine.journal, &mut record, tercet_node::ids::UnixMillis(1));
    let (taken, _) = queue.get(&mut batch, tercet_node::broker::Acknowledge::Automatically).unwrap();
    batch.finish();
    let raw = taken.message.content().properties.to_vec();
    let headers = Properties::from_raw(raw.into()).unwrap().headers().unwrap().to_table();
    assert!(headers.get("CC").is_none());
    let deaths = headers.get("x-death").unwrap().as_array().unwrap().to_vec();
    let routing_keys = deaths[0].as_table().unwrap().get("routing-keys").unwrap().clone();
    assert_eq!(routing_keys, FieldValue::Array(vec!["s".into(), "other".into()]));
}

#[test]
fn a_limit_that_drops_the_head_holds_for_what_comes_back_too() {
    let server = Server::start();
    let mut client = server.channel();
    client.call(1, declare_with("m", "x-max-length", 2));
    let mut tags = Vec::new();
    for body in ["a", "b"] {
        client.publish("", "m", &Properties::default(), body.as_bytes());
        client.send(1, get("m"));
        let Method::BasicGetOk { delivery_tag, .. } = client.method() else { panic!("no message") };
        tags.push(delivery_tag);
    }
    for body in ["c", "d"] {
        client.publish("", "m", &Properties::default(), body.as_bytes());
    }
    client.send(1, Method::BasicNack { delivery_tag: tags[1], multiple: true, requeue: true });
    assert_eq!(client.call(1, declare_with("m", "x-max-length", 2)), declared("m", 2, 0));
}
