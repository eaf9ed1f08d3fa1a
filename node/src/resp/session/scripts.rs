//! Scripts that run elsewhere, and clients that wait for what a script holds.

use std::sync::Arc;

use bytes::Bytes;
use tercet_proto::resp::{Value, Version, share_with, take_shared};
use tokio::sync::oneshot;

use super::queued::Brought;
use super::{Home, Place, ScriptPlace, Session};
use crate::clients::Client;
use crate::clock;
use crate::ids::Offset;
use crate::journal::Due;
use crate::keyspace::value::ValueRef;
use crate::limits;
use crate::node::Shared;
use crate::resp::error::Error;
use crate::resp::facts;
use crate::resp::libraries::All;
use crate::resp::script;
use crate::resp::table::{Access, Args, Group, Keys, Kind, Row, Transactional, flag};
use crate::resp::waiting::{Answer, Mail, Wait};
use crate::role::Verdict;
use crate::scripts::Kind as RunKind;
use crate::tracking::Tracker;

/// What a script on the thread of scripts came to.
#[derive(Debug)]
enum Ran {
    /// Its reply, and what that depends on.
    Reply { bytes: Vec<u8>, texts: Vec<(usize, Bytes)>, on: Due, under: u64, brought: Brought },
    /// It waits for a key.
    Waits(Wait),
    /// This node is not master any more: it has not begun, or nobody knows what becomes of it.
    Lost,
}

/// What the thread of scripts is given of a session.
struct Job {
    node: Shared,
    client: Arc<Client>,
    user: String,
    version: Version,
    state: Brought,
    home: Home,
    tracker: Option<Arc<Tracker>>,
    is_caching_said: bool,
    args: Vec<Vec<u8>>,
}

/// Whether a command within EXEC changes what belongs to the connection and stays there.
fn changes_connection(row: &Row) -> bool {
    row.group == Group::PubSub && row.name.ends_with("subscribe")
        || matches!(row.name, "auth" | "hello" | "monitor" | "client|reply" | "client|tracking" | "client|caching")
}

impl Session {
    /// Whether the command runs on the thread of scripts: a script that may take long, and what needs keys that a script
    /// holds. The client waits for it as for any other answer.
    #[inline]
    pub(super) fn is_for_script_thread(&self, row: &'static Row, args: &Args<'_>) -> bool {
        if let Kind::Script(kind, _) = row.kind {
            return !script::is_quick(self, kind, args);
        }
        row.has(flag::WHOLE) && self.is_long(row, args)
            || matches!(row.kind, Kind::Transactional(Transactional::Exec)) && self.is_long_exec()
            || self.node.scripts.may_hold_shards() && self.is_held_by_another(row, args)
    }

    /// Whether a command that walks over whole values has a large one before it.
    #[cold]
    fn is_long(&self, row: &Row, args: &Args<'_>) -> bool {
        // A range that ends near the beginning is short.
        let is_narrow = |end: &[u8]| end.len() <= limits::LONG_RANGE_DIGITS && !end.starts_with(b"-");
        if matches!(row.name, "lrange" | "zrange" | "zrevrange") && args.get(3).is_some_and(|end| is_narrow(end)) {
            return false;
        }
        let keyspace = &self.node.engine.keyspace;
        let is_large = |key: &[u8]| {
            let Some(shard) = keyspace.try_lock(keyspace.shard_of(key)) else { return false };
            let value = shard.database(self.database).find(key).map(|entry| entry.value());
            value.is_some_and(|value| match value {
                ValueRef::Integer(_) => false,
                // The time of LCS is the product of two lengths.
                ValueRef::String(text) if row.name == "lcs" => text.len() > limits::LONG_LCS_BYTES,
                ValueRef::String(text) => text.len() > limits::LONG_BYTES,
                ValueRef::List(list) => list.len() > limits::LONG_ELEMENTS,
                ValueRef::Hash(hash) => hash.len() > limits::LONG_ELEMENTS,
                ValueRef::Set(set) => set.len() > limits::LONG_ELEMENTS,
                ValueRef::SortedSet(set) => set.len() > limits::LONG_ELEMENTS,
                ValueRef::Stream(stream) => stream.len() > limits::LONG_ELEMENTS as u64,
            })
        };
        match row.keys {
            Keys::None | Keys::Space => false,
            Keys::Any => args.get(1).is_some_and(|key| is_large(key)),
            keys => keys.of(args).into_iter().any(is_large),
        }
    }

