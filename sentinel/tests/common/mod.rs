//! What the tests of whole sentinels share: a cluster on loopback whose processes are runtimes of their own, so that
//! stopping one closes its sockets at once, as a kill does.

#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod node;
pub(crate) mod resp;

use std::{
    net::TcpListener,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use tercet_proto::resp::Value;
use tercet_sentinel::{
    config::{self, Invocation},
    sentinel::Sentinel,
};
use tokio::{runtime::Runtime, sync::oneshot};

use node::{FakeNode, World};
use resp::Client;

/// Whatever has to happen happens within this time, or the test fails.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// Waits until `condition` gives a value.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    within(BOUND, what, &mut condition)
}

pub(crate) fn within<T>(bound: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(began.elapsed() < bound, "{what}: not within {bound:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A port that nobody else uses. Tests run at once, in one process or several: each process reserves a block of ports by
/// listening on the block's first one. The blocks lie below what outgoing connections are given.
pub(crate) fn free_port() -> u16 {
    static BLOCK: OnceLock<(TcpListener, AtomicU16)> = OnceLock::new();
    let (_, next) = BLOCK.get_or_init(|| {
        let reserve = |block| TcpListener::bind(("127.0.0.1", FIRST_PORT + block * BLOCK_PORTS)).ok();
        let listener = (0..BLOCKS).find_map(reserve).expect("a block of ports is free");
        let first = listener.local_addr().expect("a bound listener has an address").port();
        (listener, AtomicU16::new(first + 1))
    });
    loop {
        let port = next.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

const FIRST_PORT: u16 = 20_000;
const BLOCK_PORTS: u16 = 200;
const BLOCKS: u16 = 25;

/// One sentinel as a process: a runtime that can be dropped.
pub(crate) struct Process {
    pub(crate) args: Vec<String>,
    pub(crate) resp_port: u16,
    pub(crate) peer_port: u16,
    pub(crate) data: PathBuf,
    runtime: Option<Runtime>,
    failure: Option<oneshot::Receiver<String>>,
}

impl Process {
    pub(crate) fn start(&mut self) {
        let args = std::iter::once("tercet-sentinel".to_owned()).chain(self.args.iter().cloned());
        let config = match config::read(args, |_| None).expect("the arguments are right") {
            Invocation::Run(config) => *config,
            other => panic!("{other:?}"),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime starts");
        // The files of a process that was just stopped may be open for a moment more.
        let began = Instant::now();
        let mut sentinel = loop {
            match runtime.block_on(Sentinel::start(config.clone())) {
                Ok(sentinel) => break sentinel,
                Err(error) if began.elapsed() > BOUND => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let (failed, failure) = oneshot::channel();
        runtime.spawn(async move {
            let reason = sentinel.failed().await;
            // The test may have ended.
            let _ = failed.send(reason);
            drop(sentinel);
        });
        self.runtime = Some(runtime);
        self.failure = Some(failure);
    }

    /// As kill -9: nothing is said to anybody.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.runtime.is_some()
    }

    /// Why it must not go on, once it says so.
    pub(crate) fn failure(&mut self) -> Option<String> {
        self.failure.as_mut().and_then(|failure| failure.try_recv().ok())
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.resp_port)
    }

    /// The master that it tells clients of, as `host:port`.
    pub(crate) fn master(&self) -> Option<String> {
        self.client().master_address("mymaster")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        // RocksDB aborts a process that runs its exit handlers while a database is open. The thread that closes it ends
        // a moment after the runtime; its name is in the list of this process's threads.
        let is_closing = || {
            let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
            threads
                .filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok())
                .any(|name| name.trim() == "raft-sync")
        };
        let began = Instant::now();
        while is_closing() && began.elapsed() < Duration::from_millis(500) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Sentinels and fake nodes.
pub(crate) struct Cluster {
    pub(crate) sentinels: Vec<Process>,
    pub(crate) nodes: Vec<FakeNode>,
    pub(crate) world: World,
    directory: tempfile::TempDir,
}

impl Cluster {
    /// Starts `nodes` nodes and `sentinels` sentinels and waits for the first master.
    pub(crate) fn start(sentinels: usize, nodes: usize) -> Self {
        let cluster = Self::start_all(sentinels, nodes);
        cluster.agreed_master(&cluster.nodes[0].resp());
        cluster
    }

    pub(crate) fn start_all(sentinels: usize, nodes: usize) -> Self {
        // The story of a test that fails. Another test of this process may have been first.
        let filter = tracing_subscriber::EnvFilter::new("info,openraft=off");
        drop(tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().with_ansi(false).try_init());
        let directory = tempfile::tempdir().expect("a temporary directory");
        let peer_ports: Vec<u16> = (0..sentinels).map(|_| free_port()).collect();
        let world = World::new(peer_ports.clone());
        let nodes: Vec<FakeNode> = (1..=nodes).map(|at| FakeNode::start(&world, &format!("n{at}"))).collect();
        let mut cluster = Self { sentinels: Vec::new(), nodes, world, directory };
        for (at, port) in peer_ports.iter().enumerate() {
            let mut process = cluster.prepare_sentinel(&format!("s{}", at + 1), *port, &peer_ports);
            process.start();
            cluster.sentinels.push(process);
        }
        cluster
    }

    /// A sentinel that is not started yet.
    pub(crate) fn prepare_sentinel(&self, name: &str, peer_port: u16, listed: &[u16]) -> Process {
        let list = |ports: &[u16]| ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
        let node_ports: Vec<u16> = self.nodes.iter().map(|node| node.port).collect();
        let resp_port = free_port();
        let data = self.directory.path().join(format!("{name}-{peer_port}"));
        let args = [
            ("--name", name.to_owned()),
            ("--data", data.display().to_string()),
            ("--resp-port", resp_port.to_string()),
            ("--peer-port", peer_port.to_string()),
            ("--metrics-port", "0".to_owned()),
            ("--sentinels", list(listed)),
            ("--nodes", list(&node_ports)),
        ];
        let args = args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        Process { args, resp_port, peer_port, data, runtime: None, failure: None }
    }

    /// Waits until every running sentinel tells of this master, and it has the ISR that it wants.
    pub(crate) fn agreed_master(&self, address: &str) {
        for process in self.sentinels.iter().filter(|process| process.is_running()) {
            eventually(&format!("sentinel {} tells of {address}", process.resp_port), || {
                (process.master()? == address).then_some(())
            });
        }
    }

    pub(crate) fn node(&self, name: &str) -> &FakeNode {
        self.nodes.iter().find(|node| node.name == name).expect("a node of this name")
    }

    /// Waits until the ISR holds exactly these.
    pub(crate) fn await_isr(&self, names: &[&str]) {
        eventually(&format!("the ISR is {names:?}"), || {
            let mut isr = self.world.isr();
            isr.sort();
            (isr == names).then_some(())
        });
    }
}

/// A subscriber of everything at each sentinel.
pub(crate) fn subscribe(cluster: &Cluster) -> Vec<Client> {
    let subscribe = |client: &mut Client| {
        client.command(&["PSUBSCRIBE", "*"]);
    };
    let mut clients: Vec<Client> = cluster.sentinels.iter().map(Process::client).collect();
    clients.iter_mut().for_each(subscribe);
    clients
}

/// Reads events until one of this channel comes; all of them, as `channel message`.
pub(crate) fn read_until(client: &mut Client, channel: &str) -> Vec<String> {
    let mut events = Vec::new();
    loop {
        let Value::Array(parts) = client.read() else { panic!("an event is an array in RESP2") };
        let text: Vec<String> = parts.iter().filter_map(|part| part.as_text().map(Into::into)).collect();
        events.push(format!("{} {}", text[2], text[3]));
        if text[2] == channel {
            return events;
        }
    }
}
