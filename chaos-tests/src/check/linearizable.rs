//! Property: the operations on one register took place one after the other, each at some instant between its sending and
//! its reply.
//!
//! The search of Wing and Gong with Lowe's memory: take any operation that was sent before every reply that is still
//! outstanding, if the register's value allows it; go back where nothing fits; never look twice at the same set of
//! operations with the same value. Registers are independent of each other (Herlihy, Wing: linearizability is local), so
//! each is looked at alone.
//!
//! An operation without a reply may take effect at any time after its sending, or never. If nobody ever saw the value that
//! it would have written, it can be left out: wherever an order with it is legal, so is the same order without it, for the
//! next operation must be a plain write.

use std::collections::{HashMap, HashSet};

use crate::sys::Moment;

/// What a register holds; every value is written at most once. `None`: nothing was written yet.
pub type Held = Option<u64>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Read(Held),
    Write(u64),
    /// A compare-and-set that took place.
    Swap {
        from: Held,
        to: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    pub action: Action,
    pub sent: Moment,
    /// `None`: the reply never came.
    pub replied: Option<Moment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// With the operation that could not be placed behind the longest order that was found.
    NotLinearizable {
        placed: usize,
        of: usize,
        stuck: String,
    },
    /// The search was longer than it may be.
    Undecided,
}

/// Steps of the search: far more than a history of a few hundred operations with a dozen clients takes.
const MOST_STEPS: usize = 2_000_000;

impl Action {
    /// The value after it, or `None` if it cannot have taken place on `held`.
    fn apply(self, held: Held) -> Option<Held> {
        match self {
            Self::Read(value) => (value == held).then_some(held),
            Self::Write(value) => Some(Some(value)),
            Self::Swap { from, to } => (from == held).then_some(Some(to)),
        }
    }

    fn seen(self) -> Held {
        match self {
            Self::Read(value) => value,
            Self::Write(_) => None,
            Self::Swap { from, .. } => from,
        }
    }

    fn written(self) -> Option<u64> {
        match self {
            Self::Read(_) => None,
            Self::Write(value) | Self::Swap { to: value, .. } => Some(value),
        }
    }
}

/// Looks for an order.
#[must_use]
pub fn check(history: &[Operation]) -> Verdict {
    let operations = that_matter(history);
    let mut search = Search::new(&operations);
    search.run()
}

/// Reads of a value that had been overwritten for certain before they were sent: what a client calls stale.
#[must_use]
pub fn stale_reads(history: &[Operation]) -> Vec<Operation> {
    let replied: HashMap<u64, Moment> =
        history.iter().filter_map(|operation| Some((operation.action.written()?, operation.replied?))).collect();
    // Acknowledged writes by the time of their reply, with the latest sending so far.
    let mut writes: Vec<_> = history
        .iter()
        .filter(|operation| operation.action.written().is_some() && operation.replied.is_some())
        .collect();
    writes.sort_unstable_by_key(|operation| operation.replied);
    let mut latest = Vec::with_capacity(writes.len());
    for write in &writes {
        latest.push(latest.last().map_or(write.sent, |before: &Moment| (*before).max(write.sent)));
    }
    let is_stale = |operation: &&Operation| {
        let before = writes.partition_point(|write| write.replied < Some(operation.sent));
        if operation.replied.is_none() || before == 0 {
            return false;
        }
        match operation.action {
            Action::Read(None) => true,
            // Its write had been answered before another one, which was answered before the read, was sent.
            Action::Read(Some(value)) => replied.get(&value).is_some_and(|replied| latest[before - 1] > *replied),
            Action::Write(_) | Action::Swap { .. } => false,
        }
    };
    history.iter().filter(is_stale).copied().collect()
}

/// Without reads that were not answered, and without unanswered writes that nobody saw.
fn that_matter(history: &[Operation]) -> Vec<Operation> {
    let answered = history.iter().filter(|operation| operation.replied.is_some());
    let mut seen: HashSet<u64> = answered.filter_map(|operation| operation.action.seen()).collect();
    // What an unanswered swap that was seen compared with was there too.
    loop {
        let is_new = |operation: &&Operation| {
            operation.replied.is_none() && operation.action.written().is_some_and(|value| seen.contains(&value))
        };
        let more: Vec<u64> = history.iter().filter(is_new).filter_map(|operation| operation.action.seen()).collect();
        let before = seen.len();
        seen.extend(more);
        if seen.len() == before {
            break;
        }
    }
    let matters = |operation: &&Operation| {
        operation.replied.is_some() || operation.action.written().is_some_and(|value| seen.contains(&value))
    };
    history.iter().filter(matters).copied().collect()
}

