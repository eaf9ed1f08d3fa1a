//! Clients that send without end, without reading or without finishing: others are served, and memory has a bound.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tercet_proto::amqp::{BasicProperties, Encoder, Method, Properties};

use crate::client::{Client, Server, consume, declare, declared, publish, short};

fn automatic(queue: &str, tag: &str) -> Method {
    match consume(queue, tag) {
        Method::BasicConsume { queue, consumer_tag, no_local, exclusive, no_wait, arguments, .. } => {
            Method::BasicConsume { queue, consumer_tag, no_local, no_ack: true, exclusive, no_wait, arguments }
        }
        other => other,
    }
}

#[test]
fn a_publisher_without_pause_leaves_others_of_its_thread_their_turns() {
    let server = Server::on_one_thread();
    let mut publisher = server.channel();
    publisher.call(1, declare("flooded"));
    let mut other = server.channel();
    let stop = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            // Nobody has the queue of this name, so nothing piles up.
            let bytes: Vec<u8> =
                (0..1_000).flat_map(|_| publish("", "nowhere", &Properties::default(), &[0; 100])).collect();
            while !stop.load(Relaxed) {
                publisher.raw(&bytes);
            }
        }
    });
    server.until("the flood", |node| node.stats.bytes_in.load(Relaxed) > 4 << 20);
    for _ in 0..20 {
        let before = server.node.stats.bytes_in.load(Relaxed);
        assert_eq!(other.call(1, declare("flooded")), declared("flooded", 0, 0));
        let flooded = server.node.stats.bytes_in.load(Relaxed) - before;
        // A turn is a quarter of a megabyte. It was hundreds of megabytes.
        assert!(flooded < 64 << 20, "{flooded} bytes were read before the other client had its turn");
    }
    stop.store(true, Relaxed);
    flood.join().unwrap();
}

#[test]
fn a_client_that_does_not_read_while_it_publishes_to_its_own_queue_gets_everything_in_the_end() {
    let server = Server::start();
    let mut client = server.channel();
    client.call(1, declare("q"));
    client.call(1, automatic("q", "c"));
    client.stream.set_write_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let body = vec![7; 32 << 10];
    // Far more than the sockets hold.
    for _ in 0..1_000 {
        client.publish("", "q", &Properties::default(), &body);
    }
    for _ in 0..1_000 {
        assert!(client.receive().body == body);
    }
}

#[test]
fn beyond_the_watermark_publishers_wait_and_nobody_else() {
    let server = Server::with(&["--memory-high-watermark=2mb"]);
    let mut publisher = server.channel();
    publisher.call(1, declare("q"));
    publisher.call(1, Method::ConfirmSelect { no_wait: false });
    let mut writer = publisher.stream.try_clone().unwrap();
    let count = 400;
    let sending = std::thread::spawn(move || {
        for _ in 0..count {
            writer.write_all(&publish("", "q", &Properties::default(), &[1; 16 << 10])).unwrap();
        }
    });
    let mut confirmed = 0;
    loop {
        match publisher.method() {
            Method::BasicAck { delivery_tag, .. } => confirmed = delivery_tag,
            Method::ConnectionBlocked { reason } => break assert_eq!(reason.as_str(), "low on memory"),
            other => panic!("{other:?}"),
        }
    }
    assert!(confirmed < count, "{confirmed} were taken");
    let held = server.node.engine.budget.total();
    assert!(held < 4 << 20, "{held} bytes");
    // Whoever only reads is served, acknowledges, and by that makes room.
    let mut consumer = server.channel();
    consumer.call(1, Method::BasicQos { prefetch_size: 0, prefetch_count: 10, global: false });
    consumer.call(1, consume("q", "c"));
    for tag in 1..=count {
        assert_eq!(consumer.receive().body.len(), 16 << 10, "message {tag}");
        consumer.send(1, Method::BasicAck { delivery_tag: tag, multiple: false });
    }
    let mut unblocked = false;
    while confirmed < count || !unblocked {
        match publisher.method() {
            Method::BasicAck { delivery_tag, .. } => confirmed = delivery_tag,
            Method::ConnectionUnblocked {} => unblocked = true,
            // It may have come to the watermark several times.
            Method::ConnectionBlocked { .. } => unblocked = false,
            other => panic!("{other:?}"),
        }
    }
    sending.join().unwrap();
    server.until("the last acknowledgement", |node| node.engine.broker.queues()[0].counts().unacknowledged == 0);
}

