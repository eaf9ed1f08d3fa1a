use super::*;
use crate::amqp::testing::Random;

fn encoded(method: &Method) -> Bytes {
    let mut out = Vec::new();
    method.encode(&mut out);
    out.into()
}

#[test]
fn names_and_numbers_never_change() {
    let rows: Vec<_> = METHODS.iter().map(|info| (info.class_id, info.method_id, info.name)).collect();
    let literal = [
        (10, 10, "connection.start"),
        (10, 11, "connection.start-ok"),
        (10, 20, "connection.secure"),
        (10, 21, "connection.secure-ok"),
        (10, 30, "connection.tune"),
        (10, 31, "connection.tune-ok"),
        (10, 40, "connection.open"),
        (10, 41, "connection.open-ok"),
        (10, 50, "connection.close"),
        (10, 51, "connection.close-ok"),
        (10, 60, "connection.blocked"),
        (10, 61, "connection.unblocked"),
        (10, 70, "connection.update-secret"),
        (10, 71, "connection.update-secret-ok"),
        (20, 10, "channel.open"),
        (20, 11, "channel.open-ok"),
        (20, 20, "channel.flow"),
        (20, 21, "channel.flow-ok"),
        (20, 40, "channel.close"),
        (20, 41, "channel.close-ok"),
        (30, 10, "access.request"),
        (30, 11, "access.request-ok"),
        (40, 10, "exchange.declare"),
        (40, 11, "exchange.declare-ok"),
        (40, 20, "exchange.delete"),
        (40, 21, "exchange.delete-ok"),
        (40, 30, "exchange.bind"),
        (40, 31, "exchange.bind-ok"),
        (40, 40, "exchange.unbind"),
        (40, 51, "exchange.unbind-ok"),
        (50, 10, "queue.declare"),
        (50, 11, "queue.declare-ok"),
        (50, 20, "queue.bind"),
        (50, 21, "queue.bind-ok"),
        (50, 30, "queue.purge"),
        (50, 31, "queue.purge-ok"),
        (50, 40, "queue.delete"),
        (50, 41, "queue.delete-ok"),
        (50, 50, "queue.unbind"),
        (50, 51, "queue.unbind-ok"),
        (60, 10, "basic.qos"),
        (60, 11, "basic.qos-ok"),
        (60, 20, "basic.consume"),
        (60, 21, "basic.consume-ok"),
        (60, 30, "basic.cancel"),
        (60, 31, "basic.cancel-ok"),
        (60, 40, "basic.publish"),
        (60, 50, "basic.return"),
        (60, 60, "basic.deliver"),
        (60, 70, "basic.get"),
        (60, 71, "basic.get-ok"),
        (60, 72, "basic.get-empty"),
        (60, 80, "basic.ack"),
        (60, 90, "basic.reject"),
        (60, 100, "basic.recover-async"),
        (60, 110, "basic.recover"),
        (60, 111, "basic.recover-ok"),
        (60, 120, "basic.nack"),
        (85, 10, "confirm.select"),
        (85, 11, "confirm.select-ok"),
        (90, 10, "tx.select"),
        (90, 11, "tx.select-ok"),
        (90, 20, "tx.commit"),
        (90, 21, "tx.commit-ok"),
        (90, 30, "tx.rollback"),
        (90, 31, "tx.rollback-ok"),
    ];
    assert_eq!(rows, literal);
}

#[test]
fn variants_are_named_as_their_methods() {
    let camel = |name: &str| -> String {
        let words = name.split(['.', '-']);
        words.map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..])).collect()
    };
    let methods = arbitrary(&mut Random::from_environment());
    assert_eq!(methods.len(), METHODS.len());
    for (method, info) in methods.iter().zip(METHODS) {
        assert_eq!(method.info(), info);
        let debug = format!("{method:?}");
        assert_eq!(debug.split(' ').next(), Some(&*camel(info.name)));
    }
}

#[test]
fn replies_follow_their_requests() {
    for info in METHODS.iter().filter(|info| info.name.ends_with("-ok") || info.name == "basic.get-empty") {
        assert_eq!(info.synchrony, Synchrony::Reply, "{}", info.name);
        let request = info.name.trim_end_matches("-ok").trim_end_matches("-empty");
        let request = METHODS.iter().find(|info| info.name == request).unwrap();
        assert_eq!(request.synchrony, Synchrony::Request, "{}", request.name);
    }
    let requests = METHODS.iter().filter(|info| info.synchrony == Synchrony::Request).count();
    let replies = METHODS.iter().filter(|info| info.synchrony == Synchrony::Reply).count();
    assert_eq!(requests + 1, replies, "every request has one reply, basic.get has two");
}

#[test]
fn content_follows_four_methods() {
    let names: Vec<_> = METHODS.iter().filter(|info| info.content == Content::Follows).map(|info| info.name).collect();
    assert_eq!(names, ["basic.publish", "basic.return", "basic.deliver", "basic.get-ok"]);
}

#[test]
fn every_method_round_trips() {
    let mut random = Random::from_environment();
    for _ in 0..500 {
        for method in arbitrary(&mut random) {
            assert_eq!(Method::decode(&encoded(&method)), Ok(method));
        }
    }
}

