//! A session: what the server remembers of one RESP client, and how one command of it is executed.

mod portable;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tercet_proto::resp::{Encoder, Version};

use super::error::Error;
use super::table::{self, Args, Handler, Keys, Row, Transactional, flag};
use super::waiting::{Waiting, Wanted};
use crate::clients::Client;
use crate::clock::BootNanos;
use crate::engine::{Locked, Transaction, View};
use crate::ids::{Epoch, Offset, UnixMillis};
use crate::node::Shared;
use crate::role::{Permit, Verdict};

/// One client's state.
#[derive(Debug)]
pub struct Session {
    pub(crate) node: Shared,
    pub(crate) client: Arc<Client>,
    pub(crate) version: Version,
    pub(crate) database: u8,
    pub(crate) is_authenticated: bool,
    /// The connection is to be closed once the replies are out.
    pub(crate) is_closing: bool,
    /// Whose client it is.
    pub(crate) home: Home,
    /// Time of the batch.
    pub(crate) now: UnixMillis,
    multi: Option<Multi>,
    watched: Vec<Watched>,
    /// The newest record that any reply of the batch depends on.
    depends_on: Offset,
    /// As of the batches before: no write of this client lies behind it.
    wrote: Offset,
    /// The command that was executed last waits for copies.
    pub(crate) waiting: Option<Waiting>,
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

/// Where a session's commands are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// On this node, whatever it is: as a replica it answers what a replica may.
    Anywhere,
    /// On the master: this node was master when it served the client, and carries it when another one is.
    Master,
    /// Another node is about to hand a client's session over: until then nothing else is executed.
    Announced,
    /// On this node as master of this epoch, or of a later one: another node carries the client here.
    Carried(Epoch),
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
            (_, Self::Announced) => Place::Here(Verdict::Wait),
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

/// Commands between MULTI and EXEC.
#[derive(Debug, Default)]
struct Multi {
    queued: Vec<(&'static Row, Vec<Vec<u8>>)>,
    is_broken: bool,
}

/// What must not change before EXEC.
#[derive(Debug)]
enum Watched {
    Key {
        database: u8,
        key: Vec<u8>,
        version: Option<u32>,
    },
    /// The session came from another node: nobody knows what has changed on the way.
    Lost,
}

impl Watched {
    fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Key { key, .. } => Some(key),
            Self::Lost => None,
        }
    }

    fn is_unchanged(&self, view: &View<'_>) -> bool {
        match self {
            Self::Key { database, key, version } => {
                view.peek_in(*database, key).map(crate::keyspace::Entry::version) == *version
            }
            Self::Lost => false,
        }
    }
}

impl Session {
    pub(crate) fn new(node: Shared, client: Arc<Client>) -> Self {
        let is_authenticated = node.config.requirepass.is_empty();
        Self {
            node,
            client,
            version: Version::Resp2,
            database: 0,
            is_authenticated,
            is_closing: false,
            home: Home::Anywhere,
            now: UnixMillis(0),
            multi: None,
            watched: Vec::new(),
            depends_on: Offset::ZERO,
            wrote: Offset::ZERO,
            waiting: None,
            may_block: Blocking::Allowed,
            hits: Cell::new(0),
            misses: Cell::new(0),
            expired: 0,
            commands: 0,
            record: Vec::new(),
            last: None,
        }
    }

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

    /// Executes one command; its reply, or its error, is appended to `out`.
    #[inline]
    pub(crate) fn execute(&mut self, row: Option<&'static Row>, args: &Args<'_>, verdict: Verdict, out: &mut Vec<u8>) {
        self.commands += 1;
        let before = out.len();
        if let Err(error) = self.dispatch(row, args, verdict, out) {
            out.truncate(before);
            Encoder::new(out, self.version).error(&error.to_string());
        }
    }

