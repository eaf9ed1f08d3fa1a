//! Starts everything: threads, listeners, frontends; and ends it in order.
//!
//! ```text
//! main thread   accepts RESP and AMQP clients, waits for signals
//! io-0 .. io-n  one single-threaded runtime each: a client stays on its thread
//! services      the gateway
//! peers, lease  replication and the cluster (`cluster`)
//! ```

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::clock;
use crate::config::{Config, Switch};
use crate::drain::drain;
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
}

impl Error {
    /// 2 for what whoever starts the node can mend, as with a wrong flag; 1 for what the machine does.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Listen { .. } | Self::Storage(_) | Self::Recovery(_) | Self::Cluster(_) => 2,
            Self::Thread(_) | Self::Signal(_) => 1,
        }
    }
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// It cannot start.
pub fn run(config: Arc<Config>) -> Result<(), Error> {
    raise_descriptor_limit();
    let storage = Arc::new(Storage::open(&config.data)?);
    let node: Shared = Arc::new(Node::new((*config).clone(), storage.identity(&config.name)));
    let plan = recovery::prepare(&node, &storage)?;
    let main = Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    let (threads, _runtimes) = io_threads(&node)?;
    main.block_on(serve(node, storage, plan, threads))
}

async fn serve(
    node: Shared,
    storage: Arc<Storage>,
    plan: Option<recovery::Plan>,
    threads: Vec<Handle>,
) -> Result<(), Error> {
    let config = &node.config;
    let resp = listen(config, config.resp_port, "RESP", "resp-port").await?;
    let amqp = listen(config, config.amqp_port, "AMQP", "amqp-port").await?;
    let gateway = listen(config, config.gateway_port, "the gateway", "gateway-port").await?;
    let metrics = listen(config, config.metrics_port, "metrics", "metrics-port").await?;
    let peers = cluster::listen(config)?;

    let gateway_node = Arc::clone(&node);
    let services = task::runtime("services", async move {
        if let Err(error) = gateway::serve(gateway_node, gateway, std::future::pending()).await {
            tracing::error!(%error, "the gateway has ended");
        }
    });
    // The thread lives as long as the process.
    services.map_err(Error::Thread)?;
    let metrics_node = Arc::clone(&node);
    let _metrics = task::spawn("metrics", async move {
        if let Err(error) = crate::metrics::serve(metrics_node, metrics).await {
            tracing::error!(%error, "the port of the metrics has failed");
        }
    });
    let _reload = task::spawn("reload", reload(Arc::clone(&node)));
    let _expiry = task::spawn("expiry", expiry::run(Arc::clone(&node)));
    let _eviction = task::spawn("eviction", crate::eviction::run(Arc::clone(&node)));
    let (amqp_node, amqp_threads) = (Arc::clone(&node), threads.clone());
    let _amqp = task::spawn("amqp accept", async move {
        if let Err(error) = amqp::accept(amqp_node, amqp, amqp_threads).await {
            tracing::error!(%error, "the AMQP port has failed");
        }
    });
    let resp_node = Arc::clone(&node);
    let accepting = task::spawn("resp accept", async move {
        if let Err(error) = resp::accept(resp_node, resp, threads).await {
            tracing::error!(%error, "the RESP port has failed");
        }
    });
    let cluster = cluster::start(Arc::clone(&node), Arc::clone(&storage), peers)?;
    let mut running = recovery::start(&node, &storage, plan, &cluster).map_err(Error::Thread)?;

    banner(&node);
    tokio::select! {
        result = stopped(&node) => result?,
        error = running.failed() => return Err(error.into()),
    }
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
    // Nothing more is executed, so that everything that was is on disk at the end.
    node.authority.change(|standing| standing.hold = Hold::Held);
    Ok(())
}

async fn listen(config: &Config, port: u16, what: &'static str, flag: &'static str) -> Result<TcpListener, Error> {
    let address = SocketAddr::new(config.bind, port);
    let listen = || {
        let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(limits::LISTEN_BACKLOG)
    };
    listen().map_err(|source| Error::Listen { address, what, flag, source })
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
                runtime.block_on(progress::beat(&served, &beat));
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

/// SIGHUP: the file of `--config` is read again.
async fn reload(node: Shared) {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::warn!(%error, "SIGHUP will end this process"),
    };
    while hangup.recv().await.is_some() {
        match node.config.reload() {
            Ok(changed) => {
                let changed: Vec<_> = changed.iter().map(|setting| setting.name).collect();
                tracing::info!(changed = changed.join(","), "settings were read again");
            }
            Err(error) => tracing::warn!(%error, "settings are left as they are"),
        }
    }
}

/// As many descriptors as the system lets us have: a client is one.
#[allow(unsafe_code, reason = "std has no setrlimit")]
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit that the first call writes and the second reads.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// `tercet-node healthcheck`: whether the node on the RESP port answers.
///
/// # Errors
/// Nobody answers there, or not what a node would.
pub fn healthcheck(config: &Config) -> Result<(), String> {
    let host = if config.bind.is_unspecified() { [127, 0, 0, 1].into() } else { config.bind };
    let ask = || -> std::io::Result<bool> {
        let timeout = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(host, config.resp_port), timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.write_all(b"PING\r\n")?;
        let mut reply = [0; 64];
        let count = stream.read(&mut reply)?;
        // A node that asks for a password serves.
        Ok(reply[..count].starts_with(b"+PONG") || reply[..count].starts_with(b"-NOAUTH"))
    };
    match ask() {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("the node on port {} does not answer PING", config.resp_port)),
        Err(error) => Err(format!("no node answers on port {}: {error}", config.resp_port)),
    }
}
