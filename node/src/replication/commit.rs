//! How far is the journal committed? What the master counts of its ISR, and nothing else.
//!
//! **Invariant:** the commit offset is what every counted copy holds. Counted are the members of the committed ISR, those
//! of a proposed one whose fate is not known, and the candidates for the next proposal. So whichever ISR the sentinels
//! have committed, each of its members holds everything that was acknowledged.
//!
//! With `--fsync always` here, a copy that syncs always holds what is durable on it, and so does the master's own. One that
//! promised less (`everysec`, no disk) holds what it has received: each node promises what its own settings say.
//!
//! Records up to `floor` (the end of the journal when the mastership began) need no `min_isr`: who wrote them was
//! answered, or not, under an earlier master.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tercet_proto::grpc::cluster::v1::{ClusterState, IsrMember, Member};
use tercet_proto::grpc::peer::v1::Durability;
use tokio::sync::Notify;

use crate::clock::BootNanos;
use crate::ids::{Epoch, Offset};
use crate::journal::{Gate, Journal};

/// One stream of a replica to this master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamId(u64);

/// What of a copy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counted {
    #[default]
    Received,
    /// `--fsync always`.
    Durable,
}

/// What a copy promises of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// `--persistence off`.
    Absent,
    /// It follows in its own time.
    Buffered,
    /// `--fsync always`.
    Synced,
}

impl Disk {
    pub(crate) fn to_wire(self) -> Durability {
        match self {
            Self::Absent => Durability::Diskless,
            Self::Buffered => Durability::Buffered,
            Self::Synced => Durability::Synced,
        }
    }

    pub(crate) fn from_wire(durability: Durability) -> Self {
        match durability {
            Durability::Diskless | Durability::Unspecified => Self::Absent,
            Durability::Buffered => Self::Buffered,
            Durability::Synced => Self::Synced,
        }
    }

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "none",
            Self::Buffered => "buffered",
            Self::Synced => "synced",
        }
    }
}

/// What a replica says that it holds: each is a prefix of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    pub received: Offset,
    pub durable: Offset,
    pub applied: Offset,
}

/// A replica, as its master sees it.
#[derive(Debug, Clone)]
pub struct Copy {
    pub member: Member,
    pub incarnation: String,
    pub(super) stream: Option<StreamId>,
    pub disk: Disk,
    pub held: Held,
    /// A full sync is under way: it holds nothing that counts.
    pub syncing: bool,
    /// When anything came from it last (or when its stream closed).
    pub heard: BootNanos,
    /// Its data does not fit and goes as soon as it has left the ISR.
    pub(super) leaving: bool,
    pub(super) candidate: bool,
    /// Since when it has had something to acknowledge and has not moved.
    pub(super) stuck_since: Option<BootNanos>,
    pub(super) counted_at_tick: Offset,
}

impl Copy {
    fn new(member: Member, incarnation: String, disk: Disk, stream: StreamId, now: BootNanos) -> Self {
        Self {
            member,
            incarnation,
            stream: Some(stream),
            disk,
            held: Held::default(),
            syncing: false,
            heard: now,
            leaving: false,
            candidate: false,
            stuck_since: None,
            counted_at_tick: Offset::ZERO,
        }
    }

    /// Up to where it counts.
    pub(super) fn counts_to(&self, counted: Counted) -> Offset {
        match (counted, self.disk) {
            (Counted::Durable, Disk::Synced) => self.held.durable,
            (Counted::Received, _) | (_, Disk::Absent | Disk::Buffered) => self.held.received,
        }
    }

    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    pub(super) fn is(&self, member: &IsrMember) -> bool {
        self.member.name == member.name && self.incarnation == member.incarnation
    }

    pub(super) fn as_member(&self) -> IsrMember {
        IsrMember { name: self.member.name.clone(), incarnation: self.incarnation.clone() }
    }
}

