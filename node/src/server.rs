//! Starts everything: threads, listeners, frontends; and ends it in order.
//!
//! ```text
//! main thread   accepts RESP and AMQP clients, waits for signals
//! io-0 .. io-n  one single-threaded runtime each: a client stays on its thread
//! services      the gateway
//! http          management: the API and the page
//! peers, lease  replication and the cluster (`cluster`)
//! ```

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tercet_edge::accept::{self, Door};
use tercet_edge::files;
use tercet_edge::service;
use tercet_edge::stop::Stop;
use tercet_edge::tls::{self, Alpn, Tls};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::clock;
use crate::config::{Config, Switch, YesNo};
use crate::drain::drain;
use crate::freeing;
use crate::journal::relay;
use crate::limits;
use crate::node::{Node, Shared};
use crate::role::Hold;
use crate::storage::{self, Storage};
use crate::{amqp, cluster, expiry, gateway, progress, recovery, resp, task};

/// Why a node cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address} for {what}: {source}; choose another port with --{flag} or stop what uses it")]
    Listen { address: SocketAddr, what: &'static str, flag: &'static str, source: std::io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("cannot catch signals: {0}")]
    Signal(std::io::Error),
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error(transparent)]
    Recovery(#[from] recovery::Error),
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("the newest {records} records are not on disk, which cannot be written: {reason}")]
    Unwritten { records: u64, reason: String },
}

impl Error {
    /// 2 for what whoever starts the node can mend, as with a wrong flag; 1 for what the machine does.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Listen { .. } | Self::Storage(_) | Self::Recovery(_) | Self::Cluster(_) | Self::Tls(_) => 2,
            Self::Thread(_) | Self::Signal(_) | Self::Unwritten { .. } => 1,
        }
    }
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// It cannot start.
pub fn run(config: Arc<Config>) -> Result<(), Error> {
    let descriptors = files::raise_descriptors();
    let stop = Stop::watch(grace(&config)).map_err(Error::Thread)?;
    files::make_private_directory(&config.data)
        .map_err(|error| storage::Error::Directory { path: config.data.clone(), reason: error.to_string() })?;
    let storage = Arc::new(Storage::open(&config.data)?);
    let mut node = Node::new((*config).clone(), storage.identity(&config.name));
    if let Some(files) = config.tls_files() {
        node.secure(Tls::load(files)?);
    }
    let node: Shared = Arc::new(node);
    node.places.set_most(files::places_for_clients(descriptors, config.live.maxclients.size()));
    warn_of_strangers(&config);
    let plan = recovery::prepare(&node, &storage)?;
    let main = Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    let (threads, _runtimes) = io_threads(&node)?;
    task::thread("freeing", freeing::run).map_err(Error::Thread)?;
    main.block_on(serve(node, storage, plan, threads, stop))
}

/// After so long a node that is told to stop is gone, whatever hangs: its clients' grace, the hand-over before, the last
/// replies and the last checkpoint behind it, and what the disk may take.
fn grace(config: &Config) -> Duration {
    let grace = Duration::from_millis(config.live.shutdown_grace_ms.size() as u64);
    grace
        .saturating_add(limits::HANDOVER_WAIT)
        .saturating_add(limits::LAST_REPLIES)
        .saturating_add(limits::CHECKPOINT_AT_STOP)
        .saturating_add(limits::STOP_SLACK)
}

fn warn_of_strangers(config: &Config) {
    if !config.bind.is_loopback() && config.allow_insecure == YesNo::Yes {
        tracing::warn!(bind = %config.bind, "--allow-insecure: whoever reaches this machine may use what has no password or token");
    }
    if config.is_clustered() && config.cluster_token.is_none() {
        tracing::warn!(
            "no --cluster-token: whoever reaches the port for peers may give orders, and clients that have logged in are not carried to the next master"
        );
    }
}

