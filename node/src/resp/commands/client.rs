//! CLIENT: what the server knows of its clients, and what it does with them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tercet_proto::resp::Encoder;

use super::{help, number, tracking};
use crate::clients::{Class, Client, Protocol, call, state};
use crate::pause::Mode;
use crate::resp::error::{Error, shown};
use crate::resp::session::{Replies, Session};
use crate::resp::table::flag::{ADMIN, LOADING, NO_SCRIPT};
use crate::resp::table::{Args, Command, Group, Outcome, session};

const G: Group = Group::Connection;
const USUAL: u32 = LOADING | NO_SCRIPT;

pub(super) const ROWS: &[Command] = &[
    session("client|id", 2, USUAL, G, "Returns the unique client ID of the connection.", id),
    session("client|getname", 2, USUAL, G, "Returns the name of the connection.", getname),
    session("client|setname", 3, USUAL, G, "Sets the connection name.", setname),
    session("client|setinfo", 4, USUAL, G, "Sets information specific to the client or connection.", setinfo),
    session("client|info", 2, USUAL, G, "Returns information about the connection.", info),
    session("client|list", -2, USUAL | ADMIN, G, "Lists open connections.", list),
    session("client|kill", -3, USUAL | ADMIN, G, "Terminates open connections.", kill),
    session("client|unblock", -3, USUAL | ADMIN, G, "Unblocks a client blocked by a blocking command.", unblock),
    session("client|pause", -3, USUAL | ADMIN, G, "Suspends commands processing.", pause),
    session("client|unpause", 2, USUAL | ADMIN, G, "Resumes processing commands from paused clients.", unpause),
    session(
        "client|getredir",
        2,
        USUAL,
        G,
        "Returns the client ID to which the connection's tracking notifications are redirected.",
        tracking::getredir,
    ),
    session(
        "client|trackinginfo",
        2,
        USUAL,
        G,
        "Returns information about server-assisted client-side caching for the connection.",
        tracking::trackinginfo,
    ),
    session(
        "client|tracking",
        -3,
        USUAL,
        G,
        "Controls server-assisted client-side caching for the connection.",
        tracking::tracking,
    ),
    session(
        "client|caching",
        3,
        USUAL,
        G,
        "Instructs the server whether to track the keys in the next request.",
        tracking::caching,
    ),
    session("client|reply", 3, USUAL, G, "Instructs the server whether to reply to commands.", reply),
    session(
        "client|no-evict",
        3,
        USUAL | ADMIN,
        G,
        "Sets the client eviction mode of the connection.",
        |session, args, out| set_mode(session, state::NO_EVICT, args, out),
    ),
    session(
        "client|no-touch",
        3,
        USUAL,
        G,
        "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
        |session, args, out| set_mode(session, state::NO_TOUCH, args, out),
    ),
    session("client|help", 2, USUAL, G, "Returns helpful text about the different subcommands.", |_, _, out| {
        help(out, HELP);
        Ok(())
    }),
];

const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
    "HELP",
    "    Print this help.",
];

fn id(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer(session.client.id as i64);
    Ok(())
}

fn getname(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let name = session.client.about.lock().name.clone();
    if name.is_empty() {
        out.null()
    } else {
        out.bulk(name.as_bytes())
    }
    Ok(())
}

fn setname(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    set_name(session, args[2])?;
    out.ok();
    Ok(())
}

pub(super) fn set_name(session: &Session, name: &[u8]) -> Outcome {
    session.client.about.lock().name = printable(name, "Client names")?;
    Ok(())
}

/// Text without spaces and line breaks, which would make CLIENT LIST ambiguous.
fn printable(text: &[u8], what: &str) -> Result<String, Error> {
    if text.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        Ok(String::from_utf8_lossy(text).into_owned())
    } else {
        Err(Error::text(format!("ERR {what} cannot contain spaces, newlines or special characters.")))
    }
}

fn setinfo(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut about = session.client.about.lock();
    match args[2].to_ascii_lowercase().as_slice() {
        b"lib-name" => about.library = printable(args[3], "lib-name")?,
        b"lib-ver" => about.library_version = printable(args[3], "lib-ver")?,
        _ => return Err(Error::text(format!("ERR Unrecognized option '{}'", shown(args[2])))),
    }
    drop(about);
    out.ok();
    Ok(())
}

/// What of this client is only known while its command is executed.
fn note_sizes(session: &Session, args: &Args<'_>) {
    let sizes = &session.client.sizes;
    sizes.query.store(session.query_bytes, Relaxed);
    sizes.query_buffer.fetch_max(session.query_bytes, Relaxed);
    sizes.arguments.store(args.iter().map(|arg| arg.len()).sum(), Relaxed);
}

fn info(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    note_sizes(session, args);
    session.client.about.lock().last_command = "client|info";
    out.verbatim("txt", &(session.client.describe() + "\n"));
    Ok(())
}

fn list(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut clients = resp_clients(session);
    match &args[2..] {
        [] => {}
        [option, class] if option.eq_ignore_ascii_case(b"type") => {
            let class = class_of(class)?;
            clients.retain(|client| class == Some(client.class()));
        }
        [option, ids @ ..] if option.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
            let id = |text: &&[u8]| {
                let id = number::parse_integer(text).and_then(|id| u64::try_from(id).ok());
                id.ok_or(Error::text("ERR Invalid client ID"))
            };
            let ids = ids.iter().map(id).collect::<Result<Vec<_>, _>>()?;
            clients.retain(|client| ids.contains(&client.id));
        }
        _ => return Err(Error::Syntax),
    }
    note_sizes(session, args);
    session.client.about.lock().last_command = "client|list";
    let lines: String = clients.iter().map(|client| client.describe() + "\n").collect();
    out.verbatim("txt", &lines);
    Ok(())
}

