//! A publisher that never pauses and waits for nothing: as many messages as the master's socket takes. No queue has the name
//! that they are sent to, so nothing piles up, and all of the master's work is theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Error, Struck, Wound};
use crate::client::amqp::{Channel, publish_bytes};
use crate::cluster::Cluster;
use crate::sys::Moment;
use crate::workload::amqp::USER;

/// Publishers, so that each thread of the master has one.
const PUBLISHERS: usize = 2;
/// Messages of one write.
const MESSAGES: usize = 1000;
/// So long each round floods.
const LENGTH: Duration = Duration::from_secs(1);
/// With fewer messages taken in all it was no flood.
const LEAST: u64 = 50_000;
const LIMIT: Duration = Duration::from_secs(5);

/// A flood under way.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    publishers: Vec<JoinHandle<()>>,
}

pub(super) async fn begin(cluster: &Cluster, master: usize) -> Result<Struck, Error> {
    let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut channels = Vec::new();
    for _ in 0..PUBLISHERS {
        let open = Channel::open(cluster.amqp_address(master), USER, cluster.password().unwrap_or(USER), LIMIT).await;
        channels.push(open.map_err(|error| Error::DidNotHappen(format!("a publisher cannot connect: {error}")))?);
    }
    let at = Moment::now();
    let publishers = channels.into_iter().map(|mut channel| {
        let (stop, taken) = (Arc::clone(&stop), Arc::clone(&taken));
        tokio::spawn(async move {
            let bytes = publish_bytes("nobody has this name", &[0; 16]).repeat(MESSAGES);
            while !stop.load(Ordering::Relaxed) && channel.write(&bytes).await.is_ok() {
                taken.fetch_add(MESSAGES as u64, Ordering::Relaxed);
            }
        })
    });
    let publishers = publishers.collect();
    sleep(LENGTH).await;
    Ok(Struck { at, killed: None, wound: Wound::Flooded(Flood { stop, taken, publishers }) })
}

impl Flood {
    pub(super) async fn end(self) -> Result<(), Error> {
        self.stop.store(true, Ordering::Relaxed);
        for publisher in self.publishers {
            publisher.await.map_err(|error| Error::Broken(error.to_string()))?;
        }
        match self.taken.load(Ordering::Relaxed) {
            taken if taken < LEAST => Err(Error::DidNotHappen(format!("only {taken} messages were taken"))),
            _ => Ok(()),
        }
    }
}