/// Sendings and replies in the order of time, as a list from which what is placed is taken out.
struct Search<'a> {
    operations: &'a [Operation],
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Where the reply of each operation stands in `events`.
    reply_of: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Before everything, so that there is always something in front.
    Start,
    Sent(usize),
    Replied(usize),
}

/// An operation that was placed, and what was there before.
struct Placed {
    sent_at: usize,
    held_before: Held,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        let mut timed = Vec::with_capacity(2 * operations.len());
        for (index, operation) in operations.iter().enumerate() {
            // At the same instant a sending comes first: those two operations may have been at once.
            timed.push(((Some(operation.sent), 0), Event::Sent(index)));
            timed.push(((operation.replied, 1), Event::Replied(index)));
        }
        // Replies that never came stand last.
        timed.sort_by_key(|((time, kind), _)| (time.is_none(), *time, *kind));
        let events: Vec<_> = std::iter::once(Event::Start).chain(timed.into_iter().map(|(_, event)| event)).collect();
        let mut reply_of = vec![0; operations.len()];
        for (at, event) in events.iter().enumerate() {
            if let Event::Replied(index) = event {
                reply_of[*index] = at;
            }
        }
        let count = events.len();
        Self {
            operations,
            events,
            next: (1..=count).collect(),
            previous: (0..count).map(|at| at.saturating_sub(1)).collect(),
            reply_of,
        }
    }

    fn run(&mut self) -> Verdict {
        let mut held: Held = None;
        let mut placed: Vec<Placed> = Vec::new();
        let mut bits = vec![0_u64; self.operations.len().div_ceil(64)];
        let mut known: HashSet<(Vec<u64>, Held)> = HashSet::new();
        let mut best = (0, 0);
        let mut at = self.next[0];
        for _ in 0..MOST_STEPS {
            match self.events.get(at) {
                None => return Verdict::Linearizable,
                Some(Event::Start) => at = self.next[at],
                Some(Event::Sent(index)) => {
                    let (index, sent_at) = (*index, at);
                    at = self.next[at];
                    let Some(after) = self.operations[index].action.apply(held) else { continue };
                    bits[index / 64] |= 1 << (index % 64);
                    if known.insert((bits.clone(), after)) {
                        placed.push(Placed { sent_at, held_before: held });
                        held = after;
                        self.take_out(sent_at);
                        self.take_out(self.reply_of[index]);
                        at = self.next[0];
                    } else {
                        bits[index / 64] &= !(1 << (index % 64));
                    }
                }
                // This one had its reply and found no place: the last choice was wrong.
                Some(Event::Replied(index)) => {
                    if best.0 <= placed.len() {
                        best = (placed.len(), *index);
                    }
                    let Some(last) = placed.pop() else { return self.stuck(best) };
                    let Event::Sent(index) = self.events[last.sent_at] else {
                        unreachable!("only sendings are placed")
                    };
                    bits[index / 64] &= !(1 << (index % 64));
                    held = last.held_before;
                    self.put_back(self.reply_of[index]);
                    self.put_back(last.sent_at);
                    at = self.next[last.sent_at];
                }
            }
        }
        Verdict::Undecided
    }

    fn stuck(&self, (placed, index): (usize, usize)) -> Verdict {
        Verdict::NotLinearizable {
            placed,
            of: self.operations.len(),
            stuck: format!("{:?}", self.operations[index].action),
        }
    }

    fn take_out(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = next;
        if let Some(back) = self.previous.get_mut(next) {
            *back = previous;
        }
    }

    /// In the reverse order of taking out.
    fn put_back(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = at;
        if let Some(back) = self.previous.get_mut(next) {
            *back = at;
        }
    }
}

#[cfg(test)]
mod tests;