/// One mastership of this node.
#[derive(Debug)]
pub struct Term {
    pub(super) epoch: Epoch,
    pub(super) counted: Counted,
    pub(super) began: BootNanos,
    /// End of the journal when it began.
    pub(super) floor: Offset,
    pub(super) me: IsrMember,
    /// The committed ISR, and its version.
    pub(super) isr: Vec<IsrMember>,
    pub(super) version: u64,
    pub(super) min_isr: usize,
    /// Members of proposals on top of `version` that may or may not have been committed.
    pub(super) proposed: Vec<IsrMember>,
    pub(super) copies: Vec<Copy>,
    pub(super) committed: Offset,
    /// A look at the end of the journal, `limits::ISR_TICK` ago or a little more: who holds that is near.
    pub(super) end_at_tick: Offset,
    pub(super) ticked: BootNanos,
    next_stream: u64,
}

impl Held {
    fn raise(&mut self, to: Self) {
        self.received = self.received.max(to.received);
        self.durable = self.durable.max(to.durable.min(to.received));
        self.applied = self.applied.max(to.applied);
    }
}

impl Term {
    pub fn new(me: IsrMember, state: &ClusterState, counted: Counted, floor: Offset, now: BootNanos) -> Self {
        Self {
            epoch: Epoch(state.epoch),
            counted,
            began: now,
            floor,
            me,
            isr: state.isr.clone(),
            version: state.isr_version,
            min_isr: state.min_isr as usize,
            proposed: Vec::new(),
            copies: Vec::new(),
            committed: Offset::ZERO,
            end_at_tick: floor,
            ticked: now,
            next_stream: 0,
        }
    }

    /// What every counted copy holds, if this one counts up to `end`.
    pub(super) fn commit(&self, end: Offset) -> Offset {
        if !self.isr.contains(&self.me) {
            return Offset::ZERO;
        }
        let own = if self.isr.len() >= self.min_isr { end } else { end.min(self.floor) };
        let members = self.isr.iter().chain(&self.proposed).filter(|member| **member != self.me);
        let of_members = members.map(|member| {
            self.copies.iter().find(|copy| copy.is(member)).map_or(Offset::ZERO, |copy| copy.counts_to(self.counted))
        });
        let candidates = self.copies.iter().filter(|copy| copy.candidate).map(|copy| copy.counts_to(self.counted));
        of_members.chain(candidates).fold(own, Offset::min)
    }

    pub(super) fn is_member(&self, copy: &Copy) -> bool {
        self.isr.iter().any(|member| copy.is(member))
    }

    pub(super) fn is_counted(&self, copy: &Copy) -> bool {
        copy.candidate || self.is_member(copy) || self.proposed.iter().any(|member| copy.is(member))
    }

    /// Whether no other copy counts, so that an append is a commit.
    fn is_solo(&self) -> bool {
        self.counted == Counted::Received
            && self.isr.len() >= self.min_isr
            && self.isr == [self.me.clone()]
            && self.proposed.iter().all(|member| *member == self.me)
            && !self.copies.iter().any(|copy| copy.candidate)
    }

    /// Takes over a newer ISR of the same epoch. Says whether it is one.
    fn update(&mut self, state: &ClusterState) -> bool {
        let min_isr = state.min_isr as usize;
        let is_news = state.isr_version > self.version || state.isr_version == self.version && min_isr != self.min_isr;
        if state.epoch != self.epoch.0 || !is_news {
            return false;
        }
        if state.isr_version > self.version {
            // Proposals on top of the old version can no longer be committed.
            self.proposed.clear();
        }
        self.isr.clone_from(&state.isr);
        (self.version, self.min_isr) = (state.isr_version, min_isr);
        for index in 0..self.copies.len() {
            if self.is_member(&self.copies[index]) {
                self.copies[index].candidate = false;
            }
        }
        true
    }
}

/// For WAIT and WAITAOF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holders {
    pub received: usize,
    pub durable: usize,
}

