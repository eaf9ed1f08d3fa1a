//! Once everything is healed there is, within `WITHIN`, a master that acknowledges a write, and the process of every node is
//! in its ISR.

use tercet_sentinel::state::ClusterState;

use super::super::clock::{MS, Nanos};

/// By far the longest road: a break that only a keepalive finds, on top of a master of no use that was put off.
pub(in super::super) const WITHIN: Nanos = 30_000 * MS;

/// Whether all is well again. `processes`: the incarnations that run.
pub(in super::super) fn is_well(state: &ClusterState, processes: &[String], has_acknowledged: bool) -> bool {
    has_acknowledged
        && state.isr.len() == processes.len()
        && state.isr.iter().all(|member| processes.contains(&member.incarnation))
}

#[cfg(test)]
mod tests {
    use tercet_sentinel::state::IsrMember;

    use super::*;

    #[test]
    fn a_member_that_is_missing_is_seen() {
        let member = |incarnation: &str| IsrMember { name: "n".into(), incarnation: incarnation.into() };
        let state = ClusterState { isr: vec![member("a"), member("b")], ..ClusterState::default() };
        let processes = ["a".to_owned(), "b".to_owned()];
        assert!(is_well(&state, &processes, true));
        assert!(!is_well(&state, &processes, false), "nothing was acknowledged");
        assert!(!is_well(&state, &["a".to_owned(), "c".to_owned()], true), "b is gone");
        assert!(!is_well(&state, &processes[..1], true));
    }
}
