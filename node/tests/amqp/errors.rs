//! Reply codes and texts: a transcript a row, compared with RabbitMQ's own answers.

use tercet_proto::amqp::{BasicProperties, FieldTable, Method, Properties};

use crate::client::{Client, Server, bind, consume, declare, declare_with, exchange, get, publish, publish_as, short};

fn passive(queue: &str) -> Method {
    let Method::QueueDeclare { queue, durable, exclusive, auto_delete, no_wait, arguments, .. } = declare(queue) else {
        unreachable!()
    };
    Method::QueueDeclare { queue, passive: true, durable, exclusive, auto_delete, no_wait, arguments }
}

fn exclusive(queue: &str) -> Method {
    let Method::QueueDeclare { queue, passive, durable, auto_delete, no_wait, arguments, .. } = declare(queue) else {
        unreachable!()
    };
    Method::QueueDeclare { queue, passive, durable, exclusive: true, auto_delete, no_wait, arguments }
}

fn delete_queue(queue: &str, if_unused: bool, if_empty: bool) -> Method {
    Method::QueueDelete { queue: short(queue), if_unused, if_empty, no_wait: false }
}

fn delete_exchange(exchange: &str, if_unused: bool) -> Method {
    Method::ExchangeDelete { exchange: short(exchange), if_unused, no_wait: false }
}

fn ack(delivery_tag: u64) -> Method {
    Method::BasicAck { delivery_tag, multiple: false }
}

const CONFIRM: Method = Method::ConfirmSelect { no_wait: false };
const TX: Method = Method::TxSelect {};

/// Each row on a connection of its own: all methods are sent, and the close that comes is compared.
#[test]
fn errors_have_the_codes_and_texts_of_rabbitmq() {
    let rows: Vec<(Vec<Method>, &str)> = vec![
        (vec![passive("nope")], "404 NOT_FOUND - no queue 'nope' in vhost '/'"),
        (vec![get("nope")], "404 NOT_FOUND - no queue 'nope' in vhost '/'"),
        (vec![consume("nope", "")], "404 NOT_FOUND - no queue 'nope' in vhost '/'"),
        (vec![get("")], "404 NOT_FOUND - no previously declared queue"),
        (vec![bind("nope", "amq.direct", "")], "404 NOT_FOUND - no queue 'nope' in vhost '/'"),
        (vec![bind("nope", "nopex", "")], "404 NOT_FOUND - no exchange 'nopex' in vhost '/'"),
        (
            vec![declare("bd"), bind("bd", "", "k")],
            "403 ACCESS_REFUSED - operation not permitted on the default exchange",
        ),
        (vec![delete_exchange("", false)], "403 ACCESS_REFUSED - operation not permitted on the default exchange"),
        (
            vec![delete_exchange("amq.topic", false)],
            "403 ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed",
        ),
        (vec![declare("amq.q")], "403 ACCESS_REFUSED - queue name 'amq.q' contains reserved prefix 'amq.*'"),
        (
            vec![exchange("amq.x", "direct")],
            "403 ACCESS_REFUSED - exchange name 'amq.x' contains reserved prefix 'amq.*'",
        ),
        (vec![exchange("x", "weird")], "406 PRECONDITION_FAILED - unknown exchange type 'weird'"),
        (
            vec![exchange("x1", "direct"), exchange("x1", "fanout")],
            "406 PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x1' in vhost '/': received 'fanout' but current is 'direct'",
        ),
        (
            vec![declare("iq"), crate::client::declare_durable("iq")],
            "406 PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'iq' in vhost '/': received 'true' but current is 'false'",
        ),
        (
            vec![declare_with("neg", "x-message-ttl", -1)],
            "406 PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'neg' in vhost '/': {value_negative,-1}",
        ),
        (
            vec![declare_with("str", "x-message-ttl", "5")],
            "406 PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'str' in vhost '/': \"expected integer, got longstr\"",
        ),
        (
            vec![exclusive("lq"), declare("lq")],
            "405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'lq' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.",
        ),
        (
            vec![declare("u"), consume("u", "c"), delete_queue("u", true, false)],
            "406 PRECONDITION_FAILED - queue 'u' in vhost '/' in use",
        ),
        (
            vec![exchange("xu", "fanout"), declare("xuq"), bind("xuq", "xu", ""), delete_exchange("xu", true)],
            "406 PRECONDITION_FAILED - exchange 'xu' in vhost '/' in use",
        ),
        (
            vec![declare("t"), consume("t", "c"), consume("t", "c")],
            "530 NOT_ALLOWED - attempt to reuse consumer tag 'c'",
        ),
        (vec![ack(1)], "406 PRECONDITION_FAILED - unknown delivery tag 1"),
        (
            vec![Method::BasicReject { delivery_tag: 7, requeue: true }],
            "406 PRECONDITION_FAILED - unknown delivery tag 7",
        ),
        (vec![CONFIRM, TX], "406 PRECONDITION_FAILED - cannot switch from confirm to tx mode"),
        (vec![TX, CONFIRM], "406 PRECONDITION_FAILED - cannot switch from tx to confirm mode"),
        (vec![Method::TxCommit {}], "406 PRECONDITION_FAILED - channel is not transactional"),
        (vec![Method::TxRollback {}], "406 PRECONDITION_FAILED - channel is not transactional"),
        (
            vec![Method::BasicQos { prefetch_size: 10, prefetch_count: 0, global: false }],
            "540 NOT_IMPLEMENTED - prefetch_size!=0 (10)",
        ),
        (vec![Method::BasicRecover { requeue: false }], "540 NOT_IMPLEMENTED - requeue=false"),
        (vec![Method::ChannelFlow { active: false }], "540 NOT_IMPLEMENTED - active=false"),
        (
            vec![Method::BasicPublish {
                exchange: short(""),
                routing_key: short("q"),
                mandatory: false,
                immediate: true,
            }],
            "540 NOT_IMPLEMENTED - immediate=true",
        ),
        (vec![Method::ChannelOpen {}], "504 CHANNEL_ERROR - second 'channel.open' seen"),
        (vec![Method::BasicQosOk {}], "503 COMMAND_INVALID - unimplemented method"),
        (
            vec![
                Method::BasicPublish {
                    exchange: short(""),
                    routing_key: short("q"),
                    mandatory: false,
                    immediate: false,
                },
                declare("q"),
            ],
            "505 UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead",
        ),
    ];
    let server = Server::start();
    for (methods, expected) in rows {
        let mut client = server.channel();
        let sent = format!("{methods:?}");
        methods.into_iter().for_each(|method| client.send(1, method));
        let told = client.close_reason().map(|(code, text)| format!("{code} {text}"));
        // A short string holds no more.
        let expected = expected.chars().take(255 + 4).collect::<String>();
        assert_eq!(told, Some(expected), "{sent}");
    }
}