/// The beginning of a message of 16 MiB on a channel.
fn beginning(channel: u16) -> Vec<u8> {
    let publish =
        Method::BasicPublish { exchange: short(""), routing_key: short("q"), mandatory: false, immediate: false };
    let mut whole = Vec::new();
    Encoder::new(&mut whole, 131_072).content(channel, &publish, Properties::default().raw(), &vec![0; 15 << 20]);
    whole.truncate(8 << 20);
    whole
}

#[test]
fn messages_that_are_begun_and_never_ended_have_a_bound() {
    let server = Server::with(&["--memory-high-watermark=32mb"]);
    let mut client = server.channel();
    for channel in 2..=28 {
        assert_eq!(client.call(channel, Method::ChannelOpen {}), Method::ChannelOpenOk {});
    }
    let most = 28 * (8 << 20);
    for channel in 1..=28 {
        // Cut within a body frame only on the last channel that is taken, where the connection ends.
        let mut bytes = beginning(channel);
        let mut whole = 0;
        while whole + 7 <= bytes.len() {
            let length = u32::from_be_bytes(bytes[whole + 3..whole + 7].try_into().unwrap()) as usize + 8;
            if whole + length > bytes.len() {
                break;
            }
            whole += length;
        }
        bytes.truncate(whole);
        if client.stream.write_all(&bytes).is_err() {
            break;
        }
    }
    assert!(most > 2 * (32 << 20));
    if let Some((code, _)) = client.close_reason() {
        assert!([320, 506].contains(&code), "{code}");
    }
    drop(client);
    server.until("the memory's return", |node| node.engine.budget.total() == 0);
}

#[test]
fn a_failed_transaction_leaves_everything_as_it_was() {
    let server = Server::start();
    let mut client = server.channel();
    let mut full = crate::client::declare_with("full", "x-max-length", 1);
    if let Method::QueueDeclare { arguments, .. } = &mut full {
        arguments.insert("x-overflow".try_into().unwrap(), "reject-publish");
    }
    client.call(1, full);
    for queue in ["other", "source"] {
        client.call(1, declare(queue));
    }
    client.publish("", "full", &Properties::default(), b"there already");
    client.publish("", "source", &Properties::default(), b"work");
    client.call(1, Method::TxSelect {});
    client.send(1, crate::client::get("source"));
    assert_eq!(client.receive().body, b"work");
    client.publish("", "other", &Properties::default(), b"result");
    client.publish("", "full", &Properties::default(), b"one too many");
    client.send(1, Method::BasicAck { delivery_tag: 1, multiple: false });
    client.send(1, Method::TxCommit {});
    let reason = "PRECONDITION_FAILED - partial tx completion";
    assert_eq!(client.close_reason(), Some((406, reason.to_owned())));
    let mut after = server.channel();
    assert_eq!(after.call(1, declare("other")), declared("other", 0, 0));
    after.send(1, crate::client::get("source"));
    let again = after.receive();
    assert_eq!(again.body, b"work");
    assert!(matches!(again.method, Method::BasicGetOk { redelivered: true, .. }));
}

#[test]
fn in_a_transaction_an_exchange_that_is_not_there_is_told_at_once() {
    let server = Server::start();
    let mut client = server.channel();
    client.call(1, Method::TxSelect {});
    client.publish("missing", "k", &Properties::default(), b"x");
    let reason = "NOT_FOUND - no exchange 'missing' in vhost '/'";
    assert_eq!(client.close_reason(), Some((404, reason.to_owned())));
}

#[test]
fn a_message_may_be_as_large_as_the_setting_says() {
    let server = Server::with(&["--max-message-size=1mb"]);
    let mut client: Client = server.channel();
    client.call(1, declare("q"));
    client.publish("", "q", &BasicProperties::default().encode(), &vec![0; 1 << 20]);
    assert_eq!(client.call(1, declare("q")), declared("q", 1, 0));
    let bytes = publish("", "q", &Properties::default(), &vec![0; (1 << 20) + 1]);
    _ = client.stream.write_all(&bytes);
    let reason = "PRECONDITION_FAILED - message size 1048577 is larger than configured max size 1048576";
    assert_eq!(client.close_reason(), Some((406, reason.to_owned())));
}
