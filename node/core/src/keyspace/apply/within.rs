//! Changes of one element of a small collection, where it lies in its entry. Most changes are that.

use super::Applied;
use crate::effect::KeyChange;
use crate::keyspace::layout::{HASH, INTEGERS, LIST, SET, SORTED_SET};
use crate::keyspace::value::space::Room;
use crate::keyspace::value::{Hash, List, Set, SortedSet};

/// Nothing, and nothing has changed: the collection has to be taken out to be changed.
#[inline(always)]
pub(super) fn apply(kind: u8, room: &mut Room<'_>, change: &KeyChange<'_>) -> Option<Applied> {
    let one = |is_it: bool| Applied::removed(usize::from(is_it));
    match (kind, change) {
        (LIST, KeyChange::ListPush { end, values }) => match **values {
            [value] => List::push_within(room, *end, value).map(Applied::changed),
            _ => None,
        },
        (LIST, KeyChange::ListPop { end, count: 1 }) => List::pop_within(room, *end).map(|()| one(true)),
        (LIST, KeyChange::ListSet { index, value }) => List::set_within(room, *index as usize, value).map(one),
        (HASH, KeyChange::HashSet { pairs }) => match **pairs {
            // A field that was there has another value afterwards.
            [field, value] => Hash::set_within(room, field, value).map(|is_new| Applied::changed(usize::from(is_new))),
            _ => None,
        },
        (HASH, KeyChange::HashRemove { fields }) => match **fields {
            [field] => Hash::remove_within(room, field).map(one),
            _ => None,
        },
        (SET | INTEGERS, KeyChange::SetAdd { members }) => match **members {
            [member] => Set::insert_within(room, kind == INTEGERS, member).map(one),
            _ => None,
        },
        (SET | INTEGERS, KeyChange::SetRemove { members }) => match **members {
            [member] => Set::remove_within(room, kind == INTEGERS, member).map(one),
            _ => None,
        },
        (SORTED_SET, KeyChange::SortedAdd { pairs }) => match **pairs {
            [(score, member)] => SortedSet::insert_within(room, member, score + 0.0).map(Applied::inserted),
            _ => None,
        },
        (SORTED_SET, KeyChange::SortedRemove { members }) => match **members {
            [member] => SortedSet::remove_within(room, member).map(one),
            _ => None,
        },
        (SORTED_SET, KeyChange::SortedRemoveRanks { start, end }) => {
            SortedSet::remove_range_within(room, *start as usize..*end as usize).map(Applied::removed)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::effect::End;
    use crate::keyspace::Shard;
    use crate::keyspace::value::Value;

    fn shard() -> Shard {
        Shard::new(4, foldhash::fast::RandomState::default(), std::sync::Arc::default())
    }

    fn value(shard: &Shard) -> Option<Value> {
        shard.database(0).find(b"key").map(|entry| entry.value().to_owned())
    }

    /// Changes of one element are made in the entry, those of two by a copy: what is left is the same.
    #[test]
    fn changes_in_the_entry_and_of_a_copy_agree() {
        for seed in 0..60 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut within, mut copied) = (shard(), shard());
            let kind = seed % 5;
            for step in 0..1_500 {
                let longest = if step % 40 == 0 { 70 } else { 12 };
                let text = |rng: &mut StdRng| {
                    let length = rng.random_range(0..=longest);
                    (0..length).map(|_| rng.random_range(b'a'..b'd')).collect::<Vec<u8>>()
                };
                let (mut one, two) = (text(&mut rng), text(&mut rng));
                if kind == 3 {
                    one = rng.random_range(-300..300).to_string().into_bytes();
                }
                let grows = rng.random_ratio(if step / 300 % 2 == 0 { 3 } else { 1 }, 4);
                let end = if rng.random() { End::Front } else { End::Back };
                let score = f64::from(rng.random_range(-200i16..200)) / if seed % 2 == 0 { 1.0 } else { 8.0 };
                let index = rng.random_range(0..20);
                let (member, pair, scored) = ([&one[..]], [&one[..], &two[..]], [(score, &one[..])]);
                // The same element twice is the same change, but for lists.
                let (members, pairs, scores) = ([&one[..]; 2], [&one[..], &two, &one, &two], [(score, &one[..]); 2]);
                let changes = match (kind, grows) {
                    (0, true) => vec![
                        KeyChange::ListPush { end, values: Cow::Borrowed(&member) },
                        KeyChange::ListPush { end, values: Cow::Borrowed(&pair) },
                    ],
                    (0, false) => vec![KeyChange::ListPop { end, count: 1 }, KeyChange::ListPop { end, count: 2 }],
                    (1, true) => vec![
                        KeyChange::HashSet { pairs: Cow::Borrowed(&pair) },
                        KeyChange::HashSet { pairs: Cow::Borrowed(&pairs) },
                    ],
                    (1, false) => vec![
                        KeyChange::HashRemove { fields: Cow::Borrowed(&member) },
                        KeyChange::HashRemove { fields: Cow::Borrowed(&members) },
                    ],
                    (2 | 3, true) => vec![
                        KeyChange::SetAdd { members: Cow::Borrowed(&member) },
                        KeyChange::SetAdd { members: Cow::Borrowed(&members) },
                    ],
                    (2 | 3, false) => vec![
                        KeyChange::SetRemove { members: Cow::Borrowed(&member) },
                        KeyChange::SetRemove { members: Cow::Borrowed(&members) },
                    ],
                    (_, true) => vec![
                        KeyChange::SortedAdd { pairs: Cow::Borrowed(&scored) },
                        KeyChange::SortedAdd { pairs: Cow::Borrowed(&scores) },
                    ],
                    (_, false) if rng.random_ratio(1, 4) => {
                        vec![KeyChange::SortedRemoveRanks { start: index / 4, end: index / 2 }; 2]
                    }
                    (_, false) => vec![
                        KeyChange::SortedRemove { members: Cow::Borrowed(&member) },
                        KeyChange::SortedRemove { members: Cow::Borrowed(&members) },
                    ],
                };
                let left = within.apply_key(0, b"key", &changes[0]).map(|applied| applied.count);
                let right = copied.apply_key(0, b"key", &changes[1]).map(|applied| applied.count);
                if kind == 0 {
                    // The second half of what the other one has done.
                    let rest = [&two[..]];
                    let rest = match grows {
                        true => KeyChange::ListPush { end, values: Cow::Borrowed(&rest) },
                        false => KeyChange::ListPop { end, count: 1 },
                    };
                    within.apply_key(0, b"key", &rest).unwrap();
                    let text = text(&mut rng);
                    let set = KeyChange::ListSet { index, value: &text };
                    let expected = value(&within).map(|list| {
                        let Value::List(mut list) = list else { panic!("a list") };
                        list.set(index as usize, &text);
                        Value::List(list)
                    });
                    within.apply_key(0, b"key", &set).unwrap();
                    copied.apply_key(0, b"key", &set).unwrap();
                    assert_eq!(value(&within), expected);
                } else if kind != 1 || !grows {
                    assert_eq!(left, right, "{:?}", changes[0]);
                }
                assert_eq!(value(&within), value(&copied), "seed {seed}, step {step}: {:?}", changes[0]);
                within.database(0).check();
            }
        }
    }
}