/// Publishing has no reply, so the close comes on its own.
#[test]
fn wrong_messages_close_the_channel() {
    let server = Server::start();
    let plain = Properties::default();
    let with = |properties: BasicProperties| properties.encode();
    let expiration =
        |text: &str| with(BasicProperties { expiration: Some(text.try_into().unwrap()), ..Default::default() });
    let user = with(BasicProperties { user_id: Some("bob".try_into().unwrap()), ..Default::default() });
    let mut large = Vec::new();
    let method =
        Method::BasicPublish { exchange: short(""), routing_key: short("q"), mandatory: false, immediate: false };
    let mut encoder = tercet_proto::amqp::Encoder::new(&mut large, 131_072);
    encoder.method(1, &method);
    encoder.header(1, plain.raw(), (16 << 20) + 1);
    let rows = [
        (publish("nope", "k", &plain, b""), "404 NOT_FOUND - no exchange 'nope' in vhost '/'"),
        (publish("", "k", &expiration("abc"), b""), "406 PRECONDITION_FAILED - invalid expiration 'abc': no_integer"),
        (
            publish("", "k", &user, b""),
            "406 PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'guest'",
        ),
        (large, "406 PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216"),
    ];
    for (bytes, expected) in rows {
        let mut client = server.channel();
        client.raw(&bytes);
        let told = client.close_reason().map(|(code, text)| format!("{code} {text}"));
        assert_eq!(told.as_deref(), Some(expected));
        // The channel is gone once close-ok is sent, and can be opened again; the connection goes on.
        client.send(1, Method::ChannelCloseOk {});
        assert_eq!(client.call(1, Method::ChannelOpen {}), Method::ChannelOpenOk {});
    }
    let mut client = server.channel();
    let mut internal = exchange("internal", "fanout");
    if let Method::ExchangeDeclare { internal, .. } = &mut internal {
        *internal = true;
    }
    client.call(1, internal);
    client.raw(&publish("internal", "k", &plain, b"x"));
    let text = "ACCESS_REFUSED - cannot publish to internal exchange 'internal' in vhost '/'";
    assert_eq!(client.close_reason(), Some((403, text.to_owned())));
}

