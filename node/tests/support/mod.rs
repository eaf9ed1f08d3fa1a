//! Nodes in this process, on real connections over loopback, and a sentinel that does what a test says.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

pub mod proxy;
pub mod resp;
pub mod sentinel;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tercet_edge::dial::Dialer;
use tercet_edge::guard::Trusted;
use tercet_edge::token::Token;
use tercet_node::clock;
use tercet_node::cluster::{self, Handle};
use tercet_node::config::Config;
use tercet_node::effect::{Expiry, KeyChange};
use tercet_node::engine::{Locked, Transaction};
use tercet_node::ids::Offset;
use tercet_node::journal::Deposed;
use tercet_node::keyspace::Keyspace;
use tercet_node::node::{Node, Shared};
use tercet_node::recovery;
use tercet_node::role::{Role, State, Verdict};
use tercet_node::storage::{self, Storage};
use tercet_proto::grpc::cluster::v1::{Address, IsrMember, Member};
use tercet_proto::grpc::peer::v1::peer_client::PeerClient;

/// What the nodes and sentinels of the tests know each other by.
pub const TOKEN: &str = "the-token-of-the-tests";

pub fn token() -> Token {
    Token::parse(TOKEN).unwrap().unwrap()
}

/// Nothing in a test takes longer.
pub const BOUND: Duration = Duration::from_secs(30);

/// Waits until something is so. Fails with `what` if that takes too long.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(BOUND, wait).await.unwrap_or_else(|_| panic!("it took too long until {what}"));
}

/// Fails if a test hangs.
pub fn bounded<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    // What a test does may be large.
    let future = Box::pin(future);
    async { tokio::time::timeout(BOUND, future).await.expect("the test hangs") }
}

/// The directory of a node that was killed is free once its last thread has ended.
fn open(directory: &std::path::Path) -> Storage {
    let began = std::time::Instant::now();
    loop {
        match Storage::open(directory) {
            Err(storage::Error::InUse { .. }) if began.elapsed() < BOUND => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
}

/// A node with its data in a directory of its own.
pub struct TestNode {
    // They end before the directory goes.
    handle: parking_lot::Mutex<Option<Handle>>,
    running: parking_lot::Mutex<Option<recovery::Running>>,
    pub node: Shared,
    pub directory: Arc<tempfile::TempDir>,
    pub peer_port: u16,
}

/// What a test's node does with its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// Nothing of its data goes there.
    InMemory,
    /// As the program does, by its flags.
    OnDisk,
}

impl TestNode {
    pub fn start(name: &str, sentinels: &[u16]) -> Self {
        Self::start_with(name, sentinels, &[])
    }

    pub fn start_with(name: &str, sentinels: &[u16], flags: &[&str]) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self::start_in(name, sentinels, directory, flags, Keeping::InMemory)
    }

    pub fn start_keeping(name: &str, sentinels: &[u16], flags: &[&str]) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self::start_in(name, sentinels, directory, flags, Keeping::OnDisk)
    }

    pub fn start_in(
        name: &str,
        sentinels: &[u16],
        directory: Arc<tempfile::TempDir>,
        flags: &[&str],
        keeping: Keeping,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let peer_port = listener.local_addr().unwrap().port();
        let sentinels: Vec<_> = sentinels.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut args: Vec<String> =
            ["tercet-node", "--cluster-token", TOKEN, "--name", name, "--sentinels"].map(String::from).to_vec();
        args.extend([sentinels.join(","), "--peer-port".to_owned(), peer_port.to_string()]);
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let action = Config::from_args(args.into_iter().map(Into::into), |_| None).unwrap();
        let config = action.into_config();
        let storage = Arc::new(open(directory.path()));
        let node = Arc::new(Node::new(*config, storage.identity(name)));
        let plan = match keeping {
            Keeping::InMemory => None,
            Keeping::OnDisk => recovery::prepare(&node, &storage).unwrap(),
        };
        let handle = cluster::start(node.clone(), storage.clone(), listener).unwrap();
        let running = recovery::start(&node, &storage, plan, &handle).unwrap();
        let (handle, running) = (Some(handle).into(), Some(running).into());
        Self { handle, running, node, directory, peer_port }
    }

    /// Ends the process, as it were: its connections break, its memory is gone.
    pub fn kill(&self) -> Arc<tempfile::TempDir> {
        let (handle, running) = (self.handle.lock().take(), self.running.lock().take());
        drop(handle);
        // Its threads are waited for.
        drop(running);
        Arc::clone(&self.directory)
    }

    /// As a node that stops does before its disk is closed.
    pub async fn follow_no_more(&self) {
        let handle = self.handle.lock().take().unwrap();
        handle.follow_no_more().await;
        *self.handle.lock() = Some(handle);
    }

    /// Ends the process in order.
    pub async fn stop(&self) {
        let handle = self.handle.lock().take().unwrap();
        handle.resign().await;
    }

    pub fn name(&self) -> &str {
        &self.node.identity.name
    }

    pub fn member(&self) -> Member {
        self.node.member()
    }

    /// The member, reached through another port.
    pub fn member_at(&self, port: u16) -> Member {
        let peer = Some(Address { host: "127.0.0.1".to_owned(), port: u32::from(port) });
        Member { peer, ..self.member() }
    }

    pub fn isr_member(&self) -> IsrMember {
        IsrMember { name: self.name().to_owned(), incarnation: self.node.identity.incarnation.clone() }
    }

    pub async fn peer(&self) -> PeerClient<Trusted> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{}", self.peer_port)).unwrap();
        PeerClient::new(Dialer { token: Some(token()), tls: None }.connect(&endpoint).await.unwrap())
    }

    pub fn verdict(&self) -> Verdict {
        self.node.authority.enter(clock::boot_now()).verdict
    }

    pub fn role(&self) -> Role {
        self.node.authority.standing().role
    }

    pub fn end(&self) -> Offset {
        self.node.engine.journal.end()
    }

    pub async fn is_serving(&self) {
        until(&format!("{} may execute", self.name()), || self.verdict() == Verdict::Master).await;
    }

    pub async fn is_up_to_date(&self) {
        let is_so = || {
            let standing = self.node.authority.standing();
            standing.role == Role::Replica && standing.state == State::Whole
        };
        until(&format!("{} is a replica that is up to date", self.name()), is_so).await;
    }

    /// Executes a change as a client's connection would; `None` if this node may not.
    pub fn execute(&self, key: &[u8], change: &KeyChange<'_>) -> Option<Write> {
        let term = self.node.gate.term();
        let permit = self.node.authority.enter(clock::boot_now());
        if permit.verdict != Verdict::Master {
            return None;
        }
        let mut record = Vec::new();
        let engine = &self.node.engine;
        let locked = Locked::keys(&engine.keyspace, std::iter::once(key));
        let mut transaction = Transaction::new(engine, locked, &mut record, 0, clock::unix_now());
        transaction.apply(key, change).unwrap();
        let offset = transaction.finish();
        drop(permit);
        self.node.publish();
        Some(Write { node: self.node.clone(), offset, term })
    }

    pub fn set(&self, key: &str, value: &str) -> Option<Write> {
        self.execute(key.as_bytes(), &KeyChange::SetString { value: value.as_bytes(), expiry: Expiry::Never })
    }

    pub fn get(&self, key: &str) -> Option<String> {
        let keyspace = &self.node.engine.keyspace;
        let shard = keyspace.lock(keyspace.shard_of(key.as_bytes()));
        let entry = shard.database(0).find(key.as_bytes())?;
        let mut scratch = itoa::Buffer::new();
        entry.value().as_bytes(&mut scratch).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}

