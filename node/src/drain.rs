//! The end of a node's clients, when the node stops: no request is lost. `leaving.rs` says what they are asked for.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clients::Protocol;
use crate::leaving::Leave;
use crate::limits;
use crate::node::Node;

/// Lets the clients finish, for `grace` as long as they like, and then as quickly as they can.
pub async fn drain(node: &Node, grace: Duration) {
    let began = node.clients.len();
    // Those of the broker and of the gateway are told, or cut off, at the end.
    let stages: [(_, _, &[Protocol]); 2] = [
        (Leave::WhenIdle, grace, &[Protocol::Resp]),
        (Leave::AtOnce, limits::LAST_REPLIES, &[Protocol::Resp, Protocol::Amqp]),
    ];
    for (leave, limit, protocols) in stages {
        node.leaving.ask(leave);
        let deadline = Instant::now() + limit;
        loop {
            let mut left = node.clients.list();
            left.retain(|client| protocols.contains(&client.protocol));
            if left.is_empty() || Instant::now() >= deadline {
                break;
            }
            left.iter().for_each(|client| client.wake());
            sleep(limits::DRAIN_LOOK).await;
        }
    }
    tracing::info!(began, left = node.clients.len(), "clients have left");
}
