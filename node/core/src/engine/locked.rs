//! Which shards a command holds, and the view that a reading command has of them.

use std::cell::Cell;

use smallvec::SmallVec;

use super::Engine;
use crate::broker::Broker;
use crate::ids::{Offset, UnixMillis};
use crate::keyspace::{Entry, Held, Keyspace, Shard};
use crate::lock::MutexGuard;

/// Attempts to lock the shards of all who wait, as their number grows meanwhile, before the whole key space is locked.
const WIDENINGS: usize = 4;

/// The shards that are held.
#[derive(Debug)]
pub enum Locked<'e> {
    /// Commands over the whole key space that look at one shard after the other.
    Nothing,
    One(usize, MutexGuard<'e, Shard>),
    /// In ascending order.
    Some(Vec<(usize, MutexGuard<'e, Shard>)>),
    All(Vec<MutexGuard<'e, Shard>>),
}

impl<'e> Locked<'e> {
    /// Locks the shards of `keys`.
    #[inline]
    pub fn keys<'k>(keyspace: &'e Keyspace, mut keys: impl Iterator<Item = &'k [u8]>) -> Self {
        let Some(first) = keys.next() else { return Self::Nothing };
        let first = keyspace.shard_of(first);
        let mut shards: SmallVec<[usize; 16]> = keys.map(|key| keyspace.shard_of(key)).collect();
        if shards.is_empty() {
            return Self::One(first, keyspace.lock(first));
        }
        shards.push(first);
        shards.sort_unstable();
        shards.dedup();
        if let [only] = shards[..] {
            return Self::One(only, keyspace.lock(only));
        }
        Self::Some(shards.into_iter().map(|shard| (shard, keyspace.lock(shard))).collect())
    }

    pub fn all(keyspace: &'e Keyspace) -> Self {
        Self::All((0..keyspace.len()).map(|shard| keyspace.lock(shard)).collect())
    }

    /// With the shards that serving the waiters of those that are held may need.
    #[cold]
    pub(super) fn widened(mut self, keyspace: &'e Keyspace) -> Self {
        for _ in 0..WIDENINGS {
            let mut shards: SmallVec<[usize; 16]> = SmallVec::new();
            self.each(|index, shard| {
                shards.push(index);
                let keys = shard.all_waiters().flat_map(|ticket| ticket.keys.iter().chain(&ticket.needs));
                shards.extend(keys.map(|key| keyspace.shard_of(key)));
            });
            shards.sort_unstable();
            shards.dedup();
            if shards.iter().all(|shard| self.shard(*shard).is_some()) {
                return self;
            }
            drop(self);
            self = Self::Some(shards.into_iter().map(|shard| (shard, keyspace.lock(shard))).collect());
        }
        drop(self);
        Self::all(keyspace)
    }

    /// Holds one more shard. It waits only if that keeps the order; otherwise, false says that the shard is not held now.
    pub(super) fn hold(&mut self, keyspace: &'e Keyspace, index: usize) -> bool {
        let highest = match self {
            Self::Nothing => None,
            Self::One(held, _) => Some(*held),
            Self::Some(guards) => guards.last().map(|(held, _)| *held),
            Self::All(_) => return true,
        };
        if self.shard(index).is_some() {
            return true;
        }
        let is_in_order = highest.is_none_or(|highest| highest < index);
        let Some(guard) = (if is_in_order { Some(keyspace.lock(index)) } else { keyspace.try_lock(index) }) else {
            return false;
        };
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => *self = Self::One(index, guard),
            Self::One(held, other) => {
                let mut guards = vec![(held, other), (index, guard)];
                guards.sort_unstable_by_key(|(held, _)| *held);
                *self = Self::Some(guards);
            }
            Self::Some(mut guards) => {
                let place = guards.partition_point(|(held, _)| *held < index);
                guards.insert(place, (index, guard));
                *self = Self::Some(guards);
            }
            all @ Self::All(_) => *self = all,
        }
        true
    }

    #[inline]
    pub fn shard(&self, index: usize) -> Option<&Shard> {
        match self {
            Self::Nothing => None,
            Self::One(held, guard) => (*held == index).then_some(guard),
            Self::Some(guards) => {
                let at = guards.binary_search_by_key(&index, |(held, _)| *held).ok()?;
                Some(&guards[at].1)
            }
            Self::All(guards) => guards.get(index).map(|guard| &**guard),
        }
    }

    #[inline]
    pub(super) fn shard_mut(&mut self, index: usize) -> Option<&mut Shard> {
        match self {
            Self::Nothing => None,
            Self::One(held, guard) => (*held == index).then_some(guard),
            Self::Some(guards) => {
                let at = guards.binary_search_by_key(&index, |(held, _)| *held).ok()?;
                Some(&mut guards[at].1)
            }
            Self::All(guards) => guards.get_mut(index).map(|guard| &mut **guard),
        }
    }

    /// Where `key` lies, if its shard is held.
    #[inline]
    pub(super) fn index_of(&self, keyspace: &Keyspace, key: &[u8]) -> usize {
        match self {
            Self::One(held, _) => *held,
            _ => keyspace.shard_of(key),
        }
    }

    pub(super) fn each(&self, mut visit: impl FnMut(usize, &Shard)) {
        match self {
            Self::Nothing => {}
            Self::One(held, guard) => visit(*held, guard),
            Self::Some(guards) => guards.iter().for_each(|(held, guard)| visit(*held, guard)),
            Self::All(guards) => guards.iter().enumerate().for_each(|(held, guard)| visit(held, guard)),
        }
    }

    /// Whether anybody waits for any key of the shards that are held.
    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::One(_, guard) => guard.has_waiters(),
            Self::Some(guards) => guards.iter().any(|(_, guard)| guard.has_waiters()),
            Self::All(guards) => guards.iter().any(|guard| guard.has_waiters()),
        }
    }

    pub(super) fn each_mut(&mut self, mut visit: impl FnMut(usize, &mut Shard)) {
        match self {
            Self::Nothing => {}
            Self::One(held, guard) => visit(*held, guard),
            Self::Some(guards) => guards.iter_mut().for_each(|(held, guard)| visit(*held, guard)),
            Self::All(guards) => guards.iter_mut().enumerate().for_each(|(held, guard)| visit(held, guard)),
        }
    }

    /// The newest record that changed any of the shards: what a read of them depends on.
    #[inline]
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        match self {
            Self::Nothing => Offset::ZERO,
            Self::One(_, guard) => guard.last_offset(),
            Self::Some(guards) => guards.iter().map(|(_, guard)| guard.last_offset()).max().unwrap_or_default(),
            Self::All(guards) => guards.iter().map(|guard| guard.last_offset()).max().unwrap_or_default(),
        }
    }
}

