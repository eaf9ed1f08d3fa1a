//! Closes clients that do nothing, and those that read too slowly.

use crate::clients::{Protocol, state};
use crate::clock;
use crate::limits;
use crate::node::Shared;

/// Closes clients that have been idle for too long, or have read too slowly for too long, for as long as the node runs.
pub(crate) async fn sweep(node: Shared) {
    loop {
        tokio::time::sleep(limits::CLIENTS_SWEEP).await;
        let (live, now) = (&node.config.live, clock::boot_now());
        let timeout_ms = live.timeout.size() as u64 * 1000;
        for client in node.clients.list().iter().filter(|client| client.protocol == Protocol::Resp) {
            client.check_output(client.mail().1, &live.client_output_buffer_limit);
            // As Redis: who waits or listens is not idle.
            let is_waiting = client.is(state::BLOCKED | state::PUBSUB | state::MONITOR);
            if timeout_ms > 0 && !is_waiting && now.millis_since(client.about.lock().last_active) > timeout_ms {
                tracing::info!(client = client.id, address = %client.address, "closing idle client");
                client.close();
            }
        }
    }
}
