//! Virtual hosts, permissions and policies, as AMQP clients meet them.

use tercet_node::accounts::{Change, Permissions, Policy, PolicyKind, User, Vhost};
use tercet_proto::amqp::{BasicProperties, FieldTable, Method, PROTOCOL_HEADER, Properties};

use crate::client::{Client, Server, bind, consume, declare, declared, exchange, get, short, start_ok};

fn change(server: &Server, change: Change) {
    let engine = &server.node.engine;
    engine.accounts.change(&engine.journal, &[change]);
    server.node.publish();
}

/// A user `anna` with these permissions in `vhost`.
fn anna(server: &Server, vhost: &str, [configure, write, read]: [&str; 3]) {
    let mut user = User::new("anna");
    user.set_password(b"pw", [1, 2, 3, 4]);
    change(server, Change::SetUser(user));
    let permissions = Permissions { configure: configure.into(), write: write.into(), read: read.into() };
    change(server, Change::SetPermissions { user: "anna".into(), vhost: vhost.into(), permissions });
}

/// Logs in as `anna` and opens channel 1, or says what came instead.
fn log_in(server: &Server, vhost: &str) -> Result<Client, Box<Method>> {
    let mut client = Client::connect(server.address);
    client.raw(&PROTOCOL_HEADER);
    client.method();
    assert!(matches!(client.call(0, start_ok("PLAIN", b"\0anna\0pw")), Method::ConnectionTune { .. }));
    client.send(0, Method::ConnectionTuneOk { channel_max: 2047, frame_max: 131_072, heartbeat: 0 });
    match client.call(0, Method::ConnectionOpen { virtual_host: short(vhost) }) {
        Method::ConnectionOpenOk {} => {
            assert_eq!(client.call(1, Method::ChannelOpen {}), Method::ChannelOpenOk {});
            Ok(client)
        }
        other => Err(Box::new(other)),
    }
}

fn refused(client: &mut Client, right: &str, resource: &str) {
    let text = format!("ACCESS_REFUSED - {right} access to {resource} in vhost '/' refused for user 'anna'");
    assert_eq!(client.close_reason(), Some((403, text)));
}

#[test]
fn virtual_hosts_are_apart_and_one_that_is_not_there_is_not_opened() {
    let server = Server::start();
    change(&server, Change::SetVhost { name: "v".into(), vhost: Vhost::default() });
    anna(&server, "v", [".*", ".*", ".*"]);
    let mut inside = log_in(&server, "v").expect("it is opened");
    assert_eq!(inside.call(1, declare("q")), declared("q", 0, 0));
    assert_eq!(inside.call(1, bind("q", "amq.topic", "a.#")), Method::QueueBindOk {});
    inside.publish("amq.topic", "a.b", &Properties::default(), b"x");
    assert_eq!(inside.call(1, declare("q")), declared("q", 1, 0));
    let mut outside = server.channel();
    assert_eq!(outside.call(1, declare("q")), declared("q", 0, 0));
    for vhost in ["/", "nowhere"] {
        let Err(refused) = log_in(&server, vhost) else { panic!("{vhost} was opened") };
        assert!(matches!(*refused, Method::ConnectionClose { reply_code: 530, .. }), "{refused:?}");
    }
}

