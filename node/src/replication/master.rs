//! One stream from the master to one replica: where it begins, and what is sent next.
//!
//! ```text
//! hello --> CONTINUE -----------------------------.
//!       --> FULL --> (blocks | images)* SyncEnd --+--> blocks, commit, heartbeats
//!       --> SYNC GOES ON --> the same, for the partitions whose images have not come
//! ```
//!
//! **Invariant:** an image is taken after every block that was sent before it, so its cut is not below any of them. So a
//! replica may skip a block's effect on a partition whose image has not come.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tercet_edge::name::is_name;
use tercet_edge::seldom::Seldom;
use tercet_proto::grpc::cluster::v1::Member;
use tercet_proto::grpc::peer::v1::{
    self as wire, FromMaster, FromReplica, ReplicaHello, from_master::Message, from_replica,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Status, Streaming};
use tracing::{info, warn};

use super::commit::{Copy, Counted, Disk, Held, Leaving, StreamId};
use super::image::{self, Abandoned};
use super::resume::{self, Log, Resume, Standing, Why};
use super::{from_wire, to_wire};
use crate::clock;
use crate::engine::Engine;
use crate::ids::{Epoch, Offset, Partition};
use crate::journal::{Block, Next};
use crate::limits;
use crate::node::Shared;
use crate::peers::Portion;
use crate::role::Role;
use crate::storage;
use crate::task::{self, Task};

const GONE: &str = "the journal no longer holds what comes next";

/// How long a replica that comes with the next epoch waits for this node to be told that it is master.
const PROMOTION_WAIT: Duration = Duration::from_millis(500);

/// Begins a stream to the replica that said hello.
///
/// # Errors
/// FAILED_PRECONDITION: this node is not master of that epoch.
pub(crate) async fn serve(
    node: Shared,
    storage: storage::Shared,
    hello: ReplicaHello,
    acknowledgements: Streaming<FromReplica>,
) -> Result<impl Stream<Item = Result<FromMaster, Status>> + Send + 'static, Status> {
    let epoch = Epoch(hello.epoch);
    let over = || Status::failed_precondition(format!("this node is not master of epoch {epoch}"));
    let term = mastership(&node, epoch).await.ok_or_else(over)?;
    check_name(&node, &hello)?;
    node.peers.met(&hello.name, &hello.version, hello.spoken);
    let member = Member { node_id: hello.node_id.clone(), ..member_named(&node, &hello.name) };
    let disk = Disk::from_wire(hello.durability());
    if node.counted() == Counted::Durable && disk != Disk::Synced {
        warn!(
            replica = hello.name,
            disk = disk.name(),
            "a replica does not sync always: it counts with what it received"
        );
    }
    let stream =
        node.commit.join(epoch, member, hello.incarnation.clone(), disk, clock::boot_now()).ok_or_else(over)?;
    // From here on the guard in it leaves when it is dropped.
    let mut sender = Sender::new(node, storage, epoch, term, stream);
    sender.begin(&hello).await?;
    sender.acknowledgements =
        Some(task::spawn("acknowledgements", receive(sender.membership.clone(), acknowledgements)));
    Ok(futures::stream::unfold(sender, |mut sender| async move {
        let message = sender.next().await?;
        Some((message, sender))
    }))
}

/// Waits until this node is master of `epoch`; says which term of the gate that is.
async fn mastership(node: &Shared, epoch: Epoch) -> Option<u64> {
    let mut changes = node.authority.subscribe();
    let is_master = |standing: &crate::role::Standing| standing.role == Role::Master && standing.epoch == epoch;
    tokio::time::timeout(PROMOTION_WAIT, changes.wait_for(is_master)).await.ok()?.ok()?;
    let term = node.gate.term();
    is_master(&node.authority.standing()).then_some(term)
}

/// A second process under a living node's name is refused: the first goes on counting. One with the same data directory is
/// the first, restarted.
fn check_name(node: &Shared, hello: &ReplicaHello) -> Result<(), Status> {
    let now = clock::boot_now();
    let is_taken = |copy: &Copy| {
        copy.member.name == hello.name
            && copy.member.node_id != hello.node_id
            && copy.is_connected()
            && now.millis_since(copy.heard) < limits::ISR_SILENCE_MS
    };
    let is_ours = hello.name == node.identity.name;
    if !is_name(&hello.name) || !is_name(&hello.incarnation) {
        return Err(Status::invalid_argument("a replica has a name and an incarnation"));
    }
    if !is_ours && !node.commit.copies().iter().any(|(copy, _)| is_taken(copy)) {
        return Ok(());
    }
    static TAKEN: Seldom = Seldom::new();
    if let Some(left_out) = TAKEN.due() {
        let (replica, node_id) = (&hello.name, &hello.node_id);
        warn!(
            replica,
            node_id, left_out, "another process has a living node's name and is refused; give each its own --name"
        );
    }
    Err(Status::already_exists(format!("a living node is called {}; give each node its own --name", hello.name)))
}

