//! Where does an entry belong within the arrays of a node?

use super::super::side::Side;
use super::super::slots::{Id, Slots};

/// Where an entry belongs.
#[derive(Clone, Copy)]
pub(in super::super) struct Place<'a> {
    pub(in super::super) score: f64,
    pub(in super::super) member: &'a [u8],
}

/// Which entry is to be removed: one that is there, or the one of a rank below the length.
#[derive(Clone, Copy)]
pub(in super::super) enum Target<'a> {
    Place(Place<'a>),
    Rank(usize),
}

/// How many entries of a node stand before `place`; behind it, an entry that is equal counts too.
#[inline]
pub(super) fn entries_before(scores: &[f64], ids: &[Id], place: Place<'_>, side: Side, slots: &Slots) -> usize {
    let start = scores.partition_point(|score| *score < place.score);
    if scores.get(start) != Some(&place.score) {
        return start;
    }
    let end = start + scores[start..].partition_point(|score| *score <= place.score);
    let equal = &ids[start..end];
    start
        + match side {
            Side::Before => equal.partition_point(|id| slots.member(*id) < place.member),
            Side::Behind => equal.partition_point(|id| slots.member(*id) <= place.member),
        }
}