async fn serve(
    node: Shared,
    storage: Arc<Storage>,
    plan: Option<recovery::Plan>,
    threads: Vec<Handle>,
    stop: Stop,
) -> Result<(), Error> {
    let config = &node.config;
    let resp =
        open(&node, "RESP", [config.resp_port, config.resp_tls_port], ["resp-port", "resp-tls-port"], Alpn::Unnamed)?;
    let amqp =
        open(&node, "AMQP", [config.amqp_port, config.amqp_tls_port], ["amqp-port", "amqp-tls-port"], Alpn::Unnamed)?;
    let ports = [config.gateway_port, config.gateway_tls_port];
    let gateway = open(&node, "the gateway", ports, ["gateway-port", "gateway-tls-port"], Alpn::Http2)?;
    let ports = [config.metrics_port, config.metrics_tls_port];
    let metrics = open(&node, "metrics", ports, ["metrics-port", "metrics-tls-port"], Alpn::Unnamed)?;
    let ports = [config.http_port, config.http_tls_port];
    let http = open(&node, "HTTP", ports, ["http-port", "http-tls-port"], Alpn::Unnamed)?;
    let peers = cluster::listen(config)?;

    let gateway_node = Arc::clone(&node);
    let services = task::runtime("services", async move {
        if let Err(error) = gateway::serve(gateway_node, gateway, std::future::pending()).await {
            tracing::error!(%error, "the gateway has ended");
        }
    });
    // The thread lives as long as the process.
    services.map_err(Error::Thread)?;
    let http_node = Arc::clone(&node);
    let management = task::runtime("http", async move {
        if let Err(error) = crate::http::serve(http_node, http, resp::CONSOLE).await {
            tracing::error!(%error, "the port of the management API has failed");
        }
    });
    // As the one before.
    management.map_err(Error::Thread)?;
    let metrics_node = Arc::clone(&node);
    let _metrics = task::spawn("metrics", async move {
        if let Err(error) = crate::metrics::serve(metrics_node, metrics).await {
            tracing::error!(%error, "the port of the metrics has failed");
        }
    });
    let _clients = task::spawn("clients", crate::idle::sweep(Arc::clone(&node)));
    let _expiry = task::spawn("expiry", expiry::run(Arc::clone(&node)));
    let _eviction = task::spawn("eviction", crate::eviction::task::run(Arc::clone(&node)));
    let (amqp_node, amqp_threads) = (Arc::clone(&node), threads.clone());
    let _amqp = task::spawn("amqp accept", amqp::accept(amqp_node, amqp, amqp_threads));
    let resp_node = Arc::clone(&node);
    let accepting = task::spawn("resp accept", async move {
        let ports = resp.into_iter().map(|door| resp::accept(Arc::clone(&resp_node), door, threads.clone()));
        futures::future::join_all(ports).await;
    });
    let _reload = task::spawn("reload", reload(Arc::clone(&node)));
    let cluster = cluster::start(Arc::clone(&node), Arc::clone(&storage), peers)?;
    let mut running = recovery::start(&node, &storage, plan, &cluster).map_err(Error::Thread)?;

    banner(&node);
    service::ready();
    tokio::select! {
        result = stopped(&node) => result?,
        error = running.failed() => return Err(error.into()),
    }
    // SHUTDOWN is no signal.
    stop.begin();
    service::stopping();
    tracing::info!("the node stops");
    cluster.resign().await;
    accepting.stop().await;
    let has_heir = config.is_clustered() && node.other_master().is_some();
    let grace =
        if has_heir { Duration::from_millis(config.live.shutdown_grace_ms.size() as u64) } else { Duration::ZERO };
    tokio::select! {
        () = drain(&node, grace) => {}
        again = stopped(&node) => {
            again?;
            tracing::info!("told to stop again: clients are not waited for");
        }
    }
    // Nothing more is executed or comes from a master, so that everything that did is on disk at the end.
    cluster.follow_no_more().await;
    node.authority.change(|standing| standing.hold = Hold::Held);
    drop(running);
    unwritten(&node)
}

/// A stop is clean only if everything that was appended is on disk.
fn unwritten(node: &Node) -> Result<(), Error> {
    let journal = &node.engine.journal;
    let records = journal.end().0.saturating_sub(journal.durability().written().0);
    if records == 0 || journal.durability().promise().is_none() {
        return Ok(());
    }
    Err(Error::Unwritten { records, reason: journal.durability().refusal().unwrap_or_default() })
}

