//! A replica's stream from its master: what comes is appended at once, acknowledged at once, and handed to the applier.
//!
//! ```text
//! hello --> CONTINUE | FULL | SYNC GOES ON --> blocks, images, commit     (FromMaster)
//!   acknowledgements <-- of the newest block only, however many have come
//! ```
//!
//! While a full sync is under way nothing is acknowledged: a copy counts once it holds everything up to the youngest cut.

use futures::Stream;
use tercet_proto::grpc::cluster::v1::Member;
use tercet_proto::grpc::peer::v1::peer_client::PeerClient;
use tercet_proto::grpc::peer::v1::{
    self as wire, FromMaster, FromReplica, ReplicaAck, ReplicaHello, from_master::Message, from_replica,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use super::apply::{Applier, Condition};
use super::commit::Disk;
use super::{from_wire, to_wire};
use crate::clock;
use crate::ids::{Epoch, Offset};
use crate::journal::{self, Block, Journal, Promise};
use crate::limits;
use crate::node::Shared;
use crate::peers::Portion;
use crate::role::{Role, State};

/// Whom to follow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub(crate) epoch: Epoch,
    pub(crate) cluster_id: String,
    pub(crate) master: Member,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("{}: {}", .0.code(), .0.message())]
    Status(#[from] Status),
    #[error("the master's address is not known")]
    NoAddress,
    #[error("the master is silent")]
    Silent,
    #[error("the master closed the stream")]
    Closed,
    #[error(transparent)]
    Journal(#[from] journal::Error),
    #[error("the master speaks for epoch {theirs}, and epoch {ours} is followed")]
    OtherEpoch { theirs: Epoch, ours: Epoch },
    #[error("the master continues at {offset}, and records up to {applied} are applied")]
    BehindApplied { offset: Offset, applied: Offset },
    #[error("the master has 2^{theirs} shards and this node 2^{ours}")]
    ShardBits { theirs: u32, ours: u32 },
    #[error("{0} is out of place")]
    OutOfPlace(&'static str),
    #[error("the copy no longer fits its journal")]
    Lost,
}

/// Follows a master until it is cancelled.
pub(crate) async fn follow(node: Shared, applier: std::sync::Arc<Applier>, target: Target) {
    let mut pause = limits::RECONNECT_PAUSE[0];
    let mut said: Option<Instant> = None;
    // Until then nobody knows where to go on.
    node.loading.done().await;
    loop {
        let began = Instant::now();
        let mut link = Link { node: &node, applier: &applier, target: &target, sync: Sync::No, level: None };
        let error = match link.run().await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        link_is_down(&node);
        let lasted = began.elapsed() > limits::REPLICATION_SILENCE;
        if lasted || said.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
            said = Some(Instant::now());
            warn!(master = target.master.name, epoch = target.epoch.0, %error, "no stream from the master, trying again");
        } else {
            debug!(master = target.master.name, epoch = target.epoch.0, %error, "no stream from the master");
        }
        pause = if lasted { limits::RECONNECT_PAUSE[0] } else { pause };
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(limits::RECONNECT_PAUSE[1]);
    }
}

/// Marks the stream as broken, for INFO.
pub(crate) fn link_is_down(node: &Shared) {
    let mut link = node.link.write();
    if link.is_up || link.down_since.0 == 0 {
        link.down_since = clock::boot_now();
    }
    (link.is_up, link.syncing) = (false, false);
}

struct Link<'a> {
    node: &'a Shared,
    applier: &'a Applier,
    target: &'a Target,
    sync: Sync,
    /// What was committed when the stream began: who has not applied that much would answer reads with old news.
    level: Option<Offset>,
}

/// A full sync, as far as the stream knows it.
enum Sync {
    No,
    Images {
        images: u64,
        began: Instant,
    },
    /// All images have come; whole at this offset.
    Ending {
        at: Offset,
    },
}

