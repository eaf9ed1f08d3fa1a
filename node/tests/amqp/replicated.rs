//! What waits for the commit offset, and what happens when a mastership ends.

use tercet_node::ids::Offset;
use tercet_node::role::Role;
use tercet_proto::amqp::{BasicProperties, Method, Properties};

use crate::client::{Client, Server, consume, declare, declare_durable, declared};

fn persistent() -> Properties {
    BasicProperties { delivery_mode: Some(2), ..BasicProperties::default() }.encode()
}

/// A node whose records are committed only when the test says so, with a durable queue.
fn replicated() -> (Server, Client) {
    let server = Server::with(&["--ack", "replicated"]);
    let mut client = server.channel();
    client.send(1, declare_durable("q"));
    assert!(client.is_silent(), "declare-ok waits for its record");
    server.node.gate.advance(server.node.engine.journal.end());
    assert_eq!(client.method(), declared("q", 0, 0));
    client.call(1, Method::ConfirmSelect { no_wait: false });
    (server, client)
}

#[test]
fn a_persistent_message_is_confirmed_once_its_record_is_committed() {
    let (server, mut client) = replicated();
    client.publish("", "q", &persistent(), b"1");
    assert!(client.is_silent());
    server.node.gate.advance(server.node.engine.journal.end());
    assert_eq!(client.method(), Method::BasicAck { delivery_tag: 1, multiple: false });
    client.publish("", "q", &Properties::default(), b"2");
    assert_eq!(client.method(), Method::BasicAck { delivery_tag: 2, multiple: false });
}

#[test]
fn a_persistent_message_is_delivered_once_its_record_is_committed() {
    let (server, mut publisher) = replicated();
    let mut consumer = server.channel();
    consumer.call(1, consume("q", "c"));
    publisher.publish("", "q", &persistent(), b"1");
    server.until("the record", |node| node.engine.journal.end() == Offset(2));
    assert!(consumer.is_silent());
    server.node.gate.advance(Offset(2));
    assert_eq!(consumer.receive().body, b"1");
}

#[test]
fn reading_goes_on_while_confirms_wait() {
    let (server, mut client) = replicated();
    for records in [6, 11] {
        (0..5).for_each(|_| client.publish("", "q", &persistent(), b"x"));
        server.until("five records more", |node| node.engine.journal.end() == Offset(records));
    }
    server.node.gate.advance(Offset(6));
    let mut confirmed = 0;
    while confirmed < 5 {
        let Method::BasicAck { delivery_tag, .. } = client.method() else { panic!("no confirm") };
        confirmed = delivery_tag;
    }
    assert_eq!(confirmed, 5, "and not one more");
    assert!(client.is_silent());
}

#[test]
fn a_deposed_master_says_so_and_confirms_nothing() {
    let (server, mut client) = replicated();
    client.publish("", "q", &persistent(), b"unknown fate");
    server.until("the record", |node| node.engine.journal.end() == Offset(2));
    server.node.authority.change(|standing| standing.role = Role::Deposed);
    server.node.gate.depose(Offset(100));
    let Method::ConnectionClose { reply_code, reply_text, .. } = client.method() else { panic!("no close") };
    assert_eq!((reply_code, reply_text.as_str()), (320, "CONNECTION_FORCED - this node is no longer the master"));
    client.send(0, Method::ConnectionCloseOk {});
    assert!(client.frame().is_none());
}

#[test]
fn clients_are_told_to_wait_while_replicas_are_missing() {
    let server = Server::start();
    let mut client = server.channel();
    server.node.authority.change(|standing| standing.min_isr = 2);
    client.send(1, declare("q"));
    assert!(matches!(client.method(), Method::ConnectionBlocked { .. }));
    assert!(client.is_silent());
    server.node.authority.change(|standing| standing.min_isr = 1);
    assert_eq!(client.method(), Method::ConnectionUnblocked {});
    assert_eq!(client.method(), declared("q", 0, 0));
}

#[test]
fn a_connection_that_ends_while_nobody_knows_who_is_master_is_cleared_up_later() {
    let server = Server::start();
    let mut client = server.channel();
    client.call(1, declare("q"));
    client.publish("", "q", &Properties::default(), b"m");
    client.call(1, consume("q", "c"));
    client.receive();
    server.node.authority.change(|standing| standing.hold = tercet_node::role::Hold::Held);
    drop(client);
    server.until("the end of the connection", |node| node.clients.is_empty());
    assert_eq!(server.node.engine.broker.queues()[0].counts().unacknowledged, 1);
    server.node.authority.change(|standing| standing.hold = tercet_node::role::Hold::Released);
    server.until("the return of the message", |node| node.engine.broker.queues()[0].counts().ready == 1);
}

#[test]
fn a_node_that_is_master_again_serves_again() {
    let server = Server::start();
    let mut before = server.channel();
    for role in [Role::Deposed, Role::Replica, Role::Master] {
        server.node.authority.change(|standing| standing.role = role);
        if role == Role::Deposed {
            assert_eq!(before.close_reason().map(|(code, _)| code), Some(320));
        }
    }
    assert_eq!(server.channel().call(1, declare("q")), declared("q", 0, 0));
}