fn member_named(node: &Shared, name: &str) -> Member {
    let cluster = node.cluster.read();
    let members = cluster.as_ref().map(|state| &state.members[..]).unwrap_or_default();
    let known = members.iter().find(|member| member.name == name).cloned();
    known.unwrap_or_else(|| Member { name: name.to_owned(), ..Member::default() })
}

/// Counts what the replica acknowledges until its stream closes.
async fn receive(membership: Arc<Membership>, mut acknowledgements: Streaming<FromReplica>) {
    let node = &membership.node;
    while let Ok(Some(FromReplica { message })) = acknowledgements.message().await {
        if let Some(from_replica::Message::Ack(ack)) = message {
            let held = Held {
                received: Offset(ack.received_offset),
                durable: Offset(ack.durable_offset),
                applied: Offset(ack.applied_offset),
            };
            node.commit.acknowledge(membership.stream, held, clock::boot_now(), &node.engine.journal, &node.gate);
        }
    }
    membership.leave();
}

/// The replica is connected for as long as this lives.
#[derive(Debug)]
struct Membership {
    node: Shared,
    stream: StreamId,
}

impl Membership {
    fn leave(&self) {
        self.node.commit.leave(self.stream, clock::boot_now());
    }
}

#[derive(Debug)]
struct Sender {
    node: Shared,
    storage: storage::Shared,
    epoch: Epoch,
    term: u64,
    membership: Arc<Membership>,
    acknowledgements: Option<Task>,
    /// Everything up to here was sent.
    after: Offset,
    sent_commit: Offset,
    /// When a commit offset that no block has carried is sent by itself.
    commit_due: Option<Instant>,
    heartbeat_due: Instant,
    outbox: VecDeque<FromMaster>,
    /// What is left of a full sync, unless it is being made.
    images: Option<Images>,
    making: Option<Making>,
    /// Whose full sync it is, and how far: for people.
    sync: Option<(String, Portion)>,
    journal_since_images: usize,
    pace: Pace,
    is_over: bool,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.membership.leave();
    }
}

impl Sender {
    fn new(node: Shared, storage: storage::Shared, epoch: Epoch, term: u64, stream: StreamId) -> Self {
        Self {
            membership: Arc::new(Membership { node: node.clone(), stream }),
            node,
            storage,
            epoch,
            term,
            acknowledgements: None,
            after: Offset::ZERO,
            sent_commit: Offset::ZERO,
            commit_due: None,
            heartbeat_due: Instant::now(),
            outbox: VecDeque::new(),
            images: None,
            making: None,
            sync: None,
            journal_since_images: 0,
            pace: Pace::new(),
            is_over: false,
        }
    }

