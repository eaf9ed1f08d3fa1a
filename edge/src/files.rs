//! What others of this machine may see of a process: its files, its command line, and how many files it may open.

use std::io::Result;
use std::path::Path;

use tracing::warn;

use crate::limits;

/// Files that this process makes from now on are its user's alone: 0600, directories 0700.
#[expect(unsafe_code, reason = "std has no umask")]
pub fn keep_private() {
    // SAFETY: `umask` takes a number and cannot fail.
    unsafe { libc::umask(0o077) };
}

/// Makes a directory that only this user may enter; one that is there becomes so.
///
/// # Errors
/// It cannot be made, or is somebody else's.
pub fn make_private_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        // A volume may be mounted so that it cannot be changed: then its group is the operator's choice.
        _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
    }
    Ok(())
}

/// Overwrites secrets in the command line that `ps` shows. Whoever looked before has seen them: a file is better.
pub fn hide_arguments(secrets: &[String]) {
    if secrets.iter().any(|secret| !secret.is_empty()) {
        overwrite_arguments(secrets);
    }
}

#[expect(unsafe_code, reason = "the command line that the kernel shows is memory of this process")]
fn overwrite_arguments(secrets: &[String]) {
    let Some((start, length)) = arguments_in_memory() else { return };
    // SAFETY: the kernel says that the arguments lie there, in memory of this process that is mapped and writable for as
    // long as it lives; std has copied them before `main`, and no other thread runs yet that could look at them.
    let memory = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, length) };
    blank(memory, secrets);
}

/// Where the arguments lie: fields 48 and 49 of /proc/self/stat.
fn arguments_in_memory() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program may hold spaces and brackets; what is behind its last bracket begins with field 3.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(45);
    let start: usize = fields.next()?.parse().ok()?;
    let end: usize = fields.next()?.parse().ok()?;
    let length = end.checked_sub(start)?;
    (start > 0 && length <= 2 << 20).then_some((start, length))
}

/// Replaces whole arguments, and what is behind `=` in one.
fn blank(memory: &mut [u8], secrets: &[String]) {
    for argument in memory.split_mut(|byte| *byte == 0) {
        for secret in secrets.iter().filter(|secret| !secret.is_empty()).map(|secret| secret.as_bytes()) {
            let is_value = argument == secret
                || argument.strip_suffix(secret).is_some_and(|flag| flag.starts_with(b"--") && flag.ends_with(b"="));
            if is_value {
                let begin = argument.len() - secret.len();
                argument[begin..].fill(b'*');
            }
        }
    }
}

/// Lets this process open as many files as the system allows; says how many.
#[must_use]
#[expect(unsafe_code, reason = "std has no setrlimit")]
pub fn raise_descriptors() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit that the first call writes and the others read.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            let before = limit.rlim_cur;
            limit.rlim_cur = limit.rlim_max;
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
                return before;
            }
        }
    }
    limit.rlim_cur
}

/// How many of `wanted` clients there may be at once, so that descriptors are left for the disk and for peers.
#[must_use]
pub fn places_for_clients(descriptors: u64, wanted: usize) -> usize {
    let reserved = (descriptors / limits::RESERVED_PART).max(limits::RESERVED_DESCRIPTORS);
    // With very few descriptors in all: half of them.
    let room = descriptors.saturating_sub(reserved).max(descriptors / 2);
    let places = usize::try_from(room).unwrap_or(usize::MAX).min(wanted);
    if places < wanted {
        warn!(descriptors, wanted, places, "fewer clients than wanted: raise the limit of open files (ulimit -n)");
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blanked_where_they_are_values() {
        let mut memory = b"tercet-node\0--requirepass\0s3cret\0--cluster-token=s3cret\0--name\0xs3cret\0".to_vec();
        blank(&mut memory, &["s3cret".to_owned(), String::new()]);
        assert_eq!(memory, b"tercet-node\0--requirepass\0******\0--cluster-token=******\0--name\0xs3cret\0");
    }

    #[test]
    fn the_command_line_lies_where_the_kernel_says() {
        let (start, length) = arguments_in_memory().unwrap();
        let shown = std::fs::read("/proc/self/cmdline").unwrap();
        assert!(start > 0 && length == shown.len(), "{length} {}", shown.len());
    }

    #[test]
    fn descriptors_are_kept_back_for_the_disk() {
        assert_eq!(places_for_clients(1 << 20, 20_000), 20_000);
        assert_eq!(places_for_clients(20_000, 20_000), 17_500);
        assert_eq!(places_for_clients(1024, 20_000), 512);
        assert_eq!(places_for_clients(256, 20_000), 128);
    }

    #[test]
    fn a_directory_becomes_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        make_private_directory(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
