//! Property: every acknowledged write is there, exactly once; every other is there at most once; nothing else is.
//!
//! A write is *acknowledged* if its reply came, *unknown* if the connection ended or timed out before. Each workload stops
//! using a key with one writer at its first unknown write, so that what the key may hold stays exact: no late execution
//! of an unanswered command can hide behind a newer value.

use std::collections::{HashMap, HashSet};

/// A key with one writer that sets ever larger values, or counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Key {
    pub name: String,
    pub acknowledged: Option<u64>,
    /// The write after it, if its fate is unknown; the key's last.
    pub unknown: Option<u64>,
}

/// A list or queue with many writers: which elements were acknowledged, and which may be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elements {
    pub name: String,
    pub acknowledged: Vec<String>,
    pub unknown: Vec<String>,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    Lost {
        place: String,
        what: String,
    },
    Duplicated {
        place: String,
        what: String,
    },
    /// Nobody wrote it.
    Phantom {
        place: String,
        what: String,
    },
    /// A writer's elements are in another order than it wrote them.
    Reordered {
        place: String,
        what: String,
    },
    /// Half of a transaction was seen.
    Torn {
        place: String,
        what: String,
    },
    /// A read missed a write that had been acknowledged before it was sent.
    Stale {
        place: String,
        what: String,
    },
    /// No order of the operations explains what the clients saw.
    NotLinearizable {
        place: String,
        what: String,
    },
    /// A check came to no end.
    Undecided {
        place: String,
        what: String,
    },
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost { place, what } => write!(f, "LOST: {place}: {what}"),
            Self::Duplicated { place, what } => write!(f, "DUPLICATED: {place}: {what}"),
            Self::Phantom { place, what } => write!(f, "PHANTOM: {place}: {what}"),
            Self::Reordered { place, what } => write!(f, "REORDERED: {place}: {what}"),
            Self::Torn { place, what } => write!(f, "TORN: {place}: {what}"),
            Self::Stale { place, what } => write!(f, "STALE: {place}: {what}"),
            Self::NotLinearizable { place, what } => write!(f, "NOT LINEARIZABLE: {place}: {what}"),
            Self::Undecided { place, what } => write!(f, "UNDECIDED: {place}: {what}"),
        }
    }
}

/// What a key holds, against what its writer knows.
#[must_use]
pub fn key(written: &Key, found: Option<u64>) -> Option<Violation> {
    if found == written.acknowledged || (found.is_some() && found == written.unknown) {
        return None;
    }
    let place = written.name.clone();
    let what = format!("found {found:?}, acknowledged {:?}, unknown {:?}", written.acknowledged, written.unknown);
    let is_older = found < written.acknowledged;
    Some(if is_older { Violation::Lost { place, what } } else { Violation::Phantom { place, what } })
}

/// What a list or queue holds, against what its writers know. Element names end in `-<number>`, growing for each writer.
#[must_use]
pub fn elements(written: &Elements, found: &[String]) -> Vec<Violation> {
    let mut violations = members(written, found);
    violations.extend(reordered(written, found));
    violations
}

/// What a set holds, in whatever order.
#[must_use]
pub fn members(written: &Elements, found: &[String]) -> Vec<Violation> {
    let place = || written.name.clone();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for element in found {
        *counts.entry(element).or_default() += 1;
    }
    let mut violations = Vec::new();
    for element in &written.acknowledged {
        if !counts.contains_key(element.as_str()) {
            violations.push(Violation::Lost { place: place(), what: element.clone() });
        }
    }
    let known: HashSet<&str> = written.acknowledged.iter().chain(&written.unknown).map(String::as_str).collect();
    for (element, count) in &counts {
        if !known.contains(element) {
            violations.push(Violation::Phantom { place: place(), what: (*element).to_owned() });
        } else if *count > 1 {
            violations.push(Violation::Duplicated { place: place(), what: format!("{element}, {count} times") });
        }
    }
    violations
}

/// Acknowledged elements of one writer, in the order in which that writer had its acknowledgements.
fn reordered(written: &Elements, found: &[String]) -> Option<Violation> {
    let acknowledged: HashSet<&str> = written.acknowledged.iter().map(String::as_str).collect();
    let mut last: HashMap<&str, u64> = HashMap::new();
    for element in found.iter().filter(|element| acknowledged.contains(element.as_str())) {
        let (writer, number) = element.rsplit_once('-')?;
        let number = number.parse().ok()?;
        if let Some(before) = last.insert(writer, number)
            && before > number
        {
            let what = format!("{writer}-{number} stands behind {writer}-{before}");
            return Some(Violation::Reordered { place: written.name.clone(), what });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(acknowledged: Option<u64>, unknown: Option<u64>) -> Key {
        Key { name: "k".to_owned(), acknowledged, unknown }
    }

    #[test]
    fn a_key_may_hold_the_acknowledged_value_or_the_unknown_one_behind_it() {
        assert_eq!(key(&written(Some(7), Some(8)), Some(7)), None);
        assert_eq!(key(&written(Some(7), Some(8)), Some(8)), None);
        assert_eq!(key(&written(None, Some(1)), None), None);
    }

    #[test]
    fn an_older_value_or_none_is_a_loss() {
        assert!(matches!(key(&written(Some(7), Some(8)), Some(6)), Some(Violation::Lost { .. })));
        assert!(matches!(key(&written(Some(7), None), None), Some(Violation::Lost { .. })));
    }

    #[test]
    fn a_value_that_nobody_wrote_is_a_phantom() {
        assert!(matches!(key(&written(Some(7), Some(8)), Some(9)), Some(Violation::Phantom { .. })));
        assert!(matches!(key(&written(None, None), Some(1)), Some(Violation::Phantom { .. })));
    }

    fn list() -> Elements {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        Elements { name: "l".to_owned(), acknowledged: words("a-1 b-1 a-2"), unknown: words("b-2") }
    }

    fn judge(found: &str) -> Vec<Violation> {
        let found: Vec<_> = found.split(' ').map(str::to_owned).collect();
        elements(&list(), &found)
    }

    #[test]
    fn a_list_holds_the_acknowledged_and_may_hold_the_unknown() {
        assert_eq!(judge("a-1 b-1 a-2"), []);
        assert_eq!(judge("b-1 b-2 a-1 a-2"), []);
    }

    #[test]
    fn a_set_has_no_order_but_loses_nothing() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(members(&list(), &words("a-2 b-1 a-1")), []);
        assert!(matches!(members(&list(), &words("a-2 b-1"))[..], [Violation::Lost { .. }]));
    }

    #[test]
    fn a_planted_loss_duplicate_phantom_and_reordering_are_each_caught() {
        assert!(matches!(judge("a-1 a-2")[..], [Violation::Lost { .. }]));
        assert!(matches!(judge("a-1 b-1 a-2 b-1")[..], [Violation::Duplicated { .. }]));
        assert!(matches!(judge("a-1 b-1 b-2 b-2 a-2")[..], [Violation::Duplicated { .. }]));
        assert!(matches!(judge("a-1 b-1 a-2 c-1")[..], [Violation::Phantom { .. }]));
        assert!(matches!(judge("a-2 b-1 a-1")[..], [Violation::Reordered { .. }]));
    }
}