    /// Whether EXEC may take long: for one of its commands, or because there are many, of those that may walk over a value fewer.
    fn is_long_exec(&self) -> bool {
        let is_long = |row: &Row, args: &Args<'_>| match row.kind {
            Kind::Script(kind, _) => !script::is_quick(self, kind, args),
            _ => row.has(flag::WHOLE) && self.is_long(row, args),
        };
        let Some(multi) = &self.multi else { return false };
        let walks = |row: &Row| row.has(flag::WHOLE) || matches!(row.kind, Kind::Script(..));
        multi.queued.len() > limits::LONG_EXEC
            || multi.queued.iter().filter(|(row, _)| walks(row)).count() > limits::LONG_EXEC_WALKS
            || self.has_queued(is_long)
    }

    #[cold]
    fn is_held_by_another(&self, row: &'static Row, args: &Args<'_>) -> bool {
        let keyspace = &self.node.engine.keyspace;
        let is_locked = |shard: usize| {
            // Whoever passes by (a checkpoint, a sample) is gone by then.
            keyspace.try_lock(shard).is_none()
                && self.node.scripts.is_held(shard, || keyspace.is_held_for(shard, limits::PASSING_HOLD))
        };
        if matches!(row.kind, Kind::Transactional(Transactional::Exec)) {
            return self.shards_of_exec().is_none_or(|shards| shards.into_iter().any(is_locked));
        }
        match row.keys {
            // What shows the whole counts the keys.
            Keys::None => matches!(row.kind, Kind::Survey),
            Keys::Space | Keys::Any => true,
            keys => keys.of(args).into_iter().any(|key| is_locked(keyspace.shard_of(key))),
        }
    }

    /// A script that has run for long: whoever asks for something else is told so.
    #[inline]
    pub(super) fn check_busy(&self, row: &'static Row) -> Result<(), Error> {
        if !self.node.scripts.are_running() { Ok(()) } else { self.check_busy_with_scripts(row) }
    }

    #[cold]
    fn check_busy_with_scripts(&self, row: &'static Row) -> Result<(), Error> {
        let Some(kind) = self.node.scripts.busy(self.node.config.live.busy_reply_threshold.load()) else {
            return Ok(());
        };
        if facts::of(row.name).is_some_and(|fact| fact.flags.contains(&"allow_busy")) {
            return Ok(());
        }
        Err(Error::text(match kind {
            RunKind::Script => "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            RunKind::Function => {
                "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
            }
        }))
    }

    /// Whether a script may change something, as far as its flags say.
    pub(super) fn is_writing_script(&self, row: &Row, args: &Args<'_>) -> bool {
        match row.kind {
            Kind::Script(kind, Access::ReadWrite) => script::may_write(self, kind, args),
            _ => false,
        }
    }

    /// Sends a command to the thread of scripts, and lets the client wait for its answer.
    ///
    /// # Errors
    /// The command cannot run there.
    pub(super) fn send_to_script_thread(&mut self, row: &Row, args: &Args<'_>) -> Result<(), Error> {
        let is_exec = matches!(row.kind, Kind::Transactional(Transactional::Exec));
        if is_exec && self.has_queued(|row, _| changes_connection(row)) {
            if self.is_long_exec() {
                return Err(Error::text(
                    "ERR commands that may take long, beside one that changes the connection (AUTH, HELLO, SUBSCRIBE, \
                     CLIENT REPLY, CLIENT TRACKING)",
                ));
            }
            self.wait_for_script_thread(args);
            return Ok(());
        }
        let (sender, receiver) = oneshot::channel();
        let has_state = matches!(row.kind, Kind::Transactional(_));
        let state = Brought {
            multi: if is_exec { self.multi.take() } else { None },
            watched: if has_state { std::mem::take(&mut self.watched) } else { Vec::new() },
            database: self.database,
        };
        // What waits for a key publishes nothing, and the client may be told of what others publish.
        let mail = if row.has(flag::BLOCKING) { Mail::Now } else { Mail::Later };
        let job = Job {
            node: Arc::clone(&self.node),
            client: Arc::clone(&self.client),
            user: self.user.clone(),
            version: self.version,
            state,
            home: self.home,
            tracker: self.tracker(),
            is_caching_said: self.is_caching_said,
            args: args.iter().map(|arg| arg.to_vec()).collect(),
        };
        let under = self.node.gate.term();
        self.node.scripts.run(Box::new(move || {
            // Who has gone meanwhile is not answered, and its script has run.
            _ = sender.send(job.run());
        }));
        self.wait = Some(Wait::new(mail, async move {
            match receiver.await {
                Ok(Ran::Reply { bytes, texts, on, under, brought }) => {
                    Answer { texts, brought: has_state.then(|| Box::new(brought)), ..Answer::new(bytes, on, under) }
                }
                Ok(Ran::Waits(wait)) => wait.answer.await,
                // Nobody knows what became of it: such a record is never committed, and so the connection ends.
                Ok(Ran::Lost) | Err(_) => Answer::new(Vec::new(), Due::write(Offset(u64::MAX)), under),
            }
        }));
        Ok(())
    }

    /// Lets the client wait until the thread of scripts comes to it; then the command is executed again, on this thread.
    fn wait_for_script_thread(&mut self, args: &Args<'_>) {
        let (sender, receiver) = oneshot::channel::<()>();
        self.node.scripts.run(Box::new(move || _ = sender.send(())));
        let (command, under) = (Value::command(args), self.node.gate.term());
        self.wait = Some(Wait::new(Mail::Later, async move {
            _ = receiver.await;
            Answer::again(command, under)
        }));
    }

    /// Takes back what the thread of scripts was given.
    pub(crate) fn take_back(&mut self, brought: Brought) {
        let Brought { multi, watched, database } = brought;
        (self.multi, self.watched, self.database) = (multi, watched, database);
        self.note_transaction();
    }

    pub(crate) fn libraries(&self) -> Arc<All> {
        self.node.libraries.of(&self.node.engine.accounts)
    }

    /// Whether this node may change what is no key: accounts, functions.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn may_change(&self) -> Result<(), Error> {
        match self.verdict {
            Verdict::Master => Ok(()),
            Verdict::Replica | Verdict::Loading | Verdict::Wait => Err(Error::ReadOnly),
            Verdict::TooFewReplicas => Err(Error::TooFewReplicas),
            Verdict::DiskFailed => Err(self.disk_failed()),
        }
    }

    /// Puts other libraries of functions in place of all, in one record.
    ///
    /// # Errors
    /// This node may not write.
    pub(crate) fn replace_libraries(&mut self, all: &All) -> Result<(), Error> {
        self.may_change()?;
        let engine = &self.node.engine;
        let offset = engine.accounts.change_if(&engine.journal, |directory| all.changes(directory));
        self.depend_on(offset);
        Ok(())
    }
}

