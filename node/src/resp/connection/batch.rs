//! A batch: decodes what the input holds, asks the memory for it, and executes it under one permit.

use tercet_proto::resp::{Args, Encoder, Limits, ProtocolError};

use super::Connection;
use crate::clock;
use crate::ids::Offset;
use crate::limits;
use crate::resp::frame;
use crate::resp::session::{Caller, Home, Place};
use crate::resp::table::{Keys, Row, flag};
use crate::role::Verdict;

/// A decoded command.
#[derive(Debug, Default)]
pub(super) struct Command {
    args: Args,
    row: Option<&'static Row>,
    /// Where it lies in the input; the ranges of `args` count from `start`.
    start: usize,
    end: usize,
    /// Shard and hash of its key, if that was asked for.
    fetched: Option<(usize, u64)>,
}

/// What the replies of a batch depend on: a record, and the mastership under which it was executed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depends {
    pub(super) on: Offset,
    pub(super) under: u64,
}

/// What is left to do after a batch.
pub(super) enum Batch {
    /// Everything whole has been executed.
    Drained,
    /// Replies have to leave first.
    Full,
    /// Nothing may be executed now.
    Wait,
    /// The last command waits for its answer (`Session::waiting`).
    Blocked,
    /// Another node is master, and this is its client.
    Elsewhere,
}

impl Connection {
    pub(super) fn execute(&mut self) -> (Batch, Depends) {
        let node = std::sync::Arc::clone(&self.session.node);
        let now = clock::boot_now();
        let permit = node.authority.enter(now);
        // Behind the door, so that a batch never waits under a mastership that was over before it began.
        let under = node.gate.term();
        let nothing = Depends { on: Offset::ZERO, under };
        let verdict = match self.session.home.place(&permit) {
            Place::Here(verdict) => {
                self.session.note(verdict);
                verdict
            }
            // What came back may have been nothing.
            Place::Elsewhere if self.input.is_empty() => return (Batch::Drained, nothing),
            // Not a client's: another node calls, and does not know yet that this is not the master any more.
            Place::Elsewhere if frame::is_announced(&self.input) => Verdict::Wait,
            Place::Elsewhere => return (Batch::Elsewhere, nothing),
        };
        self.session.begin_batch(verdict, now, clock::unix_now());
        let mut position = 0;
        let batch = loop {
            let (decoded, error) = self.look_ahead(position);
            if decoded == 0 && error.is_none() {
                break Batch::Drained;
            }
            self.fetch(decoded);
            let (executed, stop) = self.execute_decoded(decoded, verdict);
            position = self.ahead[..executed].last().map_or(position, |command| command.end);
            if executed < decoded || stop.is_some() {
                // What was decoded and not executed is decoded again.
                self.decoder.restart();
                break stop.unwrap_or(Batch::Drained);
            }
            if let Some(error) = error {
                let session = &mut self.session;
                Encoder::new(&mut self.output, session.version).error(&error.to_string());
                tracing::info!(client = session.client.id, address = %session.client.address, %error, "protocol error");
                session.is_closing = true;
                break Batch::Drained;
            }
        };
        drop(permit);
        self.input.drain(..position);
        let on = self.session.end_batch(now, position, self.output.len());
        (batch, Depends { on, under })
    }

    /// Decodes the next commands behind `position` into `ahead`; says how many, and what is wrong behind them.
    fn look_ahead(&mut self, mut position: usize) -> (usize, Option<ProtocolError>) {
        let Self { session, decoder, input, ahead, .. } = self;
        // AUTH changes what a client may announce: one command at a time until then.
        let (limits, most) = if session.is_authenticated {
            (Limits::default(), limits::LOOK_AHEAD)
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
                let hash = keyspace.lock(shard).database(session.database).prefetch_index(key);
                command.fetched = Some((shard, hash));
            }
        }
        for command in &ahead[..decoded] {
            if let Some((shard, hash)) = command.fetched {
                keyspace.lock(shard).database(session.database).prefetch_entry(hash);
            }
        }
    }

    /// Executes decoded commands until one has to wait; says how many were executed, and why no more.
    fn execute_decoded(&mut self, decoded: usize, verdict: Verdict) -> (usize, Option<Batch>) {
        let Self { session, input, ahead, output, .. } = self;
        for (index, command) in ahead[..decoded].iter().enumerate() {
            let args: smallvec::SmallVec<[&[u8]; 16]> = command.args.slices(&input[command.start..]).collect();
            if args.is_empty() {
                continue;
            }
            if verdict == Verdict::Wait && !command.row.is_some_and(|row| row.has(flag::LOADING)) {
                return (index, Some(Batch::Wait));
            }
            session.execute(command.row, &args, output);
            if session.is_closing {
                return (index + 1, Some(Batch::Drained));
            }
            if session.penalty.is_some() {
                return (index + 1, Some(Batch::Full));
            }
            if session.waiting.is_some() {
                return (index + 1, Some(Batch::Blocked));
            }
            if output.len() >= limits::REPLY_BATCH_BYTES {
                return (index + 1, Some(Batch::Full));
            }
        }
        (decoded, None)
    }
}
