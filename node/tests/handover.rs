//! Does a planned hand-over cost a Redis client anything? Nodes in this process, real connections, a fake sentinel.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::time::Duration;

use support::resp::{Client, commit, hand_over, pair, prepare};
use support::sentinel::{self, FakeSentinel};
use support::{bounded, until};
use tercet_node::drain::drain;
use tercet_node::role::Role;
use tercet_proto::resp::Value;
use tokio::io::AsyncWriteExt;

/// Format 1, RESP 2, database 0, authenticated, no names, nothing queued.
const SESSION: &str = "\u{1}\u{2}\0\u{1}\0\0\0\0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_is_executed_by_the_new_master() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let mut client = Client::connect(n1.address).await;
    assert_eq!(client.call(&["INCR", "n"]).await, "1");
    prepare(&sentinel, &n1, &n2, 2000).await;
    client.send(&["INCR", "n"]).await;
    client.send(&["PING"]).await;
    client.send(&["GET", "n"]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(n1.get("n").as_deref(), Some("1"), "it is held");
    commit(&sentinel, &n1, &n2).await;
    assert_eq!([client.text().await, client.text().await, client.text().await], ["2", "PONG", "2"]);
    assert_eq!(n2.get("n").as_deref(), Some("2"));
    assert_eq!(client.call(&["INCR", "n"]).await, "3", "and so is what comes later");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_is_executed_here_if_nobody_takes_over() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let mut client = Client::connect(n1.address).await;
    prepare(&sentinel, &n1, &n2, 100).await;
    assert_eq!(client.call(&["SET", "key", "value"]).await, "OK");
    assert_eq!(n1.get("key").as_deref(), Some("value"));
    assert_eq!((n1.role(), n2.node.node.clients.len()), (Role::Master, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_with_everything_that_it_was_told() {
    let sentinel = FakeSentinel::start(1).await;
    let password: &[&str] = &["--requirepass", "secret"];
    let (n1, n2) = pair(&sentinel, [password, password]).await;
    let mut client = Client::connect(n1.address).await;
    client.call(&["HELLO", "3", "AUTH", "default", "secret", "SETNAME", "bob"]).await;
    client.call(&["CLIENT", "SETINFO", "LIB-NAME", "lib"]).await;
    client.call(&["SELECT", "7"]).await;
    hand_over(&sentinel, &n1, &n2).await;
    assert_eq!(client.call(&["CLIENT", "GETNAME"]).await, "bob");
    assert_eq!(client.call(&["GET", "nothing"]).await, "nil");
    let info = client.call(&["CLIENT", "INFO"]).await;
    assert!(info.contains("db=7") && info.contains("resp=3") && info.contains("lib-name=lib"), "{info}");
    client.send(&["CONFIG", "GET", "maxmemory"]).await;
    assert!(matches!(client.reply().await, Some(Value::Map(_))), "RESP3 has maps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_not_authenticated_is_not_so_afterwards() {
    let sentinel = FakeSentinel::start(1).await;
    let password: &[&str] = &["--requirepass", "secret"];
    let (n1, n2) = pair(&sentinel, [password, password]).await;
    let mut client = Client::connect(n1.address).await;
    assert!(client.call(&["GET", "key"]).await.starts_with("NOAUTH"));
    hand_over(&sentinel, &n1, &n2).await;
    assert!(client.call(&["GET", "key"]).await.starts_with("NOAUTH"));
    assert_eq!(client.call(&["AUTH", "secret"]).await, "OK");
    assert_eq!(client.call(&["SET", "key", "value"]).await, "OK");
    hand_over(&sentinel, &n2, &n1).await;
    assert_eq!(client.call(&["GET", "key"]).await, "value", "what it said there counts here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_with_another_password_takes_nobody_up() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&["--requirepass", "old"], &["--requirepass", "new"]]).await;
    let mut client = Client::connect(n1.address).await;
    assert_eq!(client.call(&["AUTH", "old"]).await, "OK");
    hand_over(&sentinel, &n1, &n2).await;
    assert_eq!(client.call(&["SET", "key", "value"]).await, "closed");
    assert_eq!(n2.get("key"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_carried_to_a_former_master_comes_back_and_is_not_carried_on() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    // As n2 would call, had it not learnt yet that n1 is master no longer.
    let mut carrier = Client::connect(n1.address).await;
    until("it is accepted", || n1.node.node.clients.len() == 1).await;
    hand_over(&sentinel, &n1, &n2).await;
    n1.is_up_to_date().await;
    carrier.stream.write_all(b"*4\r\n$12\r\nterc").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let rest = "et.carry\r\n$1\r\n1\r\n$5\r\nhello\r\n$32\r\n07070707070707070707070707070707\r\n";
    carrier.stream.write_all(rest.as_bytes()).await.unwrap();
    assert_eq!(carrier.welcomed(1, "", SESSION).await, "CARRIED");
    carrier.send(&["INCR", "n"]).await;
    carrier.stream.shutdown().await.unwrap();
    let mut frame = Vec::new();
    bounded(tokio::io::AsyncReadExt::read_to_end(&mut carrier.stream, &mut frame)).await.unwrap();
    assert_eq!(frame[0], b'S');
    assert!(frame.ends_with(&Value::command(&["INCR", "n"])), "{}", frame.escape_ascii());
    assert_eq!((n2.get("n"), n2.node.node.clients.len()), (None, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_becomes_authenticated_by_saying_so() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &["--requirepass", "secret"]]).await;
    let nonce = "07070707070707070707070707070707";
    // Without a proof, with a wrong one, with one over another password, in another order, with what is no nonce.
    let refused: [&[&[&str]]; 4] = [
        &[&["1", "hello", nonce], &["1", "session", SESSION]],
        &[&["1", "hello", nonce], &["1", "proof", &"00".repeat(32)]],
        &[&["1", "proof", &"00".repeat(32)]],
        &[&["1", "hello", "7"]],
    ];
    for attempt in refused {
        let mut client = Client::connect(n2.address).await;
        let mut reply = String::new();
        for words in attempt {
            reply = client.call(&[&["tercet.carry"], *words].concat()).await;
        }
        assert!(reply.starts_with("NOAUTH") || reply.starts_with("ERR"), "{attempt:?}: {reply}");
        assert_eq!(client.text().await, "closed");
    }
    let mut client = Client::connect(n2.address).await;
    assert!(client.carry(1, "another password", SESSION).await.starts_with("NOAUTH"));
    let mut client = Client::connect(n2.address).await;
    assert_eq!(client.carry(1, "secret", SESSION).await, "CARRIED");
    drop(n1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_master_is_told_no_password_and_given_no_session() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&["--requirepass", "secret"], &["--requirepass", "secret"]]).await;
    let mut client = Client::connect(n1.address).await;
    assert_eq!(client.call(&["AUTH", "secret"]).await, "OK");
    // Somebody listens where the next master is said to be, and answers whatever is asked.
    let forged = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = u32::from(forged.local_addr().unwrap().port());
    let address = tercet_proto::grpc::cluster::v1::Address { host: "127.0.0.1".to_owned(), port };
    let member = tercet_proto::grpc::cluster::v1::Member { resp: Some(address), ..n2.member() };
    prepare(&sentinel, &n1, &n2, 2000).await;
    bounded(sentinel.lead(&n2, &[&n1, &n2], vec![n1.member(), member])).await;
    client.send(&["SET", "key", "value"]).await;
    let (mut caller, _) = bounded(forged.accept()).await.unwrap();
    let welcome = format!("+{} {}\r\n", "00".repeat(16), "00".repeat(32));
    caller.write_all(welcome.as_bytes()).await.unwrap();
    let mut told = Vec::new();
    bounded(tokio::io::AsyncReadExt::read_to_end(&mut caller, &mut told)).await.unwrap();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("tercet.carry") && !told.contains("secret") && !told.contains("key"), "{told}");
    assert!(!told.contains("session") && !told.contains("proof"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_was_begun_is_executed_by_the_new_master() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let mut client = Client::connect(n1.address).await;
    client.call(&["MULTI"]).await;
    assert_eq!(client.call(&["INCR", "n"]).await, "QUEUED");
    hand_over(&sentinel, &n1, &n2).await;
    assert_eq!(client.call(&["INCR", "n"]).await, "QUEUED");
    assert_eq!(client.call(&["EXEC"]).await, "[1 2]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_key_counts_as_touched() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let mut client = Client::connect(n1.address).await;
    for words in [&["WATCH", "n"][..], &["MULTI"], &["INCR", "n"]] {
        client.call(words).await;
    }
    hand_over(&sentinel, &n1, &n2).await;
    assert_eq!(client.call(&["EXEC"]).await, "nil");
    assert_eq!(n2.get("n"), None);
    for words in [&["WATCH", "n"][..], &["MULTI"], &["INCR", "n"]] {
        client.call(words).await;
    }
    assert_eq!(client.call(&["EXEC"]).await, "[1]", "the second attempt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_has_come_in_part_goes_on_where_the_rest_arrives() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let mut client = Client::connect(n1.address).await;
    client.stream.write_all(b"*2\r\n$4\r\nINCR\r\n$3\r\nnum").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    hand_over(&sentinel, &n1, &n2).await;
    client.stream.write_all(b"\r\nPI").await.unwrap();
    assert_eq!(client.text().await, "1");
    hand_over(&sentinel, &n2, &n1).await;
    client.stream.write_all(b"NG\r\n").await.unwrap();
    assert_eq!(client.text().await, "PONG");
    assert_eq!(n1.get("num").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_carried_once_at_most_however_often_the_master_changes() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let mut client = Client::connect(n1.address).await;
    for round in 0..3 {
        assert_eq!(client.call(&["INCR", "n"]).await, (2 * round + 1).to_string());
        assert_eq!((n1.node.node.clients.len(), n2.node.node.clients.len()), (1, 0), "round {round}, at home");
        hand_over(&sentinel, &n1, &n2).await;
        assert_eq!(n2.node.node.clients.len(), 0, "an idle client costs nothing");
        assert_eq!(client.call(&["INCR", "n"]).await, (2 * round + 2).to_string());
        assert_eq!((n1.node.node.clients.len(), n2.node.node.clients.len()), (1, 1), "round {round}, away");
        hand_over(&sentinel, &n2, &n1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_commands_is_answered_wholly_and_in_order_across_hand_overs() {
    const COMMANDS: usize = 20_000;
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let Client { stream, .. } = Client::connect(n1.address).await;
    let (mut reads, mut writes) = stream.into_split();
    let writer = tokio::spawn(async move {
        let commands: Vec<u8> = (0..COMMANDS).flat_map(|_| Value::command(&["INCR", "n"])).collect();
        // In pieces that end within a command.
        for piece in commands.chunks(1_111) {
            writes.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        writes
    });
    let reader = tokio::spawn(async move {
        let (mut text, mut next) = (Vec::new(), 0);
        while next < COMMANDS {
            let count = tokio::io::AsyncReadExt::read_buf(&mut reads, &mut text).await.unwrap();
            assert!(count > 0, "closed after {next} replies");
            while let Some((value, used)) = Value::decode(&text).unwrap() {
                text.drain(..used);
                next += 1;
                assert_eq!(value, Value::Integer(next as i64));
            }
        }
    });
    let mut hand_overs = 0;
    while !writer.is_finished() {
        let (from, to) = if hand_overs % 2 == 0 { (&n1, &n2) } else { (&n2, &n1) };
        hand_over(&sentinel, from, to).await;
        hand_overs += 1;
    }
    bounded(reader).await.unwrap();
    drop(bounded(writer).await.unwrap());
    println!("{COMMANDS} commands across {hand_overs} hand-overs");
    assert!(hand_overs >= 3, "only {hand_overs}: nothing was tested");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_to_a_replica_is_served_by_a_replica() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    n2.is_up_to_date().await;
    let mut before = Client::connect(n2.address).await;
    assert!(before.call(&["SET", "key", "value"]).await.starts_with("READONLY"));
    hand_over(&sentinel, &n1, &n2).await;
    n1.is_up_to_date().await;
    let mut after = Client::connect(n1.address).await;
    assert!(after.call(&["SET", "key", "value"]).await.starts_with("READONLY"));
    assert_eq!(before.call(&["SET", "key", "value"]).await, "OK");
    hand_over(&sentinel, &n2, &n1).await;
    assert_eq!(before.call(&["GET", "key"]).await, "value", "whom the master has served it does not turn away");
    assert_eq!(before.call(&["SET", "key", "other"]).await, "OK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_master_that_was_deposed_are_closed() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let mut client = Client::connect(n1.address).await;
    assert_eq!(client.call(&["SET", "key", "value"]).await, "OK");
    assert!(bounded(sentinel::fence(&n2, 2)).await.accepted);
    commit(&sentinel, &n1, &n2).await;
    assert_eq!(client.text().await, "closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carried_client_can_be_listed_and_killed_where_it_came_to() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let mut client = Client::connect(n1.address).await;
    client.call(&["CLIENT", "SETNAME", "bob"]).await;
    hand_over(&sentinel, &n1, &n2).await;
    assert_eq!(client.call(&["SET", "key", "value"]).await, "OK");
    let mut operator = Client::connect(n1.address).await;
    n1.is_up_to_date().await;
    assert!(operator.call(&["CLIENT", "LIST"]).await.contains("name=bob"));
    let address = client.stream.local_addr().unwrap().to_string();
    assert_eq!(operator.call(&["CLIENT", "KILL", &address]).await, "OK");
    assert_eq!(client.text().await, "closed");
    until("the master has forgotten it", || n2.node.node.clients.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_closes_idle_clients_and_answers_the_others_until_the_end() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let (mut busy, mut idle) = (Client::connect(n1.address).await, Client::connect(n1.address).await);
    let mut transaction = Client::connect(n1.address).await;
    idle.call(&["PING"]).await;
    transaction.call(&["MULTI"]).await;
    transaction.call(&["INCR", "m"]).await;
    hand_over(&sentinel, &n1, &n2).await;
    let node = n1.node.node.clone();
    let began = std::time::Instant::now();
    let drained = tokio::spawn(async move { drain(&node, Duration::from_millis(1200)).await });
    let count = tokio::spawn(async move {
        let mut count = 0;
        loop {
            match busy.call(&["INCR", "n"]).await.as_str() {
                "closed" => return (count, began.elapsed()),
                reply => count = reply.parse::<i64>().unwrap(),
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    assert_eq!(idle.text().await, "closed");
    assert!(began.elapsed() < Duration::from_millis(1000), "before the grace was over");
    assert_eq!(transaction.call(&["EXEC"]).await, "[1]", "who is in a transaction is not idle");
    let (count, lasted) = bounded(count).await.unwrap();
    bounded(drained).await.unwrap();
    assert_eq!(n2.get("n"), Some(count.to_string()), "each was answered");
    assert!(lasted >= Duration::from_millis(1200), "the busy one was served for the whole grace, not {lasted:?}");
    assert!(n1.node.node.clients.is_empty());
    until("the master has taken leave of them too", || n2.node.node.clients.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_is_for_the_node_that_a_client_came_to() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let mut client = Client::connect(n1.address).await;
    hand_over(&sentinel, &n1, &n2).await;
    // Whatever is written is answered by the new master: the connection is carried from here on.
    assert_eq!(client.call(&["INCR", "n"]).await, "1");
    let reply = client.call(&["SHUTDOWN"]).await;
    assert!(reply.starts_with("ERR this connection is carried"), "{reply}");
}