    /// Takes what the batch's replies depend on, and hands the counters over.
    #[inline]
    pub(crate) fn end_batch(&mut self, now: BootNanos, bytes_in: usize, bytes_out: usize) -> Offset {
        let stats = &self.node.stats;
        if self.commands > 0 {
            let mut about = self.client.about.lock();
            about.last_active = now;
            about.last_command = self.last.as_ref().map_or("", |(_, row)| row.name);
        }
        stats.bytes_in.fetch_add(bytes_in as u64, Ordering::Relaxed);
        stats.bytes_out.fetch_add(bytes_out as u64, Ordering::Relaxed);
        let add = |counter: &AtomicU64, number: u32| {
            if number > 0 {
                counter.fetch_add(u64::from(number), Ordering::Relaxed);
            }
        };
        add(&stats.commands, std::mem::take(&mut self.commands));
        add(&stats.hits, self.hits.take());
        add(&stats.misses, self.misses.take());
        add(&stats.expired, std::mem::take(&mut self.expired));
        self.wrote = self.wrote.max(self.depends_on);
        std::mem::take(&mut self.depends_on)
    }

    /// WAIT and WAITAOF: answers at once if it can, or lets the connection wait.
    pub(crate) fn wait_for(&mut self, wanted: Wanted, timeout_ms: u64, out: &mut Encoder<'_>) {
        let offset = self.wrote.max(self.depends_on);
        let mut waiting = Waiting::new(wanted, offset, self.node.gate.term(), timeout_ms);
        if self.may_block == Blocking::Denied || waiting.is_answered(&self.node) {
            waiting.answer(&self.node, out);
        } else {
            self.waiting = Some(waiting);
        }
    }

