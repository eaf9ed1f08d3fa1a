//! Does a sorted set of every size agree with a plain model of one?

use super::*;
use crate::keyspace::value::testing::{Seeded, text};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// The model: scores by member, and nothing clever.
#[derive(Default)]
struct Model {
    scores: BTreeMap<Vec<u8>, f64>,
}

impl Model {
    fn ordered(&self) -> Vec<(Vec<u8>, f64)> {
        let mut entries: Vec<_> = self.scores.iter().map(|(m, s)| (m.clone(), *s)).collect();
        entries.sort_by(|(am, a), (bm, b)| a.partial_cmp(b).unwrap().then_with(|| am.cmp(bm)));
        entries
    }
}

fn owned(entries: Iter<'_>) -> Vec<(Vec<u8>, f64)> {
    entries.map(|(m, s)| (m.to_vec(), s)).collect()
}

/// Scores that are often equal, sometimes infinite, and of both zeros.
fn score(rng: &mut impl Rng, distinct: i32) -> f64 {
    match rng.random_range(0..40) {
        0 => f64::NEG_INFINITY,
        1 => f64::INFINITY,
        2 => -0.0,
        _ => f64::from(rng.random_range(-distinct..distinct)) / 2.0,
    }
}

fn bound<T>(rng: &mut impl Rng, value: T) -> Bound<T> {
    match rng.random_range(0..5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(value),
        _ => Bound::Excluded(value),
    }
}

fn within<T: PartialOrd>(value: &T, min: &Bound<T>, max: &Bound<T>) -> bool {
    (match min {
        Bound::Included(min) => value >= min,
        Bound::Excluded(min) => value > min,
        Bound::Unbounded => true,
    }) && (match max {
        Bound::Included(max) => value <= max,
        Bound::Excluded(max) => value < max,
        Bound::Unbounded => true,
    })
}

fn check(set: &SortedSet) {
    if let Form::Indexed(set) = &set.form {
        set.check();
    }
}

fn numbered(range: Range<usize>) -> SortedSet {
    let mut set = SortedSet::new();
    range.for_each(|i| assert_eq!(set.insert(format!("{i:06}").as_bytes(), i as f64), Inserted::Added));
    set
}

#[test]
fn random_operations_agree_with_a_model() {
    for (round, seed) in Seeded::seeds(12).into_iter().enumerate() {
        let mut rng = seed.rng();
        let (members, scores) = [(20, 5), (200, 3), (1_000, 100_000), (5_000, 20)][round % 4];
        let (mut set, mut model) = (SortedSet::new(), Model::default());
        for step in 0..12_000 {
            let grows = step / 4_000 % 2 == 0;
            let member = text(&mut rng, members);
            if rng.random_ratio(if grows { 4 } else { 1 }, 5) {
                let score = score(&mut rng, scores);
                let expected = match model.scores.insert(member.clone(), score) {
                    None => Inserted::Added,
                    Some(old) if old == score => Inserted::Same,
                    Some(_) => Inserted::Updated,
                };
                assert_eq!(set.insert(&member, score), expected);
            } else {
                assert_eq!(set.remove(&member), model.scores.remove(&member));
            }
            assert_eq!(set.view().score(&member), model.scores.get(&member).copied());
            assert_eq!(set.len(), model.scores.len());
            if step % 500 == 0 {
                check(&set);
                assert_eq!(owned(set.view().iter()), model.ordered(), "{seed:?}");
            }
        }
        check(&set);
    }
}