impl Held for Locked<'_> {
    fn held(&self, shard: usize) -> Option<&Shard> {
        self.shard(shard)
    }
}

/// What a reading command sees: the shards that it declared, at one moment, in one database.
#[derive(Debug)]
pub struct View<'v> {
    engine: &'v Engine,
    locked: &'v Locked<'v>,
    database: u8,
    now: UnixMillis,
    hits: &'v Cell<u32>,
    misses: &'v Cell<u32>,
    /// Newest record that a look at a shard that is not held has met.
    met: Cell<Offset>,
    /// A script asks.
    pub(super) is_script: bool,
}

impl<'v> View<'v> {
    #[inline]
    pub fn new(
        engine: &'v Engine,
        locked: &'v Locked<'v>,
        database: u8,
        now: UnixMillis,
        hits: &'v Cell<u32>,
        misses: &'v Cell<u32>,
    ) -> Self {
        Self { engine, locked, database, now, hits, misses, met: Cell::new(Offset::ZERO), is_script: false }
    }

    /// Whether a script asks: some replies have another order then.
    #[must_use]
    pub fn is_script(&self) -> bool {
        self.is_script
    }

    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    #[must_use]
    pub fn database(&self) -> u8 {
        self.database
    }

    #[must_use]
    pub fn keyspace(&self) -> &Keyspace {
        &self.engine.keyspace
    }

    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.engine.broker
    }

    /// The reply depends on this record as well.
    pub fn meets(&self, offset: Offset) {
        self.met.set(self.met.get().max(offset));
    }

    /// The entry of `key`, unless it has expired.
    #[inline]
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Entry<'_>> {
        let found = self.peek(key);
        if let Some(entry) = found {
            self.engine.keyspace.access().note(entry);
        }
        let counter = if found.is_some() { self.hits } else { self.misses };
        counter.set(counter.get().wrapping_add(1));
        if found.is_none() {
            self.engine.signals.missed(self.database, key);
        }
        found
    }

    /// As `get`, and it counts as no use of the key.
    #[must_use]
    pub fn glance(&self, key: &[u8]) -> Option<Entry<'_>> {
        let found = self.peek(key);
        let counter = if found.is_some() { self.hits } else { self.misses };
        counter.set(counter.get().wrapping_add(1));
        if found.is_none() {
            self.engine.signals.missed(self.database, key);
        }
        found
    }

    /// As `get`, without counting a hit or a miss.
    #[inline]
    #[must_use]
    pub fn peek(&self, key: &[u8]) -> Option<Entry<'_>> {
        self.peek_in(self.database, key)
    }

    /// As `peek`, in another database.
    #[inline]
    #[must_use]
    pub fn peek_in(&self, database: u8, key: &[u8]) -> Option<Entry<'_>> {
        let shard = self.locked.shard(self.locked.index_of(&self.engine.keyspace, key));
        debug_assert!(shard.is_some(), "a command may only read keys that its row declares");
        shard?.database(database).find(key).filter(|entry| !entry.is_expired(self.now)).map(|entry| entry.at(self.now))
    }

    /// Visits every shard, one lock at a time unless all are held anyway.
    pub fn each_shard(&self, mut visit: impl FnMut(&Shard)) {
        for index in 0..self.engine.keyspace.len() {
            match self.locked.shard(index) {
                Some(shard) => visit(shard),
                None => {
                    let shard = self.engine.keyspace.lock(index);
                    self.met.set(self.met.get().max(shard.last_offset()));
                    visit(&shard);
                }
            }
        }
    }

    /// The newest record that anything seen depends on.
    #[inline]
    #[must_use]
    pub fn depends_on(&self) -> Offset {
        self.locked.last_offset().max(self.met.get())
    }

    /// As `Keyspace::scan`, also when all shards are held.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        wanted: impl FnMut(Entry<'_>) -> Option<crate::keyspace::value::ShortBytes>,
    ) -> (u64, Vec<crate::keyspace::value::ShortBytes>) {
        self.met.set(self.met.get().max(self.engine.journal.end()));
        self.engine.keyspace.scan(self.locked, self.database, cursor, count, self.now, wanted)
    }
}
