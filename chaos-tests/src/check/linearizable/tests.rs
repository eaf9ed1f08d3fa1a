use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// One operation a line: `sent replied action`, where `-` is a reply that never came and the action is `w1`, `r1`, `r-`
/// or `s1>2`.
fn history(text: &str) -> Vec<Operation> {
    let held = |text: &str| (text != "-").then(|| text.parse::<u64>().unwrap());
    let line = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (kind, rest) = words[2].split_at(1);
        let action = match kind {
            "w" => Action::Write(rest.parse().unwrap()),
            "r" => Action::Read(held(rest)),
            "s" => {
                let (from, to) = rest.split_once('>').unwrap();
                Action::Swap { from: held(from), to: to.parse().unwrap() }
            }
            other => panic!("no action {other}"),
        };
        let replied = (words[1] != "-").then(|| Moment::at_ms(words[1].parse().unwrap()));
        Operation { action, sent: Moment::at_ms(words[0].parse().unwrap()), replied }
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(line).collect()
}

fn is_linearizable(text: &str) -> bool {
    match check(&history(text)) {
        Verdict::Linearizable => true,
        Verdict::NotLinearizable { .. } => false,
        Verdict::Undecided => panic!("undecided"),
    }
}

#[test]
fn one_after_the_other_each_sees_the_last() {
    assert!(is_linearizable("0 1 r-\n2 3 w1\n4 5 r1\n6 7 s1>2\n8 9 r2"));
    assert!(is_linearizable(""));
}

#[test]
fn a_read_behind_a_write_that_misses_it_is_caught() {
    assert!(!is_linearizable("0 1 w1\n2 3 w2\n4 5 r1"));
    assert!(!is_linearizable("0 1 w1\n2 3 r-"));
}

#[test]
fn concurrent_operations_may_be_in_any_order() {
    assert!(is_linearizable("0 9 w1\n1 8 w2\n10 11 r1"));
    assert!(is_linearizable("0 9 w1\n1 8 w2\n10 11 r2"));
    assert!(is_linearizable("0 9 w1\n2 3 r-\n4 5 r1"));
}

#[test]
fn two_reads_that_saw_two_writes_in_different_orders_are_caught() {
    assert!(!is_linearizable("0 9 w1\n0 9 w2\n10 11 r1\n12 13 r2"));
    // New, then old again, while the write is still under way.
    assert!(!is_linearizable("0 1 w1\n2 20 w2\n3 4 r2\n5 6 r1"));
}

#[test]
fn an_unanswered_write_may_take_effect_late_or_never_but_not_be_undone() {
    assert!(is_linearizable("0 - w1\n5 6 r-\n100 101 r1"));
    assert!(is_linearizable("0 - w1\n5 6 r-\n100 101 r-"));
    assert!(!is_linearizable("0 - w1\n5 6 r1\n7 8 r-"));
}

#[test]
fn a_value_before_it_was_sent_and_one_that_nobody_wrote_are_caught() {
    assert!(!is_linearizable("0 1 r1\n2 3 w1"));
    assert!(!is_linearizable("0 1 w1\n2 3 r7"));
}

#[test]
fn two_swaps_from_the_same_value_cannot_both_take_place() {
    assert!(is_linearizable("0 1 w1\n2 9 s1>2\n2 9 s2>3\n10 11 r3"));
    assert!(!is_linearizable("0 1 w1\n2 9 s1>2\n2 9 s1>3"));
    assert!(!is_linearizable("0 1 w1\n2 3 w2\n4 5 s1>3"));
}

#[test]
fn an_unanswered_swap_that_was_seen_needs_its_value_before() {
    assert!(is_linearizable("0 - w1\n1 - s1>2\n5 6 r2"));
    assert!(!is_linearizable("0 1 w3\n2 - s1>2\n5 6 r2"));
}

#[test]
fn a_lost_write_is_a_stale_read_and_a_concurrent_one_is_not() {
    let lost = history("0 1 w1\n2 3 w2\n4 5 r1");
    assert_eq!(stale_reads(&lost), [lost[2]]);
    assert_eq!(stale_reads(&history("0 1 w1\n2 9 w2\n4 5 r1\n6 7 r2")), []);
    assert_eq!(stale_reads(&history("0 3 w1\n2 3 w2\n4 5 r1")), []);
    assert_eq!(stale_reads(&history("0 1 w1\n2 3 r-")).len(), 1);
    assert_eq!(stale_reads(&history("0 - w1\n2 3 r-")), []);
}

/// What clients see of a register that is really one: each operation takes effect at an instant of its own.
fn honest(random: &mut StdRng, count: usize, clients: usize) -> Vec<Operation> {
    let mut free_at = vec![0_u64; clients];
    let mut drawn = Vec::new();
    for value in 1..=count as u64 {
        let client = random.random_range(0..clients);
        let sent = free_at[client] + random.random_range(0..4);
        let effect = sent + random.random_range(1..6);
        let replied = effect + random.random_range(1..6);
        free_at[client] = replied + 1;
        drawn.push((effect, sent, replied, random.random_range(0..3), value, random.random_bool(0.1)));
    }
    drawn.sort_unstable();
    let mut held = None;
    let mut operations = Vec::new();
    for (_, sent, replied, kind, value, is_unanswered) in drawn {
        let action = match kind {
            0 => Action::Read(held),
            1 => Action::Write(value),
            _ => Action::Swap { from: held, to: value },
        };
        held = action.apply(held).unwrap();
        let replied = (!is_unanswered).then(|| Moment::at_ms(replied));
        operations.push(Operation { action, sent: Moment::at_ms(sent), replied });
    }
    operations
}

#[test]
fn what_a_real_register_does_is_always_linearizable() {
    for seed in 0..200 {
        let history = honest(&mut StdRng::seed_from_u64(seed), 150, 8);
        assert_eq!(check(&history), Verdict::Linearizable, "seed {seed}");
        assert_eq!(stale_reads(&history), [], "seed {seed}");
    }
}

#[test]
fn a_planted_stale_read_is_always_caught() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut history = honest(&mut random, 150, 8);
        // At the end the first value that was ever acknowledged is read again, long after others replaced it.
        let first =
            history.iter().find(|operation| operation.action.written().is_some() && operation.replied.is_some());
        let value = first.unwrap().action.written();
        let end = Moment::at_ms(1_000_000);
        history.push(Operation { action: Action::Read(value), sent: end, replied: Some(end) });
        assert!(matches!(check(&history), Verdict::NotLinearizable { .. }), "seed {seed}");
        assert_eq!(stale_reads(&history).len(), 1, "seed {seed}");
    }
}
