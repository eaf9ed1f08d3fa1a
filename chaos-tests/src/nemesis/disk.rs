//! Faults of the master's disk: it is full, or it hangs.

use std::time::Duration;

use tercet_proto::resp::Value;

use super::{Error, Struck, Wound};
use crate::client::resp::{Connection, Error as RespError};
use crate::cluster::{Cluster, Member};
use crate::sys::Moment;

/// A disk that stops for so long, with a tenth of it in between, so many times.
const STALL: Duration = Duration::from_millis(400);
const STALLS: usize = 5;
/// Less would be filled up by what is written while the disk counts as full.
const LEAST_BALLAST: u64 = 1 << 20;

/// A store takes room for its files ahead: so much is written to get to the end of it.
const VALUE_BYTES: usize = 1 << 20;
const MOST_VALUES: usize = 400;
const WRITE_LIMIT: Duration = Duration::from_secs(3);

/// Fills the disk, then writes until the node notices: it refuses, lets go of its clients, or is no longer master.
pub(super) async fn full(cluster: &Cluster, master: usize) -> Result<Struck, Error> {
    cluster.disk(master)?.fill()?;
    let struck = |at| Struck { at, killed: None, wound: Wound::FullDisk(master) };
    let did_not = |error: RespError| Error::DidNotHappen(format!("{}: {error}", Member::Node(master)));
    let mut connection = Connection::open(cluster.resp_address(master), WRITE_LIMIT).await.map_err(did_not)?;
    connection.authenticate(cluster.password()).await.map_err(did_not)?;
    let value = "v".repeat(VALUE_BYTES);
    for number in 0..MOST_VALUES {
        let at = Moment::now();
        let key = format!("filler:{}", number % 4);
        match connection.command(&["SET", &key, &value]).await {
            Ok(Value::Error(_)) | Err(_) => return Ok(struck(at)),
            Ok(_) if cluster.status().await.master() != Ok(master) => return Ok(struck(at)),
            Ok(_) => {}
        }
    }
    Err(Error::DidNotHappen(format!("{} took {MOST_VALUES} values of {VALUE_BYTES} bytes", Member::Node(master))))
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
