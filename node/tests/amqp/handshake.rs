//! The beginning and the end of connections, and bytes that are no protocol.

use std::io::Read as _;
use std::time::{Duration, Instant};

use tercet_proto::amqp::{Encoder, FieldValue, FrameKind, Method, PROTOCOL_HEADER};

use crate::client::{Client, Server, declare, declared, short, start_ok};

fn started(server: &Server) -> Client {
    let mut client = Client::connect(server.address);
    client.raw(&PROTOCOL_HEADER);
    client.method();
    client
}

#[test]
fn start_names_what_clients_branch_on() {
    let server = Server::start();
    let mut client = Client::connect(server.address);
    client.raw(&PROTOCOL_HEADER);
    let Method::ConnectionStart { server_properties, mechanisms, locales, .. } = client.method() else {
        panic!("no start")
    };
    assert_eq!((&mechanisms[..], &locales[..]), (&b"PLAIN AMQPLAIN"[..], &b"en_US"[..]));
    assert_eq!(server_properties.get("product").and_then(FieldValue::as_str), Some("RabbitMQ"));
    let capabilities = server_properties.get("capabilities").and_then(FieldValue::as_table).unwrap();
    assert_eq!(capabilities.get("publisher_confirms").and_then(FieldValue::as_bool), Some(true));
}

#[test]
fn another_protocol_is_told_ours_and_closed() {
    let server = Server::start();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"AMQP\x00\x01\x00\x00", &[0xFF; 100]] {
        let mut client = Client::connect(server.address);
        client.raw(garbage);
        let mut answer = Vec::new();
        _ = client.stream.read_to_end(&mut answer);
        assert_eq!(answer, PROTOCOL_HEADER);
    }
}

