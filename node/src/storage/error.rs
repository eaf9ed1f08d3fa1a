//! What the disk refuses, as one line for the operator: what is broken, and what mends it.

use std::path::PathBuf;

/// The data directory cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("data directory {}: {reason}; check the path or choose another one with --data", path.display())]
    Directory { path: PathBuf, reason: String },
    #[error("data directory {} is in use by another process; stop it or choose another one with --data", path.display())]
    InUse { path: PathBuf },
    #[error("data directory {}: {key} is damaged ({found:?}); restore the directory or start with an empty one", path.display())]
    Damaged { path: PathBuf, key: &'static str, found: String },
    #[error("data directory {}: {reason}", path.display())]
    Write { path: PathBuf, reason: String },
    #[error("data directory {}: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    #[error("this node belongs to cluster {ours}, not to {theirs}")]
    OtherCluster { ours: String, theirs: String },
}

impl Error {
    /// What the system said, for clients: without the path.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Directory { reason, .. } | Self::Write { reason, .. } | Self::Read { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }
}
