//! Accepts RESP clients, and spreads them over the I/O threads.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use super::connection::serve;
use crate::clients::{Protocol, Registration};
use crate::limits;
use crate::node::Shared;

/// Accepts RESP clients until the listener fails, and spreads them over the I/O threads.
///
/// # Errors
/// The listener is broken.
pub async fn accept(node: Shared, listener: TcpListener, threads: Vec<Handle>) -> std::io::Result<()> {
    for turn in 0usize.. {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Out of descriptors, or the client was gone already: the next one may do better.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = admit(&node, stream, address, &threads[turn % threads.len()]).await {
            tracing::debug!(%address, %error, "client was gone before it was served");
        }
    }
    Ok(())
}

async fn admit(node: &Shared, mut stream: TcpStream, address: SocketAddr, thread: &Handle) -> std::io::Result<()> {
    use std::sync::atomic::Ordering::Relaxed;
    node.stats.connections.fetch_add(1, Relaxed);
    if node.clients.len() >= node.config.live.maxclients.size() {
        node.stats.rejected_connections.fetch_add(1, Relaxed);
        return stream.write_all(b"-ERR max number of clients reached\r\n").await;
    }
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let stream = stream.into_std()?;
    let registration = Registration::new(Arc::clone(node), Protocol::Resp, address, local);
    let client = registration.client.clone();
    let node = Arc::clone(node);
    let task = thread.spawn(async move {
        // Registered with the reactor of the thread that serves it.
        let served = match TcpStream::from_std(stream) {
            Ok(stream) => serve(node, stream, registration).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::debug!(%error, "client's connection failed");
        }
    });
    client.served_by(task.abort_handle());
    Ok(())
}
