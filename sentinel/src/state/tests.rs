//! The rules of every command, each by its claim.

use super::*;

fn member(name: &str) -> Member {
    Member { name: name.into(), node_id: format!("id-{name}"), ..Member::default() }
}

fn process(name: &str, incarnation: &str) -> IsrMember {
    IsrMember { name: name.into(), incarnation: incarnation.into() }
}

fn cluster() -> ClusterState {
    let mut state = ClusterState::default();
    assert_eq!(state.apply(&Command::Bootstrap { cluster_id: "c".into(), min_isr: 2 }, 1), Answer::Done);
    for (index, name) in ["n1", "n2", "n3"].into_iter().enumerate() {
        assert_eq!(state.apply(&Command::RegisterMember { member: member(name) }, 2 + index as u64), Answer::Done);
    }
    let isr = vec![process("n1", "a"), process("n2", "b")];
    let promote = Command::Promote { expect_epoch: 0, expect_isr_version: 0, epoch: 1, master: "n1".into(), isr };
    assert_eq!(state.apply(&promote, 5), Answer::Done);
    state
}

fn change(version: u64, isr: Vec<IsrMember>, witnesses: &[IsrMember]) -> Command {
    Command::ChangeIsr { expect_epoch: 1, expect_isr_version: version, isr, witnesses: witnesses.to_vec() }
}

fn conflict(state: &mut ClusterState, command: &Command) -> String {
    let before = state.clone();
    let Answer::Conflict(text) = state.apply(command, 99) else { panic!("{command:?} was accepted") };
    assert_eq!(*state, before, "a refused command changes nothing");
    text
}

#[test]
fn a_cluster_is_named_once() {
    let mut state = cluster();
    let text = conflict(&mut state, &Command::Bootstrap { cluster_id: "d".into(), min_isr: 1 });
    assert_eq!(text, "the cluster is c already");
}

#[test]
fn of_two_promotions_from_the_same_epoch_one_takes_place() {
    let mut state = cluster();
    let promote = |master: &str, incarnation: &str| Command::Promote {
        expect_epoch: 1,
        expect_isr_version: 1,
        epoch: 2,
        master: master.into(),
        isr: vec![process(master, incarnation)],
    };
    assert_eq!(state.apply(&promote("n2", "b"), 6), Answer::Done);
    assert_eq!(conflict(&mut state, &promote("n1", "a")), "the epoch is 2, not 1");
    assert_eq!((state.master.as_str(), state.epoch, state.isr_version, state.log_index), ("n2", 2, 2, 6));
}

#[test]
fn a_promotion_computed_from_an_older_isr_is_refused() {
    let mut state = cluster();
    let shrink = change(1, vec![process("n1", "a")], &[]);
    assert_eq!(state.apply(&shrink, 6), Answer::Done);
    let promote = Command::Promote {
        expect_epoch: 1,
        expect_isr_version: 1,
        epoch: 2,
        master: "n2".into(),
        isr: vec![process("n2", "b")],
    };
    assert_eq!(conflict(&mut state, &promote), "the ISR version is 2, not 1");
}

#[test]
fn the_isr_keeps_the_very_process_that_is_master() {
    let mut state = cluster();
    for isr in [vec![process("n2", "b")], vec![process("n1", "restarted"), process("n2", "b")], vec![]] {
        let text = conflict(&mut state, &change(1, isr, &[]));
        assert_eq!(text, "the ISR must hold the master n1 itself");
    }
}

#[test]
fn an_isr_of_strangers_or_doubles_is_refused() {
    let mut state = cluster();
    let change = |isr| change(1, isr, &[]);
    let stranger = change(vec![process("n1", "a"), process("n9", "x")]);
    assert_eq!(conflict(&mut state, &stranger), "n9 is no member of the cluster");
    let double = change(vec![process("n1", "a"), process("n1", "a")]);
    assert_eq!(conflict(&mut state, &double), "n1 is twice in the ISR");
}

#[test]
fn what_changes_nothing_makes_no_newer_state() {
    let mut state = cluster();
    let same = change(1, state.isr.clone(), &[]);
    assert_eq!(state.apply(&same, 50), Answer::Done);
    assert_eq!(state.apply(&Command::RegisterMember { member: member("n3") }, 51), Answer::Done);
    assert_eq!((state.isr_version, state.log_index), (1, 5));
}

