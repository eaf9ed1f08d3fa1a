//! SAVE, BGSAVE, BGREWRITEAOF and LASTSAVE: a checkpoint is what a snapshot and a rewritten log are to Redis. BACKUP: a
//! copy of the directory of a server that runs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tercet_proto::resp::Encoder;

use crate::checkpoint::Refusal;
use crate::ids::UnixMillis;
use crate::node::Node;
use crate::resp::error::Error;
use crate::resp::session::Session;
use crate::resp::table::{Args, Outcome};
use crate::resp::waiting::Wanted;

/// When the rows on disk were complete last, or else when this process began, as Redis says it.
pub(super) fn last_save(node: &Node) -> UnixMillis {
    let status = node.checkpoint.status();
    if status.passes == 0 { node.started_unix } else { status.last_at }
}

pub(super) fn lastsave(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer((last_save(&session.node).0 / 1000) as i64);
    Ok(())
}

/// Other clients are served meanwhile; with Redis nobody is.
pub(super) fn save(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let request = request(session)?;
    session.wait_for(Wanted::Saved { request }, 0, out);
    Ok(())
}

/// What `tercet-node backup` sends.
pub(super) fn backup(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let directory = Path::new(OsStr::from_bytes(args[1]));
    if !directory.is_absolute() {
        return Err(Error::text("ERR the directory of a backup is an absolute path on the server's machine"));
    }
    let request = session.node.checkpoint.request_backup(directory.to_owned()).map_err(refused)?;
    session.wait_for(Wanted::Saved { request }, 0, out);
    Ok(())
}

pub(super) fn bgsave(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let is_scheduled = match args.get(1) {
        None => false,
        Some(option) if option.eq_ignore_ascii_case(b"schedule") && args.len() == 2 => true,
        Some(_) => return Err(Error::Syntax),
    };
    let is_running = session.node.checkpoint.status().is_running;
    if is_running && !is_scheduled {
        return Err(Error::text("ERR Background save already in progress"));
    }
    request(session)?;
    out.simple(if is_running { "Background saving scheduled" } else { "Background saving started" });
    Ok(())
}

pub(super) fn bgrewriteaof(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if session.node.checkpoint.status().is_running {
        return Err(Error::text("ERR Background append only file rewriting already in progress"));
    }
    request(session)?;
    out.simple("Background append only file rewriting started");
    Ok(())
}

fn request(session: &Session) -> Result<u64, Error> {
    session.node.checkpoint.request().map_err(refused)
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NotKept => Error::text("ERR this node keeps nothing on disk (--persistence off), or still loads it"),
        Refusal::Failed(why) => Error::text(format!("ERR {why}")),
    }
}