/// The present mastership, if any, and the gate's way forward. One a node.
#[derive(Debug, Default)]
pub struct Tracker {
    term: Mutex<Option<Term>>,
    solo: AtomicBool,
    /// Something happened that the ISR's task should look at.
    news: Notify,
    /// The committed ISR, or the mastership, has changed.
    pub(super) isr_changed: Notify,
    /// A copy has acknowledged something.
    pub(crate) acknowledged: Notify,
}

impl Tracker {
    pub fn begin(&self, term: Term, journal: &Journal, gate: &Gate) {
        self.with(journal, gate, |current| *current = Some(term));
        self.isr_changed.notify_waiters();
    }

    /// Nothing is committed any more.
    pub fn end(&self) {
        *self.term.lock() = None;
        self.solo.store(false, Ordering::SeqCst);
        self.isr_changed.notify_waiters();
    }

    /// A newer state of this mastership. False: it says nothing new of the ISR.
    pub fn update(&self, state: &ClusterState, journal: &Journal, gate: &Gate) -> bool {
        let is_news = self.with_term(journal, gate, |term| term.update(state)) == Some(true);
        if is_news {
            self.isr_changed.notify_waiters();
        }
        is_news
    }

    /// A replica has opened a stream. `None`: this node is no longer master of `epoch`.
    pub fn join(
        &self,
        epoch: Epoch,
        member: Member,
        incarnation: String,
        disk: Disk,
        now: BootNanos,
    ) -> Option<StreamId> {
        let mut guard = self.term.lock();
        let term = guard.as_mut().filter(|term| term.epoch == epoch)?;
        term.next_stream += 1;
        let stream = StreamId(term.next_stream);
        // Another process under the same name has taken its place.
        for copy in term.copies.iter_mut().filter(|copy| copy.member.name == member.name) {
            copy.stream = None;
        }
        let known =
            term.copies.iter().position(|copy| copy.member.name == member.name && copy.incarnation == incarnation);
        match known {
            Some(index) => {
                let copy = &mut term.copies[index];
                (copy.member, copy.stream, copy.heard, copy.leaving) = (member, Some(stream), now, false);
            }
            None => term.copies.push(Copy::new(member, incarnation, disk, stream, now)),
        }
        for index in (0..term.copies.len()).rev() {
            if !term.copies[index].is_connected() && !term.is_counted(&term.copies[index]) {
                term.copies.swap_remove(index);
            }
        }
        drop(guard);
        self.news.notify_one();
        Some(stream)
    }

    /// The stream is closed; what the copy holds it still holds.
    pub fn leave(&self, stream: StreamId, now: BootNanos) {
        if let Some(copy) = self.term.lock().as_mut().and_then(|term| term.of_stream(stream)) {
            (copy.stream, copy.heard, copy.syncing) = (None, now, false);
        }
        self.news.notify_one();
    }

    /// What the copy holds by now.
    pub fn acknowledge(&self, stream: StreamId, held: Held, now: BootNanos, journal: &Journal, gate: &Gate) {
        let is_outside = self.with_term(journal, gate, |term| {
            let Some(copy) = term.of_stream(stream) else { return false };
            copy.heard = now;
            copy.held.raise(held);
            // A copy that is being loaded says nothing.
            copy.syncing = false;
            let index = term.index_of(stream);
            index.is_some_and(|index| !term.is_member(&term.copies[index]))
        });
        if is_outside == Some(true) {
            self.news.notify_one();
        }
        self.acknowledged.notify_waiters();
    }

    /// Whether the copy once held more than it goes on from.
    pub fn has_gone_back(&self, stream: StreamId, offset: Offset) -> bool {
        let mut guard = self.term.lock();
        guard.as_mut().and_then(|term| term.of_stream(stream)).is_some_and(|copy| copy.held.received > offset)
    }