#[test]
fn the_log_format_of_commands_is_kept() {
    let command = Command::Promote {
        expect_epoch: 1,
        expect_isr_version: 2,
        epoch: 3,
        master: "n1".into(),
        isr: vec![process("n1", "a")],
    };
    let text = r#"{"Promote":{"expect_epoch":1,"expect_isr_version":2,"epoch":3,"master":"n1","isr":[{"name":"n1","incarnation":"a"}]}}"#;
    assert_eq!(serde_json::to_string(&command).unwrap(), text);
}

#[test]
fn who_left_an_isr_that_became_too_small_bears_witness_until_it_is_large_enough() {
    let mut state = cluster();
    let (a, b, c) = (process("n1", "a"), process("n2", "b"), process("n3", "c"));
    assert_eq!(state.apply(&change(1, vec![a.clone(), b.clone(), c.clone()], &[]), 6), Answer::Done);
    assert_eq!(state.apply(&change(2, vec![a.clone(), c.clone()], std::slice::from_ref(&b)), 7), Answer::Done);
    assert_eq!(state.witnesses, [], "n1 and n3 go on without n2");
    assert_eq!(state.apply(&change(3, vec![a.clone()], std::slice::from_ref(&c)), 8), Answer::Done);
    assert!(state.is_eligible("n3", "c") && !state.is_eligible("n2", "b") && !state.is_eligible("n3", "restarted"));
    assert_eq!(state.apply(&change(4, vec![a, b], &[]), 9), Answer::Done);
    assert!(!state.is_eligible("n3", "c"), "n1 and n2 acknowledge without it");
}

#[test]
fn who_left_without_everything_that_was_shown_bears_no_witness() {
    let mut state = cluster();
    assert_eq!(state.apply(&change(1, vec![process("n1", "a")], &[]), 6), Answer::Done);
    assert!(!state.is_eligible("n2", "b"));
}

#[test]
fn a_promotion_or_another_minimum_ends_all_testimony() {
    let mut state = cluster();
    let shrink = change(1, vec![process("n1", "a")], &[process("n2", "b")]);
    assert_eq!(state.apply(&shrink, 6), Answer::Done);
    let mut relaxed = state.clone();
    assert_eq!(relaxed.apply(&Command::SetMinIsr { expect_isr_version: 2, min_isr: 1 }, 7), Answer::Done);
    assert_eq!((relaxed.min_isr, relaxed.isr_version, relaxed.is_eligible("n2", "b")), (1, 3, false));
    let isr = vec![process("n1", "a")];
    let promote = Command::Promote { expect_epoch: 1, expect_isr_version: 2, epoch: 2, master: "n1".into(), isr };
    assert_eq!(state.apply(&promote, 7), Answer::Done);
    assert!(!state.is_eligible("n2", "b"));
}

#[test]
fn an_isr_computed_under_another_minimum_is_refused() {
    let mut state = cluster();
    assert_eq!(state.apply(&Command::SetMinIsr { expect_isr_version: 1, min_isr: 3 }, 6), Answer::Done);
    let text = conflict(&mut state, &change(1, vec![process("n1", "a")], &[]));
    assert_eq!(text, "the ISR version is 2, not 1");
    let text = conflict(&mut state, &Command::SetMinIsr { expect_isr_version: 2, min_isr: 0 });
    assert_eq!(text, "0 would acknowledge writes that nobody holds");
}

#[test]
fn only_a_node_outside_the_isr_is_removed() {
    let mut state = cluster();
    let remove = |name: &str| Command::RemoveMember { expect_isr_version: 1, name: name.into() };
    assert_eq!(conflict(&mut state, &remove("n2")), "n2 is in the ISR");
    assert_eq!(conflict(&mut state, &remove("n9")), "n9 is no member of the cluster");
    assert_eq!(state.apply(&remove("n3"), 6), Answer::Done);
    assert!(state.member("n3").is_none());
}

#[test]
fn a_log_of_before_there_were_witnesses_is_read() {
    let text = r#"{"ChangeIsr":{"expect_epoch":1,"expect_isr_version":1,"isr":[{"name":"n1","incarnation":"a"}]}}"#;
    assert_eq!(serde_json::from_str::<Command>(text).unwrap(), change(1, vec![process("n1", "a")], &[]));
}