    /// The row of a command.
    #[inline]
    pub(crate) fn row(&mut self, name: &[u8]) -> Option<&'static Row> {
        if let Some((last, row)) = &self.last
            && last == name
        {
            return Some(row);
        }
        let row = table::find(name)?;
        match &mut self.last {
            Some((last, slot)) => {
                last.clear();
                last.extend_from_slice(name);
                *slot = row;
            }
            none => *none = Some((name.to_vec(), row)),
        }
        Some(row)
    }

    #[inline]
    fn dispatch(
        &mut self,
        row: Option<&'static Row>,
        args: &Args<'_>,
        verdict: Verdict,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let Some(row) = row else {
            self.break_multi();
            return Err(if self.is_authenticated { Error::unknown_command(args) } else { Error::NotAuthenticated });
        };
        if !row.accepts(args.len()) {
            self.break_multi();
            return Err(Error::Arity(row.name.into()));
        }
        if let Err(error) = self.check(row, verdict) {
            self.break_multi();
            return Err(error);
        }
        if matches!(row.handler, Handler::Transactional(Transactional::Exec))
            && let Err(error) = self.check_queued(verdict)
        {
            self.multi = None;
            self.watched.clear();
            return Err(Error::text(format!("EXECABORT Transaction discarded because of: {error}")));
        }
        if self.multi.is_some() && !row.has(flag::NO_MULTI) && !matches!(row.handler, Handler::Transactional(_)) {
            return self.queue(row, args, out);
        }
        self.run(row, args, out)
    }

    #[inline]
    fn check(&self, row: &Row, verdict: Verdict) -> Result<(), Error> {
        if !self.is_authenticated && !row.has(flag::NO_AUTH) {
            return Err(Error::NotAuthenticated);
        }
        match verdict {
            Verdict::Master => Ok(()),
            Verdict::TooFewReplicas if row.is_write() => Err(Error::TooFewReplicas),
            Verdict::Replica if row.is_write() => Err(Error::ReadOnly),
            Verdict::DiskFailed if row.is_write() => Err(self.disk_failed()),
            Verdict::TooFewReplicas | Verdict::DiskFailed | Verdict::Replica => Ok(()),
            Verdict::Loading | Verdict::Wait if row.has(flag::LOADING) => Ok(()),
            Verdict::Loading | Verdict::Wait => Err(Error::Loading),
        }
    }

    #[cold]
    fn disk_failed(&self) -> Error {
        // It may be well again by now; the next write finds that out.
        Error::DiskFailed(self.node.engine.journal.durability().refusal().unwrap_or_default())
    }

    /// EXEC writes if anything that is queued does: the role may have changed since it was queued.
    fn check_queued(&self, verdict: Verdict) -> Result<(), Error> {
        let queued = self.multi.iter().filter(|multi| !multi.is_broken).flat_map(|multi| &multi.queued);
        queued.filter(|(row, _)| row.is_write()).try_for_each(|(row, _)| self.check(row, verdict))
    }

    #[inline]
    fn run(&mut self, row: &'static Row, args: &Args<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        match row.handler {
            Handler::Write(function) => {
                let node = Arc::clone(&self.node);
                let engine = &node.engine;
                let locked = match row.keys {
                    // The common case, without a list.
                    Keys::Range(1, 1, 1) => {
                        let shard = engine.keyspace.shard_of(args[1]);
                        Locked::One(shard, engine.keyspace.lock(shard))
                    }
                    Keys::Space | Keys::Any => Locked::all(&engine.keyspace),
                    keys => Locked::keys(&engine.keyspace, keys.of(args).into_iter()),
                };
                let mut transaction = Transaction::new(engine, locked, &mut self.record, self.database, self.now);
                let outcome = function(&mut transaction, args, &mut Encoder::new(out, self.version));
                self.expired += transaction.expired() as u32;
                let offset = transaction.finish();
                self.depends_on = self.depends_on.max(offset);
                outcome
            }
            Handler::Read(function) => {
                let engine = &self.node.engine;
                let locked = match row.keys {
                    Keys::Range(1, 1, 1) => {
                        let shard = engine.keyspace.shard_of(args[1]);
                        Locked::One(shard, engine.keyspace.lock(shard))
                    }
                    Keys::Space | Keys::None => Locked::Nothing,
                    Keys::Any => Locked::all(&engine.keyspace),
                    keys => Locked::keys(&engine.keyspace, keys.of(args).into_iter()),
                };
                let view = View::new(engine, &locked, self.database, self.now, &self.hits, &self.misses);
                let outcome = function(&view, args, &mut Encoder::new(out, self.version));
                self.depends_on = self.depends_on.max(view.depends_on());
                outcome
            }
            Handler::Session(function) => {
                let version = self.version;
                let mut encoder = Encoder::new(out, version);
                function(self, args, &mut encoder)
            }
            Handler::Transactional(which) => self.transactional(which, args, out),
        }
    }

    fn break_multi(&mut self) {
        if let Some(multi) = &mut self.multi {
            multi.is_broken = true;
        }
    }

    fn queue(&mut self, row: &'static Row, args: &Args<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        if row.has(flag::NOT_IN_MULTI) {
            self.break_multi();
            return Err(Error::text(format!("ERR Command not allowed inside a transaction: {}", row.name)));
        }
        if let Some(multi) = &mut self.multi {
            multi.queued.push((row, args.iter().map(|arg| arg.to_vec()).collect()));
        }
        Encoder::new(out, self.version).simple("QUEUED");
        Ok(())
    }

    fn transactional(&mut self, which: Transactional, args: &Args<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        match which {
            Transactional::Multi if self.multi.is_some() => Err(Error::text("ERR MULTI calls can not be nested")),
            Transactional::Multi => {
                self.multi = Some(Multi::default());
                Encoder::new(out, self.version).ok();
                Ok(())
            }
            Transactional::Discard if self.multi.is_none() => Err(Error::text("ERR DISCARD without MULTI")),
            Transactional::Discard => {
                self.multi = None;
                self.watched.clear();
                Encoder::new(out, self.version).ok();
                Ok(())
            }
            Transactional::Watch if self.multi.is_some() => Err(Error::text("ERR WATCH inside MULTI is not allowed")),
            Transactional::Watch => {
                for key in &args[1..] {
                    let version = self.version_of(self.database, key);
                    self.watched.push(Watched::Key { database: self.database, key: key.to_vec(), version });
                }
                Encoder::new(out, self.version).ok();
                Ok(())
            }
            Transactional::Unwatch if self.multi.is_some() => {
                let row = table::find(b"unwatch").expect("the row that led here");
                self.queue(row, args, out)
            }
            Transactional::Unwatch => {
                self.watched.clear();
                Encoder::new(out, self.version).ok();
                Ok(())
            }
            Transactional::Exec => self.exec(out),
        }
    }

    fn version_of(&mut self, database: u8, key: &[u8]) -> Option<u32> {
        let keyspace = &self.node.engine.keyspace;
        let shard = keyspace.lock(keyspace.shard_of(key));
        self.depends_on = self.depends_on.max(shard.last_offset());
        let entry = shard.database(database).find(key)?;
        (!entry.is_expired(self.now)).then(|| entry.version())
    }

    fn exec(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let Some(multi) = self.multi.take() else { return Err(Error::text("ERR EXEC without MULTI")) };
        let watched = std::mem::take(&mut self.watched);
        if multi.is_broken {
            return Err(Error::ExecAbort);
        }
        let node = Arc::clone(&self.node);
        let engine = &node.engine;
        let slices: Vec<Vec<&[u8]>> =
            multi.queued.iter().map(|(_, args)| args.iter().map(Vec::as_slice).collect()).collect();
        // One lock set for all: what the commands declare, and what is watched.
        let whole = multi.queued.iter().any(|(row, _)| matches!(row.keys, Keys::Space | Keys::Any));
        let locked = if whole {
            Locked::all(&engine.keyspace)
        } else {
            let declared = multi.queued.iter().zip(&slices).flat_map(|((row, _), args)| row.keys.of(args));
            Locked::keys(&engine.keyspace, declared.chain(watched.iter().filter_map(Watched::key)))
        };
        let mut record = std::mem::take(&mut self.record);
        let mut transaction = Transaction::new(engine, locked, &mut record, self.database, self.now);
        let unchanged = {
            let view = transaction.view(&self.hits, &self.misses);
            watched.iter().all(|watched| watched.is_unchanged(&view))
        };
        if unchanged {
            Encoder::new(out, self.version).array(multi.queued.len());
            self.may_block = Blocking::Denied;
            for ((row, _), args) in multi.queued.iter().zip(&slices) {
                transaction.select(self.database);
                self.run_queued(row, args, &mut transaction, out);
            }
            self.may_block = Blocking::Allowed;
        } else {
            Encoder::new(out, self.version).null_array();
        }
        self.expired += transaction.expired() as u32;
        let offset = transaction.finish();
        self.depends_on = self.depends_on.max(offset);
        self.record = record;
        Ok(())
    }

    fn run_queued(&mut self, row: &'static Row, args: &Args<'_>, transaction: &mut Transaction<'_>, out: &mut Vec<u8>) {
        let before = out.len();
        let outcome = match row.handler {
            Handler::Write(function) => function(transaction, args, &mut Encoder::new(out, self.version)),
            Handler::Read(function) => {
                let view = transaction.view(&self.hits, &self.misses);
                function(&view, args, &mut Encoder::new(out, self.version))
            }
            Handler::Session(function) => {
                let version = self.version;
                function(self, args, &mut Encoder::new(out, version))
            }
            Handler::Transactional(_) => {
                Encoder::new(out, self.version).ok();
                Ok(())
            }
        };
        if let Err(error) = outcome {
            out.truncate(before);
            Encoder::new(out, self.version).error(&error.to_string());
        }
    }

    /// Between MULTI or WATCH and EXEC.
    pub(crate) fn is_in_transaction(&self) -> bool {
        self.multi.is_some() || !self.watched.is_empty()
    }

    /// RESET: as a new connection.
    pub(crate) fn reset(&mut self) {
        self.multi = None;
        self.watched.clear();
        self.database = 0;
        self.version = Version::Resp2;
        self.is_authenticated = self.node.config.requirepass.is_empty();
        self.client.about.lock().name.clear();
    }
}

#[cfg(test)]
mod testing {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::clients::{Protocol, Registration};
    use crate::config::{Action, Config};
    use crate::node::{Identity, Node, random_id};

    /// A session with a node of its own.
    pub(super) fn session() -> Session {
        let Ok(Action::Serve(config)) = Config::from_args(["tercet-node".into()], |_| None) else { panic!("defaults") };
        let identity = Identity { name: "n1".into(), node_id: random_id(), incarnation: random_id() };
        let node = Arc::new(Node::new(*config, identity));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let registration = Registration::new(Arc::clone(&node), Protocol::Resp, address, address);
        Session::new(node, Arc::clone(&registration.client))
    }
}
