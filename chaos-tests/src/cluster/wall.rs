//! A wall clock of each process's own, which can jump and run fast or slow: libfaketime, told by a file a process.
//!
//! Only `CLOCK_REALTIME` is shifted. `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME` stay the kernel's, as they do when somebody
//! sets the clock of a machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// Where Debian and others have the variant for programs with threads.
const FOLDERS: [&str; 3] = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// Seconds for which the library remembers what the file says: reading it for every look at the clock would make every
/// process slower.
pub const REMEMBERED_SECONDS: u64 = 1;

/// The library, if it is installed.
#[must_use]
pub fn library() -> Option<PathBuf> {
    let below = |folder: &str| {
        let inner = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        inner.chain([PathBuf::from(folder)]).map(|folder| folder.join(LIBRARY)).find(|path| path.exists())
    };
    FOLDERS.into_iter().find_map(below)
}

/// How a wall clock differs from the machine's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Skew {
    pub ahead_seconds: i64,
    /// Seconds that it counts while one passes, counted from the start of the process on.
    pub rate: f64,
}

impl Skew {
    pub const NONE: Self = Self { ahead_seconds: 0, rate: 1.0 };

    #[must_use]
    pub fn ahead(seconds: i64) -> Self {
        Self { ahead_seconds: seconds, ..Self::NONE }
    }

    /// With the rate always: a clock keeps the one that it was told before.
    fn text(self) -> String {
        format!("{:+} x{}\n", self.ahead_seconds, self.rate)
    }
}

/// Sets the clock of whoever reads the file, whole or not at all: it is looked at whenever that process likes.
///
/// # Errors
/// The file cannot be written.
pub fn set(file: &Path, skew: Skew) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, skew.text())?;
    fs::rename(&new, file)
}

/// Lets a program have the clock that the file says.
pub(super) fn give(command: &mut Command, library: &Path, file: &Path) {
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", file);
    command.env("FAKETIME_CACHE_DURATION", REMEMBERED_SECONDS.to_string());
    // Both names are in use, by the version.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
}

/// Removes what the library leaves behind of a process that had no time to tidy up.
pub(super) fn tidy_up_after(pid: u32) {
    for prefix in ["faketime_shm_", "sem.faketime_sem_"] {
        // It is not there if the process ended in order.
        let _ = fs::remove_file(format!("/dev/shm/{prefix}{pid}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_told_in_its_own_words() {
        assert_eq!(Skew::NONE.text(), "+0 x1\n");
        assert_eq!(Skew::ahead(-3600).text(), "-3600 x1\n");
        assert_eq!(Skew { ahead_seconds: 7, rate: 2.5 }.text(), "+7 x2.5\n");
    }

    #[test]
    fn a_clock_follows_its_file_and_the_boot_clock_does_not() {
        let Some(library) = library() else {
            eprintln!("skipped: libfaketime is not installed");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        let read = |ahead: i64| {
            set(&file, Skew::ahead(ahead)).unwrap();
            let mut command = Command::new("date");
            command.arg("+%s");
            give(&mut command, &library, &file);
            let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
            let pid = child.id();
            let output = child.wait_with_output().unwrap();
            tidy_up_after(pid);
            String::from_utf8(output.stdout).unwrap().trim().parse::<i64>().unwrap()
        };
        let (now, behind, ahead) = (read(0), read(-7200), read(7200));
        assert!((now - behind - 7200).abs() < 60, "{now} {behind}");
        assert!((ahead - now - 7200).abs() < 60, "{now} {ahead}");
    }
}