/// A write that was executed and may be acknowledged.
pub struct Write {
    node: Shared,
    pub offset: Offset,
    term: u64,
}

impl Write {
    pub async fn acknowledged(&self) -> Result<(), Deposed> {
        self.node.gate.wait(self.offset, self.term).await
    }

    pub fn is_acknowledged(&self) -> bool {
        self.node.gate.is_committed(self.offset, self.term) == Some(Ok(()))
    }
}

/// Every key of `a` is in `b` with the same value and expiry, and the other way round.
pub fn assert_same_keys(a: &TestNode, b: &TestNode) {
    let (left, right) = (&a.node.engine.keyspace, &b.node.engine.keyspace);
    // One after the other: both have the rank of their number.
    let entries = |keyspace: &Keyspace, index: usize| {
        let shard = keyspace.lock(index);
        let all = shard.databases().flat_map(|(database, table)| table.iter().map(move |entry| (database, entry)));
        let all = all
            .map(|(database, entry)| ((database, entry.key().to_vec()), (entry.value().to_owned(), entry.expire_at())));
        all.collect::<BTreeMap<_, _>>()
    };
    for index in 0..left.len() {
        let (here, there) = (entries(left, index), entries(right, index));
        for key in here.keys().chain(there.keys()) {
            let shown = String::from_utf8_lossy(&key.1);
            assert!(here.get(key) == there.get(key), "key {shown} in database {} differs", key.0);
        }
    }
}

/// Until `replica` has applied everything that `master` has.
pub async fn is_level(master: &TestNode, replica: &TestNode) {
    let what = format!("{} has applied everything", replica.name());
    until(&what, || {
        let end = master.end();
        master.node.gate.commit() == end && replica.end() == end && replica.node.link.read().applied == end
    })
    .await;
}
