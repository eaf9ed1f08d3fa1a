//! A session: what the server remembers of one RESP client, and how one command of it is executed.

mod call;
mod help;
mod listens;
#[cfg(test)]
mod memory;
mod meter;
mod portable;
mod queued;
mod scripts;
mod start;
mod subscriptions;
mod tracked;
mod transaction;
#[cfg(test)]
mod whole_table;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tercet_proto::resp::{Encoder, Version};

pub(crate) use self::call::ScriptCaller;
use self::listens::Subscriptions;
use self::meter::Meter;
pub(crate) use self::queued::Brought;
use self::queued::{Multi, Watched};
pub(crate) use self::subscriptions::open;
use super::acl::Rights;
use super::frame::Meeting;
use super::row::{Args, Row, flag};
use super::waiting::{Wait, Waiting, Wanted};
use crate::accounts;
use crate::clients::{Client, state};
use crate::clock::BootNanos;
use crate::engine::Transaction;
use crate::ids::{Epoch, Offset, UnixMillis};
use crate::journal::Due;
use crate::limits;
use crate::node::Shared;
use crate::pause::Mode;
use crate::role::{Permit, Verdict};
use crate::tracking::Tracker;

/// One client's state.
#[derive(Debug)]
pub struct Session {
    pub(crate) node: Shared,
    pub(crate) client: Arc<Client>,
    pub(crate) version: Version,
    pub(crate) database: u8,
    pub(crate) is_authenticated: bool,
    /// It came while the accounts were being loaded, and has not said who it is.
    pub(super) is_undecided: bool,
    pub(crate) replies: Replies,
    /// Bytes of input as the batch began.
    pub(crate) query_bytes: usize,
    /// Whether anybody is to be shown the commands of this batch.
    is_monitored: bool,
    /// The command under way is a script's.
    is_script: bool,
    /// The connection is to be closed once the replies are out.
    pub(crate) is_closing: bool,
    /// How long the answer to a wrong login waits.
    pub(crate) penalty: Option<std::time::Duration>,
    /// Whose client it is.
    pub(crate) home: Home,
    /// Time of the batch.
    pub(crate) now: UnixMillis,
    /// What the batch may do.
    verdict: Verdict,
    meter: Meter,
    multi: Option<Multi>,
    watched: Vec<Watched>,
    /// The newest record that any reply of the batch depends on.
    depends_on: Due,
    /// As of the batches before: no write of this client lies behind it.
    wrote: Offset,
    /// The command that was executed last waits for its answer.
    pub(crate) wait: Option<Wait>,
    /// The row of the command that waits.
    waits_in: Option<&'static Row>,
    /// It counts as slow: noted when it has its answer.
    slow_wait: Option<(&'static Row, Vec<Vec<u8>>, u64)>,
    subscriptions: Option<Box<Subscriptions>>,
    tracker: Option<Arc<Tracker>>,
    /// What this batch has changed, while anybody is told of every change.
    changed_keys: Vec<Vec<u8>>,
    /// CLIENT CACHING was said before this command.
    pub(crate) is_caching_said: bool,
    /// Where scripts of this session run.
    place: ScriptPlace,
    /// A command of the script that runs was answered with an error, which is counted.
    pub(crate) is_error_counted: bool,
    /// Who the client is.
    pub(crate) user: String,
    rights: Arc<Rights>,
    /// Of the accounts, when `rights` were asked for.
    rights_version: u64,
    /// Whether a command may wait at all.
    may_block: Blocking,
    hits: Cell<u32>,
    misses: Cell<u32>,
    expired: u32,
    commands: u32,
    /// Scratch for a transaction's record.
    record: Vec<u8>,
    /// The command before: pipelines repeat it.
    last: Option<(Vec<u8>, &'static Row)>,
}

/// CLIENT REPLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replies {
    On,
    Off,
    /// Not to this command, which asks for it.
    SkipNext,
    /// Not to this command.
    Skip,
}

/// Where a session's commands are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// On this node, whatever it is: as a replica it answers what a replica may.
    Anywhere,
    /// On the master: this node was master when it served the client, and carries it when another one is.
    Master,
    /// Another node is about to hand a client's session over: until then nothing else is executed.
    Announced(Meeting, Caller),
    /// On this node as master of this epoch, or of a later one: another node carries the client here.
    Carried(Epoch),
}

/// Whether who announces a session has proven to be a node of this cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Unknown,
    Proven,
}

/// Where the next commands are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Here(Verdict),
    Elsewhere,
}

