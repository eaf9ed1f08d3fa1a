//! call: the one place where a command is checked, executed, counted and answered, whoever asks for it.
//!
//! ```text
//! connection --execute--> admit --.--> queue (between MULTI and EXEC)
//! EXEC ------call_queued----------+--> call --> run --> the row's function
//! script ----call_within--> admit-'       '--> meter, counters, the text of an error
//! ```
//!
//! What runs within EXEC or a script is given the transaction, and with it what is locked. **Invariant:** nothing locks a
//! shard while a transaction holds shards, for two threads that do so can wait for each other for ever.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tercet_edge::version;
use tercet_proto::resp::{Encoder, forget_shared, was_cut};

use super::help::{help, is_help};
use super::subscriptions::open;
use super::{Blocking, Replies, ScriptPlace, Session};
use crate::clients::{call, state};
use crate::clock;
use crate::config::Protection;
use crate::engine::{Engine, Locked, Transaction, View};
use crate::eviction::Room;
use crate::journal::Due;
use crate::keyspace::eviction::Policy;
use crate::limits;
use crate::resp::acl::{Context, Denied, Entry};
use crate::resp::blocking;
use crate::resp::error::Error;
use crate::resp::facts;
use crate::resp::no_script::is_no_script;
use crate::resp::table::{self, Args, Group, Handler, Keys, Kind, Row, Transactional, flag};
use crate::role::Verdict;
use crate::slowlog;

/// What holds the shards that a command works on.
enum Scope<'s, 't> {
    /// Nothing yet: the command locks what its row declares, and its change is a record of its own.
    Alone,
    /// EXEC or a script: what the command changes becomes part of its record.
    Within(&'s mut Transaction<'t>),
}

/// Who asks for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Client,
    Script(ScriptCaller),
}

/// What the script may do that asks for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScriptCaller {
    pub(crate) may_write: bool,
    pub(crate) allow_oom: bool,
}

impl Session {
    /// Executes (or queues) one command of the client; its reply, or its error, is appended to `out`.
    #[inline]
    pub(crate) fn execute(&mut self, row: Option<&'static Row>, args: &Args<'_>, out: &mut Vec<u8>) {
        self.commands += 1;
        let before = out.len();
        self.execute_aloud(row, args, out);
        if self.replies != Replies::On {
            self.hush(row, before, out);
        }
    }

    #[inline]
    fn execute_aloud(&mut self, row: Option<&'static Row>, args: &Args<'_>, out: &mut Vec<u8>) {
        if self.is_closing {
            return;
        }
        let Some(row) = row else { return self.refuse_unknown(args, out) };
        self.meter.saw(row);
        if let Err(error) = self.admit(row, args, Caller::Client) {
            return self.reject(row, &error, out);
        }
        if self.tracker.is_some() && self.node.eviction.limit() != 0 && self.replies == Replies::On {
            self.tell_of_eviction(out);
        }
        if self.is_queueing(row) {
            return self.queue(row, args, out);
        }
        if self.place == ScriptPlace::Anywhere && self.is_for_script_thread(row, args) {
            if let Err(error) = self.send_to_script_thread(row, args) {
                self.reject(row, &error, out);
            }
            return;
        }
        self.call(Scope::Alone, row, args, out);
    }

    /// A key that went before the command is told of before its reply, as in Redis.
    #[cold]
    fn tell_of_eviction(&mut self, out: &mut Vec<u8>) {
        if self.client.take_calls(call::MAIL) != 0 {
            let mut out = Encoder::new(out, self.version);
            self.client.take_mail(limits::MAIL_ROOM_BYTES, |letter| open(letter, &mut out));
        }
    }

    /// CLIENT REPLY OFF and SKIP: what was appended is not sent.
    #[cold]
    fn hush(&mut self, row: Option<&Row>, before: usize, out: &mut Vec<u8>) {
        // What tells of a subscription is pushed, and is no reply.
        if !row.is_some_and(|row| row.group == Group::PubSub && row.name.ends_with("subscribe")) {
            out.truncate(before);
            forget_shared(out, before);
        }
        self.replies = match self.replies {
            Replies::SkipNext => Replies::Skip,
            Replies::Skip => Replies::On,
            Replies::On | Replies::Off => self.replies,
        };
    }