#[test]
fn a_method_on_a_channel_that_is_not_open_closes_the_connection() {
    let server = Server::start();
    let mut client = server.client();
    client.send(5, declare("q"));
    let Method::ConnectionClose { reply_code, reply_text, class_id, method_id } = client.method() else {
        panic!("no close")
    };
    assert_eq!((reply_code, reply_text.as_str()), (504, "CHANNEL_ERROR - expected 'channel.open'"));
    assert_eq!((class_id, method_id), (50, 10));
    client.send(0, Method::ConnectionCloseOk {});
    assert!(client.frame().is_none());
}

#[test]
fn what_comes_between_close_and_close_ok_is_not_looked_at() {
    let server = Server::start();
    let mut client = server.channel();
    client.send(1, get("nope"));
    client.send(1, declare("ignored"));
    client.raw(&publish("", "nope", &Properties::default(), b"ignored"));
    assert!(matches!(client.method(), Method::ChannelClose { reply_code: 404, class_id: 60, method_id: 70, .. }));
    client.send(1, Method::ChannelCloseOk {});
    client.call(1, Method::ChannelOpen {});
    client.send(1, passive("ignored"));
    assert_eq!(client.close_reason().map(|(code, _)| code), Some(404));
}

#[test]
fn an_exclusive_queue_is_locked_for_others_and_goes_with_its_connection() {
    let server = Server::start();
    let mut owner = server.channel();
    owner.call(1, exclusive("mine"));
    let wishes: [Method; 4] = [passive("mine"), consume("mine", ""), bind("mine", "amq.fanout", ""), get("mine")];
    for wish in wishes {
        let mut other = server.channel();
        other.send(1, wish);
        assert_eq!(other.close_reason().map(|(code, _)| code), Some(405));
    }
    drop(owner);
    server.until("the end of the queue", |node| node.engine.broker.queues().is_empty());
}

#[test]
fn an_exclusive_consumer_is_alone() {
    let server = Server::start();
    let alone = |client: &mut Client| {
        let Method::BasicConsume { queue, consumer_tag, no_local, no_ack, no_wait, arguments, .. } = consume("q", "e")
        else {
            unreachable!()
        };
        let exclusive = true;
        client.call(1, Method::BasicConsume { queue, consumer_tag, no_local, no_ack, exclusive, no_wait, arguments })
    };
    let mut first = server.channel();
    first.call(1, declare("q"));
    assert!(matches!(alone(&mut first), Method::BasicConsumeOk { .. }));
    let mut second = server.channel();
    second.send(1, consume("q", ""));
    let text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";
    assert_eq!(second.close_reason(), Some((403, text.to_owned())));
}

#[test]
fn a_message_that_finds_no_queue_comes_back_before_its_confirm() {
    let server = Server::start();
    let mut client = server.channel();
    client.call(1, CONFIRM);
    client.raw(&publish_as("", "nowhere", &Properties::default(), b"lost", true));
    let returned = client.receive();
    let Method::BasicReturn { reply_code, reply_text, routing_key, .. } = returned.method else {
        panic!("{:?}", returned.method)
    };
    assert_eq!((reply_code, reply_text.as_str(), routing_key.as_str()), (312, "NO_ROUTE", "nowhere"));
    assert_eq!(returned.body, b"lost");
    assert_eq!(client.method(), Method::BasicAck { delivery_tag: 1, multiple: false });
}

#[test]
fn deleting_what_is_not_there_is_no_error() {
    let server = Server::start();
    let mut client = server.channel();
    assert_eq!(client.call(1, delete_queue("nope", false, false)), Method::QueueDeleteOk { message_count: 0 });
    assert_eq!(client.call(1, delete_exchange("nope", false)), Method::ExchangeDeleteOk {});
    let unbind = Method::QueueUnbind {
        queue: short("nope"),
        exchange: short("amq.direct"),
        routing_key: short(""),
        arguments: FieldTable::new(),
    };
    assert_eq!(client.call(1, unbind), Method::QueueUnbindOk {});
}