    /// Decides where the replica goes on.
    async fn begin(&mut self, hello: &ReplicaHello) -> Result<(), Status> {
        let journal = &self.node.engine.journal;
        let history = journal.history();
        let theirs = from_wire(&hello.history);
        let standing = match &hello.partial {
            Some(partial) => Standing::Partial { epoch: Epoch(partial.epoch) },
            None => Standing::Applied(Offset(hello.applied_offset)),
        };
        let decision = resume::decide(
            self.epoch,
            Log { history: &history, end: journal.end() },
            Log { history: &theirs, end: Offset(hello.end_offset) },
            standing,
            journal.first_kept(),
        );
        let decision = match decision {
            Resume::Continue(Offset::ZERO)
                if journal.retained_bytes() > limits::REPLAY_FROM_NOTHING_BYTES
                    || matches!(journal.read(Offset::ZERO), Next::OnDisk { .. }) =>
            {
                Resume::Full(Why::Shorter)
            }
            other => other,
        };
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        let message = match decision {
            Resume::Continue(offset) => {
                info!(replica = hello.name, epoch = self.epoch.0, offset = offset.0, "replica continues");
                if self.node.commit.has_gone_back(self.membership.stream, offset) {
                    self.leave_isr().await?;
                }
                self.node.stats.partial_syncs.fetch_add(1, relaxed);
                self.after = offset;
                Message::Continue(wire::Continue { epoch: self.epoch.0, offset: offset.0, history: to_wire(&history) })
            }
            Resume::GoOn => {
                // It left when the sync began; this says that it has nothing that counts yet.
                self.leave_isr().await?;
                self.after = Offset(hello.end_offset);
                let partial = hello.partial.as_ref();
                let images = Images::resumed(&self.node.engine, partial.unwrap_or(&wire::PartialSync::default()));
                let partitions = images.expected;
                info!(replica = hello.name, epoch = self.epoch.0, partitions, "full sync goes on");
                self.node.stats.resumed_syncs.fetch_add(1, relaxed);
                self.begin_images(&hello.name, images);
                Message::SyncGoesOn(wire::SyncGoesOn {
                    epoch: self.epoch.0,
                    offset: hello.end_offset,
                    history: to_wire(&history),
                    partitions,
                })
            }
            Resume::Full(why) => {
                // It must not lose what it holds as long as somebody may count on it.
                self.leave_isr().await?;
                let journal = &self.node.engine.journal;
                journal.retain();
                self.after = journal.end();
                let images = Images::new(&self.node.engine);
                info!(
                    replica = hello.name,
                    epoch = self.epoch.0,
                    ?why,
                    partitions = images.expected,
                    "full sync begins"
                );
                self.node.stats.full_syncs.fetch_add(1, relaxed);
                let full = wire::Full {
                    epoch: self.epoch.0,
                    offset: self.after.0,
                    history: to_wire(&journal.history()),
                    shard_bits: self.node.engine.keyspace.bits(),
                    partitions: images.expected,
                };
                self.begin_images(&hello.name, images);
                Message::Full(full)
            }
        };
        self.push(message);
        Ok(())
    }

    /// Images are to be made, and people are told how far that is.
    fn begin_images(&mut self, replica: &str, images: Images) {
        let done = images.taken.len() as u64;
        self.sync = Some((replica.to_owned(), Portion::begin(done, done + images.expected)));
        self.images = Some(images);
        self.tell_progress();
    }

    fn tell_progress(&mut self) {
        let Some((replica, portion)) = &mut self.sync else { return };
        if let Some(images) = &self.images {
            portion.done = images.taken.len() as u64;
        }
        let is_over = self.images.as_ref().is_some_and(|images| images.is_done);
        self.node.peers.synced(replica, (!is_over).then_some(*portion));
        if is_over {
            self.sync = None;
        }
    }

    async fn leave_isr(&self) -> Result<(), Status> {
        loop {
            let changed = self.node.commit.isr_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.node.commit.leave_isr(self.membership.stream) {
                Leaving::Left => return Ok(()),
                Leaving::TermOver => return Err(Status::failed_precondition("the mastership is over")),
                Leaving::StillCounted => changed.await,
            }
        }
    }

    fn push(&mut self, message: Message) {
        self.outbox.push_back(FromMaster { message: Some(message) });
    }

    async fn next(&mut self) -> Option<Result<FromMaster, Status>> {
        loop {
            if self.is_over || self.node.gate.term() != self.term {
                return None;
            }
            if let Some(message) = self.outbox.pop_front() {
                self.heartbeat_due = Instant::now() + limits::REPLICATION_HEARTBEAT;
                return Some(Ok(message));
            }
            if let Some(making) = self.making.take() {
                match self.next_made(making).await {
                    Ok(()) => continue,
                    Err(error) => return self.give_up(error),
                }
            }
            if self.images.is_none() || self.journal_since_images < limits::JOURNAL_BETWEEN_IMAGES_BYTES {
                match self.node.engine.journal.read(self.after) {
                    Next::Block(block) => {
                        let message = self.block(block);
                        self.push(message);
                        continue;
                    }
                    Next::OnDisk { up_to } => match self.read_from_disk(up_to).await {
                        Ok(blocks) if !blocks.is_empty() => {
                            for block in blocks {
                                let message = self.block(block);
                                self.push(message);
                            }
                            continue;
                        }
                        // It was trimmed meanwhile.
                        Ok(_) => return self.give_up(Status::out_of_range(GONE)),
                        Err(error) => return self.give_up(Status::internal(error)),
                    },
                    Next::Gone => return self.give_up(Status::out_of_range(GONE)),
                    Next::AtEnd => {}
                }
            }
            match self.images.take() {
                Some(images) if images.is_done => {}
                Some(images) => {
                    // A replica that falls behind the journal must have it, so the images are not to hold it up.
                    self.pace.rests = self.journal_since_images < limits::JOURNAL_BETWEEN_IMAGES_BYTES;
                    self.journal_since_images = 0;
                    self.making = Some(Making::start(self.node.clone(), images));
                }
                None => self.wait().await,
            }
        }
    }

