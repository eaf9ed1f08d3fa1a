//! How much memory, disk and descriptors the process has: the allocator's own count, and what the kernel says.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The most that `allocated` has ever said, and what it said at the start.
static PEAK: AtomicU64 = AtomicU64::new(0);
static STARTUP: AtomicU64 = AtomicU64::new(0);

/// Bytes that the allocator has given out.
#[must_use]
pub fn allocated() -> u64 {
    // The statistics are a snapshot that an epoch refreshes. A failure means another allocator: say 0.
    _ = tikv_jemalloc_ctl::epoch::advance();
    let bytes = tikv_jemalloc_ctl::stats::allocated::read().map_or(0, |bytes| bytes as u64);
    PEAK.fetch_max(bytes, Relaxed);
    // Of two that come first either may be the start.
    _ = STARTUP.compare_exchange(0, bytes, Relaxed, Relaxed);
    bytes
}

/// What the allocator tells of itself.
#[must_use]
pub fn report() -> String {
    use tikv_jemalloc_ctl::stats;
    let allocated = allocated();
    let read = |number: Result<usize, tikv_jemalloc_ctl::Error>| number.unwrap_or(0);
    format!(
        "___ Begin jemalloc statistics ___\nAllocated: {allocated}, active: {}, metadata: {}, resident: {}, mapped: {}, \
         retained: {}\n--- End jemalloc statistics ---\n",
        read(stats::active::read()),
        read(stats::metadata::read()),
        read(stats::resident::read()),
        read(stats::mapped::read()),
        read(stats::retained::read()),
    )
}

/// The most that has been given out, as far as anybody has looked.
#[must_use]
pub fn peak() -> u64 {
    PEAK.load(Relaxed)
}

/// What had been given out when somebody looked first: as the node starts.
#[must_use]
pub fn at_start() -> u64 {
    STARTUP.load(Relaxed)
}

/// Bytes of pages in use by the allocator, and of those that it has of the kernel.
#[must_use]
pub fn pages() -> (u64, u64) {
    let read = |bytes: tikv_jemalloc_ctl::Result<usize>| bytes.map_or(0, |bytes| bytes as u64);
    (read(tikv_jemalloc_ctl::stats::active::read()), read(tikv_jemalloc_ctl::stats::resident::read()))
}

/// Bytes of physical memory.
#[must_use]
pub fn resident() -> u64 {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * PAGE)
}

/// Bytes of memory that this process may have: of the machine, or of the cgroup that it is in. `None`: unknown.
#[must_use]
pub fn available() -> Option<usize> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = meminfo.as_deref().and_then(of_machine);
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = files_with_limits(&groups).into_iter();
    let limits = limits.filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
    machine.into_iter().chain(limits).min()
}

/// The files with the limits of the cgroup that `/proc/self/cgroup` names, and of all around it: each holds for what is
/// within. Where a container sees its own cgroup as the root, that is the only one that exists.
fn files_with_limits(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let inner = Path::new(path.trim_start_matches('/'));
        files.extend(inner.ancestors().map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

/// `MemTotal:       24576000 kB`
fn of_machine(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<usize>().ok()?.checked_mul(1024)
}

/// Gives memory that is not in use back to the kernel: MEMORY PURGE.
#[allow(unsafe_code, reason = "the allocators have no safe function for it")]
pub fn purge() {
    // 4096 stands for all arenas.
    const ALL: &std::ffi::CStr = c"arena.4096.purge";
    let (none, nothing) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the name is a C string, and this control neither reads nor writes. RocksDB uses the allocator of the C
    // library, whose `malloc_trim` is safe to call at any time.
    unsafe {
        tikv_jemalloc_sys::mallctl(ALL.as_ptr(), none, std::ptr::null_mut(), nothing, 0);
        libc::malloc_trim(0);
    }
}

/// Bytes that the file system of `path` has left.
#[must_use]
pub fn disk_free(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |room| room.f_bavail.saturating_mul(room.f_frsize))
}

/// Descriptors that are open, and how many there may be.
#[must_use]
pub fn descriptors() -> (usize, u64) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let most = limits.lines().find(|line| line.starts_with("Max open files"));
    let most = most.and_then(|line| line.split_whitespace().nth(3)).and_then(|text| text.parse().ok());
    (open, most.unwrap_or(0))
}

/// Threads of the process.
#[must_use]
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_for_the_cgroups_within() {
        let found =
            |groups| files_with_limits(groups).into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            found("0::/system.slice/tercet.service\n"),
            [
                "/sys/fs/cgroup/system.slice/tercet.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(found("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(
            found("9:name=systemd:/a\n4:cpu,memory:/b\n"),
            ["/sys/fs/cgroup/memory/b/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        assert_eq!(found("nonsense"), [""; 0]);
    }

    #[test]
    fn there_is_no_more_than_the_machine_has() {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
        assert!(available().unwrap() <= of_machine(&meminfo).unwrap());
    }
}
