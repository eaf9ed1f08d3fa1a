//! Who wants to know when a key of this shard changes? Clients that watch it (WATCH), and clients that wait until there
//! is something in it (BLPOP). Nobody, mostly: then it costs a change one branch.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::value::ValueRef;

/// What a client waits for in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wants {
    List,
    SortedSet,
    Stream,
    /// A stream with its group; it is served with an error when they go.
    Group,
}

impl Wants {
    const ALL: [Self; 4] = [Self::List, Self::SortedSet, Self::Stream, Self::Group];

    /// Whether a key that has changed to this value is worth a try.
    #[must_use]
    pub fn fits(self, value: Option<ValueRef<'_>>) -> bool {
        match self {
            Self::List => matches!(value, Some(ValueRef::List(_))),
            Self::SortedSet => matches!(value, Some(ValueRef::SortedSet(_))),
            Self::Stream => matches!(value, Some(ValueRef::Stream(_))),
            Self::Group => true,
        }
    }
}

/// A client that waits: which one, for which keys, and for what in them.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Drawn with the shards of the keys held: whoever came to a key later has a greater one.
    pub id: u64,
    pub database: u8,
    pub keys: Vec<Vec<u8>>,
    /// Keys that serving it needs besides: where BLMOVE puts what it takes.
    pub needs: Vec<Vec<u8>>,
    pub wants: Wants,
}

/// Whether any key that a client watches has been changed.
#[derive(Debug, Default)]
pub struct Watch(AtomicBool);

