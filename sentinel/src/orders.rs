//! What an operator may order of the cluster, from whichever sentinel it is asked: the leader carries it out.

use std::{sync::Arc, time::Duration};

use tercet_proto::grpc::sentinel::v1::{self as wire, OrderRequest, order_request};
use tracing::{info, warn};

use crate::{
    act, limits, membership, raft,
    shared::Shared,
    state::{Answer, Command, SentinelMember},
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
    /// Not an operator's: a new sentinel asks for a vote.
    AddSentinel { sentinel: SentinelMember },
    /// `REMOVE-SENTINEL <name> <sentinel>`, by its name or id.
    RemoveSentinel { sentinel: String },
}

impl Order {
    /// How long the leader may take.
    fn timeout(&self) -> Duration {
        match self {
            Self::AddSentinel { .. } | Self::RemoveSentinel { .. } => limits::JOIN_TIMEOUT,
            Self::Recover { .. } | Self::RemoveNode { .. } | Self::SetMinIsr { .. } => limits::FORWARD_TIMEOUT,
        }
    }
}

impl From<Order> for order_request::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Recover { node } => Self::Recover(wire::Recover { node: node.unwrap_or_default() }),
            Order::RemoveNode { name } => Self::RemoveNode(wire::RemoveNode { name }),
            Order::SetMinIsr { min_isr } => Self::SetMinIsr(wire::SetMinIsr { min_isr }),
            Order::AddSentinel { sentinel } => {
                Self::AddSentinel(wire::AddSentinel { sentinel: Some((&sentinel).into()) })
            }
            Order::RemoveSentinel { sentinel } => Self::RemoveSentinel(wire::RemoveSentinel { sentinel }),
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
            order_request::Order::AddSentinel(order) => {
                Self::AddSentinel { sentinel: order.sentinel.unwrap_or_default().into() }
            }
            order_request::Order::RemoveSentinel(order) => Self::RemoveSentinel { sentinel: order.sentinel },
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
            Order::AddSentinel { sentinel } => {
                to_its_end(shared, async move |shared| membership::add(&shared, sentinel).await).await
            }
            Order::RemoveSentinel { sentinel } => {
                to_its_end(shared, async move |shared| membership::remove(&shared, &sentinel).await).await
            }
        };
    }
    let leader = leadership.leader.and_then(|leader| shared.other(leader));
    let (Some(leader), Forward::Yes) = (leader, forward) else {
        return Err("ERR the sentinels have no leader at the moment; try again".into());
    };
    let patience = order.timeout();
    let request = OrderRequest { cluster_id: shared.cluster_id(), forwarded: true, order: Some(order.into()) };
    match tokio::time::timeout(patience, leader.control().order(request)).await {
        Ok(Ok(reply)) if reply.get_ref().error.is_empty() => Ok(()),
        Ok(Ok(reply)) => Err(reply.into_inner().error),
        Ok(Err(status)) => Err(format!("ERR the leader of the sentinels could not be asked: {}", status.message())),
        Err(_) => Err("ERR the leader of the sentinels did not answer".into()),
    }
}

/// A change of several steps goes on when whoever asked for it has gone.
async fn to_its_end<F>(shared: &Arc<Shared>, change: impl FnOnce(Arc<Shared>) -> F) -> Result<(), String>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let task = tokio::spawn(change(Arc::clone(shared)));
    task.await.unwrap_or_else(|_| Err("ERR this sentinel stops".into()))
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
        Err(
            error @ (raft::Error::NotLeader { .. }
            | raft::Error::Timeout(_)
            | raft::Error::Stopped(_)
            | raft::Error::Refused(_)),
        ) => {
            warn!(%error, "an operator's order was not agreed on");
            Err(format!("ERR {error}; try again"))
        }
    }
}
