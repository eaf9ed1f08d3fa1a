//! Of two states that sentinels sent, which is the newer one? And what does the newest make of this node?

use tercet_proto::grpc::cluster::v1::{Address, ClusterState, Member};

use tercet_edge::name;

use crate::ids::Epoch;
use crate::limits;
use crate::node::Identity;

/// A state is newer by its epoch, then by the version of its ISR, then by its place in the sentinels' log.
pub fn is_newer(state: &ClusterState, than: &ClusterState) -> bool {
    let order = |state: &ClusterState| (state.epoch, state.isr_version, state.log_index);
    order(state) > order(than)
}

/// Whether a node that knows of epoch `known` may be told of epoch `asked`. One that knows of none has been away for ever.
#[must_use]
pub fn is_within_reach(asked: Epoch, known: Epoch) -> bool {
    asked.0 <= limits::MOST_EPOCH && (known == Epoch(0) || asked.0 <= known.0.saturating_add(limits::EPOCH_STEP))
}

/// Whether names, addresses and numbers of a state are such as sentinels take in.
///
/// # Errors
/// What is not.
pub fn check(state: &ClusterState) -> Result<(), &'static str> {
    let lists = [state.members.len(), state.isr.len(), state.witnesses.len(), state.sentinels.len()];
    if lists.iter().any(|length| *length > limits::MEMBERS) {
        return Err("it has too many members");
    }
    if state.cluster_id.len() > limits::MEMBERS || state.min_isr as usize > limits::MEMBERS {
        return Err("its cluster id or min-isr is out of range");
    }
    let processes = state.isr.iter().chain(&state.witnesses);
    let mut names = state.members.iter().map(|member| &member.name).chain(processes.map(|process| &process.name));
    if !names.all(|text| name::is_name(text)) || !(state.master.is_empty() || name::is_name(&state.master)) {
        return Err("a name of a node is no name");
    }
    let of_member = |member: &Member| {
        let Member { peer, resp, amqp, gateway, http, .. } = member.clone();
        [peer, resp, amqp, gateway, http]
    };
    let of_sentinels = state.sentinels.iter().map(|sentinel| sentinel.peer.clone());
    let mut addresses = state.members.iter().flat_map(of_member).chain(of_sentinels).flatten();
    let is_address = |address: &Address| {
        address.port <= u32::from(u16::MAX) && (address.host.is_empty() || name::is_host(&address.host))
    };
    if addresses.all(|address| is_address(&address)) { Ok(()) } else { Err("an address is no host and port") }
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
    fn an_epoch_that_would_bar_all_others_is_out_of_reach() {
        let reach = |asked, known| is_within_reach(Epoch(asked), Epoch(known));
        assert!(reach(8, 7) && reach(7 + limits::EPOCH_STEP, 7) && reach(1_000_000_000, 0));
        assert!(!reach(u64::MAX, 0) && !reach(u64::MAX, u64::MAX) && !reach(8 + limits::EPOCH_STEP, 7));
    }

    #[test]
    fn a_state_with_what_no_uri_or_log_line_takes_is_refused() {
        let member = |name: &str, host: &str, port: u32| Member {
            name: name.into(),
            peer: Some(Address { host: host.into(), port }),
            ..Member::default()
        };
        let of = |member: Member| check(&ClusterState { members: vec![member], ..state(1, 1, 1) });
        assert_eq!(of(member("n1", "host-1", 7379)), Ok(()));
        assert_eq!(of(member("n1", "::1", 7379)), Ok(()));
        assert!(of(member("n1", "my node", 7379)).is_err());
        assert!(of(member("n1", "n1", 70_000)).is_err());
        assert!(of(member("n 1", "n1", 1)).is_err());
        assert!(check(&ClusterState { min_isr: u32::MAX, ..state(1, 1, 1) }).is_err());
        let many = vec![member("n1", "n1", 1); limits::MEMBERS + 1];
        assert!(check(&ClusterState { members: many, ..state(1, 1, 1) }).is_err());
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
