//! The Redis Sentinel protocol against a fixed cluster, as transcripts over a real socket (`transcripts/*.test`).
//!
//! ```text
//! # a comment
//! request, as an inline command
//! ----
//! the bytes of the reply, CR LF as the end of a line
//! (an empty line ends it; one inside a reply is written as `(empty)`)
//! ```
//! `@publish <channel> <message>` in place of a request: the sentinel has an event. `@failover-fails <error>`: what the
//! next SENTINEL FAILOVER meets. A file is one connection; `auth.test` needs the password `secret`. With `TERCET_BLESS=1`
//! the replies are written into the files, to be read by a human.

mod common;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tercet_edge::accept::{self, Door};
use tercet_edge::place::Places;
use tercet_sentinel::{
    api::resp::{Backend, serve},
    events::{Bus, Event},
    orders::Order,
    picture::{Instance, Link, MasterPicture, Picture, ReplicaPicture, Replicated, Reported, SentinelPicture},
    simulated::Simulated,
    state::Address,
};
use tokio::{runtime::Runtime, sync::broadcast, sync::watch};

use common::resp::Client;

/// A reply that has begun is whole after so much silence.
const PAUSE: Duration = Duration::from_millis(40);

const EMPTY: &str = "(empty)";

#[derive(Debug)]
struct Fixed {
    bus: Bus,
    failover_error: Mutex<Option<String>>,
    down_after: Mutex<u64>,
}

fn at(host: &str, port: u16) -> Address {
    Address { host: host.into(), port }
}

fn instance(host: &str, port: u16, digit: char, s_down_ms: Option<u64>) -> Instance {
    let link = if s_down_ms.is_some() { Link::Disconnected } else { Link::Connected };
    let run_id = digit.to_string().repeat(40);
    Instance { address: at(host, port), run_id, link, s_down_ms, last_reply_ms: 12 }
}

impl Backend for Fixed {
    fn picture(&self) -> Picture {
        let replica = |host: &str, digit, s_down_ms, offset| ReplicaPicture {
            instance: instance(host, 6379, digit, s_down_ms),
            reported: Reported::Slave,
            master_link_down_ms: s_down_ms.unwrap_or(0),
            master_link_up: if s_down_ms.is_some() { Link::Disconnected } else { Link::Connected },
            master: at("10.0.0.11", 6379),
            priority: 100,
            offset,
            name: format!("n{digit}"),
            replicated: if s_down_ms.is_some() { Replicated::Behind } else { Replicated::InSync },
            lag: 4711 - offset,
        };
        let sentinel = |host: &str, digit, s_down_ms| SentinelPicture {
            instance: instance(host, 26379, digit, s_down_ms),
            name: format!("s{digit}"),
        };
        Picture {
            service: "mymaster".into(),
            sentinel_id: "f".repeat(40),
            address: at("10.0.0.1", 26379),
            uptime: Duration::from_secs(100),
            current_epoch: 3,
            quorum: 2,
            sentinel_count: 3,
            down_after_ms: *self.down_after.lock(),
            tilt_ms: None,
            simulated: None,
            master: Some(MasterPicture {
                instance: instance("10.0.0.11", 6379, 'a', None),
                o_down_ms: None,
                failover_state: None,
                config_epoch: 3,
                name: "na".into(),
                offset: 4711,
                in_sync: vec!["na".into(), "nb".into()],
                min_isr: 2,
                reported_ms: 5000,
            }),
            replicas: vec![replica("10.0.0.12", 'b', None, 4711), replica("10.0.0.13", 'c', Some(900), 4000)],
            sentinels: vec![sentinel("10.0.0.2", 'd', None), sentinel("10.0.0.3", 'e', Some(4000))],
        }
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.bus.subscribe()
    }

    fn fail_over(&self, _: String) -> BoxFuture<'_, Result<(), String>> {
        let result = self.failover_error.lock().take().map_or(Ok(()), Err);
        Box::pin(async move { result })
    }

    fn order(&self, order: Order) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { Err(format!("ERR {order:?}")) })
    }

    fn set_down_after(&self, millis: u64) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            if millis < 426 {
                return Err("down-after-milliseconds must be at least 426".into());
            }
            *self.down_after.lock() = millis;
            Ok(())
        })
    }

    fn reset(&self) {}

    fn simulate(&self, _: Option<Simulated>) {}

    fn shut_down(&self) {}
}

struct Running {
    port: u16,
    backend: Arc<Fixed>,
    _stop: watch::Sender<bool>,
    _runtime: Runtime,
}

