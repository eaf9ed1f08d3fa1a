//! A file system of a node's own in a file, which can be filled up or made slow.
//!
//! It is mounted in the drill's own mount namespace: with the drill's last process the mount is gone, and with the mount
//! its loop device.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use crate::sys::{self, Namespace};

/// Sparse; more than any drill writes.
const SIZE: u64 = 2 << 30;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no mount namespace: {0} (it takes root)")]
    Namespace(io::Error),
    #[error("`{command}` failed: {why}")]
    Tool { command: String, why: String },
    #[error("{path}: {error}")]
    File { path: PathBuf, error: io::Error },
}

#[derive(Debug)]
pub struct Disk {
    mount: PathBuf,
}

/// Lets mounts of this process stay its own. Call it before the process has more than one thread.
///
/// # Errors
/// We may not.
pub fn enter_own_mounts() -> Result<(), Error> {
    sys::unshare(Namespace::Mounts).map_err(Error::Namespace)?;
    run("mount", &[OsStr::new("--make-rprivate"), OsStr::new("/")])
}

impl Disk {
    /// Makes and mounts a file system under `folder`.
    pub(super) fn mount(folder: &Path, name: &str) -> Result<Self, Error> {
        let image = folder.join(format!("{name}.ext4"));
        let mount = folder.join(name);
        let to_error = |path: &Path| {
            let path = path.to_owned();
            move |error| Error::File { path, error }
        };
        fs::File::create(&image).and_then(|file| file.set_len(SIZE)).map_err(to_error(&image))?;
        fs::create_dir(&mount).map_err(to_error(&mount))?;
        run("mkfs.ext4", &[OsStr::new("-q"), OsStr::new("-m"), OsStr::new("0"), image.as_os_str()])?;
        run("mount", &[OsStr::new("-o"), OsStr::new("loop,noatime"), image.as_os_str(), mount.as_os_str()])?;
        Ok(Self { mount })
    }

    /// Where the node's data lies: not the mount's root, which holds `lost+found` and the ballast.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.mount.join("data")
    }

    /// Takes all the room that is left.
    ///
    /// # Errors
    /// There is room left: the fault did not happen.
    pub fn fill(&self) -> Result<(), Error> {
        let ballast = self.ballast();
        let to_error = |error| Error::File { path: ballast.clone(), error };
        let mut file = fs::File::options().create(true).append(true).open(&ballast).map_err(to_error)?;
        for size in [1 << 20, 4096] {
            let block = vec![0xB5_u8; size];
            loop {
                match io::Write::write(&mut file, &block) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(to_error(error)),
                }
            }
        }
        Ok(())
    }

    /// Gives the room back, and says how much it was.
    ///
    /// # Errors
    /// It had not been taken.
    pub fn free(&self) -> Result<u64, Error> {
        let ballast = self.ballast();
        let to_error = |error| Error::File { path: ballast.clone(), error };
        let size = fs::metadata(&ballast).map_err(to_error)?.len();
        fs::remove_file(&ballast).map_err(to_error)?;
        Ok(size)
    }

    /// Begins to let every write and sync wait again and again, for `stall` each time with a tenth of it in between,
    /// `times` times. The shell thaws what it froze also if we are gone.
    ///
    /// # Errors
    /// There is no shell.
    pub fn stall(&self, stall: Duration, times: usize) -> Result<Stalling, Error> {
        let script = "for i in $(seq \"$3\"); do fsfreeze -f \"$1\" || exit 1; sleep \"$2\"; fsfreeze -u \"$1\" || exit 1; sleep \"$4\"; done";
        let seconds = |duration: Duration| format!("{:.3}", duration.as_secs_f64());
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&self.mount);
        command.args([seconds(stall), times.to_string(), seconds(stall / 10)]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| Error::File { path: self.mount.clone(), error })?;
        Ok(Stalling { child })
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }
}

/// A disk that is slow for a while.
#[derive(Debug)]
pub struct Stalling {
    child: Child,
}

impl Stalling {
    /// Waits until the disk is quick again.
    ///
    /// # Errors
    /// It was not slow: it could not be frozen.
    pub fn end(self) -> Result<(), Error> {
        let to_error = |why: String| Error::Tool { command: "fsfreeze".to_owned(), why };
        let output = self.child.wait_with_output().map_err(|error| to_error(error.to_string()))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(to_error(String::from_utf8_lossy(&output.stderr).into_owned()))
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still hold it.
        let _ = run("umount", &[OsStr::new("-l"), self.mount.as_os_str()]);
    }
}

fn run(program: &str, args: &[&OsStr]) -> Result<(), Error> {
    let to_error = |why: String| {
        let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        Error::Tool { command: format!("{program} {}", words.join(" ")), why }
    };
    let output = Command::new(program).args(args).output().map_err(|error| to_error(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(to_error(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
