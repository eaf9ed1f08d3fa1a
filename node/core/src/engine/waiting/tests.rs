//! A waiter that raises its own key, waiters in a circle, and more of them than one transaction serves.

use super::*;
use crate::effect::{End, KeyChange};
use crate::keyspace::Wants;
use crate::keyspace::value::ValueRef;

/// A client that moves an element from one list to the other.
#[derive(Debug)]
struct Mover {
    from: &'static [u8],
    to: &'static [u8],
    /// Says of itself that it has found nothing, and changes a key all the same.
    is_never_served: bool,
    attempts: AtomicU64,
    served: AtomicU64,
}

impl Waiter for Mover {
    fn serve(&self, transaction: &mut Transaction<'_>) -> Served {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let item = match transaction.open(self.from).value() {
            Some(ValueRef::List(list)) => list.get(0).unwrap().to_vec(),
            _ => return Served::Waits,
        };
        transaction.apply(self.from, &KeyChange::ListPop { end: End::Front, count: 1 }).unwrap();
        let items = [&item[..]];
        transaction.apply(self.to, &KeyChange::ListPush { end: End::Back, values: (&items[..]).into() }).unwrap();
        if self.is_never_served { Served::Waits } else { Served::Done }
    }

    fn is_served(&self, offset: Offset) {
        self.served.store(offset.0, Ordering::Relaxed);
    }

    fn wake(&self) {}
}

impl Engine {
    fn mover(&self, from: &'static [u8], to: &'static [u8], is_never_served: bool) -> Arc<Mover> {
        let (attempts, served) = <(AtomicU64, AtomicU64)>::default();
        let mover = Arc::new(Mover { from, to, is_never_served, attempts, served });
        let ticket = Arc::new(Ticket {
            id: self.waiting.next_id(),
            database: 0,
            keys: vec![from.to_vec()],
            needs: vec![to.to_vec()],
            wants: Wants::List,
        });
        let mut locked = Locked::keys(&self.keyspace, [from].into_iter());
        self.wait(&mut locked, &ticket, Arc::clone(&mover) as Arc<dyn Waiter>);
        mover
    }

    fn push(&self, key: &[u8], items: &[&[u8]]) -> Offset {
        let mut record = Vec::new();
        let locked = Locked::keys(&self.keyspace, [key].into_iter());
        let mut transaction = Transaction::new(self, locked, &mut record, 0, UnixMillis(1));
        transaction.apply(key, &KeyChange::ListPush { end: End::Back, values: items.into() }).unwrap();
        transaction.finish()
    }

    fn later(&self) -> bool {
        self.serve_later(UnixMillis(1), &mut Vec::new())
    }
}

fn attempts(movers: &[Arc<Mover>]) -> u64 {
    movers.iter().map(|mover| mover.attempts.load(Ordering::Relaxed)).sum()
}

fn served(movers: &[Arc<Mover>]) -> usize {
    movers.iter().filter(|mover| mover.served.load(Ordering::Relaxed) > 0).count()
}

#[test]
fn a_waiter_that_raises_its_own_key_and_is_not_served_is_tried_once() {
    let engine = Engine::default();
    let movers: Vec<_> = (0..3).map(|_| engine.mover(b"a", b"a", true)).collect();
    engine.push(b"a", &[b"1"]);
    assert_eq!((attempts(&movers), served(&movers)), (3, 0));
}

#[test]
fn an_element_goes_round_as_long_as_somebody_waits_for_it() {
    let engine = Engine::default();
    let mut movers: Vec<_> = (0..100).map(|_| engine.mover(b"a", b"b", false)).collect();
    movers.extend((0..60).map(|_| engine.mover(b"b", b"a", false)));
    engine.push(b"a", &[b"1"]);
    // It goes over and back sixty times, and then over once more.
    assert_eq!((attempts(&movers), served(&movers)), (121, 121));
    assert!(!engine.later());
}

#[test]
fn one_transaction_serves_so_many_and_others_the_rest_in_order() {
    let engine = Engine::default();
    let movers: Vec<_> = (0..2500).map(|_| engine.mover(b"a", b"a", false)).collect();
    let first = engine.push(b"a", &[b"1"]);
    let most = limits::SERVED_A_TRANSACTION;
    assert_eq!((served(&movers), served(&movers[..most])), (most, most));
    assert!(engine.later());
    assert_eq!((served(&movers), served(&movers[..2 * most])), (2 * most, 2 * most));
    assert!(engine.later());
    assert_eq!((served(&movers), attempts(&movers), engine.later()), (2500, 2500, false));
    let offset = |index: usize| Offset(movers[index].served.load(Ordering::Relaxed));
    assert_eq!([offset(0), offset(most), offset(2499)], [first, first.next(), first.next().next()]);
}

#[test]
fn those_who_were_tried_in_vain_are_passed_by() {
    let engine = Engine::default();
    let vain: Vec<_> = (0..1500).map(|_| engine.mover(b"a", b"a", true)).collect();
    let last = [engine.mover(b"a", b"b", false)];
    engine.push(b"a", &[b"1"]);
    assert_eq!(served(&last), 0);
    assert!(engine.later());
    assert_eq!((served(&last), attempts(&vain)), (1, 1500));
}

#[test]
fn a_large_element_does_not_make_a_record_of_any_length() {
    let engine = Engine::default();
    engine.journal.retain();
    let mut movers: Vec<_> = (0..50).map(|_| engine.mover(b"a", b"b", false)).collect();
    movers.extend((0..50).map(|_| engine.mover(b"b", b"a", false)));
    let large = vec![b'x'; 600 << 10];
    engine.push(b"a", &[&large]);
    assert_eq!(served(&movers), 2, "what they move is in the record each time");
    while engine.later() {}
    assert_eq!(served(&movers), 100);
}
