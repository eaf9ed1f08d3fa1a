//! WAIT and WAITAOF, as Redis 7.2 answers them.

use tercet_proto::resp::Encoder;

use super::number;
use crate::resp::error::Error;
use crate::resp::session::Session;
use crate::resp::table::{Args, Outcome};
use crate::resp::waiting::Wanted;
use crate::role::Role;

const WAIT_ON_A_REPLICA: &str = "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.";
const WAITAOF_ON_A_REPLICA: &str = "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.";
const WAITAOF_WITHOUT_A_DISK: &str = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

pub(super) fn wait(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if session.node.authority.standing().role == Role::Replica {
        return Err(Error::text(WAIT_ON_A_REPLICA));
    }
    let replicas = number::integer(args[1])?;
    let timeout_ms = timeout(args[2])?;
    session.wait_for(Wanted::Replicas(replicas), timeout_ms, out);
    Ok(())
}

pub(super) fn waitaof(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let local = number::integer(args[1])?;
    if !(0..=1).contains(&local) {
        return Err(Error::text("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = number::count(args[2])?;
    let timeout_ms = timeout(args[3])?;
    if session.node.authority.standing().role == Role::Replica {
        return Err(Error::text(WAITAOF_ON_A_REPLICA));
    }
    if local > 0 && session.node.engine.journal.durability().promise().is_none() {
        return Err(Error::text(WAITAOF_WITHOUT_A_DISK));
    }
    session.wait_for(Wanted::Durable { local, replicas }, timeout_ms, out);
    Ok(())
}

/// Milliseconds; `getTimeoutFromObjectOrReply` of Redis.
fn timeout(text: &[u8]) -> Result<u64, Error> {
    let milliseconds =
        number::parse_integer(text).ok_or(Error::text("ERR timeout is not an integer or out of range"))?;
    u64::try_from(milliseconds).map_err(|_| Error::text("ERR timeout is negative"))
}
