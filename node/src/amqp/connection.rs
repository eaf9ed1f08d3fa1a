//! A connection's task: reads what the socket has, executes every frame in it, writes what may leave.
//!
//! ```text
//!            .--> input --execute--> output --gate--> socket
//! socket ----'                 ^
//! queues --> inbox ------------'
//! ```
//!
//! Reading goes on while replies wait for the gate, until the output is full: a publisher streams, and its confirms
//! follow at the pace of the replicas.
//!
//! A turn is bounded (`limits::TURN_STEPS`, `TURN_BYTES`); after it the other connections of the thread have theirs. A
//! socket that is always readable would never let them: to wait for one that is ready costs none of the runtime's budget.

use std::cell::Cell;
use std::future::Future as _;
use std::io::ErrorKind;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::BytesMut;
use tercet_edge::socket::Socket;
use tokio::sync::watch;
use tokio::time::Instant;

use super::limits;
use super::output::Deposed;
use super::session::{Hold, Progress, Session};
use crate::clients::Registration;
use crate::clock;
use crate::limits::AUTHORITY_WAIT;
use crate::node::Shared;
use crate::role::Verdict;

/// Counts how often this node has ceased to be master. Connections look at this and not at the authority, which tells
/// of every renewal of a lease that had run out.
pub(super) type Depositions = watch::Receiver<u64>;

/// Serves one client until it leaves or breaks the protocol.
///
/// # Errors
/// The socket failed; there is nobody to tell.
pub(super) async fn serve(
    node: Shared,
    stream: Socket,
    registration: Registration,
    depositions: Depositions,
) -> std::io::Result<()> {
    let session = Session::new(node, registration.client.clone(), stream.common_name());
    let now = Instant::now();
    let mut connection = Connection {
        stream,
        session,
        input: BytesMut::new(),
        depositions,
        held_since: None,
        last_read: now,
        last_written: now,
        last_beat: now,
        last_look: now,
        deadline: Some(now + limits::HANDSHAKE),
        turn_bytes: 0,
        held_publisher: None,
    };
    connection.run().await
}

struct Connection {
    stream: Socket,
    session: Session,
    input: BytesMut,
    depositions: Depositions,
    /// Since when nothing may be executed.
    held_since: Option<Instant>,
    last_read: Instant,
    last_written: Instant,
    last_beat: Instant,
    /// When it was looked last whether the client keeps a delivery too long.
    last_look: Instant,
    /// When the connection has to be open, or closed.
    deadline: Option<Instant>,
    /// Bytes that were read since the others of the thread had their turn.
    turn_bytes: usize,
    /// Since when it may not publish.
    held_publisher: Option<Instant>,
}

thread_local! {
    /// An idle client holds no buffer: those of a thread share one.
    static INPUT: Cell<BytesMut> = Cell::default();
}

/// A wait for a client without heartbeats.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Heartbeats are sent after half of the time that was agreed on.
fn half(heartbeat_seconds: u16) -> Duration {
    Duration::from_millis(u64::from(heartbeat_seconds) * 500)
}

/// What happened.
enum Happened {
    Readable,
    Writable,
    /// Records have been committed, or a mastership has ended.
    Committed,
    /// Queues have something for this connection.
    Inbox,
    /// Who is master has changed, or whether it may execute.
    Authority,
    Deposed,
    Timer,
    /// Publishers may go on, or it is time to look whether they may.
    Relieved,
}

impl Connection {
    async fn run(&mut self) -> std::io::Result<()> {
        loop {
            let progress = self.session.execute(&mut self.input);
            if self.input.is_empty() && self.input.capacity() > 0 {
                // Parts of it may still be held; `reserve` makes a new one then.
                INPUT.set(std::mem::take(&mut self.input));
            }
            if let Some(penalty) = self.session.penalty.take() {
                tokio::time::sleep(penalty).await;
            }
            self.note(progress);
            if !self.flush()? || progress == Progress::Again {
                continue;
            }
            if progress == Progress::TurnOver || self.turn_bytes >= limits::TURN_BYTES {
                self.turn_bytes = 0;
                tokio::task::yield_now().await;
                if progress == Progress::TurnOver {
                    continue;
                }
            }
            if progress == Progress::Full && self.may_read() {
                continue;
            }
            if self.session.is_over() && self.session.out.pending() == 0 {
                return self.stream_end().await;
            }
            match self.wait(progress).await? {
                Happened::Readable => {
                    if !self.read()? {
                        return Ok(());
                    }
                }
                Happened::Deposed => self.deposed(),
                Happened::Timer => {
                    if !self.on_time() {
                        return Ok(());
                    }
                }
                Happened::Relieved => self.relieve(),
                Happened::Writable | Happened::Committed | Happened::Inbox | Happened::Authority => {}
            }
        }
    }

