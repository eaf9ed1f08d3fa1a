//! What the disk refuses, as one line for the operator: what is broken, and what mends it.

use std::path::PathBuf;

/// The data directory cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("data directory {}: {reason}; check the path or choose another one with --data", path.display())]
    Directory { path: PathBuf, reason: String },
    #[error("data directory {} is in use by another process; stop it or choose another one with --data", path.display())]
    InUse { path: PathBuf },
    #[error("data directory {}: {key} is damaged ({found:?}); restore a backup with `tercet-node restore`, or empty the directory: a member of a cluster is then loaded by its master", path.display())]
    Damaged { path: PathBuf, key: &'static str, found: String },
    /// Files are missing, or do not hold what was written to them.
    #[error("data directory {} is damaged: {reason}; restore a backup with `tercet-node restore`, or empty the directory: a member of a cluster is then loaded by its master", path.display())]
    Broken { path: PathBuf, reason: String },
    /// The log ends before what was synced.
    #[error("data directory {} is damaged: its log ends at write {found}, but write {synced} had been synced; restore a backup with `tercet-node restore`, or empty the directory: a member of a cluster is then loaded by its master; a node by itself goes on without what is lost if {} is removed", path.display(), file.display())]
    Lost { path: PathBuf, found: u64, synced: u64, file: PathBuf },
    #[error("backup to {}: {reason}", directory.display())]
    Backup { directory: PathBuf, reason: String },
    #[error("data directory {}: {reason}", path.display())]
    Write { path: PathBuf, reason: String },
    #[error("data directory {}: less than {limit} bytes are free: No space left on device", path.display())]
    NoRoom { path: PathBuf, limit: u64 },
    #[error("data directory {}: there is no room for the {bytes} bytes that a start takes: {reason}; make room, or choose another directory with --data", path.display())]
    NoRoomToOpen { path: PathBuf, bytes: usize, reason: String },
    #[error("data directory {}: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    #[error("data directory {}: its format is {format}, and this program knows those up to {known}: it was written by a newer version; run that one, or choose another directory with --data", path.display())]
    Format { path: PathBuf, format: u64, known: u64 },
    #[error("this node belongs to cluster {ours}, not to {theirs}")]
    OtherCluster { ours: String, theirs: String },
}

impl Error {
    /// What the system said, for clients: without the path.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Directory { reason, .. } | Self::Write { reason, .. } | Self::Read { reason, .. } => {
                system_text(reason).to_owned()
            }
            Self::NoRoom { .. } => "No space left on device".to_owned(),
            other => other.to_string(),
        }
    }
}

/// RocksDB says `IO error: <what the system said>: While appending to file: <path>: <what the system said>`.
fn system_text(reason: &str) -> &str {
    let text = reason.strip_prefix("IO error: ").unwrap_or(reason);
    text.split(": ").next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_what_the_system_said_and_no_path() {
        let path = PathBuf::from("/data");
        let said =
            "IO error: No space left on device: While appending to file: /data/000018.log: No space left on device";
        let error = Error::Write { path: path.clone(), reason: said.to_owned() };
        assert_eq!(error.reason(), "No space left on device");
        assert_eq!(Error::NoRoom { path, limit: 1 }.reason(), "No space left on device");
    }
}
