//! MIGRATE between two nodes: keys are here or there, with their values and deadlines, and an error leaves them here.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod player;

use player::{ask, node};

#[test]
fn keys_go_to_another_node_with_all_that_they_have() {
    let ((_a, mut from), (_b, mut to)) = (node(), node());
    let port = to.peer_addr().unwrap().port();
    for request in ["rpush list a b c", "set text 1 px 100000", "xadd stream 1-1 f v", "hset hash f v", "zadd z 1.5 m"]
    {
        ask(&mut from, request);
    }
    let moved = ask(&mut from, &format!("migrate 127.0.0.1 {port} \"\" 3 1000 keys list text stream hash z nosuch"));
    assert_eq!(moved, "+OK");
    assert_eq!(ask(&mut from, "exists list text stream hash z"), ":0");
    ask(&mut to, "select 3");
    assert_eq!(ask(&mut to, "lrange list 0 -1"), "*3\n$1\na\n$1\nb\n$1\nc");
    assert_eq!(ask(&mut to, "ttl text"), ":100");
    assert_eq!(ask(&mut to, "zscore z m"), "$3\n1.5");
    assert_eq!(ask(&mut to, "xlen stream"), ":1");
    assert_eq!(ask(&mut to, "hget hash f"), "$1\nv");
}

#[test]
fn a_key_stays_where_it_is_when_it_cannot_go() {
    let ((_a, mut from), (_b, mut to)) = (node(), node());
    let port = to.peer_addr().unwrap().port();
    ask(&mut from, "set k here");
    ask(&mut to, "set k there");
    let mut migrate = |rest: &str| ask(&mut from, &format!("migrate 127.0.0.1 {port} {rest}"));
    assert_eq!(migrate("nosuch 0 1000"), "+NOKEY");
    let busy = "-ERR Target instance replied with error: BUSYKEY Target key name already exists.";
    assert_eq!(migrate("k 0 1000"), busy);
    assert_eq!(migrate("k 0 1000 copy replace"), "+OK");
    assert_eq!(ask(&mut from, "get k"), "$4\nhere");
    assert_eq!(ask(&mut to, "get k"), "$4\nhere");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = ask(&mut from, &format!("migrate 127.0.0.1 {nobody} k 0 1000"));
    assert_eq!(refused, "-IOERR error or timeout connecting to the client");
    ask(&mut from, "multi");
    let within = ask(&mut from, &format!("migrate 127.0.0.1 {port} k 0 1000"));
    assert_eq!(within, "-ERR Command not allowed inside a transaction");
}

#[test]
fn a_target_that_says_nothing_holds_up_nobody_else() {
    let (_node, mut from) = node();
    let mut other = std::net::TcpStream::connect(from.peer_addr().unwrap()).unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    ask(&mut from, "set k v");
    let port = silent.local_addr().unwrap().port();
    let waiting = std::thread::spawn(move || ask(&mut from, &format!("migrate 127.0.0.1 {port} k 0 300")));
    let began = std::time::Instant::now();
    // The key may be written meanwhile.
    assert_eq!(ask(&mut other, "set k w"), "+OK");
    assert!(began.elapsed().as_millis() < 300, "nobody waits for the target but its client");
    assert_eq!(waiting.join().unwrap(), "-IOERR error or timeout reading from target instance");
    assert_eq!(ask(&mut other, "get k"), "$1\nw");
}
