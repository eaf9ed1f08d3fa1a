//! A full sync under load: what clients of the master feel of it, and what it costs the master in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tercet_proto::resp::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Error, fill, memory};
use crate::client::resp::Connection;
use crate::cluster::health::Status;
use crate::cluster::{Cluster, Member, NODES, Options};
use crate::sys;

#[derive(Debug, Clone)]
pub struct Outcome {
    pub data_bytes: u64,
    pub without: Latencies,
    pub during: Latencies,
    pub took: Duration,
    /// What the master's resident memory grew by, at the most.
    pub extra_bytes: u64,
}

/// Of writes, each sent when the one before was answered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Latencies {
    pub answers: usize,
    pub errors: usize,
    pub median: Duration,
    pub p99: Duration,
    pub worst: Duration,
}

const WHOLE_LIMIT: Duration = Duration::from_secs(300);
const REPLY_LIMIT: Duration = Duration::from_secs(60);
const CLIENTS: usize = 8;
/// Between two writes of a client, so that the machine is busy and not full.
const PACE: Duration = Duration::from_millis(1);
const VALUE_BYTES: usize = 1024;
/// As long as a sync takes, so that both meet what a node does now and then.
const BASELINE: Duration = Duration::from_secs(30);
/// The fill leaves work behind: checkpoints, files to merge. It is done when a node needs no more than this part of a core
/// for a while.
const CALM_SHARE: f64 = 0.02;
const CALM_WINDOW: Duration = Duration::from_secs(3);
const CALM_LIMIT: Duration = Duration::from_secs(120);

/// So seldom that what it costs is not seen in the latencies' 99th percentile.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the replica is that is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It shares all cores with the others: their clients feel its work.
    Among,
    /// It has the last core to itself, and the rest of the cluster and the load have the others, before the full sync and
    /// during it: as if it were on a machine of its own, so that what is felt is what the sync costs its master.
    Apart,
}

/// # Errors
/// The cluster does not become whole; or there is one core, which cannot be shared out.
pub async fn run(data_bytes: u64, place: Place) -> Result<Outcome, Error> {
    let last_core = std::thread::available_parallelism()?.get() - 1;
    if place == Place::Apart {
        // Whatever is started from here on is there too.
        sys::run_on(std::process::id(), &(0..last_core).collect::<Vec<_>>())?;
    }
    let mut cluster = Cluster::start(Options::default())?;
    let master = cluster.wait_until_whole(WHOLE_LIMIT).await?;
    let blank = Member::Node((master + 1) % NODES);
    tokio::task::block_in_place(|| cluster.stop(blank))?;
    let address = cluster.resp_address(master);
    let mut client = Connection::open(address, REPLY_LIMIT).await?;
    fill(&mut client, data_bytes / VALUE_BYTES as u64, VALUE_BYTES).await?;
    client.command(&["WAITAOF", "1", "0", "0"]).await?;
    calm_down(&[cluster.pid(Member::Node(master))?, cluster.pid(Member::Node((master + 2) % NODES))?]).await?;
    let without = {
        let load = Load::start(address);
        sleep(BASELINE).await;
        load.end().await?
    };
    std::fs::remove_dir_all(cluster.data(blank))?;
    let pid = cluster.pid(Member::Node(master))?;
    let before = memory(pid, "VmRSS");
    let load = Load::start(address);
    let began = Instant::now();
    cluster.launch(blank)?;
    if place == Place::Apart {
        sys::run_on(cluster.pid(blank)?, &[last_core])?;
    }
    let most = watch_memory(pid);
    cluster.look_until(WHOLE_LIMIT, LOOK_EVERY, Status::whole).await?;
    let took = began.elapsed();
    let during = load.end().await?;
    let extra_bytes = most.end().saturating_sub(before);
    Ok(Outcome { data_bytes, without, during, took, extra_bytes })
}

/// Waits until the processes have little left to do.
async fn calm_down(pids: &[u32]) -> Result<(), Error> {
    let deadline = Instant::now() + CALM_LIMIT;
    while Instant::now() < deadline {
        let mut used = Vec::new();
        for pid in pids {
            used.push(sys::cpu_time(*pid)?);
        }
        sleep(CALM_WINDOW).await;
        let mut is_calm = true;
        for (pid, before) in pids.iter().zip(used) {
            is_calm &= sys::cpu_time(*pid)?.saturating_sub(before) <= CALM_WINDOW.mul_f64(CALM_SHARE);
        }
        if is_calm {
            return Ok(());
        }
    }
    Err(Error::TooLate { what: "the nodes' own work behind the fill", limit: CALM_LIMIT })
}

/// The clients, on a thread of their own that comes before all others: they stand for clients on other machines, so
/// what they wait for is to be the cluster.
struct Load {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<std::io::Result<Latencies>>,
}

impl Load {
    fn start(address: std::net::SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            if let Err(error) = sys::come_first() {
                eprintln!("comeback: the clients share the cores like everybody, and wait for them: {error}");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(clients(address, &stopping)))
        });
        Self { stop, thread }
    }

    async fn end(self) -> Result<Latencies, Error> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = tokio::task::spawn_blocking(|| self.thread.join());
        let latencies = ended.await.ok().and_then(Result::ok);
        Ok(latencies.ok_or_else(|| std::io::Error::other("the clients have panicked"))??)
    }
}

async fn clients(address: std::net::SocketAddr, stop: &Arc<AtomicBool>) -> Latencies {
    let mut clients: JoinSet<_> = (0..CLIENTS).map(|index| write(address, index, stop.clone())).collect();
    let (mut all, mut errors) = (Vec::new(), 0);
    while let Some(Ok((latencies, failed))) = clients.join_next().await {
        all.extend(latencies);
        errors += failed;
    }
    all.sort_unstable();
    let at = |part: f64| all.get((all.len() as f64 * part) as usize).or(all.last()).copied().unwrap_or_default();
    Latencies { answers: all.len(), errors, median: at(0.5), p99: at(0.99), worst: at(1.0) }
}

async fn write(address: std::net::SocketAddr, index: usize, stop: Arc<AtomicBool>) -> (Vec<Duration>, usize) {
    let (mut latencies, mut errors) = (Vec::new(), 0);
    let value = "y".repeat(VALUE_BYTES);
    let Ok(mut client) = Connection::open(address, REPLY_LIMIT).await else { return (latencies, 1) };
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let key = format!("key:{:012}", (number * CLIENTS as u64 + index as u64) * 7919 % 1_000_000);
        let sent = Instant::now();
        match client.command(&["SET", &key, &value]).await {
            Ok(Value::Simple(_)) => latencies.push(sent.elapsed()),
            Ok(_) | Err(_) => {
                errors += 1;
                match Connection::open(address, REPLY_LIMIT).await {
                    Ok(again) => client = again,
                    Err(_) => return (latencies, errors),
                }
            }
        }
        sleep(PACE).await;
    }
    (latencies, errors)
}

/// The largest resident memory that is seen, looked at often enough to see what a sync holds.
struct Most {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

fn watch_memory(pid: u32) -> Most {
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = stop.clone();
    let thread = std::thread::spawn(move || {
        let mut most = 0;
        while !stopping.load(Ordering::Relaxed) {
            most = most.max(memory(pid, "VmRSS"));
            std::thread::sleep(Duration::from_millis(20));
        }
        most
    });
    Most { stop, thread }
}

impl Most {
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(0)
    }
}
