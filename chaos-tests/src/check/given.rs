//! Property: what is taken out of a line, or read by a group, is given to one client; it is gone only if somebody was given
//! it, or an answer did not come.

use std::collections::{HashMap, HashSet};

use super::acknowledged::Violation;

/// A line that elements are put into and taken from.
#[derive(Debug, Clone, Default)]
pub struct Line {
    pub name: String,
    pub acknowledged: Vec<String>,
    pub unknown: Vec<String>,
    /// What the takers were given.
    pub given: Vec<String>,
    /// Takers whose answer did not come: each may have been given one.
    pub unanswered: usize,
}

impl Line {
    /// `left`: what lies in the line, and where it was moved to.
    #[must_use]
    pub fn judge(&self, left: &[String]) -> Vec<Violation> {
        let place = || self.name.clone();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for element in self.given.iter().chain(left) {
            *counts.entry(element).or_default() += 1;
        }
        let known: HashSet<&str> = self.acknowledged.iter().chain(&self.unknown).map(String::as_str).collect();
        let mut violations = Vec::new();
        for (element, count) in &counts {
            if !known.contains(element) {
                violations.push(Violation::Phantom { place: place(), what: (*element).to_owned() });
            } else if *count > 1 {
                violations.push(Violation::Duplicated { place: place(), what: format!("{element}, {count} times") });
            }
        }
        let missing: Vec<&str> =
            self.acknowledged.iter().map(String::as_str).filter(|element| !counts.contains_key(element)).collect();
        if missing.len() > self.unanswered {
            let what = format!("{missing:?}, and {} answers did not come", self.unanswered);
            violations.push(Violation::Lost { place: place(), what });
        }
        violations
    }
}

/// The id of an entry: milliseconds and a number.
pub type Id = (u64, u64);

/// A stream with a group of readers.
#[derive(Debug, Clone, Default)]
pub struct Group {
    pub name: String,
    pub acknowledged: Vec<Id>,
    /// Entries whose fate is unknown.
    pub unknown: usize,
    /// What the readers were given as new.
    pub given: Vec<Id>,
    pub settled: Vec<Id>,
    /// XACK was sent, and its answer did not come.
    pub unsettled: Vec<Id>,
}

/// What is found of it in the end.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub entries: Vec<Id>,
    pub pending: Vec<Id>,
    pub last_delivered: Id,
}