#[test]
fn half_a_method_is_an_error_at_every_offset() {
    let mut random = Random::from_environment();
    for method in arbitrary(&mut random) {
        let whole = encoded(&method);
        assert_eq!(Method::ids(&whole), (method.info().class_id, method.info().method_id));
        for end in 0..whole.len() {
            let error = Method::decode(&whole.slice(..end)).unwrap_err();
            assert_eq!(error.reply_code().code(), 501, "{} cut at {end}: {error}", method.name());
        }
        let longer = Bytes::from([&whole[..], b"\0"].concat());
        assert_eq!(Method::decode(&longer), Err(Error::MethodFields { method: method.name() }));
    }
}

#[test]
fn garbage_is_an_error_or_a_method_that_round_trips() {
    let mut random = Random::from_environment();
    for _ in 0..20_000 {
        let info = &METHODS[random.below(METHODS.len())];
        let ids = [info.class_id.to_be_bytes(), info.method_id.to_be_bytes()].concat();
        let payload = Bytes::from([ids, random.bytes(48)].concat());
        if let Ok(method) = Method::decode(&payload) {
            assert_eq!(method.info(), info);
            // Compared as bytes, for a NaN in a table does not equal itself.
            let first = encoded(&method);
            assert_eq!(encoded(&Method::decode(&first).unwrap()), first);
        }
    }
}

#[test]
fn unknown_methods_are_refused() {
    for (class_id, method_id) in [(0, 0), (10, 12), (40, 41), (60, 121), (85, 20), (110, 10), (65535, 65535)] {
        let payload = Bytes::from([class_id, method_id].map(u16::to_be_bytes).concat());
        let error = Method::decode(&payload).unwrap_err();
        assert_eq!(error, Error::UnknownMethod { class_id, method_id });
        assert_eq!(error.reply_code().code(), 503);
    }
}

#[test]
fn a_length_of_a_gigabyte_is_refused_without_memory() {
    let secure_ok = Bytes::from_static(&[0, 10, 0, 21, 0x40, 0, 0, 0, b'x']);
    assert_eq!(Method::decode(&secure_ok), Err(Error::MethodFields { method: "connection.secure-ok" }));
    let start_ok = Bytes::from_static(&[0, 10, 0, 11, 0x40, 0, 0, 0, b'x']);
    assert_eq!(Method::decode(&start_ok), Err(Error::MethodFields { method: "connection.start-ok" }));
}

#[test]
fn malformed_utf8_in_a_name_is_a_frame_error() {
    let payload = Bytes::from_static(&[0, 60, 0, 40, 0, 0, 2, 0xc3, 0x28, 0, 0]);
    let error = Method::decode(&payload).unwrap_err();
    assert_eq!(error, Error::ShortStringUtf8 { method: "basic.publish" });
    assert_eq!(error.reply_code().code(), 501);
}

#[test]
fn publish_is_what_clients_send() {
    // As pika writes basic.publish(exchange="amq.topic", routing_key="a.b", mandatory=True).
    let payload = Bytes::from_static(b"\x00\x3c\x00\x28\x00\x00\x09amq.topic\x03a.b\x01");
    let method = Method::BasicPublish {
        exchange: ShortString::from_static("amq.topic"),
        routing_key: ShortString::from_static("a.b"),
        mandatory: true,
        immediate: false,
    };
    assert_eq!(Method::decode(&payload), Ok(method.clone()));
    assert_eq!(encoded(&method), payload);
}

#[test]
fn reserved_fields_are_ignored_and_written_empty() {
    let payload = Bytes::from_static(b"\x00\x0a\x00\x28\x01/\x03old\x01");
    let method = Method::ConnectionOpen { virtual_host: ShortString::from_static("/") };
    assert_eq!(Method::decode(&payload), Ok(method.clone()));
    assert_eq!(encoded(&method), Bytes::from_static(b"\x00\x0a\x00\x28\x01/\x00\x00"));
    let ticket = Bytes::from_static(b"\x00\x32\x00\x1e\x00\x01\x01q\x01");
    let purge = Method::QueuePurge { queue: ShortString::from_static("q"), no_wait: true };
    assert_eq!(Method::decode(&ticket), Ok(purge));
}

#[test]
fn bits_are_packed_in_the_order_of_the_fields() {
    let declare = Method::QueueDeclare {
        queue: ShortString::default(),
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: true,
        no_wait: true,
        arguments: FieldTable::new(),
    };
    assert_eq!(encoded(&declare), Bytes::from_static(b"\x00\x32\x00\x0a\x00\x00\x00\x1a\x00\x00\x00\x00"));
}

#[test]
fn names_share_the_frame() {
    let payload = encoded(&Method::BasicGet { queue: ShortString::from_static("some-queue"), no_ack: true });
    let Ok(Method::BasicGet { queue, .. }) = Method::decode(&payload) else { panic!("no basic.get") };
    assert_eq!(queue.as_bytes().as_ptr(), payload[7..].as_ptr());
    assert_ne!(queue.detached().as_bytes().as_ptr(), queue.as_bytes().as_ptr());
}

/// Another implementation is the judge: the same fields make the same bytes, and the bytes the same fields.
#[test]
fn every_method_is_what_pika_writes() {
    let transcript = include_str!("pika.test");
    let mut names = Vec::new();
    for block in transcript.split("\n\n").skip(1) {
        let (expected, hex) = block.trim_end().split_once("\n----\n").unwrap();
        let octets = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        let payload: Bytes = octets.collect::<Vec<u8>>().into();
        let method = Method::decode(&payload).unwrap();
        assert_eq!(format!("{method:?}"), expected);
        assert_eq!(encoded(&method), payload, "{expected}");
        names.push(method.name());
    }
    let all: Vec<_> = METHODS.iter().map(|info| info.name).collect();
    assert_eq!(names, all);
}