impl Link<'_> {
    async fn run(&mut self) -> Result<std::convert::Infallible, Error> {
        let hello = self.hello()?;
        let (acknowledge, acknowledged) = watch::channel(ReplicaAck::default());
        let mut stream = self.open(hello, acknowledged).await?;
        {
            let mut link = self.node.link.write();
            (link.is_up, link.last_heard) = (true, clock::boot_now());
        }
        let first = timeout(limits::REPLICATION_SILENCE, stream.message()).await.map_err(|_| Error::Silent)??;
        self.begin(first.ok_or(Error::Closed)?)?;
        loop {
            // In the order of a message's way: acknowledge what came, then wait for what comes next.
            let message = self.next(&mut stream, &acknowledge).await?;
            {
                let mut link = self.node.link.write();
                (link.last_heard, link.applied) = (clock::boot_now(), self.applier.applied());
            }
            self.receive(message)?;
            if self.applier.condition() == Condition::Lost {
                return Err(Error::Lost);
            }
            self.applier.room().await;
        }
    }

    /// What this node holds; nothing, if what it holds is of no use.
    fn hello(&self) -> Result<ReplicaHello, Error> {
        let journal = &self.node.engine.journal;
        if self.applier.condition() == Condition::Lost {
            journal.restart_from(self.target.epoch, Offset::ZERO, Vec::new())?;
            self.applier.forget();
            self.node.gate.depose(Offset::ZERO);
        }
        Ok(ReplicaHello {
            cluster_id: self.target.cluster_id.clone(),
            name: self.node.identity.name.clone(),
            node_id: self.node.identity.node_id.clone(),
            incarnation: self.node.identity.incarnation.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            spoken: tercet_edge::version::SPOKEN,
            epoch: self.target.epoch.0,
            history: to_wire(&journal.history()),
            end_offset: journal.end().0,
            applied_offset: self.applier.applied().0,
            durability: disk_of(journal).to_wire().into(),
            partial: self.applier.partial().map(|partial| wire::PartialSync {
                epoch: partial.epoch.0,
                partitions: partial.partitions.iter().map(|partition| partition.0).collect(),
                youngest_cut: partial.youngest_cut.0,
            }),
        })
    }

    async fn open(
        &self,
        hello: ReplicaHello,
        acknowledged: watch::Receiver<ReplicaAck>,
    ) -> Result<Streaming<FromMaster>, Error> {
        let address = self.target.master.peer.as_ref().ok_or(Error::NoAddress)?;
        let channel = self.node.dialer.connect(&crate::cluster::channel::endpoint(address)?).await?;
        let mut client = PeerClient::new(channel)
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES);
        // The master may have to wait for a newer ISR before it answers, but not much longer than a heartbeat.
        let opened = timeout(2 * limits::REPLICATION_SILENCE, client.replicate(outgoing(hello, acknowledged)));
        Ok(opened.await.map_err(|_| Error::Silent)??.into_inner())
    }

    /// What this node holds by now. In the middle of a full sync that is nothing yet.
    fn acknowledge(&self, acknowledge: &watch::Sender<ReplicaAck>) {
        if !matches!(self.sync, Sync::No) {
            return;
        }
        let journal = &self.node.engine.journal;
        let received = match journal.durability().promise() {
            // The master counts what is durable, and what has come here is news to WAIT.
            Some(Promise::Durable) => journal.end(),
            // A disk that is too far behind holds the master up, as its own would.
            Some(Promise::Appended | Promise::Written) | None => journal.durability().held_by_replica(journal.end()),
        };
        acknowledge.send_replace(ReplicaAck {
            received_offset: received.0,
            durable_offset: journal.durability().durable().0,
            applied_offset: self.applier.applied().0,
        });
    }

    /// The next message. Meanwhile the disk gets on, and the state may become readable.
    async fn next(
        &self,
        stream: &mut Streaming<FromMaster>,
        acknowledge: &watch::Sender<ReplicaAck>,
    ) -> Result<FromMaster, Error> {
        let durability = self.node.engine.journal.durability();
        let silence = tokio::time::sleep(limits::REPLICATION_SILENCE);
        tokio::pin!(silence);
        loop {
            let progress = self.applier.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let disk = durability.changed();
            self.acknowledge(acknowledge);
            let is_readable = self.show_state();
            // What a disk that refuses does not take stays in memory, and that is bounded: the stream waits, and its silence
            // ends it.
            let has_room = !self.node.engine.journal.is_full();
            tokio::select! {
                message = stream.message(), if has_room => return message?.ok_or(Error::Closed),
                () = &mut silence => return Err(Error::Silent),
                () = &mut progress, if !is_readable => {}
                () = disk => {}
            }
        }
    }

    /// Opens the node for reads once its state is one that was acknowledged.
    fn show_state(&self) -> bool {
        let is_level = self.level.is_some_and(|level| self.applier.applied() >= level);
        if !is_level || !self.applier.is_readable() {
            return false;
        }
        let authority = &self.node.authority;
        if authority.enter(clock::boot_now()).standing().state == State::Loading {
            authority.change(|standing| {
                if standing.role == Role::Replica && standing.epoch == self.target.epoch {
                    standing.state = State::Whole;
                }
            });
            info!(master = self.target.master.name, offset = self.node.engine.journal.end().0, "replica is up to date");
        }
        true
    }

    fn begin(&mut self, first: FromMaster) -> Result<(), Error> {
        let journal = &self.node.engine.journal;
        let applied = self.applier.applied();
        match first.message {
            Some(Message::Continue(wire::Continue { epoch, offset, history })) => {
                self.check_epoch(epoch)?;
                if self.applier.condition() == Condition::Syncing {
                    self.applier.lose();
                    return Err(Error::OutOfPlace("CONTINUE in the middle of a full sync"));
                }
                let offset = Offset(offset);
                if offset < applied {
                    return Err(Error::BehindApplied { offset, applied });
                }
                journal.continue_from(self.target.epoch, offset, from_wire(&history))?;
                self.applier.resume(offset);
                if self.node.gate.commit() > offset {
                    self.node.gate.depose(offset);
                }
                self.applier.commit(self.node.gate.commit());
                info!(master = self.target.master.name, epoch, offset = offset.0, "following, continued");
                self.sync = Sync::No;
            }
            Some(Message::Full(wire::Full { epoch, offset, history, shard_bits, partitions })) => {
                self.check_epoch(epoch)?;
                let ours = self.node.engine.keyspace.bits();
                if shard_bits != ours {
                    return Err(Error::ShardBits { theirs: shard_bits, ours });
                }
                self.node.authority.change(|standing| standing.state = State::Loading);
                journal.restart_from(self.target.epoch, Offset(offset), from_wire(&history))?;
                self.applier.begin_sync(self.target.epoch, Offset(offset));
                self.node.gate.depose(Offset::ZERO);
                self.begin_images(partitions);
                info!(master = self.target.master.name, epoch, offset, partitions, "following, full sync begins");
                self.sync = Sync::Images { images: 0, began: Instant::now() };
            }
            Some(Message::SyncGoesOn(wire::SyncGoesOn { epoch, offset, history, partitions })) => {
                self.check_epoch(epoch)?;
                let is_ours = self.applier.partial().is_some_and(|partial| partial.epoch == self.target.epoch);
                if !is_ours || Offset(offset) != journal.end() {
                    self.applier.lose();
                    return Err(Error::OutOfPlace("a full sync that goes on"));
                }
                journal.continue_from(self.target.epoch, Offset(offset), from_wire(&history))?;
                self.begin_images(partitions);
                info!(master = self.target.master.name, epoch, offset, partitions, "following, full sync goes on");
                self.sync = Sync::Images { images: 0, began: Instant::now() };
            }
            _ => return Err(Error::OutOfPlace("a first message that says nothing of where to begin")),
        }
        Ok(())
    }

    /// Says that a full sync is under way, and how much of it will come.
    fn begin_images(&self, partitions: u64) {
        let mut link = self.node.link.write();
        (link.syncing, link.full_sync) = (true, Some(Portion::begin(0, partitions)));
    }

    fn check_epoch(&self, epoch: u64) -> Result<(), Error> {
        let (theirs, ours) = (Epoch(epoch), self.target.epoch);
        if theirs == ours { Ok(()) } else { Err(Error::OtherEpoch { theirs, ours }) }
    }

    fn receive(&mut self, message: FromMaster) -> Result<(), Error> {
        match message.message {
            Some(Message::Block(block)) => self.receive_block(block)?,
            Some(Message::Commit(commit)) => {
                self.check_epoch(commit.epoch)?;
                self.commit(Offset(commit.commit_offset));
            }
            Some(Message::Image(image)) => {
                let Sync::Images { images, .. } = &mut self.sync else {
                    return Err(Error::OutOfPlace("an image"));
                };
                *images += u64::from(image.last);
                if image.last
                    && let Some(portion) = &mut self.node.link.write().full_sync
                {
                    portion.done = *images;
                }
                self.applier.push_image(image.into());
            }
            Some(Message::SyncEnd(end)) => {
                let Sync::Images { images, began, .. } = &self.sync else {
                    return Err(Error::OutOfPlace("the end of a full sync"));
                };
                let took_ms = began.elapsed().as_millis() as u64;
                info!(master = self.target.master.name, images, took_ms, offset = end.offset, "all images have come");
                let at = Offset(end.offset);
                self.applier.end_sync(at);
                self.sync = Sync::Ending { at };
            }
            Some(Message::Continue(_) | Message::Full(_) | Message::SyncGoesOn(_)) => {
                return Err(Error::OutOfPlace("a second beginning"));
            }
            // A message of a later version.
            None => {}
        }
        if let Sync::Ending { at } = self.sync
            && self.node.engine.journal.end() >= at
        {
            self.applier.complete_sync();
            let mut link = self.node.link.write();
            (link.syncing, link.full_sync) = (false, None);
            drop(link);
            self.sync = Sync::No;
        }
        Ok(())
    }

    fn receive_block(&mut self, block: wire::Block) -> Result<(), Error> {
        let commit = Offset(block.commit_offset);
        let wire::Block { epoch, first_offset, last_offset, records, .. } = block;
        let block = Block::new(Epoch(epoch), Offset(first_offset), Offset(last_offset), records);
        self.node.engine.journal.append_block(self.target.epoch, block.clone())?;
        self.applier.push(block);
        self.commit(commit);
        Ok(())
    }

    /// A commit offset from the master. It may be ahead of what has come.
    fn commit(&mut self, offset: Offset) {
        self.level.get_or_insert(offset);
        let offset = offset.min(self.node.engine.journal.end());
        self.node.gate.advance(offset);
        self.applier.commit(offset);
    }
}

fn disk_of(journal: &Journal) -> Disk {
    match journal.durability().promise() {
        None => Disk::Absent,
        Some(Promise::Appended | Promise::Written) => Disk::Buffered,
        Some(Promise::Durable) => Disk::Synced,
    }
}

/// Hello, then the newest acknowledgement whenever there is a newer one.
fn outgoing(
    hello: ReplicaHello,
    acknowledged: watch::Receiver<ReplicaAck>,
) -> impl Stream<Item = FromReplica> + Send + 'static {
    enum Out {
        Hello(Box<ReplicaHello>, watch::Receiver<ReplicaAck>),
        Acks(watch::Receiver<ReplicaAck>),
    }
    futures::stream::unfold(Out::Hello(Box::new(hello), acknowledged), |out| async move {
        let (message, acks) = match out {
            Out::Hello(hello, acks) => (from_replica::Message::Hello(*hello), acks),
            Out::Acks(mut acks) => {
                acks.changed().await.ok()?;
                let ack = *acks.borrow_and_update();
                (from_replica::Message::Ack(ack), acks)
            }
        };
        Some((FromReplica { message: Some(message) }, Out::Acks(acks)))
    })
}
