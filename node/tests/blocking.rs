//! Clients that wait for a key are served in the order of their arrival, within the command that made it ready.

#![allow(clippy::unwrap_used, reason = "a failed test may panic anywhere")]

mod player;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use player::{PATIENCE, ask, node};
use tercet_proto::resp::Value;

/// A node and a client that never waits.
struct Server {
    client: TcpStream,
    waiting: usize,
}

impl Server {
    fn start() -> Self {
        Self { client: node().1, waiting: 0 }
    }

    fn ask(&mut self, request: &str) -> String {
        ask(&mut self.client, request).replace('\n', " ")
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.client.peer_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn until_waiting(&mut self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while !self.ask("info clients").contains(&format!("blocked_clients:{count}")) {
            assert!(Instant::now() < deadline, "there never are {count} clients that wait");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.waiting = count;
    }

    /// A client that has sent this and waits.
    fn wait(&mut self, request: &str) -> TcpStream {
        let mut stream = self.connect();
        write!(stream, "{request}\r\n").unwrap();
        self.until_waiting(self.waiting + 1);
        stream
    }
}

fn reply(stream: &mut TcpStream) -> String {
    let (mut input, mut chunk) = (Vec::new(), [0; 1024]);
    while Value::decode(&input).unwrap().is_none() {
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "the connection is closed");
        input.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8(input).unwrap().trim_end().replace("\r\n", " ")
}

#[test]
fn waiters_are_served_in_the_order_of_their_arrival() {
    let mut server = Server::start();
    let mut waiters: Vec<TcpStream> = (0..3).map(|_| server.wait("blpop other list 0")).collect();
    assert_eq!(server.ask("rpush list a b"), ":2");
    assert_eq!(reply(&mut waiters[0]), "*2 $4 list $1 a");
    assert_eq!(reply(&mut waiters[1]), "*2 $4 list $1 b");
    assert_eq!(server.ask("exists list"), ":0");
    assert_eq!(server.ask("rpush other c"), ":1");
    assert_eq!(reply(&mut waiters[2]), "*2 $5 other $1 c");
}

#[test]
fn what_a_waiter_moves_serves_the_next_one() {
    let mut server = Server::start();
    let mut first = server.wait("blmove a b left right 0");
    let mut second = server.wait("brpoplpush b c 0");
    let mut third = server.wait("blmpop 0 1 c left");
    assert_eq!(server.ask("rpush a 1"), ":1");
    assert_eq!([reply(&mut first), reply(&mut second)], ["$1 1", "$1 1"]);
    assert_eq!(reply(&mut third), "*2 $1 c *1 $1 1");
    assert_eq!(server.ask("exists a b c"), ":0");
}

#[test]
fn sorted_sets_and_streams_are_waited_for_too() {
    let mut server = Server::start();
    let mut least = server.wait("bzpopmin z 0");
    let mut greatest = server.wait("bzpopmax z 0");
    assert_eq!(server.ask("zadd z 1 a 2 b 3 c"), ":3");
    assert_eq!([reply(&mut least), reply(&mut greatest)], ["*3 $1 z $1 a $1 1", "*3 $1 z $1 c $1 3"]);
    server.until_waiting(0);
    server.ask("xgroup create s g $ mkstream");
    let mut reader = server.wait("xread block 0 streams s $");
    let mut first = server.wait("xreadgroup group g bob block 0 streams s >");
    let mut second = server.wait("xreadgroup group g eve block 0 streams s >");
    server.ask("xadd s 1-1 f v");
    let entry = |id: &str| format!("*1 *2 $1 s *1 *2 $3 {id} *2 $1 f $1 v");
    assert_eq!([reply(&mut reader), reply(&mut first)], [entry("1-1"), entry("1-1")]);
    server.ask("xadd s 2-1 f v");
    assert_eq!(reply(&mut second), entry("2-1"));
    server.until_waiting(0);
    let mut third = server.wait("xreadgroup group g bob block 0 streams s >");
    server.ask("del s");
    assert!(reply(&mut third).starts_with("-NOGROUP "));
}

#[test]
fn what_is_there_and_gone_within_a_transaction_wakes_nobody() {
    let mut server = Server::start();
    let mut waiter = server.wait("blpop list 0");
    for request in ["multi", "rpush list a", "del list", "set list text", "exec"] {
        server.ask(request);
    }
    server.ask("del list");
    server.ask("rpush list b");
    assert_eq!(reply(&mut waiter), "*2 $4 list $1 b");
}

#[test]
fn who_has_left_takes_nothing() {
    let mut server = Server::start();
    drop(server.wait("blpop list 0"));
    server.until_waiting(0);
    server.ask("rpush list a");
    assert_eq!(server.ask("lrange list 0 -1"), "*1 $1 a");
}

#[test]
fn a_waiter_can_be_unblocked() {
    let mut server = Server::start();
    let mut client = server.connect();
    let id = ask(&mut client, "client id").trim_start_matches(':').to_owned();
    for (how, expected) in [("timeout", "*-1"), ("error", "-UNBLOCKED client unblocked via CLIENT UNBLOCK")] {
        client.write_all(b"blpop list 0\r\n").unwrap();
        server.until_waiting(1);
        assert_eq!(server.ask(&format!("client unblock {id} {how}")), ":1");
        assert_eq!(reply(&mut client), expected);
        server.until_waiting(0);
    }
    assert_eq!(server.ask(&format!("client unblock {id}")), ":0");
}

#[test]
fn a_watched_key_that_is_set_and_deleted_again_has_changed() {
    let mut server = Server::start();
    let mut other = server.connect();
    let mut watch = |requests: &[&str]| {
        server.ask("watch key");
        requests.iter().for_each(|request| _ = ask(&mut other, request));
        server.ask("multi");
        server.ask("ping");
        server.ask("exec")
    };
    assert_eq!(watch(&["set key 1", "del key"]), "*-1");
    assert_eq!(watch(&["flushall"]), "*1 +PONG", "nothing was there");
    assert_eq!(watch(&["set other 1", "get key"]), "*1 +PONG");
    assert_eq!(watch(&["set key 1", "swapdb 0 1", "swapdb 0 1", "flushall"]), "*-1");
}

#[test]
fn consumers_of_one_stream_are_served_once_each_and_the_others_go_on_waiting() {
    let mut server = Server::start();
    server.ask("xgroup create s g $ mkstream");
    server.ask("xgroup create s h $");
    let mut first: Vec<TcpStream> = (0..20)
        .map(|number| server.wait(&format!("xreadgroup group g c{number} count 1 block 0 streams s >")))
        .collect();
    let mut second = server.wait("xreadgroup group h c block 0 streams s >");
    assert_eq!(server.ask("xadd s 1-1 f v"), "$3 1-1");
    let entry = |id: &str| format!("*1 *2 $1 s *1 *2 $3 {id} *2 $1 f $1 v");
    assert_eq!([reply(&mut first[0]), reply(&mut second)], [entry("1-1"), entry("1-1")]);
    server.until_waiting(19);
    // Another who reads gives nothing to those who wait.
    assert_eq!(server.ask("xreadgroup group g other streams s 0"), "*1 *2 $1 s *0");
    for request in ["multi", "xadd s 2-1 f v", "xadd s 3-1 f v", "xadd s 4-1 f v"] {
        server.ask(request);
    }
    assert_eq!(server.ask("exec"), "*3 $3 2-1 $3 3-1 $3 4-1");
    for (number, id) in [(1, "2-1"), (2, "3-1"), (3, "4-1")] {
        assert_eq!(reply(&mut first[number]), entry(id));
    }
    server.until_waiting(16);
}

#[test]
fn an_element_that_is_moved_to_its_own_list_or_round_and_round_serves_everybody_and_ends() {
    let mut server = Server::start();
    let mut own: Vec<TcpStream> = (0..10).map(|_| server.wait("blmove a a left right 0")).collect();
    assert_eq!(server.ask("rpush a 1"), ":1");
    own.iter_mut().for_each(|client| assert_eq!(reply(client), "$1 1"));
    server.until_waiting(0);
    server.ask("del a");
    let mut there: Vec<TcpStream> = (0..10).map(|_| server.wait("blmove a b left right 0")).collect();
    let mut back: Vec<TcpStream> = (0..7).map(|_| server.wait("blmove b a left right 0")).collect();
    assert_eq!(server.ask("rpush a 1"), ":1");
    back.iter_mut().for_each(|client| assert_eq!(reply(client), "$1 1"));
    there[..8].iter_mut().for_each(|client| assert_eq!(reply(client), "$1 1"));
    server.until_waiting(2);
    assert_eq!(server.ask("lrange b 0 -1"), "*1 $1 1");
}
