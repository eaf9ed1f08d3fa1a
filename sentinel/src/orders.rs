//! What an operator may order of the cluster, from whichever sentinel it is asked: the leader carries it out.

use std::sync::Arc;

use tercet_proto::grpc::sentinel::v1::{self as wire, OrderRequest, order_request};
use tracing::{info, warn};

use crate::{
    act, limits, raft,
    shared::Shared,
    state::{Answer, Command},
};

/// An order. Each is a subcommand of SENTINEL of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// `RECOVER <name> [node] FORCE`: go on without the nodes that have not reported.
    Recover { node: Option<String> },
    /// `REMOVE-NODE <name> <node>`: forget a node that was stopped for good.
    RemoveNode { name: String },
    /// `SET <name> min-isr <n>`.
    SetMinIsr { min_isr: u32 },
}

impl From<Order> for order_request::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Recover { node } => Self::Recover(wire::Recover { node: node.unwrap_or_default() }),
            Order::RemoveNode { name } => Self::RemoveNode(wire::RemoveNode { name }),
            Order::SetMinIsr { min_isr } => Self::SetMinIsr(wire::SetMinIsr { min_isr }),
        }
    }
}

impl From<order_request::Order> for Order {
    fn from(order: order_request::Order) -> Self {
        match order {
            order_request::Order::Recover(order) => {
                Self::Recover { node: Some(order.node).filter(|node| !node.is_empty()) }
            }
            order_request::Order::RemoveNode(order) => Self::RemoveNode { name: order.name },
            order_request::Order::SetMinIsr(order) => Self::SetMinIsr { min_isr: order.min_isr },
        }
    }
}

/// Whether an order may be passed on to the leader, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forward {
    Yes,
    No,
}

/// Carries an order out, or has the leader do it.
///
/// # Errors
/// The text of the RESP error.
pub(crate) async fn obey(shared: &Arc<Shared>, order: Order, forward: Forward) -> Result<(), String> {
    let leadership = *shared.consensus.leadership().borrow();
    if leadership.is_us {
        info!(?order, "an operator's order");
        return match order {
            Order::Recover { node } => act::recover(shared, node.as_deref()).await,
            Order::RemoveNode { name } => remove_node(shared, name).await,
            Order::SetMinIsr { min_isr } => set_min_isr(shared, min_isr).await,
        };
    }
    let leader = leadership.leader.and_then(|leader| shared.peers.get(leader));
    let (Some(leader), Forward::Yes) = (leader, forward) else {
        return Err("ERR the sentinels have no leader at the moment; try again".into());
    };
    let request = OrderRequest { cluster_id: shared.cluster_id(), forwarded: true, order: Some(order.into()) };
    match tokio::time::timeout(limits::FORWARD_TIMEOUT, leader.control().order(request)).await {
        Ok(Ok(reply)) if reply.get_ref().error.is_empty() => Ok(()),
        Ok(Ok(reply)) => Err(reply.into_inner().error),
        Ok(Err(status)) => Err(format!("ERR the leader of the sentinels could not be asked: {}", status.message())),
        Err(_) => Err("ERR the leader of the sentinels did not answer".into()),
    }
}

async fn remove_node(shared: &Shared, name: String) -> Result<(), String> {
    // It would come back at once.
    if shared.nodes.get(&name).is_some_and(|node| node.is_connected()) {
        return Err(format!("ERR {name} is running; stop it first"));
    }
    let expect_isr_version = shared.state().isr_version;
    change(shared, Command::RemoveMember { expect_isr_version, name }).await
}

async fn set_min_isr(shared: &Shared, min_isr: u32) -> Result<(), String> {
    let state = shared.state();
    if min_isr as usize > state.members.len() {
        return Err(format!("ERR min-isr {min_isr} is more than the {} nodes of the cluster", state.members.len()));
    }
    change(shared, Command::SetMinIsr { expect_isr_version: state.isr_version, min_isr }).await
}

async fn change(shared: &Shared, command: Command) -> Result<(), String> {
    match shared.consensus.propose(command).await {
        Ok(Answer::Done) => Ok(()),
        Ok(Answer::Conflict(reason)) => Err(format!("ERR {reason}")),
        Err(error @ (raft::Error::NotLeader { .. } | raft::Error::Timeout(_) | raft::Error::Stopped(_))) => {
            warn!(%error, "an operator's order was not agreed on");
            Err(format!("ERR {error}; try again"))
        }
    }
}
