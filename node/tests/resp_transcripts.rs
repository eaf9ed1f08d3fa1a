//! The commands of each family as transcripts over a real socket (`transcripts/*.test`), played to a node and to Redis.
//!
//! ```text
//! # a comment; `# since 7.2`, `# in any order` and `# from here on RESP3` are about the request that follows
//! request, as an inline command
//! ----
//! the bytes of the reply, CR LF as the end of a line
//! (an empty line ends it; one inside a reply is written as `(empty)`)
//! ```
//!
//! A file is one connection to an empty server. The judge is Redis 7.2: the one at TERCET_REFERENCE=host:port, whose data
//! will be lost, or else the `redis-server` that is installed; one of 7.0 is not asked what is `since 7.2`. With
//! TERCET_BLESS=1 the judge's replies are written into the files, to be read by a human.

#![allow(clippy::unwrap_used, reason = "a failed test may panic anywhere")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tercet_node::config::{Action, Config};
use tercet_node::node::{Identity, Node, random_id};
use tercet_node::resp;
use tercet_proto::resp::Value;

const EMPTY: &str = "(empty)";
const SEPARATOR: &str = "----";
/// A server that takes longer to start or to answer is broken.
const PATIENCE: Duration = Duration::from_secs(10);

macro_rules! transcripts {
    ($($claim:ident: $file:literal;)*) => {
        $(
            #[test]
            fn $claim() {
                play($file);
            }
        )*

        const FILES: &[&str] = &[$($file),*];
    };
}

transcripts! {
    strings_answer_as_redis_does: "strings";
    lists_answer_as_redis_does: "lists";
    hashes_answer_as_redis_does: "hashes";
    sets_answer_as_redis_does: "sets";
    sorted_sets_answer_as_redis_does: "sorted_sets";
    ranges_of_sorted_sets_answer_as_redis_does: "sorted_set_ranges";
    unions_of_sorted_sets_answer_as_redis_does: "sorted_set_algebra";
    keys_answer_as_redis_does: "keys";
    expiry_answers_as_redis_does: "expiry";
    sort_answers_as_redis_does: "sort";
    encodings_are_named_as_in_redis: "encodings";
    the_third_version_of_the_protocol_has_its_own_shapes: "resp3";
    transactions_answer_as_redis_does: "transactions";
}

#[test]
fn every_transcript_is_played() {
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(FILES.contains(&stem.as_str()), "{} has no test", path.display());
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

struct Case {
    comments: Vec<String>,
    request: String,
    reply: String,
}

impl Case {
    fn says(&self, remark: &str) -> bool {
        self.comments.iter().any(|comment| comment.trim_start_matches('#').trim() == remark)
    }

    /// The request and the reply to it.
    fn put(&self, connection: &mut dyn Connection) -> String {
        if self.says("from here on RESP3") {
            // Whose reply says who answers.
            ask(connection, "hello 3");
        }
        ask(connection, &self.request)
    }

    /// The reply, in an order that does not depend on the server where it does not matter.
    fn comparable(&self, reply: &str) -> String {
        let mut lines: Vec<&str> = reply.lines().collect();
        if self.says("in any order") {
            lines.sort_unstable();
        }
        lines.join("\n")
    }
}

fn parse(text: &str) -> Vec<Case> {
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

fn play(file: &str) {
    let path = directory().join(format!("{file}.test"));
    let mut cases = parse(&std::fs::read_to_string(&path).unwrap());
    let mut judge = Judge::start();
    if let Some(judge) = &mut judge {
        let is_7_2 = judge.is_7_2();
        if std::env::var_os("TERCET_BLESS").is_some() {
            assert!(is_7_2, "only Redis 7.2 may write transcripts");
            return bless(&path, &mut cases, &mut *judge.connection);
        }
        check(file, "Redis", cases.iter().filter(|case| is_7_2 || !case.says("since 7.2")), &mut *judge.connection);
    } else {
        eprintln!("!!!!!!!!!! SKIPPED: no redis-server and no TERCET_REFERENCE: {file}.test was not put to the judge");
    }
    check(file, "the node", cases.iter(), &mut node());
}

fn check<'a>(file: &str, who: &str, cases: impl Iterator<Item = &'a Case>, connection: &mut dyn Connection) {
    ask(connection, "flushall");
    for case in cases {
        let reply = case.put(connection);
        let (expected, actual) = (case.comparable(&case.reply), case.comparable(&reply));
        assert_eq!(expected, actual, "{file}.test: {who} answers {:?}\n{reply}", case.request);
    }
}

fn bless(path: &Path, cases: &mut [Case], connection: &mut dyn Connection) {
    ask(connection, "flushall");
    let mut text = String::new();
    for case in cases {
        case.reply = case.put(connection);
        case.comments.iter().for_each(|comment| writeln!(text, "{comment}").unwrap());
        writeln!(text, "{}\n{SEPARATOR}\n{}\n", case.request, case.reply).unwrap();
    }
    std::fs::write(path, text.trim_end().to_owned() + "\n").unwrap();
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

/// One request and its reply, as the lines of a transcript.
fn ask(connection: &mut dyn Connection, request: &str) -> String {
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

/// A node within this process, on a thread that ends with it.
fn node() -> TcpStream {
    let Ok(Action::Serve(config)) = Config::from_args(["tercet-node".into()], |_| None) else { panic!("defaults") };
    let identity = Identity { name: "n1".into(), node_id: random_id(), incarnation: random_id() };
    let node = Arc::new(Node::new(*config, identity));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            resp::accept(node, listener, vec![tokio::runtime::Handle::current()]).await
        })
    });
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A Redis to compare with.
struct Judge {
    connection: Box<dyn Connection>,
    /// Started by us, in a directory of its own.
    server: Option<(Child, tempfile::TempDir)>,
}

impl Judge {
    fn start() -> Option<Self> {
        if let Ok(address) = std::env::var("TERCET_REFERENCE") {
            let stream = TcpStream::connect(address).expect("TERCET_REFERENCE accepts connections");
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            return Some(Self { connection: Box::new(stream), server: None });
        }
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("redis.sock");
        let mut server = Command::new("redis-server")
            .current_dir(directory.path())
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) => {
                    let ended = server.try_wait().unwrap();
                    assert!(Instant::now() < deadline && ended.is_none(), "redis-server: {error}, {ended:?}");
                    std::thread::yield_now();
                }
            }
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Self { connection: Box::new(stream), server: Some((server, directory)) })
    }

    fn is_7_2(&mut self) -> bool {
        !ask(&mut *self.connection, "info server").contains("redis_version:7.0")
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        if let Some((server, _)) = &mut self.server {
            // It may have ended by itself.
            _ = server.kill();
            _ = server.wait();
        }
    }
}
