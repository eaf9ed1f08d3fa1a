//! Of two states that sentinels sent, which is the newer one? And what does the newest make of this node?

use tercet_proto::grpc::cluster::v1::{ClusterState, Member};

use crate::node::Identity;

/// A state is newer by its epoch, then by the version of its ISR, then by its place in the sentinels' log.
pub fn is_newer(state: &ClusterState, than: &ClusterState) -> bool {
    let order = |state: &ClusterState| (state.epoch, state.isr_version, state.log_index);
    order(state) > order(than)
}

/// What a state says that this process is.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// There is no master yet, or it is a former process of this node.
    Nobody,
    Master,
    Follower(Box<Member>),
}

pub fn part(state: &ClusterState, identity: &Identity) -> Part {
    if state.epoch == 0 || state.master.is_empty() {
        return Part::Nobody;
    }
    if state.master == identity.name {
        let is_this_process =
            |name: &str, incarnation: &str| name == identity.name && incarnation == identity.incarnation;
        let is_member = state.isr.iter().any(|member| is_this_process(&member.name, &member.incarnation));
        return if is_member { Part::Master } else { Part::Nobody };
    }
    let master = state.members.iter().find(|member| member.name == state.master);
    // A master without an address cannot be followed; a newer state will have it.
    master.map_or(Part::Nobody, |master| Part::Follower(Box::new(master.clone())))
}

#[cfg(test)]
mod tests {
    use tercet_proto::grpc::cluster::v1::IsrMember;

    use super::*;

    fn state(epoch: u64, isr_version: u64, log_index: u64) -> ClusterState {
        ClusterState { epoch, isr_version, log_index, ..ClusterState::default() }
    }

    #[test]
    fn the_epoch_decides_before_the_version_before_the_log() {
        assert!(is_newer(&state(2, 1, 1), &state(1, 9, 9)));
        assert!(is_newer(&state(1, 2, 1), &state(1, 1, 9)));
        assert!(is_newer(&state(1, 1, 2), &state(1, 1, 1)));
        assert!(!is_newer(&state(1, 1, 1), &state(1, 1, 1)));
    }

    #[test]
    fn a_former_process_of_the_same_name_is_not_this_one() {
        let identity = Identity { name: "n1".into(), node_id: "d".into(), incarnation: "new".into() };
        let member = |incarnation: &str| IsrMember { name: "n1".into(), incarnation: incarnation.into() };
        let mut state = ClusterState { epoch: 3, master: "n1".into(), isr: vec![member("old")], ..state(3, 1, 1) };
        assert_eq!(part(&state, &identity), Part::Nobody);
        state.isr.push(member("new"));
        assert_eq!(part(&state, &identity), Part::Master);
        state.master = "n2".into();
        assert_eq!(part(&state, &identity), Part::Nobody, "no address");
        state.members.push(Member { name: "n2".into(), ..Member::default() });
        assert!(matches!(part(&state, &identity), Part::Follower(_)));
    }
}