    /// The copy has to be loaded anew; whatever it held does not count once this returns `Left`.
    pub fn leave_isr(&self, stream: StreamId) -> Leaving {
        let mut guard = self.term.lock();
        let Some(term) = guard.as_mut() else { return Leaving::TermOver };
        let Some(index) = term.index_of(stream) else { return Leaving::TermOver };
        term.copies[index].candidate = false;
        if term.is_counted(&term.copies[index]) {
            term.copies[index].leaving = true;
            drop(guard);
            self.news.notify_one();
            return Leaving::StillCounted;
        }
        let copy = &mut term.copies[index];
        (copy.leaving, copy.syncing, copy.held) = (false, true, Held::default());
        copy.counted_at_tick = Offset::ZERO;
        Leaving::Left
    }

    /// Behind an append: alone, that is a commit.
    #[inline]
    pub fn appended(&self, journal: &Journal, gate: &Gate) {
        if self.is_solo() {
            self.with_term(journal, gate, |_| ());
        }
    }

    #[inline]
    fn is_solo(&self) -> bool {
        self.solo.load(Ordering::SeqCst)
    }

    /// How many connected replicas hold everything up to `offset`, and how many of them durably.
    #[must_use]
    pub fn holders(&self, offset: Offset) -> Holders {
        let guard = self.term.lock();
        let connected = guard.iter().flat_map(|term| &term.copies).filter(|copy| copy.is_connected() && !copy.syncing);
        connected.fold(Holders::default(), |holders, copy| Holders {
            received: holders.received + usize::from(copy.held.received >= offset),
            durable: holders.durable + usize::from(copy.disk != Disk::Absent && copy.held.durable >= offset),
        })
    }

    /// What the replicas of this mastership hold: for INFO and ROLE.
    #[must_use]
    pub fn copies(&self) -> Vec<(Copy, bool)> {
        let guard = self.term.lock();
        let Some(term) = guard.as_ref() else { return Vec::new() };
        term.copies.iter().map(|copy| (copy.clone(), term.is_member(copy))).collect()
    }

    /// Whether a member of the ISR of this name holds everything up to `offset`.
    pub fn holds(&self, name: &str, offset: Offset) -> bool {
        let guard = self.term.lock();
        guard.as_ref().is_some_and(|term| {
            term.copies
                .iter()
                .any(|copy| copy.member.name == name && term.is_member(copy) && copy.held.received >= offset)
        })
    }

    /// Resolves when something has happened that may change the ISR.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Changes the present mastership, if there is one, and lets the commit offset follow.
    pub fn with_term<T>(&self, journal: &Journal, gate: &Gate, change: impl FnOnce(&mut Term) -> T) -> Option<T> {
        self.with(journal, gate, |term| term.as_mut().map(change))
    }

    fn with<T>(&self, journal: &Journal, gate: &Gate, change: impl FnOnce(&mut Option<Term>) -> T) -> T {
        let mut guard = self.term.lock();
        let result = change(&mut guard);
        self.solo.store(guard.as_ref().is_some_and(Term::is_solo), Ordering::SeqCst);
        if let Some(term) = guard.as_mut() {
            // As far as its own disk lets it.
            term.committed = term.committed.max(term.commit(journal.acknowledgeable()));
            // Within the lock: nothing is committed once the mastership is over.
            gate.advance(term.committed);
        }
        result
    }
}

/// Whether a copy may be thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    Left,
    /// The sentinels have not confirmed yet that it is out.
    StillCounted,
    TermOver,
}

impl Term {
    fn index_of(&self, stream: StreamId) -> Option<usize> {
        self.copies.iter().position(|copy| copy.stream == Some(stream))
    }

    fn of_stream(&mut self, stream: StreamId) -> Option<&mut Copy> {
        self.copies.iter_mut().find(|copy| copy.stream == Some(stream))
    }
}

#[cfg(test)]
pub(super) mod tests;
