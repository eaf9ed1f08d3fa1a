//! A turn: decodes what the input holds, asks the memory for it, and executes it under one permit.

use std::cell::Cell;

use tercet_proto::resp::{Decoder, Encoder, Limits, ProtocolError, share_with, take_shared};

use super::Connection;
use super::input::Input;
use super::turn::{Command, Turn};
use crate::clock::{self, BootNanos};
use crate::lent;
use crate::limits;
use crate::output::Output;
use crate::resp::frame;
use crate::resp::session::{Caller, Home, Place, Session};
use crate::resp::table::{Keys, Row, flag};
use crate::role::Verdict;

thread_local! {
    /// For the allocations of whichever client is served next.
    static AHEAD: Cell<Vec<Command>> = const { Cell::new(Vec::new()) };
}

/// Executes a command whose reply may share large texts with the key space. The reply to a carried client may not: it goes
/// in a frame with a length.
#[inline]
fn execute_sharing(session: &mut Session, row: Option<&'static Row>, args: &[&[u8]], output: &mut Output) {
    let is_framed = matches!(session.home, Home::Carried(_));
    let out = output.buffer();
    if !is_framed {
        share_with(out);
    }
    session.execute(row, args, out);
    let texts = take_shared();
    if !texts.is_empty() {
        output.add_texts(texts);
    }
}

/// As `execute_sharing`, of a command with a large text, which may keep the buffer of the input.
#[cold]
fn execute_large(session: &mut Session, input: &mut Input, command: &Command, output: &mut Output) {
    let before = input.position();
    let (bytes, capacity) = input.lend();
    let own = bytes.slice(before + command.start..before + command.end);
    {
        let args: Vec<&[u8]> = command.args.slices(&own).collect();
        let _lending = lent::lend(own.clone(), capacity);
        execute_sharing(session, command.row, &args, output);
    }
    drop(own);
    input.restore(bytes, command.end);
}

impl Connection {
    /// Executes what the input holds, as much as one turn allows. Replies are behind a mark in the output.
    pub(super) fn turn(&mut self) -> Turn {
        if self.blocked.is_some() {
            return Turn::Blocked;
        }
        if self.output.pending() >= limits::REPLY_BATCH_BYTES {
            return Turn::Full;
        }
        if self.input.is_empty() {
            return Turn::Drained;
        }
        let node = std::sync::Arc::clone(&self.session.node);
        let now = clock::boot_now();
        let permit = node.authority.enter(now);
        // Behind the door, so that a batch never waits under a mastership that was over before it began.
        let under = node.gate.term();
        if self.output.waits_for().is_some_and(|(_, term)| term != under) && self.output.sendable(&node.gate).is_err() {
            return Turn::Deposed;
        }
        let verdict = match self.session.home.place(&permit) {
            Place::Here(verdict) => {
                self.session.note(verdict);
                verdict
            }
            // Not a client's: another node calls, and does not know yet that this is not the master any more.
            Place::Elsewhere if frame::is_announced(&self.input) => Verdict::Wait,
            Place::Elsewhere => return Turn::Elsewhere,
        };
        self.session.query_bytes = self.input.len();
        self.session.begin_batch(verdict, now, clock::unix_now());
        let frame = self.begin_frame();
        self.ahead = AHEAD.take();
        let (position, turn) = self.execute(now, verdict);
        let ahead = std::mem::take(&mut self.ahead);
        if std::mem::take(&mut self.is_large) {
            if self.input.len() == position {
                self.decoder = Decoder::default();
            }
        } else {
            AHEAD.set(ahead);
        }
        drop(permit);
        self.input.executed(position);
        let on = self.session.end_batch(now, position);
        if position > 0 {
            node.publish();
        }
        self.end_frame(frame);
        self.output.mark(on, under, &node.gate);
        turn
    }

    /// Says how many bytes of the input were executed, and why no more.
    fn execute(&mut self, began: BootNanos, verdict: Verdict) -> (usize, Turn) {
        let (mut position, mut commands) = (0, 0);
        loop {
            let (decoded, error) = self.look_ahead(position);
            if decoded == 0 && error.is_none() {
                return (position, Turn::Drained);
            }
            self.fetch(decoded);
            let (executed, stop) = self.execute_decoded(decoded, verdict);
            position = self.ahead[..executed].last().map_or(position, |command| command.end);
            commands += executed;
            if executed < decoded || stop.is_some() {
                // What was decoded and not executed is decoded again.
                self.decoder.restart();
                return (position, stop.unwrap_or(Turn::Drained));
            }
            if let Some(error) = error {
                let session = &mut self.session;
                Encoder::new(self.output.buffer(), session.version).error(&error.to_string());
                tracing::info!(client = session.client.id, address = %session.client.address, %error, "protocol error");
                session.is_closing = true;
                return (position, Turn::Drained);
            }
            if decoded == limits::LOOK_AHEAD
                && (commands >= limits::TURN_COMMANDS
                    || clock::boot_now().0.saturating_sub(began.0) > limits::TURN_TIME.as_nanos() as u64)
            {
                self.decoder.restart();
                return (position, Turn::More);
            }
        }
    }

