//! SCRIPT: the texts that EVALSHA finds.

use tercet_proto::resp::Encoder;

use super::G;
use crate::resp::error::Error;
use crate::resp::script::{parse_source, sha1hex};
use crate::resp::session::Session;
use crate::resp::table::flag::{LOADING, NO_SCRIPT};
use crate::resp::table::{Args, Command, Outcome, session};
use crate::scripts::{Kind, NotKilled};

pub(super) const ROWS: &[Command] = &[
    session("script|load", 3, NO_SCRIPT, G, "Keeps a script for EVALSHA.", load),
    session("script|exists", -3, NO_SCRIPT, G, "Says which scripts are kept.", exists),
    session("script|flush", -2, NO_SCRIPT, G, "Forgets all scripts.", flush),
    session("script|kill", 2, NO_SCRIPT | LOADING, G, "Ends the script that runs.", kill),
    session("script|debug", 3, NO_SCRIPT, G, "Sets how EVAL is debugged.", debug),
    session("script|show", 3, NO_SCRIPT, G, "Shows the text of a script.", show),
];

fn load(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let sha = sha1hex(args[2]);
    let source = parse_source(sha.clone(), args[2]).map_err(|reason| Error::text(format!("ERR {reason}")))?;
    crate::resp::script::check(&source.text)
        .map_err(|reason| Error::text(format!("ERR Error compiling script (new function): {reason}")))?;
    session.node.scripts.load(source).map_err(|_| Error::text("ERR too many scripts are kept; use SCRIPT FLUSH"))?;
    out.bulk(sha.as_bytes());
    Ok(())
}

fn exists(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.array(args.len() - 2);
    for sha in &args[2..] {
        let sha = String::from_utf8_lossy(sha).to_ascii_lowercase();
        out.integer(i64::from(session.node.scripts.find(&sha).is_some()));
    }
    Ok(())
}

/// SYNC or ASYNC, at this place, or nothing.
pub(super) fn is_sync_option(args: &Args<'_>, place: usize) -> bool {
    match args.get(place..) {
        None | Some([]) => true,
        Some([option]) => option.eq_ignore_ascii_case(b"sync") || option.eq_ignore_ascii_case(b"async"),
        Some(_) => false,
    }
}

fn flush(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if args.len() > 3 || !is_sync_option(args, 2) {
        return Err(Error::text("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    session.node.scripts.flush();
    out.ok();
    Ok(())
}

fn kill(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    end(session, Kind::Script, out)
}

/// Ends what runs of this kind.
pub(super) fn end(session: &mut Session, kind: Kind, out: &mut Encoder<'_>) -> Outcome {
    let scripts = &session.node.scripts;
    match scripts.kill(kind) {
        Ok(()) => {
            tracing::info!(client = session.client.id, "a script is ended because a client asked for it");
            out.ok();
            Ok(())
        }
        Err(NotKilled::NothingRuns) if scripts.are_running() => Err(Error::text(match kind {
            Kind::Script => "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
            Kind::Function => "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        })),
        Err(NotKilled::NothingRuns) => Err(Error::text("NOTBUSY No scripts in execution right now.")),
        Err(NotKilled::HasWritten) => Err(Error::text(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the \
             script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
        )),
    }
}

/// There is no debugger: only NO is not an error.
fn debug(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match args[2].to_ascii_lowercase().as_slice() {
        b"no" => {
            out.ok();
            Ok(())
        }
        b"yes" | b"sync" => Err(Error::text("ERR scripts cannot be debugged on this server")),
        _ => Err(Error::text("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    }
}

fn show(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let sha = String::from_utf8_lossy(args[2]).to_ascii_lowercase();
    let source = session.node.scripts.find(&sha).ok_or(Error::text("NOSCRIPT No matching script."))?;
    out.bulk(&source.text);
    Ok(())
}