    async fn wait(&mut self, progress: Progress) -> std::io::Result<Happened> {
        let timer = self.next_time();
        let since = self.held_publisher;
        let Self { stream, session, depositions, turn_bytes, .. } = self;
        let gate = &session.node.gate;
        let has_room = session.out.pending() < limits::OUTPUT_BYTES;
        let may_read = session.out.pending() < limits::REPLY_BYTES && session.held_frame.is_none();
        let is_held = matches!(progress, Progress::Held(_));
        let may_leave = session.out.sendable(gate).is_ok_and(|bytes| !bytes.is_empty());
        let has_unsent = !stream.is_flushed()?;
        let committed = async {
            match session.out.waits_for() {
                // Who is deposed comes through as well: `flush` finds out.
                Some((due, term)) => _ = gate.wait(due, term).await,
                None => std::future::pending().await,
            }
        };
        let link = &session.link;
        let inbox = std::future::poll_fn(|context| link.poll(context));
        let authority = &session.node.authority;
        let released = async {
            let mut changes = authority.subscribe();
            // The lease may have come back between the batch and the subscription.
            if Progress::Held(authority.enter(clock::boot_now()).verdict) == progress {
                _ = changes.changed().await;
            }
        };
        let budget = &session.node.engine.budget;
        let relieved = async {
            match progress {
                Progress::Publishing(Hold::Alarm(_)) => {
                    let relieved = budget.relieved();
                    if budget.alarm().is_some() {
                        relieved.await;
                    }
                }
                Progress::Publishing(Hold::Disk) => {
                    let mut changes = authority.subscribe();
                    if authority.enter(clock::boot_now()).verdict == Verdict::DiskFailed {
                        _ = changes.changed().await;
                    }
                }
                Progress::Publishing(Hold::Fetch) => tokio::time::sleep(limits::FETCH_LOOK).await,
                Progress::Publishing(Hold::Slow) => {
                    let until = since.map_or_else(Instant::now, |since| since + limits::SLOWED);
                    tokio::time::sleep_until(until.min(Instant::now() + limits::SLOWED_LOOK)).await;
                }
                Progress::Drained | Progress::Full | Progress::TurnOver | Progress::Again | Progress::Held(_) => {
                    std::future::pending().await
                }
            }
        };
        let mut happened = std::pin::pin!(async {
            Ok(tokio::select! {
                biased;
                changed = depositions.changed(), if session.is_open() => {
                    // The listener's task holds the sender as long as the node runs.
                    _ = changed;
                    Happened::Deposed
                }
                ready = stream.writable(), if may_leave || has_unsent => ready.map(|()| Happened::Writable)?,
                ready = stream.readable(), if may_read && !is_held => ready.map(|()| Happened::Readable)?,
                () = inbox, if has_room && !is_held => Happened::Inbox,
                () = committed => Happened::Committed,
                () = released, if is_held => Happened::Authority,
                () = relieved => Happened::Relieved,
                () = tokio::time::sleep_until(timer) => Happened::Timer,
            })
        });
        std::future::poll_fn(|context| {
            let polled = happened.as_mut().poll(context);
            if polled.is_pending() {
                // The others have their turn now.
                *turn_bytes = 0;
            }
            polled
        })
        .await
    }

