//! MULTI, EXEC, DISCARD, WATCH and UNWATCH: commands that are queued, and executed under one set of locks as one record.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tercet_proto::resp::Encoder;

use super::queued::{Multi, Watched, WatchedKey};
use super::{Blocking, Session};
use crate::clients::state;
use crate::engine::{Locked, Transaction};
use crate::journal::Due;
use crate::keyspace::Watch;
use crate::lent;
use crate::resp::error::Error;
use crate::resp::table::{Args, Keys, Kind, Row, Transactional, flag};
use crate::role::Verdict;

/// Whether a command within EXEC may need any key.
fn locks_all(row: &Row) -> bool {
    matches!(row.keys, Keys::Space | Keys::Any) || matches!(row.kind, Kind::Script(..))
}

impl Session {
    pub(super) fn is_queueing(&self, row: &Row) -> bool {
        self.multi.is_some()
            && !row.has(flag::AT_ONCE)
            && (!matches!(row.kind, Kind::Transactional(_))
                || matches!(row.kind, Kind::Transactional(Transactional::Unwatch)))
    }

    /// Whether any queued command is such a one.
    pub(super) fn has_queued(&self, is_such: impl Fn(&Row, &Args<'_>) -> bool) -> bool {
        self.multi.as_ref().is_some_and(|multi| {
            multi.queued.iter().any(|(row, args)| is_such(row, &args.iter().map(|arg| &arg[..]).collect::<Vec<_>>()))
        })
    }

    /// Shards that EXEC locks: those of the keys that are watched, and that the queued commands declare. `None`: all of them.
    pub(super) fn shards_of_exec(&self) -> Option<Vec<usize>> {
        let shard_of = |key: &[u8]| self.node.engine.keyspace.shard_of(key);
        let queued = self.multi.iter().flat_map(|multi| &multi.queued);
        let mut shards: Vec<usize> = self.watched.iter().filter_map(Watched::key).map(shard_of).collect();
        for (row, args) in queued {
            if locks_all(row) {
                return None;
            }
            let args: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
            shards.extend(row.keys.of(&args).into_iter().map(shard_of));
        }
        Some(shards)
    }

    /// The transaction under way cannot be executed any more.
    pub(super) fn break_multi(&mut self) {
        if let Some(multi) = &mut self.multi {
            multi.is_broken = true;
        }
    }

    /// Tells CLIENT LIST.
    pub(super) fn note_transaction(&self) {
        let sizes = &self.client.sizes;
        sizes.queued.store(self.multi.as_ref().map_or(-1, |multi| multi.queued.len() as i64), Relaxed);
        sizes.multi.store(self.multi.as_ref().map_or(0, |multi| multi.bytes), Relaxed);
        sizes.watched.store(self.watched.len(), Relaxed);
        self.client.set(state::MULTI, self.multi.is_some());
    }

    /// EXEC was refused: the transaction is gone.
    pub(super) fn abort(&mut self, why: &Error) -> Error {
        self.multi = None;
        self.watched.clear();
        self.note_transaction();
        let text = why.to_string();
        // Redis leaves the code of its common errors in, and has none yet in those that it makes.
        let text = text.strip_prefix("ERR ").unwrap_or(&text);
        Error::text(format!("EXECABORT Transaction discarded because of: {text}"))
    }

    pub(super) fn queue(&mut self, row: &'static Row, args: &Args<'_>, out: &mut Vec<u8>) {
        let limit = self.query_limit();
        if let Some(multi) = &mut self.multi {
            multi.push(
                row,
                args.iter().map(|arg| lent::shared(arg).unwrap_or_else(|| Bytes::copy_from_slice(arg))).collect(),
            );
            if multi.bytes > limit {
                tracing::warn!(client = self.client.id, "a transaction is over the limit of the query buffer, closing");
                self.is_closing = true;
            }
        }
        self.note_transaction();
        Encoder::new(out, self.version).simple("QUEUED");
    }

    pub(super) fn transactional(
        &mut self,
        which: Transactional,
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let outcome = self.carry_out(which, args, out);
        self.note_transaction();
        outcome
    }

    fn carry_out(&mut self, which: Transactional, args: &Args<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
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
                    self.watch(key);
                }
                Encoder::new(out, self.version).ok();
                Ok(())
            }
            Transactional::Unwatch => {
                self.watched.clear();
                Encoder::new(out, self.version).ok();
                Ok(())
            }
            Transactional::Exec => self.exec(out),
        }
    }

    fn watch(&mut self, key: &[u8]) {
        let node = Arc::clone(&self.node);
        let keyspace = &node.engine.keyspace;
        let index = keyspace.shard_of(key);
        if self.verdict == Verdict::Master {
            // What has expired goes first: that is no change of what the client sees.
            let locked = Locked::One(index, keyspace.lock(index));
            let mut transaction = Transaction::new(&node.engine, locked, &mut self.record, self.database, self.now);
            transaction.get(key);
            transaction.finish();
        }
        let watch = Arc::new(Watch::default());
        let mut shard = keyspace.lock(index);
        self.depend(Due::read(shard.last_offset()));
        let found = shard.database(self.database).find(key);
        let was_there = found.is_some_and(|entry| !entry.is_expired(self.now));
        shard.watch(self.database, key, &watch);
        drop(shard);
        let watched = WatchedKey { node, database: self.database, key: key.to_vec(), was_there, watch };
        self.watched.push(Watched::Key(watched));
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
            multi.queued.iter().map(|(_, args)| args.iter().map(|arg| &arg[..]).collect()).collect();
        // One lock set for all: what the commands declare, and what is watched.
        let whole = multi.queued.iter().any(|(row, _)| locks_all(row));
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
            let may_block = std::mem::replace(&mut self.may_block, Blocking::Denied);
            for ((row, owned), args) in multi.queued.iter().zip(&slices) {
                let large = owned.iter().find(|arg| arg.len() >= lent::SHARED_BYTES);
                let _lending = large.map(|text| lent::lend(text.clone(), text.len()));
                self.call_queued(&mut transaction, row, args, out);
            }
            self.may_block = may_block;
        } else {
            Encoder::new(out, self.version).null_array();
        }
        self.finish(transaction);
        self.record = record;
        Ok(())
    }
}