    /// Executes one command of the client's transaction, which is held. It was admitted when it was queued.
    pub(super) fn call_queued(
        &mut self,
        transaction: &mut Transaction<'_>,
        row: &'static Row,
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) {
        transaction.select(self.database);
        // The rules may have changed since it was queued.
        if let Err(denied) = self.rights.check(row, args) {
            self.meter.counters().rejected(row.id);
            let error = self.denied(row, args, &denied, Context::Multi);
            return self.answer_error(&error, out);
        }
        self.call(Scope::Within(transaction), row, args, out);
    }

    /// Executes one command of a script within the script's transaction, as a client's command but for what scripts may
    /// not do; its reply, or its error, is appended to `out`. False: it needs keys that cannot be held now, and nothing was
    /// executed or answered.
    pub(crate) fn call_within(
        &mut self,
        transaction: &mut Transaction<'_>,
        args: &Args<'_>,
        caller: ScriptCaller,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(row) = table::resolve(args.iter().copied()) else {
            self.answer_error(&Error::text("ERR Unknown Redis command called from script"), out);
            return true;
        };
        let admitted = if row.accepts(args.len()) || row.has_subcommands() && args.len() > 1 {
            self.admit(row, args, Caller::Script(caller))
        } else {
            Err(Error::text("ERR Wrong number of args calling Redis command from script"))
        };
        if let Err(error) = admitted {
            self.meter.counters().rejected(row.id);
            self.answer_error(&error, out);
            return true;
        }
        if matches!(row.name, "xread" | "xreadgroup") && blocks(args) {
            let text = format!("ERR {} command is not allowed with BLOCK option from scripts", row.name);
            self.answer_error(&Error::text(text), out);
            return true;
        }
        let is_held = match row.keys {
            Keys::None => true,
            Keys::Space | Keys::Any => transaction.hold_all(),
            keys => transaction.hold(keys.of(args).into_iter()),
        };
        if !is_held {
            return false;
        }
        transaction.select(self.database);
        let may_block = std::mem::replace(&mut self.may_block, Blocking::Denied);
        self.is_script = true;
        transaction.set_script(true);
        self.call(Scope::Within(&mut *transaction), row, args, out);
        self.is_script = false;
        transaction.set_script(false);
        self.may_block = may_block;
        true
    }

    /// Whether this client could call a command.
    ///
    /// # Errors
    /// There is no such command.
    pub(crate) fn may_call(&self, args: &Args<'_>) -> Result<bool, String> {
        let row = table::resolve(args.iter().copied());
        let row = row.ok_or_else(|| "ERR Invalid command passed to redis.acl_check_cmd()".to_owned())?;
        Ok(self.rights.check(row, args).is_ok())
    }

    /// Notes a refusal, and says it.
    #[cold]
    fn denied(&self, row: &Row, args: &Args<'_>, denied: &Denied, context: Context) -> Error {
        let (reason, object) = match denied {
            Denied::Command => ("command", row.name.as_bytes().to_vec()),
            Denied::Key(key) => ("key", key.clone()),
            Denied::Channel(channel) => ("channel", channel.clone()),
        };
        _ = args;
        self.note_refusal(reason, object, &self.rights.name, context);
        Error::text(match denied {
            Denied::Command => {
                format!("NOPERM User {} has no permissions to run the '{}' command", self.rights.name, row.name)
            }
            Denied::Key(_) => "NOPERM No permissions to access a key".to_owned(),
            Denied::Channel(_) => "NOPERM No permissions to access a channel".to_owned(),
        })
    }

    pub(crate) fn note_refusal(&self, reason: &'static str, object: Vec<u8>, user: &str, context: Context) {
        let now = clock::unix_now();
        let client = format!("id={} addr={} laddr={}", self.client.id, self.client.address, self.client.local);
        let entry = Entry {
            id: 0,
            count: 1,
            reason,
            context,
            object,
            user: user.to_owned(),
            created: now,
            updated: now,
            client,
        };
        self.node.acl.log.note(entry, self.node.config.live.acllog_max_len.size());
    }

