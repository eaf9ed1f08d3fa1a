//! Accepts AMQP clients, and spreads them over the I/O threads.

use std::sync::Arc;

use tercet_edge::accept::{Door, Guest};
use tercet_edge::socket::Socket;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::connection::{self, Depositions};
use super::sweep;
use crate::clients::{Protocol, Registration};
use crate::clock;
use crate::cluster::carry::{Port, carry};
use crate::leaving::Leave;
use crate::node::Shared;
use crate::role::Role;

/// Takes AMQP clients in until it is cancelled. `doors` are its ports.
pub async fn accept(node: Shared, doors: Vec<Door>, threads: Vec<Handle>) {
    let (told, depositions) = watch::channel(0);
    tokio::spawn(watch_role(Arc::clone(&node), told));
    tokio::spawn(sweep::run(Arc::clone(&node)));
    let ports = doors.iter().map(|door| take_in(&node, door, &threads, &depositions));
    futures::future::join_all(ports).await;
}

async fn take_in(node: &Shared, door: &Door, threads: &[Handle], depositions: &Depositions) {
    use std::sync::atomic::Ordering::Relaxed;
    for thread in threads.iter().cycle() {
        let guest = door.next().await;
        node.stats.connections.fetch_add(1, Relaxed);
        if node.is_full_for(&guest) {
            node.stats.rejected_connections.fetch_add(1, Relaxed);
            guest.turn_away(b"");
            continue;
        }
        // A new client is not concerned by what was before it; a clone would have it told.
        let mut depositions = depositions.clone();
        depositions.mark_unchanged();
        admit(node, guest, thread, depositions);
    }
}

async fn watch_role(node: Shared, told: watch::Sender<u64>) {
    let (mut changes, mut leaving) = (node.authority.subscribe(), node.leaving.subscribe());
    let mut was_master = false;
    loop {
        let is_master = changes.borrow_and_update().role == Role::Master;
        if was_master && !is_master {
            told.send_modify(|count| *count += 1);
        }
        was_master = is_master;
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            // A node that stops is master no longer, as far as its clients are concerned.
            _ = leaving.wait_for(|leave| *leave == Leave::AtOnce) => {
                told.send_modify(|count| *count += 1);
                return;
            }
        }
    }
}

fn admit(node: &Shared, guest: Guest, thread: &Handle, depositions: Depositions) {
    guest.keep_alive(node.config.live.tcp_keepalive.size());
    let address = guest.address;
    let Ok(local) = guest.local() else {
        tracing::debug!(%address, "AMQP client was gone before it was served");
        return;
    };
    let registration = Registration::new(Arc::clone(&node.clients), Protocol::Amqp, address, local);
    let client = Arc::clone(&registration.client);
    let node = Arc::clone(node);
    let task = thread.spawn(async move {
        // Registered with the reactor of the thread that serves it.
        let served = match guest.enter().await {
            Ok(socket) => serve(node, socket, registration, depositions).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::debug!(%address, %error, "AMQP client's connection failed");
        }
    });
    client.served_by(task.abort_handle());
}

/// Serves a client here if this node is master, and carries it to the master otherwise.
async fn serve(
    node: Shared,
    stream: Socket,
    registration: Registration,
    mut depositions: Depositions,
) -> std::io::Result<()> {
    // What lies behind is not this client's; before the look at the role, so that nothing is missed after it.
    depositions.mark_unchanged();
    node.loading.done().await;
    let is_master = node.authority.enter(clock::boot_now()).standing().role == Role::Master;
    let here = if is_master {
        Some(stream)
    } else {
        let carried = Box::pin(carry(Arc::clone(&node), stream, Port::Amqp)).await;
        depositions.mark_unchanged();
        carried
    };
    match here {
        Some(stream) => Box::pin(connection::serve(node, stream, registration, depositions)).await,
        None => Ok(()),
    }
}
