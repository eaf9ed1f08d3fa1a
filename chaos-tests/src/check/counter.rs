//! Property: a counter that many increment counts every acknowledged increment once, and never falls back.

use super::acknowledged::Violation;
use crate::sys::Moment;

/// An increment by one that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Increment {
    pub reply: u64,
    pub sent: Moment,
    pub replied: Moment,
}

/// What all clients know of one counter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counter {
    pub name: String,
    pub acknowledged: Vec<Increment>,
    pub unknown: u64,
}

/// What the counter shows at the end, against what its clients know.
#[must_use]
pub fn judge(counter: &Counter, found: Option<u64>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let place = || counter.name.clone();
    let acknowledged = counter.acknowledged.len() as u64;
    let found = found.unwrap_or(0);
    let what = || format!("shows {found}, {acknowledged} were acknowledged, {} are unknown", counter.unknown);
    if found < acknowledged {
        violations.push(Violation::Lost { place: place(), what: what() });
    }
    if found > acknowledged + counter.unknown {
        violations.push(Violation::Phantom { place: place(), what: what() });
    }
    let mut replies: Vec<_> = counter.acknowledged.iter().map(|increment| increment.reply).collect();
    replies.sort_unstable();
    if let Some(pair) = replies.windows(2).find(|pair| pair[0] == pair[1]) {
        violations
            .push(Violation::Lost { place: place(), what: format!("two increments were both answered {}", pair[0]) });
    }
    violations.extend(fell_back(counter));
    violations
}

/// An increment that was sent after another one had been answered has a larger answer.
fn fell_back(counter: &Counter) -> Option<Violation> {
    let mut by_reply = counter.acknowledged.clone();
    by_reply.sort_unstable_by_key(|increment| increment.replied);
    let mut by_sent = counter.acknowledged.clone();
    by_sent.sort_unstable_by_key(|increment| increment.sent);
    let mut answered = by_reply.iter().peekable();
    let mut highest = 0;
    for increment in &by_sent {
        while let Some(before) = answered.next_if(|before| before.replied < increment.sent) {
            highest = highest.max(before.reply);
        }
        if increment.reply <= highest {
            let what = format!("answered {} after it had answered {highest}", increment.reply);
            return Some(Violation::Lost { place: counter.name.clone(), what });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Increments as (reply, sent, replied).
    fn counter(increments: &[(u64, u64, u64)], unknown: u64) -> Counter {
        let acknowledged = increments
            .iter()
            .map(|(reply, sent, replied)| Increment {
                reply: *reply,
                sent: Moment::at_ms(*sent),
                replied: Moment::at_ms(*replied),
            })
            .collect();
        Counter { name: "c".to_owned(), acknowledged, unknown }
    }

    #[test]
    fn a_counter_shows_between_the_acknowledged_and_all() {
        let seen = counter(&[(1, 0, 1), (3, 2, 9), (2, 3, 8)], 1);
        assert_eq!(judge(&seen, Some(3)), []);
        assert_eq!(judge(&seen, Some(4)), []);
    }

    #[test]
    fn a_planted_loss_phantom_double_answer_and_fall_are_each_caught() {
        let seen = counter(&[(1, 0, 1), (2, 2, 3)], 1);
        assert!(matches!(judge(&seen, Some(1))[..], [Violation::Lost { .. }]));
        assert!(matches!(judge(&seen, None)[..], [Violation::Lost { .. }]));
        assert!(matches!(judge(&seen, Some(4))[..], [Violation::Phantom { .. }]));
        let twice = counter(&[(1, 0, 9), (1, 0, 9)], 0);
        assert!(matches!(judge(&twice, Some(2))[..], [Violation::Lost { .. }]));
        let fell = counter(&[(2, 0, 1), (1, 2, 3)], 0);
        assert!(matches!(judge(&fell, Some(2))[..], [Violation::Lost { .. }]));
    }
}