impl Home {
    /// Where the commands of a batch are executed that went through the door with this permit.
    #[inline]
    pub(crate) fn place(self, permit: &Permit<'_>) -> Place {
        match (permit.verdict, self) {
            (Verdict::Replica | Verdict::Loading, Home::Master) => Place::Elsewhere,
            (Verdict::Replica | Verdict::Loading, Home::Carried(epoch)) => {
                // The order to lead comes soon: who sent the client has seen that this is the master.
                if permit.standing().epoch < epoch { Place::Here(Verdict::Wait) } else { Place::Elsewhere }
            }
            (_, Self::Announced(..)) => Place::Here(Verdict::Wait),
            (verdict, _) => Place::Here(verdict),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blocking {
    Allowed,
    /// Within EXEC.
    Denied,
}

/// Where scripts of this session run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScriptPlace {
    /// Here, if they are quick; else on the thread of scripts.
    Anywhere,
    /// This is the thread of scripts.
    Here,
}

impl Session {
    /// Whoever is served by the master is the master's client from then on: what it writes later is not refused because
    /// this node has become a replica.
    #[inline]
    pub(crate) fn note(&mut self, verdict: Verdict) {
        if self.home == Home::Anywhere
            && matches!(verdict, Verdict::Master | Verdict::TooFewReplicas | Verdict::DiskFailed)
        {
            self.home = Home::Master;
        }
    }

    /// A batch begins: what it may do, and when it is.
    #[inline]
    pub(crate) fn begin_batch(&mut self, verdict: Verdict, boot: BootNanos, now: UnixMillis) {
        self.verdict = verdict;
        self.now = now;
        if self.is_undecided
            && let Some(is_open) = self.node.is_open_to_resp()
        {
            self.is_authenticated |= is_open;
            self.is_undecided = false;
        }
        self.is_monitored = !self.node.monitors.is_empty();
        if self.rights_version != self.node.engine.accounts.version() {
            self.renew_rights();
        }
        let slow_after_us = self.node.config.live.slowlog_log_slower_than.load();
        self.meter.begin(boot, slow_after_us);
    }

    /// When the batch began, or the clock was read since.
    pub(crate) fn began(&self) -> BootNanos {
        self.meter.since()
    }

    /// Whether this node is not master, as far as this batch is concerned.
    pub(crate) fn is_on_replica(&self) -> bool {
        self.verdict == Verdict::Replica
    }

    /// `client-query-buffer-limit`.
    pub(crate) fn query_limit(&self) -> usize {
        self.node.config.live.client_query_buffer_limit.size()
    }

    /// Whether CLIENT PAUSE holds a command up.
    #[cold]
    pub(crate) fn is_held_up(&self, mode: Mode, row: Option<&Row>, args: &Args<'_>) -> bool {
        let changes = |row: &Row, args: &Args<'_>| {
            row.is_write() || row.has(flag::MAY_REPLICATE) || self.is_writing_script(row, args)
        };
        match (mode, row) {
            (Mode::All, _) => true,
            (Mode::Writes, Some(row)) => changes(row, args) || row.name == "exec" && self.has_queued(changes),
            (Mode::Writes, None) => false,
        }
    }

    /// Takes what the batch's replies depend on, and hands the counters over.
    #[inline]
    pub(crate) fn end_batch(&mut self, now: BootNanos, bytes_in: usize) -> Due {
        self.meter.flush();
        if !self.changed_keys.is_empty() {
            self.broadcast_changes();
        }
        if self.record.capacity() > limits::SPARE_BUFFER_BYTES {
            self.record = Vec::new();
        }
        let stats = &self.node.stats;
        if self.commands > 0 {
            let mut about = self.client.about.lock();
            about.last_active = now;
            about.last_command = self.meter.last_command();
        }
        stats.bytes_in.fetch_add(bytes_in as u64, Ordering::Relaxed);
        stats.reads.fetch_add(1, Ordering::Relaxed);
        let add = |counter: &AtomicU64, number: u32| {
            if number > 0 {
                counter.fetch_add(u64::from(number), Ordering::Relaxed);
            }
        };
        add(&stats.commands, std::mem::take(&mut self.commands));
        add(&stats.hits, self.hits.take());
        add(&stats.misses, self.misses.take());
        add(&stats.expired, std::mem::take(&mut self.expired));
        self.node.eviction.note_thread();
        self.wrote = self.wrote.max(self.depends_on.offset());
        std::mem::take(&mut self.depends_on)
    }

    /// WAIT and WAITAOF: answers at once if it can, or lets the connection wait.
    pub(crate) fn wait_for(&mut self, wanted: Wanted, timeout_ms: u64, out: &mut Encoder<'_>) {
        let offset = self.wrote.max(self.depends_on.offset());
        let mut waiting = Waiting::new(wanted, offset, self.node.gate.term(), timeout_ms);
        if self.may_block == Blocking::Denied || waiting.is_answered(&self.node) {
            waiting.answer(&self.node, out);
        } else {
            self.wait = Some(waiting.answered(Arc::clone(&self.node), Arc::clone(&self.client), out.version()));
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Between MULTI or WATCH and EXEC.
    pub(crate) fn is_in_transaction(&self) -> bool {
        self.multi.is_some() || !self.watched.is_empty()
    }

    /// MONITOR: is shown every command from now on.
    pub(crate) fn monitor(&mut self) {
        self.client.set(state::MONITOR, true);
        self.node.monitors.add(&self.client);
    }

    fn end_monitor(&mut self) {
        if self.client.is(state::MONITOR) {
            self.client.set(state::MONITOR, false);
            self.node.monitors.remove(&self.client);
        }
    }

    /// Whether commands may not make the client wait: within EXEC and scripts.
    pub(crate) fn denies_blocking(&self) -> bool {
        self.may_block == Blocking::Denied
    }

    /// RESET: as a new connection.
    pub(crate) fn reset(&mut self) {
        self.multi = None;
        self.watched.clear();
        self.subscriptions = None;
        self.end_tracking();
        self.database = 0;
        self.version = Version::Resp2;
        let is_open = self.node.is_open_to_resp();
        (self.is_authenticated, self.is_undecided) = (is_open == Some(true), is_open.is_none());
        self.replies = Replies::On;
        self.note_transaction();
        self.end_monitor();
        self.client.set(state::NO_EVICT | state::NO_TOUCH, false);
        let mut about = self.client.about.lock();
        about.name.clear();
        (about.database, about.resp) = (0, 2);
        drop(about);
        self.become_user(accounts::INITIAL_RESP_USER);
    }

    pub(crate) fn is_unrestricted(&self) -> bool {
        self.rights.is_unrestricted
    }

    /// Goes on as another user.
    pub(crate) fn become_user(&mut self, name: &str) {
        name.clone_into(&mut self.user);
        name.clone_into(&mut self.client.about.lock().user);
        self.renew_rights();
    }

    /// A command that waited has its answer.
    pub(crate) fn note_answer(&mut self, reply: &[u8]) {
        let row = self.waits_in.take();
        if let Some((row, args, nanos)) = self.slow_wait.take() {
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            self.note_slow(row, &args, nanos);
        }
        if let (Some(row), [b'-', text @ ..]) = (row, reply) {
            self.meter.counters().failed(row.id);
            self.meter.counters().error(text.split(|byte| *byte == b'\r').next().unwrap_or_default());
        }
    }

    /// What is answered from now on depends on this record, which this client has made.
    pub(crate) fn depend_on(&mut self, offset: Offset) {
        self.depend(Due::write(offset));
    }

    /// What is answered from now on depends on this.
    #[inline]
    pub(super) fn depend(&mut self, due: Due) {
        self.depends_on = self.depends_on.and(due);
    }

    /// Ends a transaction of this client: what is answered from now on depends on it.
    #[inline]
    pub(super) fn finish(&mut self, transaction: Transaction<'_>) {
        self.expired += transaction.expired() as u32;
        let is_write = transaction.has_changes();
        let offset = transaction.finish();
        self.depend(if is_write { Due::write(offset) } else { Due::read(offset) });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end_tracking();
        self.end_monitor();
    }
}

#[cfg(test)]
mod testing {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::clients::{Protocol, Registration};
    use crate::clock;
    use crate::config::{Action, Config};
    use crate::node::{Identity, Node, random_id};
    use crate::resp::table;

    /// A session with a node of its own.
    pub(super) fn session() -> Session {
        let Ok(Action::Serve(config)) = Config::from_args(["tercet-node".into()], |_| None) else { panic!("defaults") };
        let identity = Identity { name: "n1".into(), node_id: random_id(), incarnation: random_id() };
        let node = Arc::new(Node::new(*config, identity));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let registration = Registration::new(Arc::clone(&node.clients), Protocol::Resp, address, address);
        Session::new(node, Arc::clone(&registration.client))
    }

    /// Puts one command to it, on a master, and says what is answered.
    pub(super) fn say(session: &mut Session, words: &[&str]) -> String {
        let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut out = Vec::new();
        session.begin_batch(Verdict::Master, clock::boot_now(), clock::unix_now());
        session.execute(table::resolve(args.iter().copied()), &args, &mut out);
        session.end_batch(clock::boot_now(), 0);
        String::from_utf8_lossy(&out).into_owned()
    }
}
