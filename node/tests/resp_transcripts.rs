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

mod player;

use std::fmt::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use player::{Case, Connection, PATIENCE, SEPARATOR, ask, directory, node, parse};

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
    subcommands_are_checked_when_they_are_queued: "calls";
    clients_wait_for_replicas_as_in_redis: "wait";
    settings_answer_as_redis_does: "config";
    queues_and_keys_change_together: "queues";
    channels_answer_as_in_redis: "pubsub";
    clients_are_managed_as_in_redis: "clients";
    scripts_answer_as_redis_does: "scripting";
    users_and_introspection_answer_as_redis_does: "administration";
    bits_of_strings_answer_as_redis_does: "bits";
    common_subsequences_are_those_of_redis: "lcs";
    sketches_of_sets_answer_as_redis_does: "hyperloglog";
    places_answer_as_redis_does: "geo";
    streams_answer_as_redis_does: "streams";
    consumer_groups_answer_as_redis_does: "stream_groups";
    what_need_not_wait_answers_as_redis_does: "blocking";
    payloads_are_restored_as_redis_does: "dump";
    strings_are_compared_before_they_change: "comparing";
    fields_of_hashes_expire: "field_expiry";
}

/// Commands that Redis does not have, or not yet in 7.2.
const OF_TERCET: &[&str] = &["queues", "comparing", "field_expiry"];

#[test]
fn every_transcript_is_played() {
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(FILES.contains(&stem.as_str()), "{} has no test", path.display());
    }
}

fn play(file: &str) {
    let path = directory().join(format!("{file}.test"));
    let mut cases = parse(&std::fs::read_to_string(&path).unwrap());
    let is_ours = OF_TERCET.contains(&file);
    let mut judge = if is_ours { None } else { Judge::start() };
    if let Some(judge) = &mut judge {
        let is_7_2 = judge.is_7_2();
        if std::env::var_os("TERCET_BLESS").is_some() {
            assert!(is_7_2, "only Redis 7.2 may write transcripts");
            return bless(&path, &mut cases, &mut *judge.connection);
        }
        check(file, "Redis", cases.iter().filter(|case| is_7_2 || !case.says("since 7.2")), &mut *judge.connection);
    } else if !is_ours {
        eprintln!("!!!!!!!!!! SKIPPED: no redis-server and no TERCET_REFERENCE: {file}.test was not put to the judge");
    }
    check(file, "the node", cases.iter(), &mut node().1);
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
            .args(["--port", "0", "--save", "", "--enable-debug-command", "yes", "--unixsocket"])
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
