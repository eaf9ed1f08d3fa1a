//! Faults of the master's disk: it is full, or it hangs.

use std::time::Duration;

use super::{Error, Struck, Wound};
use crate::cluster::Cluster;
use crate::sys::Moment;

/// A disk that stops for so long, with a tenth of it in between, so many times.
const STALL: Duration = Duration::from_millis(400);
const STALLS: usize = 5;
/// Less would be filled up by what is written while the disk counts as full.
const LEAST_BALLAST: u64 = 1 << 20;

pub(super) fn full(cluster: &Cluster, master: usize) -> Result<Struck, Error> {
    let disk = cluster.disk(master)?;
    let at = Moment::now();
    disk.fill()?;
    Ok(Struck { at, killed: None, wound: Wound::FullDisk(master) })
}

pub(super) fn free(cluster: &Cluster, node: usize) -> Result<(), Error> {
    let size = cluster.disk(node)?.free()?;
    if size < LEAST_BALLAST {
        return Err(Error::DidNotHappen(format!("the disk was filled with {size} bytes")));
    }
    Ok(())
}

pub(super) fn slow(cluster: &Cluster, master: usize) -> Result<Struck, Error> {
    let at = Moment::now();
    let stalling = cluster.disk(master)?.stall(STALL, STALLS)?;
    Ok(Struck { at, killed: None, wound: Wound::SlowDisk(stalling) })
}