#[test]
fn a_wrong_login_is_told_to_who_understands_and_dropped_otherwise() {
    let server = Server::with(&["--requirepass", "secret"]);
    let refused = |mechanism: &str| {
        let text = format!(
            "ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. For details see the broker \
             logfile."
        );
        Some((403, text))
    };
    let mut client = started(&server);
    client.send(0, start_ok("PLAIN", b"\0guest\0guest"));
    assert_eq!(client.close_reason(), refused("PLAIN"));
    let mut client = started(&server);
    client.send(0, start_ok("AMQPLAIN", b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x01x"));
    assert_eq!(client.close_reason(), refused("AMQPLAIN"));

    let mut client = started(&server);
    let Method::ConnectionStartOk { mechanism, response, locale, .. } = start_ok("PLAIN", b"\0guest\0guest") else {
        unreachable!()
    };
    client.send(0, Method::ConnectionStartOk { client_properties: Default::default(), mechanism, response, locale });
    assert_eq!(client.close_reason(), None);

    let mut client = started(&server);
    client.send(0, start_ok("PLAIN", b"\0guest\0secret"));
    assert!(matches!(client.method(), Method::ConnectionTune { .. }));
}

#[test]
fn wrong_steps_are_answered_with_their_codes() {
    let server = Server::start();
    let tune_ok = |frame_max| Method::ConnectionTuneOk { channel_max: 2047, frame_max, heartbeat: 0 };
    let open = |vhost| Method::ConnectionOpen { virtual_host: short(vhost) };
    let login = start_ok("PLAIN", b"\0guest\0guest");
    let table: Vec<(Vec<Method>, u16, &str)> = vec![
        (vec![start_ok("SCRAM", b"")], 503, "COMMAND_INVALID - unknown authentication mechanism 'SCRAM'"),
        (vec![start_ok("PLAIN", b"garbage")], 502, "SYNTAX_ERROR - cannot read the response of PLAIN"),
        (vec![open("/")], 504, "CHANNEL_ERROR - unexpected method in connection state starting"),
        (vec![login.clone(), open("/")], 504, "CHANNEL_ERROR - unexpected method in connection state tuning"),
        (
            vec![login.clone(), tune_ok(200_000)],
            530,
            "NOT_ALLOWED - negotiated frame_max = 200000 is higher than the maximum allowed value (131072)",
        ),
        (
            vec![login.clone(), tune_ok(4095)],
            530,
            "NOT_ALLOWED - negotiated frame_max = 4095 is lower than the minimum allowed value (4096)",
        ),
        (vec![login, tune_ok(8192), open("nope")], 530, "NOT_ALLOWED - vhost nope not found"),
    ];
    for (methods, code, text) in table {
        let mut client = started(&server);
        methods.into_iter().for_each(|method| client.send(0, method));
        assert_eq!(client.close_reason(), Some((code, text.to_owned())));
    }
}

#[test]
fn broken_frames_close_the_connection_with_a_reason() {
    let server = Server::start();
    let table: [(&[u8], u16, &str); 5] = [
        (b"\x01\0\0\0\0\0\x04abcd\xcd", 501, "FRAME_ERROR - frame ends with octet 205 and not with 206"),
        (b"\x09\0\0\0\0\0\0\xce", 501, "FRAME_ERROR - unknown frame type 9"),
        (
            b"\x01\0\x01\x40\0\0\0",
            501,
            "FRAME_ERROR - frame payload of 1073741824 bytes on channel 1 is larger than frame_max 131072 allows",
        ),
        (b"\x01\0\0\0\0\0\x04\0\x63\0\x63\xce", 503, "COMMAND_INVALID - unknown method 99 of class 99"),
        (b"\x03\0\0\0\0\0\x01x\xce", 505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead"),
    ];
    for (bytes, code, text) in table {
        let mut client = server.client();
        client.raw(bytes);
        assert_eq!(client.close_reason(), Some((code, text.to_owned())));
    }
    // The rest is unharmed.
    assert_eq!(server.channel().call(1, declare("q")), declared("q", 0, 0));
}

#[test]
fn frames_may_come_in_any_pieces() {
    let server = Server::start();
    let mut client = Client::connect(server.address);
    let mut bytes = PROTOCOL_HEADER.to_vec();
    let methods = [
        (0, start_ok("PLAIN", b"\0guest\0guest")),
        (0, Method::ConnectionTuneOk { channel_max: 10, frame_max: 8192, heartbeat: 0 }),
        (0, Method::ConnectionOpen { virtual_host: short("/") }),
        (3, Method::ChannelOpen {}),
        (3, declare("pieces")),
    ];
    for (channel, method) in methods {
        Encoder::new(&mut bytes, 8192).method(channel, &method);
    }
    bytes.chunks(1).for_each(|byte| client.raw(byte));
    let names: Vec<_> = (0..5).map(|_| client.method().name()).collect();
    let expected = ["connection.start", "connection.tune", "connection.open-ok", "channel.open-ok", "queue.declare-ok"];
    assert_eq!(names, expected);
}

#[test]
fn heartbeats_are_sent_and_a_client_without_them_is_dropped() {
    let server = Server::start();
    let mut client = Client::open(server.address, 1);
    let begin = Instant::now();
    let mut beats = 0;
    while let Some(frame) = client.frame() {
        assert_eq!(frame.kind, FrameKind::Heartbeat);
        beats += 1;
    }
    let took = begin.elapsed();
    assert!(beats >= 2, "{beats} heartbeats");
    assert!(took >= Duration::from_millis(1900) && took < Duration::from_secs(5), "dropped after {took:?}");
}

#[test]
fn close_is_answered_and_the_socket_ends() {
    let server = Server::start();
    let mut client = server.channel();
    let close = Method::ConnectionClose { reply_code: 200, reply_text: short("bye"), class_id: 0, method_id: 0 };
    assert_eq!(client.call(0, close), Method::ConnectionCloseOk {});
    assert!(client.frame().is_none());
    server.until("the end of the connection", |node| node.clients.is_empty());
}

#[test]
fn channels_are_counted() {
    let server = Server::start();
    let mut client = Client::connect(server.address);
    client.raw(&PROTOCOL_HEADER);
    client.method();
    client.call(0, start_ok("PLAIN", b"\0guest\0guest"));
    client.send(0, Method::ConnectionTuneOk { channel_max: 2, frame_max: 8192, heartbeat: 0 });
    client.call(0, Method::ConnectionOpen { virtual_host: short("/") });
    for channel in [1, 2] {
        assert_eq!(client.call(channel, Method::ChannelOpen {}), Method::ChannelOpenOk {});
    }
    client.send(3, Method::ChannelOpen {});
    let text = "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)";
    assert_eq!(client.close_reason(), Some((530, text.to_owned())));
}

#[test]
fn the_smallest_frames_that_the_protocol_allows_will_do() {
    let server = Server::start();
    let mut client = started(&server);
    client.send(0, start_ok("PLAIN", b"\0guest\0guest"));
    assert!(matches!(client.method(), Method::ConnectionTune { .. }));
    client.send(0, Method::ConnectionTuneOk { channel_max: 2047, frame_max: 4096, heartbeat: 0 });
    assert_eq!(client.call(0, Method::ConnectionOpen { virtual_host: short("/") }), Method::ConnectionOpenOk {});
    client.call(1, Method::ChannelOpen {});
    assert_eq!(client.call(1, declare("q")), declared("q", 0, 0));
}