    /// A command that took long is noted for SLOWLOG and LATENCY.
    #[cold]
    pub(super) fn note_slow(&self, row: &Row, args: &Args<'_>, nanos: u64) {
        let live = &self.node.config.live;
        let micros = nanos / 1000;
        let now = clock::unix_now().0 / 1000;
        let slow_after = live.slowlog_log_slower_than.load();
        if slow_after >= 0 && micros >= slow_after.unsigned_abs() && !facts::skips_slowlog(row) {
            let entry = slowlog::Entry {
                id: 0,
                unix_seconds: now,
                micros,
                args: slowlog::shown(args),
                address: self.client.address.to_string(),
                client: self.client.about.lock().name.clone(),
            };
            self.node.slowlog.note(entry, live.slowlog_max_len.size());
        }
        let threshold = live.latency_monitor_threshold.load();
        if threshold > 0 && micros / 1000 >= threshold.unsigned_abs() {
            let event = if row.has(flag::FAST) { "fast-command" } else { "command" };
            self.node.latency.note(event, now, micros / 1000);
        }
    }

    /// Runs a command, counts it and writes its error.
    #[inline]
    fn call(&mut self, scope: Scope<'_, '_>, row: &'static Row, args: &Args<'_>, out: &mut Vec<u8>) {
        let before = out.len();
        self.meter.before(row);
        // A script stands before the commands that it calls.
        let is_script = matches!(row.kind, Kind::Script(..));
        if is_script && self.is_monitored {
            self.show(row, args);
        }
        let outcome = match row.kind {
            // Their own commands are measured too.
            Kind::Nested | Kind::Script(..) | Kind::Transactional(Transactional::Exec) => {
                let began = self.meter.enter();
                let outcome = self.run(scope, row, args, out);
                self.meter.leave(row, began);
                outcome
            }
            _ => self.run(scope, row, args, out),
        };
        let outcome = if was_cut() { Err(Error::ReplyTooLarge) } else { outcome };
        self.meter.after(row);
        if self.wait.is_some() {
            self.waits_in = Some(row);
        }
        if self.is_monitored && !is_script {
            self.show(row, args);
        }
        if row.is_write() && self.node.tracking.is_used() {
            self.tell_trackers(row, args);
        }
        if self.is_caching_said {
            self.note_caching(row);
        }
        if let Some(nanos) = self.meter.slow() {
            if self.wait.is_some() {
                self.slow_wait = Some((row, args.iter().map(|arg| arg.to_vec()).collect(), nanos));
            } else {
                self.note_slow(row, args, nanos);
            }
        }
        if let Err(error) = outcome {
            out.truncate(before);
            forget_shared(out, before);
            self.meter.counters().failed(row.id);
            if is_script && self.is_error_counted {
                return Encoder::new(out, self.version).error_bytes(&error.to_bytes());
            }
            self.answer_error(&error, out);
        } else if is_script && out.get(before) == Some(&b'-') {
            // An error that the script made, or handed on.
            self.meter.counters().failed(row.id);
            if !self.is_error_counted {
                let end = memchr::memchr(b'\r', &out[before..]).unwrap_or(1);
                self.meter.counters().error(&out[before + 1..before + end.max(1)]);
            }
        }
    }

    /// Shows a command to those who use MONITOR, without passwords.
    #[cold]
    fn show(&self, row: &Row, args: &Args<'_>) {
        if row.has(flag::ADMIN | flag::SKIP_MONITOR) {
            return;
        }
        let secret = match row.name {
            "auth" => Some(1),
            "hello" => args.iter().position(|arg| arg.eq_ignore_ascii_case(b"auth")).map(|at| at + 1),
            _ => None,
        };
        let shown = args.iter().enumerate().map(|(at, arg)| match secret {
            Some(first) if (first..first + 2).contains(&at) => b"(redacted)".as_slice(),
            _ => arg,
        });
        let from = if self.is_script { "lua".to_owned() } else { self.client.address.to_string() };
        self.node.monitors.show(self.database, &from, shown, self.node.pubsub.limits());
    }