fn start(password: Option<&str>) -> Running {
    let runtime = Runtime::new().expect("a runtime starts");
    let backend =
        Arc::new(Fixed { bus: Bus::default(), failover_error: Mutex::default(), down_after: Mutex::new(450) });
    let address = "127.0.0.1:0".parse().expect("an address");
    let listener = runtime.block_on(async { accept::listen(address) }).expect("loopback has free ports");
    let door = Door::new("RESP", listener, Places::new(100, 100));
    let port = door.address().expect("a bound listener has an address").port();
    let (stop, stopped) = watch::channel(false);
    runtime.spawn(serve(vec![door], port, Arc::clone(&backend) as Arc<dyn Backend>, password.map(Into::into), stopped));
    Running { port, backend, _stop: stop, _runtime: runtime }
}

/// Runs a file; what came in place of what was expected.
fn transcribe(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("the transcript can be read");
    let password = path.ends_with("auth.test").then_some("secret");
    let server = start(password);
    let mut client = Client::connect(server.port);
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        if line.starts_with('#') {
            writeln!(out, "{line}").expect("a string takes all");
            continue;
        }
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("@publish"), Some(channel), Some(message)) => {
                // The channel's name has to live as long as the program, as in the table of events.
                server.backend.bus.publish(String::leak(channel.to_owned()), message.to_owned());
            }
            (Some("@failover-fails"), Some(first), Some(rest)) => {
                *server.backend.failover_error.lock() = Some(format!("{first} {rest}"));
                writeln!(out, "{line}").expect("a string takes all");
                continue;
            }
            _ => client.send(format!("{line}\r\n").as_bytes()),
        }
        let reply = client.read_raw(PAUSE);
        let reply = String::from_utf8_lossy(&reply).replace("\r\n", "\n");
        writeln!(out, "{line}\n----").expect("a string takes all");
        for line in reply.lines() {
            writeln!(out, "{}", if line.is_empty() { EMPTY } else { line }).expect("a string takes all");
        }
        out.push('\n');
        assert_eq!(lines.next(), Some("----"), "{}: {line} needs its ----", path.display());
        while lines.peek().is_some_and(|next| !next.is_empty()) {
            lines.next();
        }
    }
    out
}

#[test]
fn transcripts_are_kept() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for path in files {
        let came = transcribe(&path);
        if std::env::var_os("TERCET_BLESS").is_some() {
            std::fs::write(&path, came).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        for (at, (came, expected)) in came.lines().zip(expected.lines()).enumerate() {
            assert_eq!(came, expected, "{}, line {}", path.display(), at + 1);
        }
        assert_eq!(came.lines().count(), expected.lines().count(), "{}", path.display());
    }
}

#[test]
fn garbage_on_the_port_harms_nobody_else() {
    let server = start(None);
    let mut good = Client::connect(server.port);
    let cases: [(&[u8], &str); 6] = [
        (b"*abc\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n$1000000000\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1000000\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*2\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'\r\n"),
        (b"\"open\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"\x00\xff\xfe\x16\x03\x01\r\n", "-ERR unknown command"),
    ];
    for (bytes, answer) in cases {
        let mut bad = Client::connect(server.port);
        bad.send(bytes);
        let came = bad.read_raw(PAUSE);
        assert!(came.starts_with(answer.as_bytes()), "{} got {}", bytes.escape_ascii(), came.escape_ascii());
        assert_eq!(good.command(&["PING"]), tercet_proto::resp::Value::Simple("PONG".into()));
    }
    // Random bytes from a fixed seed, and half a command that is left hanging.
    let seed = 7;
    println!("seed {seed}");
    let mut state: u64 = seed;
    let mut hanging = Vec::new();
    for _ in 0..50 {
        let bytes: Vec<u8> = (0..300)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        let mut bad = Client::connect(server.port);
        bad.send(&bytes);
        hanging.push(bad);
    }
    let mut half = Client::connect(server.port);
    half.send(b"*2\r\n$4\r\nPI");
    assert_eq!(good.command(&["PING"]), tercet_proto::resp::Value::Simple("PONG".into()));
}

#[test]
fn a_killed_client_is_gone() {
    let server = start(None);
    let mut victim = Client::connect(server.port);
    let tercet_proto::resp::Value::Integer(id) = victim.command(&["CLIENT", "ID"]) else { panic!("an id is a number") };
    let mut other = Client::connect(server.port);
    let killed = other.command(&["CLIENT", "KILL", "ID", &id.to_string()]);
    assert_eq!(killed, tercet_proto::resp::Value::Integer(1));
    assert_eq!(victim.read_to_end(), b"");
    let list = other.command(&["CLIENT", "LIST"]);
    assert!(!list.as_text().unwrap().contains(&format!("id={id} ")), "{list:?}");
}

#[test]
fn the_same_port_speaks_pipelines_in_pieces() {
    let server = start(None);
    let mut client = Client::connect(server.port);
    let pipeline = b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nPING\r\n$2\r\nhi\r\nPING\r\n";
    for byte in pipeline {
        client.send(&[*byte]);
    }
    assert_eq!(client.read_raw(PAUSE * 3), b"+PONG\r\n$2\r\nhi\r\n+PONG\r\n");
}