impl Job {
    fn run(self) -> Ran {
        let Self { node, client, user, version, state, home, tracker, is_caching_said, args } = self;
        let mut session = Session::new(Arc::clone(&node), client);
        (session.version, session.home) = (version, home);
        session.take_back(state);
        session.is_authenticated = true;
        session.become_user(&user);
        session.place = ScriptPlace::Here;
        let began = clock::boot_now();
        let permit = node.authority.enter(began);
        let under = node.gate.term();
        let verdict = match home.place(&permit) {
            Place::Here(Verdict::Wait) | Place::Elsewhere => return Ran::Lost,
            Place::Here(verdict) => verdict,
        };
        session.begin_batch(verdict, began, clock::unix_now());
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let row = session.row(args.iter().copied());
        let mut bytes = Vec::new();
        let is_script = row.is_some_and(|row| matches!(row.kind, Kind::Script(..)));
        let _long = (!is_script).then(|| node.scripts.begin_long());
        (session.tracker, session.is_caching_said) = (tracker, is_caching_said);
        // As on the thread of a connection: what goes to another node goes in a frame with a length.
        if !matches!(home, Home::Carried(_)) {
            share_with(&bytes);
        }
        session.execute(row, &args, &mut bytes);
        let texts = take_shared();
        let now = clock::boot_now();
        let on = session.end_batch(now, 0);
        // It is the client's, and goes on.
        session.tracker = None;
        let is_late = verdict == Verdict::Master && now >= node.authority.lease_until();
        drop(permit);
        node.publish();
        if is_late {
            return Ran::Lost;
        }
        if let Some(wait) = session.wait.take() {
            return Ran::Waits(wait);
        }
        let state = (session.multi.take(), std::mem::take(&mut session.watched), session.database);
        let (multi, watched, database) = state;
        Ran::Reply { bytes, texts, on, under, brought: Brought { multi, watched, database } }
    }
}