    fn give_up(&mut self, status: Status) -> Option<Result<FromMaster, Status>> {
        self.is_over = true;
        Some(Err(status))
    }

    /// The next blocks that are no longer in memory, on another thread: this one serves everybody's acknowledgements.
    async fn read_from_disk(&self, up_to: Offset) -> Result<Vec<Block>, String> {
        let (storage, after) = (Arc::clone(&self.storage), self.after);
        let read = move || -> Result<Vec<Block>, storage::Error> {
            let mut blocks = Vec::new();
            let mut bytes = 0;
            for block in storage.journal_from(after)? {
                let block = block?;
                if block.first > up_to || bytes >= limits::DISK_READ_BYTES {
                    break;
                }
                // What the row holds behind that may have been cut off since.
                let block = if block.last > up_to { block.up_to(up_to) } else { block };
                bytes += block.records.len();
                blocks.push(block);
            }
            Ok(blocks)
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
        read.map_err(|error| error.to_string())
    }

    fn block(&mut self, block: Block) -> Message {
        self.after = block.last;
        self.journal_since_images += block.bytes();
        self.sent_commit = self.node.gate.commit();
        self.commit_due = None;
        Message::Block(wire::Block {
            epoch: block.epoch.0,
            first_offset: block.first.0,
            last_offset: block.last.0,
            records: block.records,
            commit_offset: self.sent_commit.0,
        })
    }

    /// What comes next of the images that are being made, or a sign of life while nothing does.
    async fn next_made(&mut self, mut making: Making) -> Result<(), Status> {
        tokio::select! {
            made = making.made.recv() => match made {
                Some(message) => {
                    // The journal must not run away while a large image is on its way.
                    let lag = self.node.engine.journal.bytes_behind(self.after);
                    self.pace.rests &= lag < limits::IMAGES_HURRY_BYTES;
                    self.pace.before(&message).await;
                    self.push(message);
                    self.making = Some(making);
                }
                None => {
                    let images = making.images.await;
                    self.images = Some(images.map_err(|error| Status::internal(format!("making an image: {error}")))?);
                    self.tell_progress();
                }
            },
            () = tokio::time::sleep_until(self.heartbeat_due) => {
                self.say_commit();
                self.making = Some(making);
            }
        }
        Ok(())
    }

    fn say_commit(&mut self) {
        self.sent_commit = self.node.gate.commit();
        self.commit_due = None;
        self.push(Message::Commit(wire::Commit { epoch: self.epoch.0, commit_offset: self.sent_commit.0 }));
    }

    /// Until there is a block, a commit offset that has waited long enough for one, or a heartbeat to send.
    async fn wait(&mut self) {
        let (journal, gate) = (&self.node.engine.journal, &self.node.gate);
        let commit = gate.commit();
        if commit > self.sent_commit {
            self.commit_due.get_or_insert_with(|| Instant::now() + limits::COMMIT_LINGER);
        }
        let deadline = self.commit_due.unwrap_or(self.heartbeat_due).min(self.heartbeat_due);
        tokio::select! {
            () = journal.readable(self.after) => {}
            // Also ends with the mastership.
            _ = gate.wait(commit.next(), self.term), if self.commit_due.is_none() => {}
            () = tokio::time::sleep_until(deadline) => self.say_commit(),
        }
    }
}

/// Images go out a chunk at a time, with a rest between two: the thread that sends them has everybody's acknowledgements to
/// read, and what it does not rest from is felt by every client as the sync's length.
#[derive(Debug)]
struct Pace {
    ticks: Interval,
    bytes_since_rest: usize,
    rests: bool,
}

impl Pace {
    fn new() -> Self {
        let mut ticks = tokio::time::interval(limits::IMAGE_REST);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, bytes_since_rest: 0, rests: true }
    }

    async fn before(&mut self, message: &Message) {
        if self.must_rest_before(message) {
            self.ticks.tick().await;
        }
    }

    /// Counts the message. Small ones share a rest: a thousand empty partitions are not a second.
    fn must_rest_before(&mut self, message: &Message) -> bool {
        let Message::Image(image) = message else { return false };
        let is_due = self.rests && self.bytes_since_rest >= limits::IMAGE_CHUNK_BYTES;
        if is_due {
            self.bytes_since_rest = 0;
        }
        self.bytes_since_rest += image.chunk.len();
        is_due
    }
}

/// The partitions of a full sync, a batch at a time.
#[derive(Debug)]
struct Images {
    pending: VecDeque<Partition>,
    taken: HashSet<Partition>,
    youngest_cut: Offset,
    expected: u64,
    is_done: bool,
}