impl Group {
    #[must_use]
    pub fn judge(&self, found: &Found) -> Vec<Violation> {
        let set = |ids: &[Id]| ids.iter().copied().collect::<HashSet<Id>>();
        let (entries, pending, given) = (set(&found.entries), set(&found.pending), set(&self.given));
        let (settled, unsettled) = (set(&self.settled), set(&self.unsettled));
        let at = |id: &Id| format!("{}-{}", id.0, id.1);
        let lost = |what: String| Violation::Lost { place: self.name.clone(), what };
        let twice = |what: String| Violation::Duplicated { place: self.name.clone(), what };
        let mut violations = Vec::new();
        violations.extend(self.acknowledged.iter().filter(|id| !entries.contains(id)).map(|id| lost(at(id))));
        if entries.len() > self.acknowledged.len() + self.unknown {
            let what = format!("{} entries, {} were added", entries.len(), self.acknowledged.len() + self.unknown);
            violations.push(Violation::Phantom { place: self.name.clone(), what });
        }
        if given.len() < self.given.len() {
            violations.push(twice(format!("{} entries were given as new twice", self.given.len() - given.len())));
        }
        for id in &entries {
            let is_new = *id > found.last_delivered;
            let is_pending = pending.contains(id);
            match given.contains(id) {
                true if is_new => violations.push(twice(format!("{} was given, and is new again", at(id)))),
                true if settled.contains(id) && is_pending => {
                    violations.push(twice(format!("{} was settled, and is pending again", at(id))));
                }
                true if !settled.contains(id) && !unsettled.contains(id) && !is_pending => {
                    violations.push(lost(format!("{} was given and not settled, and is not pending", at(id))));
                }
                // Given in an answer that did not come.
                false if !is_new && !is_pending => violations.push(lost(format!("{} was given to nobody", at(id)))),
                _ => {}
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn line(given: &str, unanswered: usize) -> Line {
        Line {
            name: "line".to_owned(),
            acknowledged: words("a-1 a-2 a-3"),
            unknown: words("a-4"),
            given: words(given),
            unanswered,
        }
    }

    #[test]
    fn an_element_is_given_once_or_is_still_there() {
        assert_eq!(line("a-1 a-3", 0).judge(&words("a-2")), []);
        assert_eq!(line("a-1", 0).judge(&words("a-2 a-3 a-4")), []);
        assert_eq!(line("a-1", 1).judge(&words("a-3")), [], "the answer with it did not come");
    }

    #[test]
    fn an_element_that_is_lost_given_twice_or_made_up_is_caught() {
        assert!(matches!(line("a-1", 0).judge(&words("a-3"))[..], [Violation::Lost { .. }]));
        assert!(matches!(line("a-1", 1).judge(&[])[..], [Violation::Lost { .. }]));
        assert!(matches!(line("a-1 a-2 a-2 a-3", 0).judge(&[])[..], [Violation::Duplicated { .. }]));
        assert!(matches!(line("a-1 a-2", 0).judge(&words("a-2 a-3"))[..], [Violation::Duplicated { .. }]));
        assert!(matches!(line("a-1 a-2 a-3 b-1", 0).judge(&[])[..], [Violation::Phantom { .. }]));
    }

    fn group() -> Group {
        Group {
            name: "stream".to_owned(),
            acknowledged: vec![(1, 0), (2, 0), (3, 0)],
            unknown: 1,
            given: vec![(1, 0), (2, 0)],
            settled: vec![(1, 0)],
            unsettled: Vec::new(),
        }
    }

    fn found(entries: &[u64], pending: &[u64], last: u64) -> Found {
        let ids = |numbers: &[u64]| numbers.iter().map(|number| (*number, 0)).collect();
        Found { entries: ids(entries), pending: ids(pending), last_delivered: (last, 0) }
    }

    #[test]
    fn an_entry_is_new_pending_or_settled() {
        assert_eq!(group().judge(&found(&[1, 2, 3], &[2], 2)), []);
        assert_eq!(group().judge(&found(&[1, 2, 3, 4], &[2, 3], 3)), [], "an answer did not come");
        let settling = Group { unsettled: vec![(2, 0)], ..group() };
        assert_eq!(settling.judge(&found(&[1, 2, 3], &[], 2)), []);
    }

    #[test]
    fn an_entry_that_is_lost_or_given_again_is_caught() {
        let judge = |found: &Found| group().judge(found);
        assert!(matches!(judge(&found(&[1, 2], &[2], 2))[..], [Violation::Lost { .. }]));
        assert!(matches!(judge(&found(&[1, 2, 3], &[], 2))[..], [Violation::Lost { .. }]), "not pending any more");
        assert!(matches!(judge(&found(&[1, 2, 3], &[2], 3))[..], [Violation::Lost { .. }]), "given to nobody");
        assert!(matches!(judge(&found(&[1, 2, 3], &[], 1))[..], [Violation::Duplicated { .. }]), "new again");
        assert!(matches!(judge(&found(&[1, 2, 3], &[1, 2], 2))[..], [Violation::Duplicated { .. }]));
        assert!(matches!(judge(&found(&[1, 2, 3, 4, 5], &[2], 2))[..], [Violation::Phantom { .. }]));
        let twice = Group { given: vec![(1, 0), (2, 0), (2, 0)], ..group() };
        assert!(matches!(twice.judge(&found(&[1, 2, 3], &[2], 2))[..], [Violation::Duplicated { .. }]));
    }
}