    #[cold]
    fn answer_error(&mut self, error: &Error, out: &mut Vec<u8>) {
        let text = error.to_bytes();
        self.is_error_counted = true;
        self.meter.counters().error(&text);
        Encoder::new(out, self.version).error_bytes(&text);
    }

    /// A command that is not executed: the transaction that it belongs to will not be, either.
    #[cold]
    fn reject(&mut self, row: &'static Row, error: &Error, out: &mut Vec<u8>) {
        self.meter.counters().rejected(row.id);
        if matches!(row.kind, Kind::Transactional(Transactional::Exec)) {
            let error = self.abort(error);
            return self.answer_error(&error, out);
        }
        self.break_multi();
        self.answer_error(error, out);
    }

    #[cold]
    fn refuse_unknown(&mut self, args: &Args<'_>, out: &mut Vec<u8>) {
        if let Some(name) = args.first()
            && (name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:"))
        {
            // A browser that was made to speak to us: what follows was not meant as commands.
            tracing::warn!(
                client = self.client.id,
                address = %self.client.address,
                "possible security attack: an HTTP request came to the RESP port; the connection is closed"
            );
            self.is_closing = true;
            return;
        }
        self.break_multi();
        let error = if self.is_authenticated { Error::unknown_command(args) } else { Error::NotAuthenticated };
        self.answer_error(&error, out);
    }

    /// Whether a command may be executed or queued, in the order in which Redis asks.
    #[inline]
    fn admit(&self, row: &'static Row, args: &Args<'_>, caller: Caller) -> Result<(), Error> {
        if let Some(is_whole) = is_help(row, args) {
            return if is_whole { Ok(()) } else { Err(Error::Arity(format!("{}|help", row.name).into())) };
        }
        if row.has_subcommands() && args.len() > 1 {
            // A known subcommand has a row of its own.
            return Err(Error::unknown_subcommand(row.name, args[1]));
        }
        if !row.accepts(args.len()) {
            return Err(Error::Arity(row.name.into()));
        }
        if row.has(flag::PROTECTED) {
            self.check_protected()?;
        }
        if !self.is_authenticated && !self.is_undecided && !row.has(flag::NO_AUTH) {
            return Err(Error::NotAuthenticated);
        }
        if self.is_subscriber() && !row.has(flag::WHILE_SUBSCRIBED) {
            return Err(Error::text(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
                 context",
                row.name
            )));
        }
        if !matches!(row.keys, Keys::None) && self.client.is(state::MONITOR) {
            return Err(Error::text("ERR Replica can't interact with the keyspace"));
        }
        if row.has(flag::NOT_IN_MULTI) && self.multi.is_some() && caller == Caller::Client {
            return Err(Error::text("ERR Command not allowed inside a transaction"));
        }
        if let Err(denied) = self.rights.check(row, args) {
            let context = if matches!(caller, Caller::Script(_)) { Context::Lua } else { Context::TopLevel };
            return Err(self.denied(row, args, &denied, context));
        }
        match caller {
            Caller::Client => self.check_busy(row)?,
            Caller::Script(caller) => {
                check_script(row, caller, self.node.switches.are_scripts_free.load(Ordering::Relaxed))?;
            }
        }
        // EXEC writes if anything that is queued does: the role may have changed since it was queued.
        let queued = match row.kind {
            Kind::Transactional(Transactional::Exec) => self.multi.as_ref().filter(|multi| !multi.is_broken),
            _ => None,
        };
        let any = |has: fn(&Row) -> bool| has(row) || queued.is_some_and(|multi| multi.queued.iter().any(|q| has(q.0)));
        let allows_oom = matches!(caller, Caller::Script(ScriptCaller { allow_oom: true, .. }));
        if self.node.eviction.is_over() && !allows_oom && !self.has_room(caller) && any(|row| row.has(flag::DENY_OOM)) {
            return Err(Error::OutOfMemory);
        }
        // Before any of them: what EXEC moves between keys and queues is moved whole, or not at all.
        if any(|row| row.has(flag::PUBLISHES)) && self.node.engine.broker.budget().alarm().is_some() {
            return Err(Error::PublishersHeld);
        }
        if any(|row| row.has(flag::FIELDS_EXPIRE)) && !self.node.peers.all_speak(version::FIELDS_EXPIRE) {
            return Err(Error::OlderReplica);
        }
        match self.verdict {
            Verdict::Master if self.wants_more_replicas() && any(Row::is_write) => Err(Error::TooFewReplicas),
            Verdict::Master => Ok(()),
            Verdict::TooFewReplicas if any(Row::is_write) => Err(Error::TooFewReplicas),
            Verdict::Replica if any(Row::is_write) => Err(Error::ReadOnly),
            Verdict::DiskFailed if any(Row::is_write) => Err(self.disk_failed()),
            Verdict::TooFewReplicas | Verdict::DiskFailed | Verdict::Replica => Ok(()),
            Verdict::Loading | Verdict::Wait if row.has(flag::LOADING) => Ok(()),
            Verdict::Loading | Verdict::Wait => Err(Error::Loading),
        }
    }