    /// False: the client has left.
    fn read(&mut self) -> std::io::Result<bool> {
        if self.input.capacity() == 0 {
            self.input = INPUT.take();
        }
        self.input.reserve(limits::READ_BYTES);
        match self.stream.try_read_buf(&mut self.input) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.session.node.stats.bytes_in.fetch_add(count as u64, Relaxed);
                self.last_read = Instant::now();
                self.turn_bytes += count;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Writes what may leave and what the socket takes. False: the state has changed, so look again.
    fn flush(&mut self) -> std::io::Result<bool> {
        let Self { stream, session, .. } = self;
        loop {
            let count = match session.out.sendable(&session.node.gate) {
                Ok([]) => return Ok(true),
                Ok(bytes) => match stream.try_write(bytes) {
                    Ok(count) => count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                },
                Err(Deposed) => {
                    self.deposed();
                    return Ok(false);
                }
            };
            session.node.stats.bytes_out.fetch_add(count as u64, Relaxed);
            session.out.wrote(count);
            self.last_written = Instant::now();
        }
    }

    fn deposed(&mut self) {
        self.session.deposed();
        self.deadline = Some(Instant::now() + limits::CLOSING);
    }

    fn may_read(&self) -> bool {
        self.session.out.pending() < limits::REPLY_BYTES
    }

    /// A publisher that was held may go on: all the way, or for a few messages.
    fn relieve(&mut self) {
        let is_due = self.held_publisher.is_some_and(|since| since.elapsed() >= limits::SLOWED);
        if self.session.relieve(is_due) {
            self.held_publisher = None;
            // The client's heartbeats lie unread in the socket.
            self.last_read = Instant::now();
        }
    }

    /// Keeps the deadlines that the session's state asks for.
    fn note(&mut self, progress: Progress) {
        match progress {
            Progress::Held(verdict) => {
                if self.held_since.is_none() {
                    self.held_since = Some(Instant::now());
                }
                match verdict {
                    Verdict::TooFewReplicas => self.session.blocked("too few in-sync replicas"),
                    Verdict::Replica | Verdict::Loading => self.deposed(),
                    Verdict::Master | Verdict::DiskFailed | Verdict::Wait => {}
                }
            }
            Progress::Publishing(hold) => {
                if self.held_publisher.is_none() {
                    self.held_publisher = Some(Instant::now());
                }
                if let Some(reason) = hold.reason() {
                    self.session.blocked(reason);
                }
            }
            Progress::Drained | Progress::Full | Progress::TurnOver | Progress::Again => {
                if self.held_since.take().is_some() {
                    // The client's heartbeats lie unread in the socket.
                    self.last_read = Instant::now();
                }
            }
        }
        if self.session.is_open() {
            self.deadline = match progress {
                Progress::Held(Verdict::Wait) => self.held_since.map(|since| since + AUTHORITY_WAIT),
                _ => None,
            };
        } else if self.session.is_ending() && self.deadline.is_none() {
            self.deadline = Some(Instant::now() + limits::CLOSING);
        }
    }

    fn next_time(&self) -> Instant {
        let next = self.next_beat();
        let next = self.session.look_period().map_or(next, |period| next.min(self.last_look + period));
        self.deadline.map_or(next, |deadline| deadline.min(next))
    }

    fn next_beat(&self) -> Instant {
        let heartbeat = self.session.heartbeat();
        let beat = if heartbeat == 0 { DAY } else { half(heartbeat) };
        self.last_written.max(self.last_beat) + beat
    }

    /// Sends a heartbeat or ends what took too long. False: close the socket.
    fn on_time(&mut self) -> bool {
        let now = Instant::now();
        let client = std::sync::Arc::clone(&self.session.client);
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            if self.session.is_open() {
                self.deposed();
                return true;
            }
            tracing::info!(client = client.id, address = %client.address, "AMQP client took too long");
            return false;
        }
        if self.session.look_period().is_some_and(|period| self.last_look + period <= now) {
            self.last_look = now;
            self.session.look_soon();
            if now < self.next_beat() {
                return true;
            }
        }
        let heartbeat = self.session.heartbeat();
        if heartbeat == 0 {
            self.last_beat = now;
            return true;
        }
        // A client that we do not read may still take what we write; one that is held cannot do anything.
        let alive = if self.may_read() { self.last_read } else { self.last_read.max(self.last_written) };
        if self.held_since.is_none()
            && self.held_publisher.is_none()
            && now.duration_since(alive) >= 4 * half(heartbeat)
        {
            let timeout = format!("{heartbeat}s");
            tracing::warn!(client = client.id, address = %client.address, timeout, "missed heartbeats from client");
            return false;
        }
        self.session.out.heartbeat();
        self.last_beat = now;
        true
    }

    /// Closes our side and waits for the client's end, so that it reads our last words.
    async fn stream_end(&mut self) -> std::io::Result<()> {
        use tokio::io::AsyncWriteExt as _;
        self.stream.shutdown().await?;
        let drained = async {
            loop {
                self.stream.readable().await?;
                self.input.clear();
                match self.stream.try_read_buf(&mut self.input) {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        tokio::time::timeout(limits::CLOSING, drained).await.unwrap_or(Ok(()))
    }
}
