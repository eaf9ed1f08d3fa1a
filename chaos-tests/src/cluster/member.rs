//! The six processes of a cluster.

pub const NODES: usize = 3;
pub const SENTINELS: usize = 3;

/// One of the six processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Member {
    Node(usize),
    Sentinel(usize),
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(index) => write!(f, "n{}", index + 1),
            Self::Sentinel(index) => write!(f, "s{}", index + 1),
        }
    }
}