#[test]
fn ranges_from_either_end_agree_with_a_model() {
    for (round, seed) in Seeded::seeds(12).into_iter().enumerate() {
        let mut rng = seed.rng();
        let (mut set, mut model) = (SortedSet::new(), Model::default());
        let members = [30, 300, 6_000][round % 3];
        for _ in 0..members {
            let (member, score) = (text(&mut rng, members), score(&mut rng, 50));
            set.insert(&member, score);
            // An insertion of an equal score changes nothing, not even the sign of a zero.
            if model.scores.get(&member) != Some(&score) {
                model.scores.insert(member, score);
            }
        }
        let ordered = model.ordered();
        for (rank, (member, score)) in ordered.iter().enumerate() {
            assert_eq!(set.view().rank(member), Some(rank), "{seed:?}");
            assert_eq!(set.view().rev_rank(member), Some(ordered.len() - 1 - rank));
            assert_eq!(set.view().nth(rank).map(|(m, s)| (m.to_vec(), s)), Some((member.clone(), *score)));
        }
        assert_eq!((set.view().rank(b"nobody"), set.view().nth(ordered.len())), (None, None));
        for _ in 0..200 {
            let (a, b) = (score(&mut rng, 60), score(&mut rng, 60));
            let (min, max) = (bound(&mut rng, a), bound(&mut rng, b));
            let expected: Vec<_> = ordered.iter().filter(|(_, s)| within(s, &min, &max)).cloned().collect();
            assert_eq!(owned(set.view().range_by_score(min, max)), expected, "{min:?} {max:?} {seed:?}");
            assert_eq!(set.view().count_in(min, max), expected.len());
            let mut backwards: Vec<_> =
                set.view().range_by_score(min, max).rev().map(|(m, s)| (m.to_vec(), s)).collect();
            backwards.reverse();
            assert_eq!(backwards, expected);

            let (start, stop) = (rng.random_range(0..=ordered.len() + 2), rng.random_range(0..=ordered.len() + 2));
            let expected: Vec<_> = ordered.iter().take(stop).skip(start).cloned().collect();
            assert_eq!(owned(set.view().range_by_rank(start..stop)), expected, "{seed:?}");
            assert_eq!(set.view().range_by_rank(start..stop).len(), expected.len());
            let mut entries = set.view().range_by_rank(start..stop);
            let mut model = expected.iter();
            for _ in 0..10 {
                let skip = rng.random_range(0..20);
                let (got, wanted) = match rng.random_range(0..4) {
                    0 => (entries.next(), model.next()),
                    1 => (entries.next_back(), model.next_back()),
                    2 => (entries.nth(skip), model.nth(skip)),
                    _ => (entries.nth_back(skip), model.nth_back(skip)),
                };
                assert_eq!(got.map(|(m, s)| (m.to_vec(), s)), wanted.cloned(), "{seed:?}");
            }
        }
    }
}

#[test]
fn lexical_ranges_agree_with_a_model() {
    for (round, seed) in Seeded::seeds(6).into_iter().enumerate() {
        let mut rng = seed.rng();
        let members = [30, 2_000][round % 2];
        let (mut set, mut model) = (SortedSet::new(), BTreeSet::new());
        for _ in 0..members {
            let member = text(&mut rng, members);
            set.insert(&member, 1.0);
            model.insert(member);
        }
        for _ in 0..300 {
            let (a, b) = (text(&mut rng, members), text(&mut rng, members));
            let (min, max) = (bound(&mut rng, a.as_slice()), bound(&mut rng, b.as_slice()));
            let expected: Vec<_> = model.iter().filter(|m| within(&m.as_slice(), &min, &max)).collect();
            let got: Vec<_> = set.view().range_by_lex(min, max).map(|(m, _)| m.to_vec()).collect();
            assert!(got.iter().eq(expected.iter().copied()), "{min:?} {max:?} {seed:?}");
            assert_eq!(set.view().ranks_by_lex(min, max).len(), expected.len());
        }
    }
}

#[test]
fn pops_take_the_ends() {
    for seed in Seeded::seeds(3) {
        let mut rng = seed.rng();
        let mut set = numbered(0..5_000);
        let mut left = 0..5_000;
        for _ in 0..5_000 {
            let (expected, popped) =
                if rng.random() { (left.next(), set.pop_min()) } else { (left.next_back(), set.pop_max()) };
            let expected = expected.map(|i| (ShortBytes::from(format!("{i:06}").as_bytes()), i as f64));
            assert_eq!(popped, expected, "{seed:?}");
        }
        assert_eq!((set.pop_min(), set.pop_max(), set.len()), (None, None, 0));
    }
}

#[test]
fn ranges_of_ranks_are_removed() {
    for seed in Seeded::seeds(6) {
        let mut rng = seed.rng();
        let mut set = numbered(0..4_000);
        let mut model: Vec<usize> = (0..4_000).collect();
        while !model.is_empty() {
            let start = rng.random_range(0..model.len());
            let stop = (start + rng.random_range(0..200)).min(model.len());
            assert_eq!(set.remove_range(start..stop), stop - start);
            model.drain(start..stop);
            check(&set);
            assert!(set.view().iter().map(|(_, s)| s as usize).eq(model.iter().copied()), "{seed:?}");
        }
        assert_eq!(set.remove_range(..), 0);
    }
}

#[test]
fn ascending_and_descending_arrivals_fill_the_leaves() {
    let ascending = numbered(0..20_000);
    let mut descending = SortedSet::new();
    (0..20_000)
        .rev()
        .for_each(|i| assert_eq!(descending.insert(format!("{i:06}").as_bytes(), i as f64), Inserted::Added));
    for set in [&ascending, &descending] {
        check(set);
        let usage = set.view().heap_bytes(0) / set.len();
        assert!(usage < 64, "{usage} bytes a member");
    }
    assert_eq!(ascending, descending);
}

