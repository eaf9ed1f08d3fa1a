//! Accepts AMQP clients, and spreads them over the I/O threads.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{connection, sweep};
use crate::clients::{Protocol, Registration};
use crate::clock;
use crate::cluster::carry::{Port, carry};
use crate::drain::Leave;
use crate::limits;
use crate::node::Shared;
use crate::role::Role;

/// Counts how often this node has ceased to be master. Connections look at this and not at the authority, which tells
/// of every renewal of a lease that had run out.
pub(super) type Depositions = watch::Receiver<u64>;

/// Accepts AMQP clients until the listener fails.
///
/// # Errors
/// The listener is broken.
pub async fn accept(node: Shared, listener: TcpListener, threads: Vec<Handle>) -> std::io::Result<()> {
    let (told, depositions) = watch::channel(0);
    tokio::spawn(watch_role(Arc::clone(&node), told));
    tokio::spawn(sweep::run(Arc::clone(&node)));
    for turn in 0usize.. {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Out of descriptors, or the client was gone already: the next one may do better.
            Err(error) => {
                tracing::warn!(%error, "cannot accept an AMQP client");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        let thread = &threads[turn % threads.len()];
        // A new client is not concerned by what was before it; a clone would have it told.
        let mut depositions = depositions.clone();
        depositions.mark_unchanged();
        if let Err(error) = admit(&node, stream, address, thread, depositions) {
            tracing::debug!(%address, %error, "AMQP client was gone before it was served");
        }
    }
    Ok(())
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

fn admit(
    node: &Shared,
    stream: TcpStream,
    address: SocketAddr,
    thread: &Handle,
    depositions: Depositions,
) -> std::io::Result<()> {
    use std::sync::atomic::Ordering::Relaxed;
    node.stats.connections.fetch_add(1, Relaxed);
    if node.clients.len() >= node.config.live.maxclients.size() {
        node.stats.rejected_connections.fetch_add(1, Relaxed);
        tracing::warn!(%address, "too many clients, an AMQP client is turned away");
        return Ok(());
    }
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let stream = stream.into_std()?;
    let registration = Registration::new(Arc::clone(node), Protocol::Amqp, address, local);
    let client = Arc::clone(&registration.client);
    let node = Arc::clone(node);
    let task = thread.spawn(async move {
        // Registered with the reactor of the thread that serves it.
        let served = match TcpStream::from_std(stream) {
            Ok(stream) => serve(node, stream, registration, depositions).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::debug!(%address, %error, "AMQP client's connection failed");
        }
    });
    client.served_by(task.abort_handle());
    Ok(())
}

/// Serves a client here if this node is master, and carries it to the master otherwise.
async fn serve(
    node: Shared,
    stream: TcpStream,
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
