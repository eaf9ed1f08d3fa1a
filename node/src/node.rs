//! A node: what its tasks share. Everything here is a cheap handle; state changes go through the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use tercet_edge::accept::Guest;
use tercet_edge::dial::Dialer;
use tercet_edge::logins::Logins;
use tercet_edge::place::Places;
use tercet_edge::tls::Tls;
use tercet_proto::grpc::cluster::v1::{Address, ClusterState, Member};

use crate::accounts;
use crate::checkpoint;
use crate::clients::Clients;
use crate::clock;
use crate::config::live::Live;
use crate::config::{Config, YesNo};
use crate::counters::Counters;
use crate::engine::Engine;
use crate::eviction::Eviction;
use crate::ids::{Offset, UnixMillis};
use crate::journal::{Gate, Promise, relay};
use crate::keyspace::thresholds::Sizes;
use crate::keyspace::value::Limits;
use crate::keyspace::value::stream::NodeLimits;
use crate::latency::Latency;
use crate::leaving::Leaving;
use crate::limits;
use crate::loading;
use crate::memory;
use crate::monitor::Monitors;
use crate::notifications::{self, Notifier};
use crate::pause::Pause;
use crate::peers::{Peers, Portion};
use crate::progress::Progress;
use crate::pubsub::PubSub;
use crate::rates::Rates;
use crate::replication::commit::{Counted, Disk, Held, Tracker};
use crate::resp::{Acl, Libraries};
use crate::role::{Authority, State};
use crate::scripts::Scripts;
use crate::slowlog::Slowlog;
use crate::streams::Streams;
use crate::tracking::Tracking;

/// The level of the log at the start: `TERCET_LOG` may say another one.
const LOG_LEVEL: &str = "notice";

/// Who this process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The operator's name, unique in the cluster.
    pub name: String,
    /// Identity of the data directory: 40 hex digits.
    pub node_id: String,
    /// Identity of this process: 40 hex digits, drawn at start; the `run_id` of INFO.
    pub incarnation: String,
}

/// Counters of INFO. Relaxed: they are for people.
#[derive(Debug, Default)]
pub struct Stats {
    pub commands: AtomicU64,
    /// Clients that wait for something, now.
    pub blocked: AtomicU64,
    pub connections: AtomicU64,
    pub rejected_connections: AtomicU64,
    pub bytes_in: AtomicU64,
    /// Batches of commands that were read, and pieces of output that were sent.
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    /// Microseconds that active expiry took.
    pub expiry_micros: AtomicU64,
    pub bytes_out: AtomicU64,
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub expired: AtomicU64,
    pub full_syncs: AtomicU64,
    /// Full syncs that went on where the stream had broken.
    pub resumed_syncs: AtomicU64,
    pub partial_syncs: AtomicU64,
    /// Clients that were closed for the memory that all take.
    pub evicted_clients: AtomicU64,
    /// Bytes of memory of the Redis clients' input and output.
    pub client_bytes: AtomicUsize,
}