#[test]
fn a_tree_is_sound_at_the_moment_in_which_its_nodes_are_full() {
    let mut set = SortedSet::new();
    // 62 full leaves of 53 entries; the next entry divides the root.
    for i in 0..62 * 53 + 60 {
        set.insert(format!("{i:06}").as_bytes(), i as f64);
        if i >= 62 * 53 - 2 {
            check(&set);
            // Takes the last leaf away again and puts it back.
            let mut shorter = set.clone();
            assert_eq!(shorter.remove_range(i - 70..), 71);
            check(&shorter);
            assert_eq!(shorter.view().nth(i - 71).map(|(_, s)| s), Some((i - 71) as f64));
        }
    }
}

#[test]
fn a_tree_with_three_inner_levels_grows_and_shrinks() {
    for seed in Seeded::seeds(1) {
        let mut rng = seed.rng();
        // 62 * 61 full leaves, and some more.
        let mut set = numbered(0..210_000);
        check(&set);
        assert_eq!(set.view().iter().rev().count(), 210_000);
        for step in 0..300 {
            let start = rng.random_range(0..set.len());
            set.remove_range(start..start + 1_000);
            if step % 30 == 0 {
                check(&set);
            }
            if set.is_empty() {
                break;
            }
        }
        check(&set);
        assert!(set.view().iter().is_sorted_by(|a, b| a.1 < b.1));
        assert!(set.view().iter().rev().is_sorted_by(|a, b| a.1 > b.1));
        assert_eq!(set.view().iter().count(), set.len());
    }
}

#[test]
fn a_score_that_keeps_its_rank_is_changed_in_place() {
    let mut set = numbered(0..1_000);
    for i in 0..1_000 {
        assert_eq!(set.insert(format!("{i:06}").as_bytes(), i as f64 + 0.25), Inserted::Updated);
        check(&set);
    }
    assert!(set.view().iter().map(|(_, s)| s).eq((0..1_000).map(|i| i as f64 + 0.25)));
}

#[test]
fn both_zeros_are_the_same_score() {
    let mut set = SortedSet::new();
    assert_eq!(set.insert(b"b", 0.0), Inserted::Added);
    assert_eq!(set.insert(b"b", -0.0), Inserted::Same);
    assert_eq!(set.insert(b"a", -0.0), Inserted::Added);
    assert_eq!(set.view().rank(b"a"), Some(0), "ordered by member, not by sign");
    assert_eq!(set.view().count_in(Bound::Included(0.0), Bound::Included(-0.0)), 2);
}

#[test]
#[should_panic(expected = "not a number")]
fn a_score_that_is_not_a_number_is_refused() {
    SortedSet::new().insert(b"a", f64::NAN);
}

#[test]
fn a_drained_set_gives_its_memory_back() {
    let mut set = numbered(0..50_000);
    let full = set.view().heap_bytes(0);
    while set.len() > 700 {
        set.pop_min();
    }
    check(&set);
    assert!(set.view().heap_bytes(0) < full / 20, "{} of {full} bytes", set.view().heap_bytes(0));
    assert_eq!(set.view().rank(b"049300"), Some(0));
}

#[test]
fn a_scan_returns_every_member_once() {
    for size in [10, 64, 65, 128, 129, 900, 5_000] {
        let set = numbered(0..size);
        let (mut cursor, mut seen) = (0, Vec::new());
        loop {
            let (next, members) = set.view().scan(cursor, 10);
            assert!(size > 128 || members.len() == size, "a small set is one page");
            seen.extend(members.into_iter().map(|(m, s)| (ShortBytes::from(m), s as usize)));
            if next == 0 {
                break;
            }
            cursor = next;
        }
        seen.sort();
        let expected = (0..size).map(|i| (ShortBytes::from(format!("{i:06}").as_bytes()), i));
        assert!(seen.into_iter().eq(expected), "{size} members");
    }
}

#[test]
fn random_members_come_from_the_set() {
    for seed in Seeded::seeds(2) {
        let mut rng = seed.rng();
        assert!(SortedSet::new().view().random(&mut rng).is_none());
        for size in [1, 64, 500] {
            let set = numbered(0..size);
            let mut seen = BTreeSet::new();
            for _ in 0..size * 30 {
                let (member, score) = set.view().random(&mut rng).unwrap();
                assert_eq!(set.view().score(member), Some(score));
                seen.insert(score as usize);
            }
            // A member is missed with probability e^-30.
            assert_eq!(seen.len(), size, "{seed:?}");
        }
    }
}