#[test]
fn what_a_user_may_not_do_is_refused_and_changes_count_at_once() {
    let server = Server::start();
    let mut owner = server.channel();
    for queue in ["mine-1", "other"] {
        owner.call(1, declare(queue));
    }
    anna(&server, "/", ["^mine-", "^mine-|^amq.default$", "^mine-"]);
    let mut client = log_in(&server, "/").expect("it is opened");
    assert_eq!(client.call(1, declare("mine-1")), declared("mine-1", 0, 0));
    client.publish("", "mine-1", &Properties::default(), b"x");
    client.send(1, get("mine-1"));
    assert_eq!(client.receive().body, b"x");
    client.send(1, declare("another"));
    refused(&mut client, "configure", "queue 'another'");
    let mut client = log_in(&server, "/").expect("it is opened");
    client.send(1, consume("other", "c"));
    refused(&mut client, "read", "queue 'other'");
    let mut client = log_in(&server, "/").expect("it is opened");
    client.publish("amq.fanout", "", &Properties::default(), b"x");
    refused(&mut client, "write", "exchange 'amq.fanout'");
    let mut client = log_in(&server, "/").expect("it is opened");
    client.send(1, exchange("x", "fanout"));
    refused(&mut client, "configure", "exchange 'x'");
    let mut client = log_in(&server, "/").expect("it is opened");
    client.call(1, declare("mine-1"));
    anna(&server, "/", ["^$", "^$", "^$"]);
    client.send(1, declare("mine-1"));
    refused(&mut client, "configure", "queue 'mine-1'");
}

#[test]
fn a_policy_is_followed_by_a_queue_that_lives() {
    let server = Server::start();
    let mut client = server.channel();
    client.call(1, declare("q"));
    let mut definition = Vec::new();
    let table: FieldTable = [("max-length".try_into().unwrap(), 2.into())].into_iter().collect();
    table.encode(&mut definition);
    let policy = Policy { pattern: "^q".into(), apply_to: "queues".into(), priority: 0, definition };
    change(&server, Change::SetPolicy { vhost: "/".into(), kind: PolicyKind::User, name: "short".into(), policy });
    server.until("the policy", |node| node.engine.broker.queues()[0].policies().policy.is_some());
    for _ in 0..5 {
        client.publish("", "q", &Properties::default(), b"x");
    }
    assert_eq!(client.call(1, declare("q")), declared("q", 2, 0));
}

#[test]
fn replies_come_to_the_channel_that_asked() {
    let server = Server::start();
    let mut responder = server.channel();
    responder.call(1, declare("requests"));
    responder.call(1, consume("requests", "r"));
    let mut client = server.channel();
    let reply_to = "amq.rabbitmq.reply-to";
    client.send(1, consume(reply_to, "c"));
    let reason = "PRECONDITION_FAILED - reply consumer cannot acknowledge";
    assert_eq!(client.close_reason(), Some((406, reason.to_owned())));
    let mut client = server.channel();
    let automatic = match consume(reply_to, "c") {
        Method::BasicConsume { queue, consumer_tag, no_local, exclusive, no_wait, arguments, .. } => {
            Method::BasicConsume { queue, consumer_tag, no_local, no_ack: true, exclusive, no_wait, arguments }
        }
        other => other,
    };
    assert_eq!(client.call(1, automatic), Method::BasicConsumeOk { consumer_tag: short("c") });
    let properties =
        BasicProperties { reply_to: Some(reply_to.try_into().unwrap()), ..BasicProperties::default() }.encode();
    client.publish("", "requests", &properties, b"question");
    assert_eq!(responder.receive().body, b"question");
    let name = server.node.engine.broker.queues().into_iter().map(|queue| queue.name.to_string());
    let name = name.into_iter().find(|name| name.starts_with("amq.rabbitmq.reply-to.")).unwrap();
    responder.publish("", &name, &Properties::default(), b"answer");
    assert_eq!(client.receive().body, b"answer");
    let mut nobody = server.channel();
    nobody.publish("", "requests", &properties, b"question");
    let reason = "PRECONDITION_FAILED - fast reply consumer does not exist";
    assert_eq!(nobody.close_reason(), Some((406, reason.to_owned())));
}

#[test]
fn a_new_secret_is_taken() {
    let server = Server::start();
    let mut client = server.client();
    let update = Method::ConnectionUpdateSecret { new_secret: b"new".to_vec().into(), reason: short("it is time") };
    assert_eq!(client.call(0, update), Method::ConnectionUpdateSecretOk {});
}
