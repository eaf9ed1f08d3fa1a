//! What a node keeps: batches in a write-ahead log, of which a prefix is synced. The end of the process leaves what was
//! written; a power cut leaves what was synced, and of the rest as much as chance will have it.

use tercet_node::ids::Offset;
use tercet_node::journal::{Block, Span, Turn};

use super::super::message::{KEYS, Record, Values, records_of};
use super::super::random::Random;

#[derive(Debug)]
enum Batch {
    /// What the journal wanted written, and the commit offset known then.
    Turn {
        turn: Turn,
        commit: u64,
    },
    Commit(u64),
    /// All partitions have rows again after a full sync: the state up to an offset.
    Rows {
        values: Values,
        at: u64,
        log: Vec<Record>,
    },
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Synced with each change.
    pub(super) promised: u64,
    log: Vec<Batch>,
    synced: usize,
    /// A full sync has begun, and what it brought is not in rows yet.
    pub(super) is_not_whole: bool,
}

/// What a start finds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) start: Offset,
    pub(super) end: Offset,
    pub(super) commit: Offset,
    pub(super) history: Vec<Span>,
    pub(super) blocks: Vec<Block>,
    /// The state of the rows, and up to where.
    pub(super) values: Values,
    pub(super) rows_at: u64,
    /// For the invariants: the whole journal, as it would be from the first record on.
    pub(super) log: Vec<Record>,
}

impl Disk {
    pub(super) fn write(&mut self, turn: Turn, commit: u64) {
        self.is_not_whole |= turn.wipe.is_some();
        self.log.push(Batch::Turn { turn, commit });
    }

    pub(super) fn write_commit(&mut self, commit: u64) {
        self.log.push(Batch::Commit(commit));
    }

    pub(super) fn write_rows(&mut self, values: Values, at: u64, log: Vec<Record>) {
        self.log.push(Batch::Rows { values, at, log });
        self.is_not_whole = false;
        self.sync();
    }

    /// One log: what is synced takes along what was written before it.
    pub(super) fn sync(&mut self) {
        self.synced = self.log.len();
    }

    pub(super) fn promise(&mut self, epoch: u64) {
        self.promised = self.promised.max(epoch);
        self.sync();
    }

    pub(super) fn cut_power(&mut self, random: &mut Random) {
        let kept = random.between(self.synced as u64, self.log.len() as u64) as usize;
        self.log.truncate(kept);
        self.synced = self.log.len();
        self.is_not_whole = self.is_wiped();
    }

    fn is_wiped(&self) -> bool {
        let wiped = self.log.iter().rposition(|batch| matches!(batch, Batch::Turn { turn, .. } if turn.wipe.is_some()));
        let whole = self.log.iter().rposition(|batch| matches!(batch, Batch::Rows { .. }));
        wiped.is_some() && wiped > whole
    }

    /// What lies there, taken together.
    pub(super) fn read(&self) -> Found {
        let mut found = Found { values: [(0, 0); KEYS], ..Found::default() };
        if self.is_wiped() {
            return found;
        }
        for batch in &self.log {
            match batch {
                Batch::Commit(commit) => found.commit = Offset(*commit),
                Batch::Rows { values, at, log } => {
                    (found.values, found.rows_at) = (*values, *at);
                    found.log.clone_from(log);
                }
                Batch::Turn { turn, commit } => found.take(turn, *commit),
            }
        }
        found.end = found.blocks.last().map_or(found.start, |block| block.last.max(found.start));
        found.commit = found.commit.min(found.end);
        found.log.truncate(found.start.0.min(found.rows_at) as usize);
        let known = found.log.len() as u64;
        let records = found.blocks.iter().flat_map(records_of);
        found.log.extend(records.filter(|(offset, _)| *offset > known).map(|(_, record)| record));
        found
    }

    /// A master's reader is behind what memory holds.
    pub(super) fn blocks_behind(&self, after: Offset, up_to: Offset) -> Vec<Block> {
        let found = self.read();
        let wanted = found.blocks.into_iter().filter(|block| block.last > after && block.first <= up_to);
        let behind = wanted.map(|block| if block.first > after { block } else { block.behind(after) });
        behind.map(|block| if block.last <= up_to { block } else { block.up_to(up_to) }).collect()
    }

    pub(super) fn wipe(&mut self) {
        *self = Self::default();
    }
}

impl Found {
    fn take(&mut self, turn: &Turn, commit: u64) {
        if let Some(start) = turn.wipe {
            self.blocks.clear();
            self.start = start;
        }
        if let Some(end) = turn.cut {
            self.blocks.retain(|block| block.first <= end);
            if let Some(last) = self.blocks.last_mut().filter(|block| block.last > end) {
                *last = last.up_to(end);
            }
        }
        if let Some(history) = &turn.history {
            self.history.clone_from(history);
        }
        self.blocks.extend(turn.blocks.iter().cloned());
        self.commit = Offset(commit);
    }
}
