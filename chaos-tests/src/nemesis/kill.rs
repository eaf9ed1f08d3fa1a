//! `kill -9` of the master: the process is gone at once, the kernel resets its connections.

use crate::cluster::{Cluster, Error, Member};
use crate::sys::Moment;

/// A kill that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Killed {
    pub node: usize,
    /// Just before the signal was sent.
    pub at: Moment,
    /// The kernel has taken the process away: nothing that was sent later was answered by it.
    pub gone: Moment,
}

/// # Errors
/// The node did not run: the fault did not happen, so whatever follows proves nothing.
pub fn kill(cluster: &mut Cluster, node: usize) -> Result<Killed, Error> {
    let at = Moment::now();
    cluster.kill(Member::Node(node))?;
    Ok(Killed { node, at, gone: Moment::now() })
}