/// The class of a name; `None` for those of which there are no clients here, as nodes replicate in another way.
fn class_of(name: &[u8]) -> Result<Option<Class>, Error> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(Some(Class::Normal)),
        b"pubsub" => Ok(Some(Class::PubSub)),
        b"master" | b"replica" | b"slave" => Ok(None),
        _ => Err(Error::text(format!("ERR Unknown client type '{}'", shown(name)))),
    }
}

fn resp_clients(session: &Session) -> Vec<Arc<Client>> {
    session.node.clients.list().into_iter().filter(|client| client.protocol == Protocol::Resp).collect()
}

/// `CLIENT KILL addr`, or filters: ID, ADDR, LADDR, TYPE, USER, SKIPME.
fn kill(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let [_, _, address] = args {
        let address = text(address);
        let found = resp_clients(session).into_iter().find(|client| client.address.to_string() == address);
        let Some(found) = found else { return Err(Error::text("ERR No such client")) };
        close(session, &found);
        out.ok();
        return Ok(());
    }
    let (filters, []) = args[2..].as_chunks::<2>() else { return Err(Error::Syntax) };
    let (mut chosen, mut skip_me) = (resp_clients(session), true);
    for [name, value] in filters {
        match name.to_ascii_lowercase().as_slice() {
            b"id" => {
                let id = number::parse_integer(value).filter(|id| *id > 0);
                let id = id.ok_or(Error::text("ERR client-id should be greater than 0"))?;
                chosen.retain(|client| client.id == id as u64);
            }
            b"addr" => chosen.retain(|client| client.address.to_string() == text(value)),
            b"laddr" => chosen.retain(|client| client.local.to_string() == text(value)),
            b"user" if !session.node.engine.accounts.directory().users.contains_key(text(value).as_str()) => {
                return Err(Error::text(format!("ERR No such user '{}'", shown(value))));
            }
            b"user" => chosen.retain(|client| client.about.lock().user == text(value)),
            b"type" => {
                let class = class_of(value)?;
                chosen.retain(|client| class == Some(client.class()));
            }
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => skip_me = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => skip_me = false,
            _ => return Err(Error::Syntax),
        }
    }
    chosen.retain(|client| !(skip_me && client.id == session.client.id));
    for client in &chosen {
        close(session, client);
    }
    out.integer(chosen.len() as i64);
    Ok(())
}

/// Closes a client; this one only behind its reply.
fn close(session: &mut Session, client: &Client) {
    if client.id == session.client.id {
        session.is_closing = true;
    } else {
        client.close();
    }
}

/// `CLIENT UNBLOCK id [TIMEOUT | ERROR]`.
fn unblock(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let fails = match args {
        [_, _, _] => false,
        [_, _, _, reason] if reason.eq_ignore_ascii_case(b"timeout") => false,
        [_, _, _, reason] if reason.eq_ignore_ascii_case(b"error") => true,
        [_, _, _, _] => return Err(Error::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
        _ => return Err(Error::subcommand_syntax("CLIENT", args[1])),
    };
    let id = number::integer(args[2])?;
    let client = u64::try_from(id).ok().and_then(|id| session.node.clients.find(id));
    let blocked = client.filter(|client| client.is(state::BLOCKED));
    if let Some(client) = &blocked {
        if fails {
            client.call(call::FAIL);
        }
        client.released.notify_one();
    }
    out.integer(i64::from(blocked.is_some()));
    Ok(())
}

/// `CLIENT PAUSE milliseconds [WRITE | ALL]`.
fn pause(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mode = match args {
        [_, _, _] => Mode::All,
        [_, _, _, mode] if mode.eq_ignore_ascii_case(b"write") => Mode::Writes,
        [_, _, _, mode] if mode.eq_ignore_ascii_case(b"all") => Mode::All,
        [_, _, _, _] => return Err(Error::text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(Error::subcommand_syntax("CLIENT", args[1])),
    };
    let milliseconds =
        number::parse_integer(args[2]).ok_or(Error::text("ERR timeout is not an integer or out of range"))?;
    let milliseconds = u64::try_from(milliseconds).map_err(|_| Error::text("ERR timeout is negative"))?;
    session.node.pause.begin(mode, milliseconds);
    out.ok();
    Ok(())
}

fn unpause(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    session.node.pause.end();
    out.ok();
    Ok(())
}

fn reply(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match args[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            session.replies = Replies::On;
            out.ok();
        }
        b"off" => session.replies = Replies::Off,
        b"skip" if session.replies == Replies::On => session.replies = Replies::SkipNext,
        b"skip" => {}
        _ => return Err(Error::Syntax),
    }
    Ok(())
}

fn set_mode(session: &mut Session, mode: u32, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let is_on = match args[2] {
        word if word.eq_ignore_ascii_case(b"on") => true,
        word if word.eq_ignore_ascii_case(b"off") => false,
        _ => return Err(Error::Syntax),
    };
    session.client.set(mode, is_on);
    out.ok();
    Ok(())
}
