//! `tercet-node backup` and `restore`: a copy of a running node's data, and a data directory from such a copy.
//!
//! ```text
//! backup DIR --BACKUP--> the running node: checkpoint, then a RocksDB checkpoint (hard links) in DIR
//! restore DIR            DIR --copied, synced--> <data>.restoring --opened, renamed--> <data>
//! ```
//!
//! A copy is what a power cut would leave, so a start from it is an ordinary recovery.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tercet_proto::resp::Value;

use crate::config::{Config, Over};
use crate::storage::{self, Storage};

/// Nothing was copied, or not all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no node answers on port {port}: {error}")]
    NoNode { port: u16, error: io::Error },
    #[error("the node answers: {0}")]
    Refused(String),
    #[error("{} is no backup: there is no file CURRENT in it", .0.display())]
    NoBackup(PathBuf),
    #[error("data directory {} is not empty; choose another one with --data, or replace it with --force", .0.display())]
    NotEmpty(PathBuf),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// A checkpoint of a large node takes minutes.
const BACKUP_LIMIT: Duration = Duration::from_secs(3600);

/// Asks the node of these settings for a copy of its data in `directory`, which is made.
///
/// # Errors
/// There is no such node, or it refuses.
pub fn ask(config: &Config, directory: &Path) -> Result<String, Error> {
    let path = std::path::absolute(directory).map_err(|error| file(directory, error))?;
    let host: IpAddr = if config.bind.is_unspecified() { [127, 0, 0, 1].into() } else { config.bind };
    let port = config.resp_port;
    let no_node = |error| Error::NoNode { port, error };
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(host, port), CONNECT_LIMIT).map_err(no_node)?;
    stream.set_read_timeout(Some(BACKUP_LIMIT)).map_err(no_node)?;
    if !config.requirepass.is_empty() {
        command(&mut stream, &["AUTH", &config.requirepass]).map_err(no_node)?.ok()?;
    }
    let text = path.to_str().ok_or_else(|| file(&path, io::Error::other("its name is not UTF-8")))?;
    command(&mut stream, &["BACKUP", text]).map_err(no_node)?.ok()?;
    Ok(format!("the data is in {text}"))
}

struct Reply(Value);

impl Reply {
    fn ok(self) -> Result<(), Error> {
        match self.0 {
            Value::Simple(_) => Ok(()),
            Value::Error(text) => Err(Error::Refused(text)),
            other => Err(Error::Refused(format!("{other:?}"))),
        }
    }
}

fn command(stream: &mut TcpStream, words: &[&str]) -> io::Result<Reply> {
    stream.write_all(&Value::command(words))?;
    let mut received = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        if let Some((value, _)) = Value::decode(&received).map_err(io::Error::other)? {
            return Ok(Reply(value));
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Makes the data directory `data` from the copy in `backup`.
///
/// # Errors
/// The copy cannot be read or is damaged, or there is something in `data` already.
pub fn restore(data: &Path, backup: &Path, over: Over) -> Result<String, Error> {
    if !backup.join("CURRENT").is_file() {
        return Err(Error::NoBackup(backup.to_owned()));
    }
    let is_empty = match fs::read_dir(data) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(file(data, error)),
    };
    if !is_empty && over == Over::Nothing {
        return Err(Error::NotEmpty(data.to_owned()));
    }
    if !is_empty {
        // Not under the feet of a node that runs.
        let in_use = Storage::open(data).err().filter(|error| matches!(error, storage::Error::InUse { .. }));
        in_use.map_or(Ok(()), Err)?;
    }
    // A restore that breaks off leaves what is in `data`.
    let fresh = data.with_file_name(format!(
        "{}.restoring",
        data.file_name().map(|name| name.to_string_lossy()).unwrap_or_default()
    ));
    remove(&fresh)?;
    let bytes = copy(backup, &fresh)?;
    let bounds = Storage::open(&fresh)?.journal_bounds()?;
    remove(data)?;
    fs::rename(&fresh, data).map_err(|error| file(data, error))?;
    Ok(format!("restored {bytes} bytes to {}; its newest record is {}", data.display(), bounds.end))
}

fn remove(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(directory, error)),
        _ => Ok(()),
    }
}

/// The files of a directory, synced. A store has no directories in its own.
fn copy(from: &Path, to: &Path) -> Result<u64, Error> {
    fs::create_dir_all(to).map_err(|error| file(to, error))?;
    let mut bytes = 0;
    for entry in fs::read_dir(from).map_err(|error| file(from, error))? {
        let path = entry.map_err(|error| file(from, error))?.path();
        if !path.is_file() {
            continue;
        }
        let target = to.join(path.file_name().unwrap_or_default());
        bytes += fs::copy(&path, &target).map_err(|error| file(&path, error))?;
        File::open(&target).and_then(|copied| copied.sync_all()).map_err(|error| file(&target, error))?;
    }
    File::open(to).and_then(|directory| directory.sync_all()).map_err(|error| file(to, error))?;
    Ok(bytes)
}

fn file(path: &Path, error: io::Error) -> Error {
    Error::File { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_does_not_replace_data_unless_it_is_told_to_and_takes_backups_only() {
        let folder = tempfile::tempdir().unwrap();
        let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
        {
            let storage = Storage::open(&data).unwrap();
            storage.join_cluster("abc").unwrap();
            storage.backup(&copy).unwrap();
            assert!(storage.backup(&copy).unwrap_err().to_string().contains("it is there already"));
            let error = restore(&data, &copy, Over::Anything).unwrap_err().to_string();
            assert!(error.contains("in use"), "{error}");
        }
        assert!(matches!(restore(&data, &copy, Over::Nothing), Err(Error::NotEmpty(_))));
        assert!(matches!(restore(&data, folder.path(), Over::Anything), Err(Error::NoBackup(_))));
        fs::write(data.join("stranger"), b"x").unwrap();
        restore(&data, &copy, Over::Anything).unwrap();
        assert!(!data.join("stranger").exists());
        assert_eq!(Storage::open(&data).unwrap().cluster_id(), Some("abc".to_owned()));
        let elsewhere = folder.path().join("elsewhere");
        restore(&elsewhere, &copy, Over::Nothing).unwrap();
        assert!(Storage::open(&elsewhere).is_ok());
    }

    #[test]
    fn a_damaged_backup_is_refused_and_the_data_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
        {
            let storage = Storage::open(&data).unwrap();
            storage.backup(&copy).unwrap();
        }
        for entry in fs::read_dir(&copy).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST") {
                fs::write(path, b"nonsense").unwrap();
            }
        }
        let error = restore(&data, &copy, Over::Anything).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
        assert!(Storage::open(&data).is_ok());
    }
}
