//! Plays a transcript: its cases, one request and its reply, and a node to put them to.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tercet_node::config::{Action, Config};
use tercet_node::node::{Identity, Node, Shared, random_id};
use tercet_node::resp;
use tercet_proto::resp::Value;

const EMPTY: &str = "(empty)";
pub const SEPARATOR: &str = "----";
/// A server that takes longer to start or to answer is broken.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

pub struct Case {
    pub comments: Vec<String>,
    pub request: String,
    pub reply: String,
}

impl Case {
    pub fn says(&self, remark: &str) -> bool {
        self.comments.iter().any(|comment| comment.trim_start_matches('#').trim() == remark)
    }

    /// The request and the reply to it.
    pub fn put(&self, connection: &mut dyn Connection) -> String {
        if self.says("from here on RESP3") {
            // Whose reply says who answers.
            ask(connection, "hello 3");
        }
        ask(connection, &self.request)
    }

    /// The reply, in an order that does not depend on the server where it does not matter.
    pub fn comparable(&self, reply: &str) -> String {
        let mut lines: Vec<&str> = reply.lines().collect();
        if self.says("in any order") {
            lines.sort_unstable();
        }
        lines.join("\n")
    }
}

pub fn parse(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let (head, reply) = block.split_once(SEPARATOR).unwrap_or((block, ""));
        let (comments, requests): (Vec<_>, Vec<_>) = head.trim().lines().partition(|line| line.starts_with('#'));
        let comments = comments.into_iter().map(str::to_owned).collect();
        match requests[..] {
            [] => {}
            [request] => cases.push(Case { comments, request: request.into(), reply: reply.trim_start().into() }),
            _ => panic!("one request a block:\n{block}"),
        }
    }
    cases
}

pub trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

/// One request and its reply, as the lines of a transcript.
pub fn ask(connection: &mut dyn Connection, request: &str) -> String {
    connection.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    let mut input = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some((_, length)) = Value::decode(&input).unwrap() {
            assert_eq!(length, input.len(), "{request:?} has more than one reply");
            break;
        }
        let count = connection.read(&mut chunk).unwrap();
        assert!(count > 0, "{request:?} closes the connection");
        input.extend_from_slice(&chunk[..count]);
    }
    let text = String::from_utf8(input).unwrap();
    let lines = text.trim_end().split("\r\n").map(|line| if line.is_empty() { EMPTY } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// A node within this process, on a thread that ends with it, and a connection to it.
pub fn node() -> (Shared, TcpStream) {
    let args = ["tercet-node", "--enable-debug-command", "yes"].map(Into::into);
    let Ok(Action::Serve(config)) = Config::from_args(args, |_| None) else { panic!("defaults") };
    let identity = Identity { name: "n1".into(), node_id: random_id(), incarnation: random_id() };
    let node = Arc::new(Node::new(*config, identity));
    let served = Arc::clone(&node);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let door = tercet_edge::accept::Door::new("RESP", listener, Arc::clone(&served.places));
            resp::accept(served, door, vec![tokio::runtime::Handle::current()]).await;
        });
    });
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (node, stream)
}
