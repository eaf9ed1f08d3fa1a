//! Takes RESP clients in, and spreads them over the I/O threads.

use std::sync::Arc;

use tercet_edge::accept::{Door, Guest};
use tokio::runtime::Handle;

use super::connection::serve;
use crate::clients::{Protocol, Registration};
use crate::node::{Node, Shared};

/// What Redis 7.0 says.
const DENIED: &[u8] =
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the \
    default user. In this mode connections are only accepted from the loopback interface. If you want to connect \
    from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected \
    mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis \
    from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet \
    if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the \
    protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and \
    then restarting the server. 3) If you started the server manually just for testing, restart it with the '-- \
    protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only need \
    to do one of the above things in order for the server to start accepting connections from the outside.\r\n";

const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";

/// Takes RESP clients in until it is cancelled, and spreads them over the I/O threads.
pub async fn accept(node: Shared, door: Door, threads: Vec<Handle>) {
    use std::sync::atomic::Ordering::Relaxed;
    for thread in threads.iter().cycle() {
        let guest = door.next().await;
        node.stats.connections.fetch_add(1, Relaxed);
        let refusal = match node.is_full_for(&guest) {
            true => Some(TOO_MANY),
            false => is_denied(&node, &guest).then_some(DENIED),
        };
        match refusal {
            Some(words) => {
                node.stats.rejected_connections.fetch_add(1, Relaxed);
                guest.turn_away(words);
            }
            None => admit(&node, guest, thread),
        }
    }
}

/// Protected mode: without a password, a node serves clients of its own machine.
fn is_denied(node: &Node, guest: &Guest) -> bool {
    // While the accounts are still being loaded, the settings are what is known.
    let is_open = node.is_open_to_resp().unwrap_or_else(|| node.requirepass().is_empty());
    node.config.live.protected_mode.is_on() && is_open && !guest.address.ip().to_canonical().is_loopback()
}

fn admit(node: &Shared, guest: Guest, thread: &Handle) {
    guest.keep_alive(node.config.live.tcp_keepalive.size());
    let address = guest.address;
    let Ok(local) = guest.local() else {
        tracing::debug!(%address, "client was gone before it was served");
        return;
    };
    let registration = Registration::new(Arc::clone(&node.clients), Protocol::Resp, address, local);
    let client = registration.client.clone();
    let node = Arc::clone(node);
    let task = thread.spawn(async move {
        // Registered with the reactor of the thread that serves it.
        let served = match guest.enter().await {
            Ok(socket) => serve(node, socket, registration).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::debug!(%error, "client's connection failed");
        }
    });
    client.served_by(task.abort_handle());
}
