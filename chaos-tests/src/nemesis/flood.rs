//! Publishers that never pause and wait for nothing: as many messages as the master's sockets take.
//!
//! `publisher-flood` sends to a name that no queue has, so nothing piles up and all of the master's work is theirs.
//! `slow-disk-flood` sends persistent messages to a durable queue while the master's disk hangs again and again, so that
//! everything piles up: in the queue, and in the journal that is not on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{Error, Struck, Wound};
use crate::client::amqp::{self, Channel, publish_bytes};
use crate::cluster::Cluster;
use crate::cluster::disk::Stalling;
use crate::sys::Moment;
use crate::workload::amqp::USER;

/// Publishers, so that each thread of the master has one.
const PUBLISHERS: usize = 2;
const NOBODY: Stream = Stream { queue: "nobody has this name", body: 16, messages: 1000, least: 50_000 };
/// The queue of the slow disk's flood is emptied after each round.
const PILE: Stream = Stream { queue: "flood", body: 16 << 10, messages: 16, least: 500 };
/// So long each round floods before anybody looks.
const LENGTH: Duration = Duration::from_secs(1);
/// A publisher whose connection takes nothing for so long is blocked, and tries again.
const LIMIT: Duration = Duration::from_secs(5);
/// A disk that stops for so long, with a tenth of it in between, so many times: some 4 s in all.
const STALL: Duration = Duration::from_millis(400);
const STALLS: usize = 9;
/// A queue of some hundred thousand messages is gone by then.
const EMPTY_LIMIT: Duration = Duration::from_secs(60);

/// What the publishers send.
#[derive(Debug, Clone, Copy)]
struct Stream {
    queue: &'static str,
    /// Bytes of a body.
    body: usize,
    /// Messages of one write.
    messages: usize,
    /// With fewer messages taken in all it was no flood.
    least: u64,
}

/// A flood under way.
#[derive(Debug)]
pub struct Flood {
    stream: Stream,
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    publishers: Vec<JoinHandle<()>>,
    disk: Option<Stalling>,
}

/// Nothing piles up.
pub(super) async fn begin(cluster: &Cluster, master: usize) -> Result<Struck, Error> {
    let at = Moment::now();
    let flood = Flood::begin(cluster, master, NOBODY, None).await?;
    sleep(LENGTH).await;
    Ok(Struck { at, killed: None, wound: Wound::Flooded(flood) })
}

/// Everything piles up.
pub(super) async fn begin_behind_a_slow_disk(cluster: &Cluster, master: usize) -> Result<Struck, Error> {
    let mut channel = open(cluster, master).await?;
    channel.declare_durable(PILE.queue).await.map_err(|error| Error::DidNotHappen(error.to_string()))?;
    let at = Moment::now();
    let disk = cluster.disk(master)?.stall(STALL, STALLS)?;
    let flood = Flood::begin(cluster, master, PILE, Some(disk)).await?;
    sleep(LENGTH).await;
    Ok(Struck { at, killed: None, wound: Wound::Flooded(flood) })
}

async fn open(cluster: &Cluster, node: usize) -> Result<Channel, Error> {
    let open = Channel::open(cluster.amqp_address(node), USER, cluster.password().unwrap_or(USER), LIMIT).await;
    open.map_err(|error| Error::DidNotHappen(format!("a publisher cannot connect: {error}")))
}

impl Flood {
    async fn begin(cluster: &Cluster, master: usize, stream: Stream, disk: Option<Stalling>) -> Result<Self, Error> {
        let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut channels = Vec::new();
        for _ in 0..PUBLISHERS {
            channels.push(open(cluster, master).await?);
        }
        let publishers = channels.into_iter().map(|mut channel| {
            let (stop, taken) = (Arc::clone(&stop), Arc::clone(&taken));
            tokio::spawn(async move {
                let bytes = publish_bytes(stream.queue, &vec![0; stream.body]).repeat(stream.messages);
                // A publisher that is blocked, or whose master has gone, ends: its part of the flood has happened.
                while !stop.load(Ordering::Relaxed) && channel.write(&bytes).await.is_ok() {
                    taken.fetch_add(stream.messages as u64, Ordering::Relaxed);
                }
            })
        });
        let publishers = publishers.collect();
        Ok(Self { stream, stop, taken, publishers, disk })
    }

    pub(super) async fn end(self, cluster: &Cluster) -> Result<(), Error> {
        self.stop.store(true, Ordering::Relaxed);
        for publisher in self.publishers {
            publisher.await.map_err(|error| Error::Broken(error.to_string()))?;
        }
        if let Some(disk) = self.disk {
            disk.end()?;
            empty(cluster, self.stream.queue).await?;
        }
        match self.taken.load(Ordering::Relaxed) {
            taken if taken < self.stream.least => Err(Error::DidNotHappen(format!("only {taken} messages were taken"))),
            _ => Ok(()),
        }
    }
}

/// Purges the flood's queue, through whichever node answers: the master may just be another one.
async fn empty(cluster: &Cluster, queue: &str) -> Result<(), Error> {
    let deadline = Instant::now() + EMPTY_LIMIT;
    loop {
        let purged = async {
            let mut channel = open(cluster, 0).await.map_err(|error| error.to_string())?;
            channel.purge(queue).await.map_err(|error: amqp::Error| error.to_string())
        };
        match purged.await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(Error::Broken(format!("the flood stays: {error}"))),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}