    /// DEBUG is for those whom `enable-debug-command` allows it.
    #[cold]
    fn check_protected(&self) -> Result<(), Error> {
        let is_allowed = match self.node.config.enable_debug_command {
            Protection::No => false,
            Protection::Yes => true,
            Protection::Local => self.client.address.ip().to_canonical().is_loopback(),
        };
        if is_allowed {
            return Ok(());
        }
        Err(Error::text(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a \
             local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
        ))
    }

    /// `min-replicas-to-write`: more replicas have to be in sync than there are.
    #[inline]
    pub(crate) fn wants_more_replicas(&self) -> bool {
        let wanted = self.node.config.live.min_replicas_to_write.size();
        wanted > 0 && self.node.replicas.read().iter().filter(|replica| replica.in_sync).count() < wanted
    }

    /// Where memory is short, keys go before a command is executed.
    #[cold]
    fn has_room(&self, caller: Caller) -> bool {
        let eviction = &self.node.eviction;
        match (self.verdict, caller) {
            (Verdict::Master, Caller::Client) => {
                // What a script holds is not waited for; the command is asked again where it waits for the script.
                eviction.make_room(&self.node.engine, limits::EVICTION_SLICE, &mut |key| self.node.tell_evicted(key))
                    == Room::Made
                    || self.place == ScriptPlace::Anywhere && self.node.scripts.may_hold_shards()
            }
            // Shards are held: keys go before the next command of a client.
            (Verdict::Master, _) => eviction.policy() != Policy::NoEviction,
            // Replicas follow their master.
            _ => true,
        }
    }

    #[cold]
    pub(super) fn disk_failed(&self) -> Error {
        // It may be well again by now; the next write finds that out.
        Error::DiskFailed(self.node.engine.journal.durability().refusal().unwrap_or_default())
    }