impl Stats {
    /// Commands, and bytes in and out.
    #[must_use]
    pub fn traffic(&self) -> [u64; 3] {
        [&self.commands, &self.bytes_in, &self.bytes_out].map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// What DEBUG turns off, for tests.
#[derive(Debug, Default)]
pub struct Switches {
    /// Keys that are due are deleted when somebody comes to them, and not before.
    pub is_expiry_paused: AtomicBool,
    /// Scripts may call every command.
    pub are_scripts_free: AtomicBool,
}

/// What a replica knows of its stream from the master; a master's is all default.
#[derive(Debug, Clone, Default)]
pub struct Link {
    pub master: Option<Member>,
    pub is_up: bool,
    /// Since when it is down, CLOCK_BOOTTIME.
    pub down_since: clock::BootNanos,
    /// When something came from the master last.
    pub last_heard: clock::BootNanos,
    pub syncing: bool,
    /// How far the full sync is.
    pub full_sync: Option<Portion>,
    pub applied: Offset,
}

/// What a master knows of one replica.
#[derive(Debug, Clone)]
pub struct ReplicaState {
    pub member: Member,
    pub incarnation: String,
    pub held: Held,
    pub disk: Disk,
    pub last_heard: clock::BootNanos,
    pub in_sync: bool,
    pub syncing: bool,
}

/// What the tasks of a node share.
#[derive(Debug)]
pub struct Node {
    pub config: Config,
    pub identity: Identity,
    pub engine: Engine,
    pub gate: Gate,
    /// What the replicas of this mastership hold, and what that makes committed.
    pub commit: Tracker,
    pub authority: Authority,
    pub clients: Arc<Clients>,
    /// Room for clients, on all ports together.
    pub places: Arc<Places>,
    /// Wrong logins, on all ports together.
    pub logins: Logins,
    /// How this node calls others.
    pub dialer: Dialer,
    /// Its certificates, if it has any.
    pub tls: Option<Arc<Tls>>,
    pub stats: Stats,
    /// Which clients keep what in caches of their own.
    pub tracking: Tracking,
    /// Who is shown every command.
    pub monitors: Monitors,
    /// CLIENT PAUSE.
    pub pause: Pause,
    /// Subscriptions, and what is published.
    pub pubsub: Arc<PubSub>,
    /// Calls of each command, and errors.
    pub counters: Counters,
    /// maxmemory.
    pub eviction: Eviction,
    pub scripts: Scripts,
    pub libraries: Libraries,
    pub acl: Acl,
    pub slowlog: Slowlog,
    /// The gateway's.
    pub streams: Arc<Streams>,
    /// What happens a second.
    pub rates: Rates,
    /// What DEBUG has turned off.
    pub switches: Switches,
    pub latency: Latency,
    /// Checkpoints: asked for and reported here.
    pub checkpoint: checkpoint::Control,
    /// How far what lies on disk is loaded.
    pub loading: loading::Progress,
    /// The newest state that the sentinels sent; `None` for a node of its own.
    pub cluster: RwLock<Option<ClusterState>>,
    pub link: RwLock<Link>,
    pub replicas: RwLock<Vec<ReplicaState>>,
    /// What else is known of them.
    pub peers: Peers,
    /// The threads that serve clients, and whether they do.
    pub progress: Progress,
    /// What clients are asked for when the node stops.
    pub leaving: Leaving,
    /// The level of the log that was set last.
    log_level: parking_lot::Mutex<&'static str>,
    /// Ends the node: SHUTDOWN.
    pub shutdown: tokio::sync::Notify,
    pub started: clock::BootNanos,
    pub started_unix: UnixMillis,
    /// Whether a record is committed as soon as it is appended here.
    ack_replicated: bool,
}

/// A handle that every task has.
pub type Shared = Arc<Node>;

impl Node {
    #[must_use]
    pub fn new(config: Config, identity: Identity) -> Self {
        let authority = if config.is_clustered() { Authority::clustered() } else { Authority::standalone() };
        let ack_replicated = config.is_ack_replicated();
        let pubsub = Arc::new(PubSub::new(Arc::clone(&config.live)));
        let engine = Engine::default();
        engine.budget.set_limit(watermark(&config));
        let places = Places::new(usize::MAX, usize::MAX);
        let dialer = Dialer { token: config.cluster_token.clone(), tls: None };
        let node = Self {
            config,
            identity,
            engine,
            gate: Gate::default(),
            commit: Tracker::default(),
            authority,
            clients: Arc::default(),
            places,
            logins: Logins::default(),
            dialer,
            tls: None,
            stats: Stats::default(),
            tracking: Tracking::default(),
            monitors: Monitors::default(),
            pause: Pause::default(),
            pubsub,
            counters: Counters::default(),
            scripts: Scripts::default(),
            libraries: Libraries::default(),
            acl: Acl::default(),
            slowlog: Slowlog::default(),
            streams: Arc::default(),
            rates: Rates::default(),
            switches: Switches::default(),
            latency: Latency::default(),
            eviction: Eviction::default(),
            checkpoint: checkpoint::Control::default(),
            loading: loading::Progress::default(),
            cluster: RwLock::new(None),
            link: RwLock::new(Link::default()),
            replicas: RwLock::new(Vec::new()),
            peers: Peers::default(),
            progress: Progress::default(),
            leaving: Leaving::default(),
            log_level: parking_lot::Mutex::new(LOG_LEVEL),
            shutdown: tokio::sync::Notify::new(),
            started: clock::boot_now(),
            started_unix: clock::unix_now(),
            ack_replicated,
        };
        node.engine.keyspace.access().tick(node.started_unix);
        let notifier = Notifier::new(Arc::clone(&node.pubsub), Arc::clone(&node.config.live));
        node.engine.signals.listen(Box::new(notifier));
        node.follow_settings();
        node
    }

    /// Takes over what the settings say that are not read where they are needed.
    pub fn follow_settings(&self) {
        self.eviction.follow(&self.config.live, &self.engine);
        notifications::follow(&self.config.live, &self.engine.signals);
        self.engine.keyspace.thresholds().set(sizes(&self.config.live));
        let level = self.config.live.log_level();
        if std::mem::replace(&mut *self.log_level.lock(), level) != level {
            tercet_edge::log::set_level(level);
        }
    }

    /// Gives a node its certificates, before anybody knows it.
    pub fn secure(&mut self, tls: Arc<Tls>) {
        if self.config.tls_peers == YesNo::Yes {
            self.dialer.tls = Some(Arc::clone(&tls));
        }
        self.tls = Some(tls);
    }

    /// Whether a node of this cluster is called so.
    #[must_use]
    pub fn is_a_node(&self, name: &str) -> bool {
        let cluster = self.cluster.read();
        name == self.identity.name || cluster.iter().any(|state| state.members.iter().any(|member| member.name == name))
    }

    /// How a client is carried to the master's port: under TLS where the plain one is closed, here and there.
    #[must_use]
    pub fn carrier(&self, plain_port: u16) -> Dialer {
        Dialer { token: None, tls: self.tls.clone().filter(|_| plain_port == 0) }
    }

    /// Whether a client that has just come is one too many: those who are served stay.
    #[must_use]
    pub fn is_full_for(&self, guest: &Guest) -> bool {
        let live = &self.config.live;
        guest.is_welcome().is_err()
            || self.places.taken() > live.maxclients.size()
            || self.places.taken_from(guest.address.ip()) > live.maxclients_per_address.size()
    }

    /// A key was evicted: clients that hold a copy of it are told.
    pub fn tell_evicted(&self, key: &[u8]) {
        if self.tracking.is_used() {
            self.tracking.changed(0, &[key], &self.clients, &self.config.live);
        }
    }

    /// Behind a batch of commands, outside of all locks: readers of the journal wake up, and with `ack=local` its
    /// records are committed.
    #[inline]
    pub fn publish(&self) {
        if !relay::publish_later() {
            self.engine.journal.publish();
        }
        if self.ack_replicated {
            self.commit.appended(&self.engine.journal, &self.gate);
        } else {
            self.gate.advance(self.engine.journal.acknowledgeable());
        }
    }

    /// The disk has come further: what waits for it may go out.
    pub fn disk_advanced(&self) {
        if self.ack_replicated {
            self.commit.with_term(&self.engine.journal, &self.gate, |_| ());
        } else {
            self.gate.advance(self.engine.journal.acknowledgeable());
        }
    }

    /// The password of users that still have that of the setting: see `accounts`.
    #[must_use]
    pub fn requirepass(&self) -> &str {
        &self.config.requirepass
    }

    /// Whether a RESP client needs no AUTH. `None`: the accounts are still being loaded.
    #[must_use]
    pub fn is_open_to_resp(&self) -> Option<bool> {
        let directory = self.engine.accounts.directory();
        let is_open = directory.is_open_to_resp(self.requirepass(), accounts::INITIAL_RESP_USER);
        // Asked after the accounts, so that those of a beginning are not taken for those that were loaded.
        (self.authority.standing().state == State::Whole).then_some(is_open)
    }

    #[must_use]
    pub fn is_ack_replicated(&self) -> bool {
        self.ack_replicated
    }

    /// What of a copy counts as soon as this node is master.
    #[must_use]
    pub fn counted(&self) -> Counted {
        match self.engine.journal.durability().promise() {
            Some(Promise::Durable) => Counted::Durable,
            Some(Promise::Appended | Promise::Written) | None => Counted::Received,
        }
    }

    /// How others know this node.
    #[must_use]
    pub fn member(&self) -> Member {
        let host = self.config.announced_host();
        let address = |port: u16| Some(Address { host: host.clone(), port: u32::from(port) });
        let open = |plain: u16, secured: u16| address(if plain == 0 { secured } else { plain });
        Member {
            name: self.identity.name.clone(),
            node_id: self.identity.node_id.clone(),
            peer: address(self.config.peer_port),
            resp: open(self.config.resp_port, self.config.resp_tls_port),
            amqp: open(self.config.amqp_port, self.config.amqp_tls_port),
            gateway: open(self.config.gateway_port, self.config.gateway_tls_port),
            http: open(self.config.http_port, self.config.http_tls_port),
        }
    }

    /// The master of the newest state, unless it is this node.
    #[must_use]
    pub fn other_master(&self) -> Option<Member> {
        let cluster = self.cluster.read();
        let state = cluster.as_ref()?;
        if state.master == self.identity.name {
            return None;
        }
        state.members.iter().find(|member| member.name == state.master).cloned()
    }
}

/// The sizes at which values change their form.
fn sizes(live: &Live) -> Sizes {
    let limits = Limits {
        list_max_listpack_size: live.list_max_listpack_size.load(),
        hash_max_listpack_entries: live.hash_max_listpack_entries.size(),
        hash_max_listpack_value: live.hash_max_listpack_value.size(),
        set_max_intset_entries: live.set_max_intset_entries.size(),
        set_max_listpack_entries: live.set_max_listpack_entries.size(),
        set_max_listpack_value: live.set_max_listpack_value.size(),
        zset_max_listpack_entries: live.zset_max_listpack_entries.size(),
        zset_max_listpack_value: live.zset_max_listpack_value.size(),
    };
    let stream_node = NodeLimits {
        bytes: live.stream_node_max_bytes.size(),
        entries: live.stream_node_max_entries.load().try_into().unwrap_or(0),
    };
    let (sparse_sketch, text) = (live.hll_sparse_max_bytes.size(), live.proto_max_bulk_len.size());
    Sizes { limits, stream_node, sparse_sketch, text }
}

/// The bytes beyond which publishers are held: what the setting says, or a part of the memory that there is.
fn watermark(config: &Config) -> usize {
    match usize::try_from(config.memory_high_watermark.0).unwrap_or(usize::MAX) {
        0 => memory::available().map_or(limits::WATERMARK_BYTES, |bytes| bytes / 100 * limits::WATERMARK_PERCENT),
        bytes => bytes,
    }
}

/// 40 random hex digits, the shape of a Redis run id.
#[must_use]
pub fn random_id() -> String {
    use std::fmt::Write as _;
    let bytes: [u8; 20] = rand::random();
    bytes.iter().fold(String::with_capacity(40), |mut text, byte| {
        // Writing to a String cannot fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}
