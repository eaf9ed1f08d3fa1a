//! A queue of hundreds of megabytes: a replica is replaced by one with an empty disk, which is sent all of it under load,
//! and then the master is killed. Every confirmed message is in the queue of the next master, whole and in order.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::{Error, Struck, Wound};
use crate::client::amqp::{Channel, Event};
use crate::cluster::{Cluster, Member, NODES};
use crate::sys::Moment;
use crate::workload::amqp::USER;

const QUEUE: &str = "large";
/// Some 190 MB.
const MESSAGES: usize = 3000;
const BODY: usize = 64 << 10;
/// Messages that are under way without a confirm.
const WINDOW: usize = 64;
/// One answer; far above what is promised.
const LIMIT: Duration = Duration::from_secs(20);
/// Until the replaced replica is in sync.
const SYNC_LIMIT: Duration = Duration::from_secs(120);

/// What the next master has to hold.
#[derive(Debug)]
pub struct Confirmed {
    node: usize,
}

pub(super) async fn strike(cluster: &mut Cluster, master: usize, random: &mut StdRng) -> Result<Struck, Error> {
    let began = Moment::now();
    publish(cluster, master).await.map_err(|error| Error::Broken(format!("publishing to a large queue: {error}")))?;
    let replica = Member::Node((master + random.random_range(1..NODES)) % NODES);
    cluster.kill(replica)?;
    let data = cluster.data(replica);
    std::fs::remove_dir_all(&data).map_err(|error| Error::DidNotHappen(format!("{}: {error}", data.display())))?;
    cluster.launch(replica)?;
    let now = cluster.wait_until_whole(SYNC_LIMIT).await?;
    if now != master {
        let (before, now) = (Member::Node(master), Member::Node(now));
        return Err(Error::Broken(format!("a full sync of a large queue has moved the mastership: {before} to {now}")));
    }
    cluster.kill(Member::Node(master))?;
    Ok(Struck { at: began, killed: Some(master), wound: Wound::LargeQueue(Confirmed { node: master }) })
}

impl Confirmed {
    /// Takes all messages out of the queue of the new master, and starts the killed node again.
    pub(super) async fn look(self, cluster: &mut Cluster) -> Result<(), Error> {
        let master = cluster.status().await.master().map_err(Error::NoAnswer)?;
        take_out(cluster, master).await?;
        Ok(cluster.launch(Member::Node(self.node))?)
    }
}

async fn publish(cluster: &Cluster, master: usize) -> Result<(), crate::client::amqp::Error> {
    let mut channel = open(cluster, master).await?;
    channel.declare_durable(QUEUE).await?;
    channel.confirm_select().await?;
    let mut confirmed = 0;
    for number in 0..MESSAGES {
        channel.publish_persistent(QUEUE, &body(number)).await?;
        while number + 1 - confirmed >= WINDOW || (number + 1 == MESSAGES && confirmed < MESSAGES) {
            match channel.event_in_time().await? {
                // Tags count from 1.
                Event::Confirmed { tag, multiple: true } => confirmed = usize::try_from(tag).unwrap_or(confirmed),
                Event::Confirmed { .. } => confirmed += 1,
                other => return Err(unexpected(&other)),
            }
        }
    }
    Ok(())
}

async fn take_out(cluster: &Cluster, master: usize) -> Result<(), Error> {
    let no_answer = |error| Error::NoAnswer(format!("the large queue: {error}"));
    let mut channel = open(cluster, master).await.map_err(no_answer)?;
    let ready = channel.declare_durable(QUEUE).await.map_err(no_answer)? as usize;
    if ready != MESSAGES {
        return Err(Error::Broken(format!("{ready} messages are in the large queue, {MESSAGES} were confirmed")));
    }
    channel.consume(QUEUE).await.map_err(no_answer)?;
    for number in 0..MESSAGES {
        let event = channel.event_in_time().await;
        if !matches!(&event, Ok(Event::Delivered { body: found, .. }) if *found == body(number)) {
            return Err(Error::Broken(format!("message {number} of the large queue is lost or another one")));
        }
    }
    Ok(())
}

async fn open(cluster: &Cluster, node: usize) -> Result<Channel, crate::client::amqp::Error> {
    Channel::open(cluster.amqp_address(node), USER, cluster.password().unwrap_or(USER), LIMIT).await
}

fn unexpected(_: &Event) -> crate::client::amqp::Error {
    crate::client::amqp::Error::NotAmqp("an event that is no confirm")
}

/// The message of a number: no two are alike.
fn body(number: usize) -> Vec<u8> {
    let mut body = number.to_be_bytes().repeat(BODY / size_of::<usize>());
    body.truncate(BODY);
    body
}
