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
    let shrink = Command::ChangeIsr { expect_epoch: 1, expect_isr_version: 1, isr: vec![process("n1", "a")] };
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
        let text = conflict(&mut state, &Command::ChangeIsr { expect_epoch: 1, expect_isr_version: 1, isr });
        assert_eq!(text, "the ISR must hold the master n1 itself");
    }
}

#[test]
fn an_isr_of_strangers_or_doubles_is_refused() {
    let mut state = cluster();
    let change = |isr| Command::ChangeIsr { expect_epoch: 1, expect_isr_version: 1, isr };
    let stranger = change(vec![process("n1", "a"), process("n9", "x")]);
    assert_eq!(conflict(&mut state, &stranger), "n9 is no member of the cluster");
    let double = change(vec![process("n1", "a"), process("n1", "a")]);
    assert_eq!(conflict(&mut state, &double), "n1 is twice in the ISR");
}

#[test]
fn what_changes_nothing_makes_no_newer_state() {
    let mut state = cluster();
    let same = Command::ChangeIsr { expect_epoch: 1, expect_isr_version: 1, isr: state.isr.clone() };
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
