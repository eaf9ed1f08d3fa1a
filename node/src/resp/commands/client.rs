//! CLIENT: what the server knows of its clients, and what it does with them.

use tercet_proto::resp::Encoder;

use super::{help, number};
use crate::clients::{Client, Protocol};
use crate::clock;
use crate::resp::error::Error;
use crate::resp::session::Session;
use crate::resp::table::flag::{ADMIN, LOADING, NO_SCRIPT};
use crate::resp::table::{Args, Group, Outcome, Row, session};

const G: Group = Group::Connection;
const USUAL: u32 = LOADING | NO_SCRIPT;

pub(super) const ROWS: &[Row] = &[
    session("client|id", 2, USUAL, G, "Returns the unique client ID of the connection.", id),
    session("client|getname", 2, USUAL, G, "Returns the name of the connection.", getname),
    session("client|setname", 3, USUAL, G, "Sets the connection name.", setname),
    session("client|setinfo", 4, USUAL, G, "Sets information specific to the client or connection.", setinfo),
    session("client|info", 2, USUAL, G, "Returns information about the connection.", info),
    session("client|list", -2, USUAL | ADMIN, G, "Lists open connections.", list),
    session("client|kill", -3, USUAL | ADMIN, G, "Terminates open connections.", kill),
    session("client|no-evict", 3, USUAL | ADMIN, G, "Sets the client eviction mode of the connection.", mode),
    session(
        "client|no-touch",
        3,
        USUAL,
        G,
        "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
        mode,
    ),
    session("client|reply", 3, USUAL, G, "Instructs the server whether to reply to commands.", reply),
    session("client|help", 2, USUAL, G, "Returns helpful text about the different subcommands.", |_, _, out| {
        help(out, HELP);
        Ok(())
    }),
];

const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "ID",
    "INFO",
    "KILL <ip:port> | ID <id> | ADDR <ip:port> ...",
    "LIST",
    "NO-EVICT (ON|OFF)",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "SETNAME <name>",
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

fn setinfo(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut about = session.client.about.lock();
    match args[2].to_ascii_lowercase().as_slice() {
        b"lib-name" => about.library = printable(args[3], "lib-name")?,
        b"lib-ver" => about.library_version = printable(args[3], "lib-ver")?,
        _ => {
            let option = String::from_utf8_lossy(args[2]).into_owned();
            return Err(Error::text(format!("ERR Unrecognized option '{option}'")));
        }
    }
    drop(about);
    out.ok();
    Ok(())
}

fn info(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let line = describe(&session.client) + "\n";
    out.verbatim("txt", &line);
    Ok(())
}

fn list(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let lines: String = resp_clients(session).iter().map(|client| describe(client) + "\n").collect();
    out.verbatim("txt", &lines);
    Ok(())
}

fn mode(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    on_or_off(args[2])?;
    out.ok();
    Ok(())
}

fn reply(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if !args[2].eq_ignore_ascii_case(b"on") {
        return Err(Error::Syntax);
    }
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

fn on_or_off(text: &[u8]) -> Outcome {
    if text.eq_ignore_ascii_case(b"on") || text.eq_ignore_ascii_case(b"off") { Ok(()) } else { Err(Error::Syntax) }
}

fn resp_clients(session: &Session) -> Vec<std::sync::Arc<Client>> {
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
    if filters.is_empty() {
        return Err(Error::Arity("client|kill".into()));
    }
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
            b"user" => chosen.retain(|client| client.about.lock().user == text(value)),
            b"type" => match value.to_ascii_lowercase().as_slice() {
                b"normal" => {}
                b"master" | b"slave" | b"replica" | b"pubsub" => chosen.clear(),
                _ => return Err(Error::text(format!("ERR Unknown client type '{}'", text(value)))),
            },
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

/// A line of CLIENT LIST.
fn describe(client: &Client) -> String {
    let now = clock::boot_now();
    let about = client.about.lock();
    format!(
        "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags=N db={} sub=0 psub=0 ssub=0 multi=-1 watch=0 \
         qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} user={} \
         redir=-1 resp={} lib-name={} lib-ver={}",
        client.id,
        client.address,
        client.local,
        about.name,
        now.millis_since(client.since) / 1000,
        now.millis_since(about.last_active) / 1000,
        about.database,
        if about.last_command.is_empty() { "NULL" } else { about.last_command },
        about.user,
        about.resp,
        about.library,
        about.library_version,
    )
}
