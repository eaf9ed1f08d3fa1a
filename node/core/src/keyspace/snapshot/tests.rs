//! A snapshot gives the value as it was, whatever happens to the key between its steps.

use std::borrow::Cow;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::effect::Expiry;
use crate::ids::UnixMillis;
use crate::keyspace::entry_image::take_entry;
use crate::keyspace::value::image::pieces::Kind;
use crate::keyspace::value::{End, Value, ValueRef};
use crate::wire::Reader;

const KEY: &[u8] = b"key";

struct Fixture {
    shard: Shard,
    rng: StdRng,
}

impl Fixture {
    fn new(kind: Kind, seed: u64) -> Self {
        let shard = Shard::new(4, foldhash::fast::RandomState::default(), Arc::default());
        let mut fixture = Self { shard, rng: StdRng::seed_from_u64(seed) };
        let elements: Vec<Vec<u8>> = (0..5000).map(element).collect();
        let elements: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
        let change = match kind {
            Kind::List => KeyChange::ListPush { end: End::Back, values: elements.into() },
            Kind::Set => KeyChange::SetAdd { members: elements.into() },
            Kind::Hash | Kind::TimedHash => {
                KeyChange::HashSet { pairs: elements.iter().flat_map(|field| [*field, b"value"]).collect() }
            }
            Kind::SortedSet => {
                let pairs: Vec<(f64, &[u8])> =
                    elements.iter().zip(0..).map(|(m, s)| (f64::from(s % 900), *m)).collect();
                KeyChange::SortedAdd { pairs: pairs.into() }
            }
        };
        fixture.apply(&change);
        if kind == Kind::TimedHash {
            for at in [1000, 2000] {
                let fields = (at..at + 700).map(|field| element(field as u32)).collect::<Vec<_>>();
                let fields = fields.iter().map(Vec::as_slice).collect();
                fixture.apply(&KeyChange::HashExpire { at: Some(UnixMillis(at)), fields });
            }
        }
        fixture
    }

    fn apply(&mut self, change: &KeyChange<'_>) {
        self.shard.apply_key(0, KEY, change).unwrap();
    }

    fn value(&self) -> Option<Value> {
        self.shard.database(0).find(KEY).map(|entry| entry.value().to_owned())
    }

    /// A change as clients make them; a heavy one now and then.
    fn change(&mut self, kind: Kind) {
        let rng = &mut self.rng;
        let one = element(rng.random_range(0..6000));
        let many: Vec<Vec<u8>> = (0..rng.random_range(1..200)).map(|_| element(rng.random_range(0..6000))).collect();
        let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        let end = if rng.random() { End::Front } else { End::Back };
        let dice = rng.random_range(0..100);
        let start = rng.random_range(0..300);
        let change = match kind {
            _ if dice == 0 => KeyChange::Delete,
            _ if dice == 1 => KeyChange::SetString { value: b"other", expiry: Expiry::Never },
            _ if dice == 2 => KeyChange::Persist,
            Kind::List => match dice % 6 {
                0 | 1 => KeyChange::ListPush { end, values: many.into() },
                2 | 3 => KeyChange::ListPop { end, count: rng.random_range(1..300) },
                4 => KeyChange::ListSet { index: rng.random_range(0..6000), value: &one },
                _ => {
                    let length = match self.shard.database(0).find(KEY).map(|entry| entry.value()) {
                        Some(ValueRef::List(list)) => list.len() as u64,
                        _ => 0,
                    };
                    KeyChange::ListTrim { start: start % 7, end: length.saturating_sub(start % 5) }
                }
            },
            Kind::Hash | Kind::TimedHash => match dice % 4 {
                3 => {
                    let at = rng.random_ratio(2, 3).then(|| UnixMillis(rng.random_range(1..9)));
                    KeyChange::HashExpire { at, fields: many.into() }
                }
                0 => KeyChange::HashSet { pairs: Cow::Owned(vec![one.as_slice(), b"new"]) },
                1 => KeyChange::HashSet { pairs: many.iter().flat_map(|field| [*field, b"newer"]).collect() },
                _ => KeyChange::HashRemove { fields: many.into() },
            },
            Kind::Set if dice % 2 == 0 => KeyChange::SetAdd { members: many.into() },
            Kind::Set => KeyChange::SetRemove { members: many.into() },
            Kind::SortedSet => match dice % 3 {
                0 => KeyChange::SortedAdd { pairs: many.iter().map(|member| (0.5, *member)).collect() },
                1 => KeyChange::SortedRemove { members: many.into() },
                _ => KeyChange::SortedRemoveRanks { start, end: start + 50 },
            },
        };
        // The other type that may be there by now is as good.
        _ = self.shard.apply_key(0, KEY, &change);
    }
}

fn element(number: u32) -> Vec<u8> {
    format!("element of the collection {number}").into_bytes()
}

/// What the pieces make.
fn assemble(pieces: &[u8]) -> Value {
    let mut shard = Shard::new(4, foldhash::fast::RandomState::default(), Arc::default());
    let mut reader = Reader::new(pieces);
    while !reader.is_empty() {
        shard.load(&take_entry(&mut reader).unwrap()).unwrap();
    }
    shard.database(0).find(KEY).unwrap().value().to_owned()
}