    /// Runs a row's function on the shards that `scope` says.
    #[inline]
    fn run(
        &mut self,
        scope: Scope<'_, '_>,
        row: &'static Row,
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if is_help(row, args).is_some() {
            help(row, &mut Encoder::new(out, self.version));
            return Ok(());
        }
        match (table::handler(row), scope) {
            (Handler::Write(function), Scope::Alone) => {
                let node = Arc::clone(&self.node);
                let engine = &node.engine;
                let locked = lock_for_writing(engine, row, args);
                let mut transaction = Transaction::new(engine, locked, &mut self.record, self.database, self.now);
                let mut outcome = function(&mut transaction, args, &mut Encoder::new(out, self.version));
                if let Err(Error::Blocked(block)) = outcome {
                    let blocked = blocking::start(&node, self.database, row, self.version, *block);
                    transaction.wait(&blocked.ticket, blocked.clone());
                    let (node, client) = (Arc::clone(&node), Arc::clone(&self.client));
                    self.wait = Some(blocking::wait(node, client, blocked, self.home));
                    outcome = Ok(());
                }
                let is_write = transaction.has_changes();
                self.expired += transaction.expired() as u32;
                let offset = transaction.finish();
                self.depend(if is_write { Due::write(offset) } else { Due::read(offset) });
                outcome
            }
            (Handler::Write(function), Scope::Within(transaction)) => {
                let outcome = function(transaction, args, &mut Encoder::new(out, self.version));
                self.answer_instead(outcome, out)
            }
            (Handler::Read(function), Scope::Alone) => {
                let engine = &self.node.engine;
                let mut locked = lock_for_reading(engine, row, args);
                let view = View::new(engine, &locked, self.database, self.now, &self.hits, &self.misses);
                let outcome = function(&view, args, &mut Encoder::new(out, self.version));
                self.depends_on = self.depends_on.and(Due::read(view.depends_on()));
                if self.tracker.is_some() {
                    self.remember(row, args);
                }
                if let Err(Error::Blocked(block)) = outcome {
                    let blocked = blocking::start(&self.node, self.database, row, self.version, *block);
                    engine.wait(&mut locked, &blocked.ticket, blocked.clone());
                    let (node, client) = (Arc::clone(&self.node), Arc::clone(&self.client));
                    self.wait = Some(blocking::wait(node, client, blocked, self.home));
                    return Ok(());
                }
                outcome
            }
            (Handler::Read(function), Scope::Within(transaction)) => {
                if self.tracker.is_some() {
                    self.remember(row, args);
                }
                let view = transaction.view(&self.hits, &self.misses);
                let outcome = function(&view, args, &mut Encoder::new(out, self.version));
                self.answer_instead(outcome, out)
            }
            (Handler::Session(function), _) => {
                let version = self.version;
                function(self, args, &mut Encoder::new(out, version))
            }
            (Handler::Survey(function), scope) => self.survey(function, scope, args, out),
            (Handler::Itself(Kind::Script(kind, access)), Scope::Alone) => {
                let node = Arc::clone(&self.node);
                let engine = &node.engine;
                let locked = Locked::keys(&engine.keyspace, row.keys.of(args).into_iter());
                let mut record = std::mem::take(&mut self.record);
                let mut transaction = Transaction::new(engine, locked, &mut record, self.database, self.now);
                let outcome = self.run_script(kind, access, &mut transaction, args, out);
                self.finish(transaction);
                self.record = record;
                outcome
            }
            (Handler::Itself(Kind::Script(kind, access)), Scope::Within(transaction)) => {
                self.run_script(kind, access, transaction, args, out)
            }
            (Handler::Nested(function), Scope::Alone) => {
                let node = Arc::clone(&self.node);
                let engine = &node.engine;
                let locked = lock_for_writing(engine, row, args);
                let mut record = std::mem::take(&mut self.record);
                let mut transaction = Transaction::new(engine, locked, &mut record, self.database, self.now);
                let version = self.version;
                let outcome = function(self, &mut transaction, args, &mut Encoder::new(out, version));
                self.finish(transaction);
                self.record = record;
                outcome
            }
            (Handler::Nested(function), Scope::Within(transaction)) => {
                let version = self.version;
                function(self, transaction, args, &mut Encoder::new(out, version))
            }
            (Handler::Itself(Kind::Transactional(which)), _) => self.transactional(which, args, out),
            // `admit` has refused it.
            (Handler::Itself(_), _) => Err(Error::Arity(row.name.into())),
        }
    }

    /// What would wait is answered as if its time were over, within EXEC and scripts.
    fn answer_instead(&self, outcome: Result<(), Error>, out: &mut Vec<u8>) -> Result<(), Error> {
        match outcome {
            Err(Error::Blocked(block)) => {
                let mut out = Encoder::new(out, self.version);
                // Redis: what moves one element answers with none, and not with no array.
                if block.needs.is_empty() {
                    out.null_array()
                } else {
                    out.null()
                }
                Ok(())
            }
            other => other,
        }
    }

