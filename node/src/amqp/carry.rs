//! The seam to the cluster: a client that came to a node that is not master is carried to the master.

use tokio::net::TcpStream;

use crate::node::Shared;

/// Carries a connection until one of its ends closes.
///
/// # Errors
/// There is no master to carry it to, or one of the sockets failed.
pub(super) async fn carry(node: Shared, stream: TcpStream) -> std::io::Result<()> {
    let Some(address) = node.other_master().and_then(|master| master.amqp) else {
        return Err(std::io::Error::new(std::io::ErrorKind::NotConnected, "no master is known"));
    };
    let mut stream = stream;
    let port = u16::try_from(address.port).unwrap_or_default();
    let mut master = TcpStream::connect((address.host.as_str(), port)).await?;
    master.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut stream, &mut master).await?;
    Ok(())
}