/// A protocol's ports: the plain one, unless it is closed, and the one under TLS, if there is one.
fn open(
    node: &Node,
    what: &'static str,
    [plain, secured]: [u16; 2],
    [flag, secured_flag]: [&'static str; 2],
    alpn: Alpn,
) -> Result<Vec<Door>, Error> {
    let mut doors = Vec::new();
    if plain != 0 || secured == 0 {
        doors.push(listen(node, plain, what, flag)?);
    }
    if let Some(tls) = node.tls.as_ref().filter(|_| secured != 0) {
        doors.push(listen(node, secured, what, secured_flag)?.secured(Arc::clone(tls), alpn));
    }
    Ok(doors)
}

fn listen(node: &Node, port: u16, what: &'static str, flag: &'static str) -> Result<Door, Error> {
    let address = SocketAddr::new(node.config.bind, port);
    let listener = accept::listen(address).map_err(|source| Error::Listen { address, what, flag, source })?;
    Ok(Door::new(what, listener, Arc::clone(&node.places)))
}

/// One single-threaded runtime a thread. The runtimes live as long as the returned guards.
fn io_threads(node: &Shared) -> Result<(Vec<Handle>, Vec<Arc<Runtime>>), Error> {
    let config = &node.config;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = if config.io_threads == 0 { (cores / 2).max(1) } else { config.io_threads };
    let (mut handles, mut runtimes) = (Vec::new(), Vec::new());
    for index in 0..count {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let runtime = Arc::new(runtime);
        let relayed = Arc::clone(node);
        runtime.spawn(async move { relay::serve(&relayed.engine.journal).await });
        handles.push(runtime.handle().clone());
        runtimes.push(Arc::clone(&runtime));
        let (served, name) = (Arc::clone(node), format!("io-{index}"));
        std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                task::run_promptly();
                let beat = served.progress.join(&name);
                // It never ends.
                runtime.block_on(progress::beat(&served.authority, &served.engine, &served.scripts, &beat));
            })
            .map_err(Error::Thread)?;
    }
    Ok((handles, runtimes))
}

fn banner(node: &Node) {
    let config = &node.config;
    let host = config.announced_host();
    let security = if config.requirepass.is_empty() { "no password" } else { "password set" };
    let persistence = match config.persistence {
        Switch::On => format!("fsync {}", config.text("fsync").unwrap_or_default()),
        Switch::Off => "off: data is in memory only".to_owned(),
    };
    let took = clock::boot_now().millis_since(node.started);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = node.identity.name,
        run_id = node.identity.incarnation,
        data = %config.data.display(),
        resp = format!("{host}:{}", config.resp_port),
        amqp = format!("{host}:{}", config.amqp_port),
        gateway = format!("{host}:{}", config.gateway_port),
        peers = format!("{host}:{}", config.peer_port),
        sentinels = config.sentinels.len(),
        security,
        persistence,
        "ready to accept connections in {took} ms"
    );
}

async fn stopped(node: &Node) -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = node.shutdown.notified() => {}
    }
    Ok(())
}

/// SIGHUP: the file of `--config` and the certificates are read again.
async fn reload(node: Shared) {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::warn!(%error, "SIGHUP will end this process"),
    };
    while hangup.recv().await.is_some() {
        service::reloading();
        match node.config.reload() {
            Ok(changed) => {
                let changed: Vec<_> = changed.iter().map(|setting| setting.name).collect();
                tracing::info!(changed = changed.join(","), "settings were read again");
            }
            Err(error) => tracing::warn!(%error, "settings are left as they are"),
        }
        match node.tls.as_ref().map(|tls| tls.reload()) {
            None => {}
            Some(Ok(())) => tracing::info!("certificates were read again"),
            Some(Err(error)) => tracing::error!(%error, "certificates could not be read again, the old ones stay"),
        }
        service::ready();
    }
}

/// `tercet-node healthcheck`: whether the node on the RESP port answers.
///
/// # Errors
/// Nobody answers there, or not what a node would.
pub fn healthcheck(config: &Config) -> Result<(), String> {
    let host = if config.bind.is_unspecified() { [127, 0, 0, 1].into() } else { config.bind };
    // Where clients come in under TLS only, the port of the metrics is asked.
    let is_tls_only = config.resp_port == 0 && config.resp_tls_port != 0;
    let (port, question) = match is_tls_only {
        false => (config.resp_port, "PING\r\n"),
        true => (config.metrics_port, "GET /metrics HTTP/1.0\r\n\r\n"),
    };
    let ask = || -> std::io::Result<bool> {
        let timeout = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(host, port), timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.write_all(question.as_bytes())?;
        let mut reply = [0; 64];
        let count = stream.read(&mut reply)?;
        let reply = reply.get(..count).unwrap_or_default();
        // A node that asks for a password serves.
        Ok([&b"+PONG"[..], b"-NOAUTH", b"HTTP/1.0 200", b"HTTP/1.1 200"].iter().any(|good| reply.starts_with(good)))
    };
    match ask() {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("the node on port {port} does not answer {:?}", question.trim())),
        Err(error) => Err(format!("no node answers on port {port}: {error}")),
    }
}