const KINDS: [Kind; 5] = [Kind::List, Kind::Hash, Kind::TimedHash, Kind::Set, Kind::SortedSet];

#[test]
fn it_is_exact_whatever_happens_between_its_steps() {
    for kind in KINDS {
        let mut finished = 0;
        for seed in 0..10 {
            let mut fixture = Fixture::new(kind, seed);
            let expected = fixture.value().unwrap();
            let id = fixture.shard.open_snapshot(0, KEY).unwrap();
            let (mut pieces, mut steps) = (Vec::new(), 0);
            let last = loop {
                let before = pieces.len();
                let step = fixture.shard.step_snapshot(id, 4 << 10, &mut pieces);
                steps += 1;
                assert!(pieces.len() - before < 32 << 10, "a step is short");
                if step != Step::More {
                    break step;
                }
                (0..fixture.rng.random_range(0..4)).for_each(|_| fixture.change(kind));
            };
            if last == Step::Done {
                finished += 1;
                assert!(steps > 10);
                assert_eq!(assemble(&pieces), expected, "{kind:?}, seed {seed}");
            }
            drop(fixture.shard.close_snapshot(id));
            assert!(!fixture.shard.has_snapshots());
        }
        assert!(finished > 6, "{kind:?}: {finished} of 10, the others began again");
    }
}

#[test]
fn several_may_be_open_on_one_key() {
    for kind in KINDS {
        let mut fixture = Fixture::new(kind, 7);
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push((fixture.shard.open_snapshot(0, KEY).unwrap(), fixture.value().unwrap(), Vec::new()));
            for (id, _, pieces) in &mut open {
                assert_eq!(fixture.shard.step_snapshot(*id, 2 << 10, pieces), Step::More);
            }
            fixture.apply(&KeyChange::Persist);
            match kind {
                Kind::List => fixture.apply(&KeyChange::ListPop { end: End::Front, count: 400 }),
                Kind::Hash | Kind::TimedHash => {
                    fixture.apply(&KeyChange::HashRemove { fields: Cow::Owned(vec![element(3).as_slice()]) });
                }
                Kind::Set => fixture.apply(&KeyChange::SetRemove { members: Cow::Owned(vec![element(3).as_slice()]) }),
                Kind::SortedSet => fixture.apply(&KeyChange::SortedRemoveRanks { start: 0, end: 20 }),
            }
        }
        fixture.apply(&KeyChange::Delete);
        for (id, expected, mut pieces) in open {
            while fixture.shard.step_snapshot(id, 2 << 10, &mut pieces) == Step::More {}
            assert_eq!(assemble(&pieces), expected, "{kind:?}");
            drop(fixture.shard.close_snapshot(id));
        }
    }
}

#[test]
fn text_is_given_in_pieces_and_a_change_of_what_was_not_given_ends_it() {
    let text = |rng: &mut StdRng| (0..1_000_000).map(|_| rng.random()).collect::<Vec<u8>>();
    for (change, is_followed) in [
        (KeyChange::Append { bytes: b"more" }, true),
        (KeyChange::SetRange { offset: 5, bytes: b"given" }, true),
        (KeyChange::SetRange { offset: 2_000_000, bytes: b"far" }, true),
        (KeyChange::SetString { value: b"other", expiry: Expiry::Never }, false),
        (KeyChange::Delete, false),
        (KeyChange::SetRange { offset: 500_000, bytes: b"ahead" }, false),
    ] {
        let mut fixture = Fixture::new(Kind::Set, 1);
        let expected = text(&mut fixture.rng);
        fixture.apply(&KeyChange::SetString { value: &expected, expiry: Expiry::At(UnixMillis(9)) });
        let id = fixture.shard.open_snapshot(0, KEY).unwrap();
        let mut pieces = Vec::new();
        assert_eq!(fixture.shard.step_snapshot(id, 64 << 10, &mut pieces), Step::More);
        fixture.apply(&change);
        let last = loop {
            match fixture.shard.step_snapshot(id, 64 << 10, &mut pieces) {
                Step::More => {}
                last => break last,
            }
        };
        assert_eq!(last, if is_followed { Step::Done } else { Step::Broken }, "{change:?}");
        if is_followed {
            assert_eq!(assemble(&pieces), Value::from_bytes(&expected));
        }
    }
}

#[test]
fn small_values_have_none_and_a_flush_ends_all() {
    let mut fixture = Fixture::new(Kind::Hash, 1);
    fixture.shard.apply_key(0, b"small", &KeyChange::SetString { value: b"v", expiry: Expiry::Never }).unwrap();
    assert_eq!(fixture.shard.open_snapshot(0, b"small"), None);
    assert_eq!(fixture.shard.open_snapshot(0, b"none"), None);
    let id = fixture.shard.open_snapshot(0, KEY).unwrap();
    fixture.shard.apply_swap(0, 3);
    assert_eq!(fixture.shard.step_snapshot(id, 100, &mut Vec::new()), Step::More);
    fixture.shard.apply_flush(Some(0));
    assert_eq!(fixture.shard.step_snapshot(id, 100, &mut Vec::new()), Step::More);
    fixture.shard.apply_flush(Some(3));
    assert_eq!(fixture.shard.step_snapshot(id, 100, &mut Vec::new()), Step::Broken);
}