    fn survey(
        &mut self,
        function: fn(&mut Self, &View<'_>, &Args<'_>, &mut Encoder<'_>) -> Result<(), Error>,
        scope: Scope<'_, '_>,
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let (hits, misses) = (Cell::new(0), Cell::new(0));
        let version = self.version;
        match scope {
            Scope::Within(transaction) => {
                let view = transaction.view(&hits, &misses);
                function(self, &view, args, &mut Encoder::new(out, version))
            }
            Scope::Alone => {
                let node = Arc::clone(&self.node);
                let nothing = Locked::Nothing;
                let view = View::new(&node.engine, &nothing, self.database, self.now, &hits, &misses);
                let outcome = function(self, &view, args, &mut Encoder::new(out, version));
                self.depends_on = self.depends_on.and(Due::read(view.depends_on()));
                outcome
            }
        }
    }
}

/// Whether BLOCK stands among the options of XREAD or XREADGROUP.
fn blocks(args: &Args<'_>) -> bool {
    let options = args.iter().take_while(|arg| !arg.eq_ignore_ascii_case(b"streams"));
    options.into_iter().any(|arg| arg.eq_ignore_ascii_case(b"block"))
}

/// What scripts may not call.
fn check_script(row: &Row, caller: ScriptCaller, is_free: bool) -> Result<(), Error> {
    let is_denied = !is_free && (row.has(flag::NO_SCRIPT) || is_no_script(row));
    if is_denied || matches!(row.kind, Kind::Transactional(_)) {
        return Err(Error::text("ERR This Redis command is not allowed from script"));
    }
    if !caller.may_write && (row.is_write() || row.has(flag::MAY_REPLICATE)) {
        return Err(Error::text("ERR Write commands are not allowed from read-only scripts."));
    }
    Ok(())
}

#[inline]
fn lock_for_writing<'e>(engine: &'e Engine, row: &Row, args: &Args<'_>) -> Locked<'e> {
    match row.keys {
        // The common case, without a list.
        Keys::Range(1, 1, 1) => {
            let shard = engine.keyspace.shard_of(args[1]);
            Locked::One(shard, engine.keyspace.lock(shard))
        }
        Keys::Any if let Some(keys) = Keys::of_plain_sort(args) => Locked::keys(&engine.keyspace, keys.into_iter()),
        Keys::Space | Keys::Any => Locked::all(&engine.keyspace),
        keys => Locked::keys(&engine.keyspace, keys.of(args).into_iter()),
    }
}

#[inline]
fn lock_for_reading<'e>(engine: &'e Engine, row: &Row, args: &Args<'_>) -> Locked<'e> {
    match row.keys {
        Keys::Range(1, 1, 1) => {
            let shard = engine.keyspace.shard_of(args[1]);
            Locked::One(shard, engine.keyspace.lock(shard))
        }
        Keys::Space | Keys::None => Locked::Nothing,
        Keys::Any if let Some(keys) = Keys::of_plain_sort(args) => Locked::keys(&engine.keyspace, keys.into_iter()),
        Keys::Any => Locked::all(&engine.keyspace),
        keys => Locked::keys(&engine.keyspace, keys.of(args).into_iter()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{say, session};
    use super::*;

    #[test]
    fn a_transaction_may_ask_the_server_about_itself() {
        // Ranks of locks are checked: a shard that is locked again panics instead of hanging.
        for words in [&["INFO"][..], &["INFO", "keyspace"], &["MEMORY", "USAGE", "k"], &["DBSIZE"], &["CLIENT", "LIST"]]
        {
            let mut session = session();
            for words in [&["SET", "k", "1"][..], &["MULTI"], &["SET", "k", "2"], words] {
                say(&mut session, words);
            }
            let reply = say(&mut session, &["EXEC"]);
            assert!(reply.starts_with("*2\r\n+OK\r\n"), "{words:?}: {reply}");
        }
    }

    #[test]
    fn a_transaction_that_may_not_publish_changes_no_key() {
        let mut session = session();
        for words in
            [&["SET", "k", "5"][..], &["MQ.DECLARE", "q"], &["MULTI"], &["DECR", "k"], &["MQ.PUBLISH", "", "q", "x"]]
        {
            say(&mut session, words);
        }
        let node = Arc::clone(&session.node);
        let budget = node.engine.broker.budget();
        budget.set_limit(1);
        budget.measured(crate::budget::Class::Journal, 1 << 20);
        assert!(budget.alarm().is_some());
        assert!(say(&mut session, &["EXEC"]).starts_with("-EXECABORT"));
        assert_eq!(say(&mut session, &["GET", "k"]), "$1\r\n5\r\n");
        say(&mut session, &["MULTI"]);
        assert!(say(&mut session, &["MQ.PUBLISH", "", "q", "x"]).starts_with("-OOM publishers are held"));
        assert!(say(&mut session, &["EXEC"]).starts_with("-EXECABORT"));
    }

    #[test]
    fn what_is_written_within_a_transaction_is_seen_by_its_info() {
        let mut session = session();
        for words in [&["MULTI"][..], &["SET", "k", "2"], &["INFO", "keyspace"]] {
            say(&mut session, words);
        }
        assert!(say(&mut session, &["EXEC"]).contains("db0:keys=1,expires=0"));
    }

    #[test]
    fn commands_of_a_script_are_checked_and_become_part_of_its_record() {
        let mut session = session();
        say(&mut session, &["SET", "list", "a string"]);
        let node = Arc::clone(&session.node);
        let mut record = Vec::new();
        let mut transaction =
            Transaction::new(&node.engine, Locked::all(&node.engine.keyspace), &mut record, 0, session.now);
        let mut out = Vec::new();
        for words in
            [&["SET", "k", "1"][..], &["LPUSH", "list", "x"], &["GET"], &["MULTI"], &["QUIT"], &["CONFIG", "FOO"]]
        {
            let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            let caller = ScriptCaller { may_write: true, allow_oom: false };
            session.call_within(&mut transaction, &args, caller, &mut out);
        }
        transaction.finish();
        let replies = String::from_utf8(out).unwrap();
        let expected = "+OK\r\n-WRONGTYPE Operation against a key holding the wrong kind of value\r\n\
                        -ERR Wrong number of args calling Redis command from script\r\n\
                        -ERR This Redis command is not allowed from script\r\n\
                        -ERR This Redis command is not allowed from script\r\n\
                        -ERR unknown subcommand 'FOO'. Try CONFIG HELP.\r\n";
        assert_eq!(replies, expected);
        assert_eq!(say(&mut session, &["GET", "k"]), "$1\r\n1\r\n");
        assert!(!session.is_closing, "QUIT was not executed");
    }

    #[test]
    fn commands_that_may_need_memory_are_refused_when_there_is_none() {
        let mut session = session();
        for words in [&["MULTI"][..], &["SET", "k", "2"]] {
            say(&mut session, words);
        }
        session.node.eviction.set_limit(1);
        session.node.eviction.pretend(2);
        let reply = say(&mut session, &["EXEC"]);
        assert!(reply.starts_with("-EXECABORT Transaction discarded because of: OOM command not"), "{reply}");
        assert!(say(&mut session, &["SET", "k", "2"]).starts_with("-OOM "));
        assert_eq!(say(&mut session, &["DEL", "k"]), ":0\r\n");
        let errors = session.node.counters.errors();
        assert_eq!((errors.get("OOM"), errors.get("EXECABORT")), (Some(&1), Some(&1)));
        let set = session.node.counters.count(table::find(b"set").unwrap().id);
        assert_eq!((set.calls, set.rejected), (0, 1));
    }

    #[test]
    fn what_is_http_closes_the_connection() {
        for line in [["POST", "/"], ["host:", "localhost"]] {
            let mut session = session();
            assert_eq!(say(&mut session, &line), "");
            assert!(session.is_closing);
        }
    }
}
