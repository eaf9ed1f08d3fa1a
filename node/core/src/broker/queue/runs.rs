//! Runs: messages of a queue that lie on the shelf, many together, and which of them are still there.
//!
//! ```text
//! slots      1 2 3 4                              | 9001 9002 ...     in memory, by id
//! runs             inside: 3..=4096  out: 4097..=9000                 ids of different runs do not overlap
//! ```
//!
//! A run that is *out* stands for its messages; of one that is *inside* the messages are slots again, and the run on disk
//! stands for their rows, so that they can leave once more without being written. A run goes with its last message.
//!
//! A run takes about 120 bytes and a bit for each of its messages: close to nothing for each of 4096.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::effect::BrokerEffect;
use crate::broker::message::Delivered;
use crate::broker::shelf::Ticket;
use crate::ids::Offset;

/// Messages that lie together on the shelf.
#[derive(Debug)]
pub(crate) struct Run {
    ticket: Ticket,
    /// The id of bit 0, and the last one that it was made with.
    first: u64,
    last: u64,
    /// A bit for each message that is still there.
    present: Box<[u64]>,
    /// The least id that is still there.
    lowest: u64,
    count: usize,
    /// Of those that are there. Of a run that is out, what has gone counts as the average.
    pub(super) bytes: usize,
    pub(super) body_bytes: usize,
    pub(super) about: About,
}

/// What the messages of a run have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct About {
    /// The newest record that made any of them.
    pub(super) offset: Offset,
    pub(super) delivered: Delivered,
    /// Deadline of the first and of the last message.
    pub(super) deadlines: (u64, u64),
    /// When the last of them is over; 0 if one has no end.
    pub(super) over_at: u64,
}

impl Run {
    /// Of messages with these ids, ascending.
    pub(super) fn new(ticket: Ticket, ids: &[u64], about: About) -> Self {
        let (first, last) = (ids.first().copied().unwrap_or(1), ids.last().copied().unwrap_or(1));
        let words = usize::try_from((last - first) / 64 + 1).unwrap_or(usize::MAX);
        let mut present = vec![0u64; words].into_boxed_slice();
        for id in ids {
            present[((id - first) / 64) as usize] |= 1 << ((id - first) % 64);
        }
        Self { ticket, first, last, present, lowest: first, count: ids.len(), bytes: 0, body_bytes: 0, about }
    }

    pub(super) fn number(&self) -> u64 {
        self.ticket.number()
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Ids of the run are not greater than this.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn lowest(&self) -> u64 {
        self.lowest
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Bytes of memory that it takes.
    pub(super) fn overhead(&self) -> usize {
        size_of::<Self>() + self.present.len() * 8 + 32
    }

    #[inline]
    pub(super) fn has(&self, id: u64) -> bool {
        let Some(at) = id.checked_sub(self.first) else { return false };
        self.present.get((at / 64) as usize).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    /// The ids that are there, ascending.
    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        self.ids_from(self.first)
    }

    /// As `ids`, from this one on.
    pub(super) fn ids_from(&self, id: u64) -> impl Iterator<Item = u64> {
        let start = id.saturating_sub(self.first);
        let words = self.present.iter().enumerate().skip((start / 64) as usize);
        words.flat_map(move |(at, word)| {
            let base = self.first + at as u64 * 64;
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    base + u64::from(bit)
                })
            })
            .filter(move |found| *found >= id)
        })
    }

    /// A message is gone. With it: its bytes and those of its body, about. `None`: it was not there.
    fn clear(&mut self, id: u64) -> Option<(usize, usize)> {
        if !self.has(id) {
            return None;
        }
        let at = id - self.first;
        self.present[(at / 64) as usize] &= !(1 << (at % 64));
        let (bytes, body_bytes) = (self.bytes / self.count, self.body_bytes / self.count);
        self.bytes -= bytes;
        self.body_bytes -= body_bytes;
        self.count -= 1;
        if id == self.lowest {
            let next = self.ids_from(id).next();
            self.lowest = next.unwrap_or(u64::MAX);
        }
        Some((bytes, body_bytes))
    }
}

/// The runs of a queue.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    out: BTreeMap<u64, Run>,
    inside: BTreeMap<u64, Run>,
    /// Messages that are out, and their bytes.
    count: usize,
    bytes: usize,
    /// There are or were some: a checkpoint says which.
    pub(super) were_any: bool,
    /// Whoever carries them has been told that some are needed.
    pub(crate) is_wanted: bool,
    /// Runs that readers of a stream wait for.
    pub(super) needed: BTreeSet<u64>,
    /// How often messages that are out came back from consumers, where that is known.
    pub(super) returns: BTreeMap<u64, u32>,
    /// Ids behind the first and up to the second are being taken by a checkpoint, which does not know of new runs.
    pub(crate) taking: Option<(u64, u64)>,
}