    /// Decodes the next commands behind `position` into `ahead`; says how many, and what is wrong behind them.
    fn look_ahead(&mut self, mut position: usize) -> (usize, Option<ProtocolError>) {
        let Self { session, decoder, input, ahead, is_large, .. } = self;
        // AUTH changes what a client may announce: one command at a time until then.
        let (limits, most) = if session.is_authenticated {
            let bulk_length = session.node.config.live.proto_max_bulk_len.size();
            (Limits { bulk_length, ..Limits::default() }, limits::LOOK_AHEAD)
        } else if matches!(session.home, Home::Announced(_, Caller::Proven)) {
            (Limits::default(), 1)
        } else {
            (Limits::default().unauthenticated(), 1)
        };
        let mut decoded = 0;
        while decoded < most {
            match decoder.decode(&input[position..], &limits) {
                Ok(None) => break,
                Err(error) => return (decoded, Some(error)),
                Ok(Some(used)) => {
                    if decoded == ahead.len() {
                        ahead.push(Command::default());
                    }
                    let command = &mut ahead[decoded];
                    command.args = decoder.take_args(std::mem::take(&mut command.args));
                    *is_large |= command.args.len() > limits::SPARE_ARGUMENTS;
                    command.start = position;
                    position += used;
                    command.end = position;
                    command.row = session.row(command.args.slices(&input[command.start..]));
                    decoded += 1;
                }
            }
        }
        (decoded, None)
    }

    /// Asks the memory for what the decoded commands will look up: first the cells of the index, then the entries.
    fn fetch(&mut self, decoded: usize) {
        if decoded < 2 {
            return;
        }
        let Self { session, input, ahead, .. } = self;
        let keyspace = &session.node.engine.keyspace;
        for command in &mut ahead[..decoded] {
            command.fetched = None;
            if command.row.is_some_and(|row| row.keys == Keys::ONE)
                && let Some(key) = command.args.slices(&input[command.start..]).nth(1)
            {
                let shard = keyspace.shard_of(key);
                // A shard that somebody holds is not waited for here.
                let hash = keyspace.try_lock(shard).map(|held| held.database(session.database).prefetch_index(key));
                command.fetched = hash.map(|hash| (shard, hash));
            }
        }
        for command in &ahead[..decoded] {
            if let Some((shard, hash)) = command.fetched
                && let Some(held) = keyspace.try_lock(shard)
            {
                held.database(session.database).prefetch_entry(hash);
            }
        }
    }

    /// Executes decoded commands until one has to wait; says how many were executed, and why no more.
    fn execute_decoded(&mut self, decoded: usize, verdict: Verdict) -> (usize, Option<Turn>) {
        let Self { session, input, ahead, output, .. } = self;
        let mut pause = session.node.pause.mode(session.began());
        for (index, command) in ahead[..decoded].iter().enumerate() {
            let is_large = command.end - command.start >= lent::SHARED_BYTES;
            let args: smallvec::SmallVec<[&[u8]; 16]> = command.args.slices(&input[command.start..]).collect();
            if args.is_empty() {
                continue;
            }
            if verdict == Verdict::Wait && !command.row.is_some_and(|row| row.has(flag::LOADING)) {
                return (index, Some(Turn::Held));
            }
            if let Some(mode) = pause
                && session.is_held_up(mode, command.row, &args)
            {
                return (index, Some(Turn::Paused));
            }
            if is_large {
                drop(args);
                execute_large(session, input, command, output);
            } else {
                execute_sharing(session, command.row, &args, output);
            }
            if command.row.is_some_and(|row| row.has(flag::ADMIN)) {
                // It may have been CLIENT PAUSE.
                pause = session.node.pause.mode(clock::boot_now());
            }
            if session.is_closing {
                return (index + 1, Some(Turn::Drained));
            }
            if session.penalty.is_some() {
                return (index + 1, Some(Turn::More));
            }
            if session.wait.is_some() {
                return (index + 1, Some(Turn::Blocked));
            }
            if output.pending() >= limits::REPLY_BATCH_BYTES {
                return (index + 1, Some(Turn::Full));
            }
            if is_large {
                // The input has moved.
                return (index + 1, Some(Turn::More));
            }
        }
        (decoded, None)
    }

    /// What a carried client is answered goes in frames. Says where the frame begins.
    pub(super) fn begin_frame(&mut self) -> Option<usize> {
        matches!(self.session.home, Home::Carried(_)).then(|| {
            let out = self.output.buffer();
            let start = out.len();
            out.extend_from_slice(&frame::header(frame::Kind::Replies, 0));
            start
        })
    }

    pub(super) fn end_frame(&mut self, start: Option<usize>) {
        if let Some(start) = start {
            frame::close(self.output.buffer(), start);
        }
    }
}