impl Watch {
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub fn touch(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A key within a shard: its database, and what it is called.
pub type Name = (u8, Vec<u8>);

/// Interest in one key.
#[derive(Debug, Default)]
struct Parties {
    watches: Vec<Arc<Watch>>,
    /// In the order of their arrival, apart by what they want.
    waiters: BTreeMap<(Wants, u64), Arc<Ticket>>,
}

/// Interest in the keys of a shard.
#[derive(Debug, Default)]
pub(super) struct Interest {
    keys: HashMap<Name, Parties>,
    /// Places in lines of waiters.
    waiting: usize,
}

impl Interest {
    fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn parties(&mut self, database: u8, key: &[u8]) -> &mut Parties {
        self.keys.entry((database, key.to_vec())).or_default()
    }

    fn change(&mut self, database: u8, key: &[u8], change: impl FnOnce(&mut Parties)) {
        let name = (database, key.to_vec());
        if let Some(parties) = self.keys.get_mut(&name) {
            let before = parties.waiters.len();
            change(parties);
            self.waiting -= before - parties.waiters.len();
            if parties.watches.is_empty() && parties.waiters.is_empty() {
                self.keys.remove(&name);
            }
        }
    }

    pub(super) fn changed(&self, database: u8, key: &[u8]) {
        if let Some(parties) = self.keys.get(&(database, key.to_vec())) {
            parties.watches.iter().for_each(|watch| watch.touch());
        }
    }

    /// The keys of a database (`None`: of all) that anybody is interested in.
    pub(super) fn names(&self, database: Option<u8>) -> impl Iterator<Item = &Name> {
        self.keys.keys().filter(move |(index, _)| database.is_none_or(|wanted| wanted == *index))
    }
}

/// The interest in a shard, if there is any.
#[derive(Debug, Default)]
pub(super) struct Interested(Option<Box<Interest>>);

impl Interested {
    #[inline]
    pub(super) fn get(&self) -> Option<&Interest> {
        self.0.as_deref()
    }

    #[inline]
    pub(super) fn changed(&self, database: u8, key: &[u8]) {
        if let Some(interest) = &self.0 {
            interest.changed(database, key);
        }
    }

    pub(super) fn watch(&mut self, database: u8, key: &[u8], watch: &Arc<Watch>) {
        self.0.get_or_insert_default().parties(database, key).watches.push(Arc::clone(watch));
    }

    pub(super) fn unwatch(&mut self, database: u8, key: &[u8], watch: &Arc<Watch>) {
        self.change(database, key, |parties| parties.watches.retain(|other| !Arc::ptr_eq(other, watch)));
    }

    pub(super) fn wait(&mut self, key: &[u8], ticket: &Arc<Ticket>) {
        let interest = self.0.get_or_insert_default();
        let waiters = &mut interest.parties(ticket.database, key).waiters;
        // A key may be named twice.
        if waiters.insert((ticket.wants, ticket.id), Arc::clone(ticket)).is_none() {
            interest.waiting += 1;
        }
    }

    pub(super) fn leave(&mut self, key: &[u8], ticket: &Ticket) {
        self.change(ticket.database, key, |parties| _ = parties.waiters.remove(&(ticket.wants, ticket.id)));
    }

    fn change(&mut self, database: u8, key: &[u8], change: impl FnOnce(&mut Parties)) {
        if let Some(interest) = &mut self.0 {
            interest.change(database, key, change);
            if interest.is_empty() {
                self.0 = None;
            }
        }
    }

    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        self.0.as_ref().is_some_and(|interest| interest.waiting > 0)
    }

    /// Whether anybody waits for a key.
    pub(super) fn is_awaited(&self, name: &Name) -> bool {
        self.0.as_ref().and_then(|interest| interest.keys.get(name)).is_some_and(|parties| !parties.waiters.is_empty())
    }

    /// Who waits for a key.
    pub(super) fn waiters(&self, name: &Name) -> impl Iterator<Item = &Arc<Ticket>> {
        let parties = self.0.as_ref().and_then(|interest| interest.keys.get(name));
        parties.into_iter().flat_map(|parties| parties.waiters.values())
    }

    /// Who waits for a key and is the next to be served after `after`, now that it holds this value.
    pub(super) fn next_waiter(
        &self,
        name: &Name,
        value: Option<ValueRef<'_>>,
        after: Option<&Ticket>,
    ) -> Option<&Arc<Ticket>> {
        let waiters = &self.0.as_ref()?.keys.get(name)?.waiters;
        let mut start = after.map_or(Included((Wants::List, 0)), |after| Excluded((after.wants, after.id)));
        for wants in Wants::ALL {
            if after.is_some_and(|after| wants < after.wants) {
                continue;
            }
            if after.is_none_or(|after| wants > after.wants) {
                start = Included((wants, 0));
            }
            if wants.fits(value)
                && let Some((_, ticket)) = waiters.range((start, Included((wants, u64::MAX)))).next()
            {
                return Some(ticket);
            }
        }
        None
    }

    /// All who wait for keys of this shard.
    pub(super) fn all_waiters(&self) -> impl Iterator<Item = &Arc<Ticket>> {
        self.0.iter().flat_map(|interest| interest.keys.values()).flat_map(|parties| parties.waiters.values())
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::List;
    use super::*;

    fn ticket(id: u64) -> Arc<Ticket> {
        Arc::new(Ticket { id, database: 0, keys: vec![b"k".to_vec()], needs: Vec::new(), wants: Wants::List })
    }

    /// The waiters that are served one after the other.
    fn line(interested: &Interested, database: u8, value: Option<ValueRef<'_>>) -> Vec<u64> {
        let name = (database, b"k".to_vec());
        let mut line: Vec<Arc<Ticket>> = Vec::new();
        while let Some(next) = interested.next_waiter(&name, value, line.last().map(|ticket| &**ticket)) {
            line.push(Arc::clone(next));
        }
        line.iter().map(|ticket| ticket.id).collect()
    }

    #[test]
    fn waiters_stand_in_the_order_of_their_arrival() {
        let list = List::default();
        let value = Some(ValueRef::List(list.view()));
        let mut interested = Interested::default();
        assert!(!interested.has_waiters());
        for id in [1, 2, 3, 1] {
            interested.wait(b"k", &ticket(id));
        }
        assert_eq!(line(&interested, 0, value), [1, 2, 3]);
        interested.leave(b"k", &ticket(1));
        assert_eq!(line(&interested, 0, value), [2, 3]);
        assert_eq!((line(&interested, 1, value), line(&interested, 0, None)), (vec![], vec![]));
        interested.leave(b"k", &ticket(2));
        interested.leave(b"k", &ticket(3));
        assert!(!interested.has_waiters() && interested.get().is_none(), "nothing is left behind");
    }

    #[test]
    fn a_value_is_for_those_who_want_its_kind() {
        let mut interested = Interested::default();
        for (id, wants) in
            [(1, Wants::Group), (2, Wants::List), (3, Wants::SortedSet), (4, Wants::List), (5, Wants::Group)]
        {
            let ticket = Ticket { id, database: 0, keys: vec![b"k".to_vec()], needs: Vec::new(), wants };
            interested.wait(b"k", &Arc::new(ticket));
        }
        let list = List::default();
        assert_eq!(line(&interested, 0, Some(ValueRef::List(list.view()))), [2, 4, 1, 5]);
        assert_eq!(line(&interested, 0, None), [1, 5], "those of a group are told that it is gone");
        assert!(interested.is_awaited(&(0, b"k".to_vec())) && !interested.is_awaited(&(1, b"k".to_vec())));
    }

    #[test]
    fn a_watch_is_touched_by_a_change_of_its_key_only() {
        let mut interested = Interested::default();
        let watch = Arc::new(Watch::default());
        interested.watch(1, b"k", &watch);
        interested.changed(0, b"k");
        interested.changed(1, b"other");
        assert!(!watch.is_touched());
        interested.changed(1, b"k");
        assert!(watch.is_touched());
        interested.unwatch(1, b"k", &watch);
        assert!(interested.get().is_none());
    }
}