/// What has gone of a run that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cleared {
    pub(super) bytes: usize,
    pub(super) body_bytes: usize,
    /// Bytes of memory that went with the run.
    pub(super) overhead: usize,
}

impl Runs {
    /// Messages that are out.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The least id that is out: what comes next is in memory as long as its id is less.
    #[inline]
    pub(super) fn barrier(&self) -> u64 {
        self.out.first_key_value().map_or(u64::MAX, |(_, run)| run.lowest())
    }

    /// Puts a run in its place.
    pub(super) fn put_out(&mut self, run: Run) {
        self.were_any = true;
        self.count += run.count();
        self.bytes += run.bytes;
        self.out.insert(run.first(), run);
    }

    pub(super) fn take_out(&mut self, first: u64) -> Option<Run> {
        let run = self.out.remove(&first)?;
        self.needed.remove(&first);
        self.count -= run.count();
        self.bytes -= run.bytes;
        Some(run)
    }

    pub(super) fn put_inside(&mut self, run: Run) {
        self.inside.insert(run.first(), run);
    }

    pub(super) fn take_inside(&mut self, first: u64) -> Option<Run> {
        self.inside.remove(&first)
    }

    pub(super) fn inside(&self) -> impl Iterator<Item = &Run> {
        self.inside.values()
    }

    pub(super) fn out(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.out.values()
    }

    pub(super) fn get_out(&self, first: u64) -> Option<&Run> {
        self.out.get(&first)
    }

    /// The run that is out and has this id, or the next one.
    pub(super) fn out_at_or_behind(&self, id: u64) -> Option<&Run> {
        let before = self.out.range(..=id).next_back().map(|(_, run)| run).filter(|run| run.last() >= id);
        before
            .filter(|run| run.ids_from(id).next().is_some())
            .or_else(|| self.out.range(id.saturating_add(1)..).next().map(|(_, run)| run))
    }

    /// Whether a message is out.
    #[inline]
    pub(super) fn has_out(&self, id: u64) -> bool {
        !self.out.is_empty() && of(&self.out, id).is_some_and(|run| run.has(id))
    }

    /// Whether a run stands for the row of a message that is in memory.
    #[inline]
    pub(super) fn has_inside(&self, id: u64) -> bool {
        !self.inside.is_empty() && of(&self.inside, id).is_some_and(|run| run.has(id))
    }

    /// Whether ids between these two belong to a run.
    pub(super) fn lie_between(&self, before: u64, id: u64) -> bool {
        let lies = |runs: &BTreeMap<u64, Run>| of(runs, id).is_some_and(|run| run.last() >= before);
        lies(&self.out) || lies(&self.inside)
    }

    /// A message that is out is gone.
    pub(super) fn clear_out(&mut self, id: u64) -> Option<Cleared> {
        let (first, run) = self.out.range_mut(..=id).next_back()?;
        let first = *first;
        let (bytes, body_bytes) = run.clear(id)?;
        self.count -= 1;
        self.bytes -= bytes;
        self.returns.remove(&id);
        let mut overhead = 0;
        if run.count() == 0 {
            overhead = run.overhead();
            self.needed.remove(&first);
            self.out.remove(&first);
        }
        Some(Cleared { bytes, body_bytes, overhead })
    }

    /// A message that is in memory is gone. With it: bytes of memory that went with its run. `None`: it was of no run.
    #[inline]
    pub(super) fn clear_inside(&mut self, id: u64) -> Option<usize> {
        if self.inside.is_empty() {
            return None;
        }
        let (first, run) = self.inside.range_mut(..=id).next_back()?;
        let first = *first;
        run.clear(id)?;
        if run.count() > 0 {
            return Some(0);
        }
        let overhead = run.overhead();
        self.inside.remove(&first);
        Some(overhead)
    }

    /// Bytes of memory of all of them.
    pub(super) fn overhead(&self) -> usize {
        self.out.values().chain(self.inside.values()).map(Run::overhead).sum()
    }

    /// All runs, as a checkpoint keeps them.
    pub(super) fn effects(&self, visit: &mut dyn FnMut(&BrokerEffect<'_>)) {
        for run in self.out.values().chain(self.inside.values()) {
            let ranges = crate::broker::effect::ranges(run.ids());
            visit(&BrokerEffect::Run {
                number: run.number(),
                bytes: run.bytes as u64,
                body_bytes: run.body_bytes as u64,
                deadlines: run.about.deadlines,
                over_at: run.about.over_at,
                ranges: ranges.into(),
            });
        }
    }
}

/// The run that may have this id.
#[inline]
fn of(runs: &BTreeMap<u64, Run>, id: u64) -> Option<&Run> {
    runs.range(..=id).next_back().map(|(_, run)| run)
}