impl Images {
    fn new(engine: &Engine) -> Self {
        let shards = (0..engine.keyspace.len()).map(Partition::shard);
        let pending: VecDeque<_> = std::iter::once(Partition::ACCOUNTS).chain(shards).collect();
        let expected = (pending.len() + engine.broker.partitions().len()) as u64;
        Self { pending, taken: HashSet::new(), youngest_cut: Offset::ZERO, expected, is_done: false }
    }

    /// What an earlier stream has not brought.
    fn resumed(engine: &Engine, partial: &wire::PartialSync) -> Self {
        let mut images = Self::new(engine);
        images.taken = partial.partitions.iter().copied().map(Partition).collect();
        images.pending.retain(|partition| !images.taken.contains(partition));
        images.youngest_cut = Offset(partial.youngest_cut);
        let of_broker = engine.broker.partitions();
        let of_broker = of_broker.iter().filter(|partition| !images.taken.contains(partition)).count();
        images.expected = (images.pending.len() + of_broker) as u64;
        images
    }

    /// Makes some images. Nothing of the journal may be sent before all of them have been.
    fn next_batch(
        &mut self,
        engine: &Engine,
        send: &mut dyn FnMut(Message) -> Result<(), Abandoned>,
    ) -> Result<(), Abandoned> {
        let mut bytes = 0;
        for _ in 0..limits::IMAGE_BATCH_PARTITIONS {
            let Some(partition) = self.next_partition(engine) else {
                self.is_done = true;
                return send(Message::SyncEnd(wire::SyncEnd { offset: self.youngest_cut.0 }));
            };
            let made = image::make(engine, partition, &mut |image| {
                bytes += image.chunk.len();
                send(Message::Image(image))
            });
            let cut = made.inspect_err(|Abandoned| {
                // Whoever still wants it gets it from the beginning.
                self.taken.remove(&partition);
                self.pending.push_front(partition);
            })?;
            self.youngest_cut = self.youngest_cut.max(cut);
            if bytes >= limits::IMAGE_BATCH_BYTES {
                break;
            }
        }
        Ok(())
    }

    /// The queues are listed until no new one is found. One that is made later lies behind the end that was read
    /// before, and so do all its records.
    fn next_partition(&mut self, engine: &Engine) -> Option<Partition> {
        if self.pending.is_empty() {
            let end = engine.journal.end();
            let mut found = engine.broker.partitions();
            found.retain(|partition| !self.taken.contains(partition));
            found.sort_unstable_by_key(|partition| partition.0);
            self.pending = found.into();
            if self.pending.is_empty() {
                self.youngest_cut = self.youngest_cut.max(end);
            }
        }
        let partition = self.pending.pop_front()?;
        self.taken.insert(partition);
        Some(partition)
    }
}

/// Images that another thread makes: this one serves everybody's acknowledgements. Dropped, it ends with its next chunk.
#[derive(Debug)]
struct Making {
    made: mpsc::Receiver<Message>,
    images: JoinHandle<Images>,
}

impl Making {
    fn start(node: Shared, mut images: Images) -> Self {
        let (send, made) = mpsc::channel(limits::IMAGE_CHUNKS_AHEAD);
        let images = tokio::task::spawn_blocking(move || {
            // Nobody waits for images that are abandoned.
            _ = images.next_batch(&node.engine, &mut |message| send.blocking_send(message).map_err(|_| Abandoned));
            images
        });
        Self { made, images }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn images_are_paced_by_their_bytes_and_nothing_else_is() {
        let message = |bytes| {
            let chunk = vec![1; bytes].into();
            Message::Image(wire::Image { partition: 1, cut: 1, chunk, first: true, last: true })
        };
        let mut pace = Pace::new();
        let rests = |pace: &mut Pace, messages: usize, bytes: usize| {
            (0..messages).filter(|_| pace.must_rest_before(&message(bytes))).count()
        };
        assert_eq!(rests(&mut pace, 1000, 0), 0, "empty partitions");
        assert_eq!(rests(&mut pace, 1000, 10), 0);
        assert!(!pace.must_rest_before(&Message::SyncEnd(wire::SyncEnd { offset: 1 })));
        assert_eq!(rests(&mut pace, 100, limits::IMAGE_CHUNK_BYTES), 99);
        pace.rests = false;
        assert_eq!(rests(&mut pace, 100, limits::IMAGE_CHUNK_BYTES), 0, "a replica that is behind is not held up");
    }
}
