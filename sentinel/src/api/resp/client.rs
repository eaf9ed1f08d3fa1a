//! CLIENT: who is connected, under which name, and how to be rid of it.

use std::sync::Arc;

use super::{
    Client,
    row::{Call, Row},
    session::Replies,
};

const FLAGS: &[&str] = &["noscript", "loading", "stale", "sentinel"];

const fn row(name: &'static str, arity: i64, summary: &'static str, run: fn(&mut Call<'_>)) -> Row {
    Row { name, arity, flags: FLAGS, summary, run, subcommands: &[] }
}

pub(super) static SUBCOMMANDS: &[Row] = &[
    row("getname", 2, "Shows the connection's name.", get_name),
    row("help", 2, "Shows this list.", help),
    row("id", 2, "Shows the connection's number.", id),
    row("info", 2, "Describes this connection.", info),
    row("kill", -3, "Closes connections by address or filter.", kill),
    row("list", -2, "Describes every connection.", list),
    row("no-evict", 3, "Accepted: nothing is evicted here.", on_or_off),
    row("no-touch", 3, "Accepted: there are no keys here.", on_or_off),
    row("reply", 3, "Turns replies on or off, or skips one.", reply),
    row("setinfo", 4, "Tells library and version of the client.", set_info),
    row("setname", 3, "Names the connection.", set_name),
];

pub(super) const WRONG_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

pub(super) fn is_name(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_graphic)
}

fn id(call: &mut Call<'_>) {
    let id = call.session.client.id;
    call.reply().integer(id as i64);
}

fn get_name(call: &mut Call<'_>) {
    let name = call.session.client.facts.lock().name.clone();
    if name.is_empty() { call.reply().null() } else { call.reply().bulk(name.as_bytes()) }
}

fn set_name(call: &mut Call<'_>) {
    let name = call.args[2];
    if !is_name(name) {
        return call.reply().error(WRONG_NAME);
    }
    call.session.client.facts.lock().name = String::from_utf8_lossy(name).into_owned();
    call.reply().ok();
}

fn set_info(call: &mut Call<'_>) {
    let (option, value) = (call.args[2].to_ascii_lowercase(), call.args[3]);
    let text = String::from_utf8_lossy(value).into_owned();
    let wrong = |what: &str| format!("ERR {what} cannot contain spaces, newlines or special characters.");
    let result = {
        let mut facts = call.session.client.facts.lock();
        match option.as_slice() {
            b"lib-name" if !is_name(value) => Err(wrong("lib-name")),
            b"lib-ver" if !is_name(value) => Err(wrong("lib-ver")),
            b"lib-name" => {
                facts.lib_name = text;
                Ok(())
            }
            b"lib-ver" => {
                facts.lib_version = text;
                Ok(())
            }
            _ => Err(format!("ERR Unrecognized option '{}'", String::from_utf8_lossy(call.args[2]))),
        }
    };
    match result {
        Ok(()) => call.reply().ok(),
        Err(error) => call.reply().error(&error),
    }
}

fn info(call: &mut Call<'_>) {
    let line = call.session.client.line();
    call.reply().verbatim("txt", &line);
}

fn list(call: &mut Call<'_>) {
    let clients: Vec<Arc<Client>> = call.server.clients.lock().values().cloned().collect();
    let text: String = clients.iter().map(|client| client.line()).collect();
    call.reply().verbatim("txt", &text);
}

/// Nothing to evict and nothing to touch here: accepted, for libraries send it at connect.
fn on_or_off(call: &mut Call<'_>) {
    let value = call.args[2];
    if value.eq_ignore_ascii_case(b"on") || value.eq_ignore_ascii_case(b"off") {
        call.reply().ok();
    } else {
        call.reply().error("ERR syntax error");
    }
}

fn reply(call: &mut Call<'_>) {
    match call.args[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            call.session.replies = Replies::On;
            call.reply().ok();
        }
        b"off" => call.session.replies = Replies::Off,
        b"skip" => call.session.replies = Replies::SkipNext,
        _ => call.reply().error("ERR syntax error"),
    }
}

/// The old form `CLIENT KILL addr`, or filters; those that cannot be met here match nobody.
fn kill(call: &mut Call<'_>) {
    let clients: Vec<Arc<Client>> = call.server.clients.lock().values().cloned().collect();
    let own = call.session.client.id;
    if let [_, _, address] = call.args {
        let address = String::from_utf8_lossy(address);
        match clients.iter().find(|client| client.address == address) {
            Some(client) => {
                client.kill.notify_one();
                call.reply().ok();
            }
            None => call.reply().error("ERR No such client"),
        }
        return;
    }
    let mut chosen = clients;
    let mut skips_own = true;
    let mut rest = &call.args[2..];
    while let [option, value, others @ ..] = rest {
        let text = String::from_utf8_lossy(value).into_owned();
        match option.to_ascii_lowercase().as_slice() {
            b"id" => match text.parse::<u64>() {
                Ok(id) => chosen.retain(|client| client.id == id),
                Err(_) => return call.reply().error("ERR client-id should be greater than 0"),
            },
            b"addr" => chosen.retain(|client| client.address == text),
            b"laddr" => chosen.retain(|client| client.local == text),
            b"user" => chosen.retain(|_| text == "default"),
            b"skipme" if text.eq_ignore_ascii_case("yes") => skips_own = true,
            b"skipme" if text.eq_ignore_ascii_case("no") => skips_own = false,
            b"type" => {
                let kinds = ["normal", "master", "replica", "slave", "pubsub"];
                if !kinds.iter().any(|kind| text.eq_ignore_ascii_case(kind)) {
                    return call.reply().error(&format!("ERR Unknown client type '{text}'"));
                }
                let is_wanted = |client: &Client| {
                    let facts = client.facts.lock();
                    let subscribes = facts.subscriptions + facts.patterns > 0;
                    match text.to_ascii_lowercase().as_str() {
                        "pubsub" => subscribes,
                        "normal" => !subscribes,
                        _ => false,
                    }
                };
                chosen.retain(|client| is_wanted(client));
            }
            _ => return call.reply().error("ERR syntax error"),
        }
        rest = others;
    }
    if !rest.is_empty() {
        return call.reply().error("ERR syntax error");
    }
    chosen.retain(|client| !(skips_own && client.id == own));
    for client in &chosen {
        client.kill.notify_one();
    }
    call.reply().integer(chosen.len() as i64);
}

fn help(call: &mut Call<'_>) {
    super::introspect::help(call, "CLIENT", SUBCOMMANDS);
}

impl Client {
    /// One line of CLIENT LIST.
    fn line(&self) -> String {
        let facts = self.facts.lock();
        let age = self.since.elapsed().as_secs();
        let flags = if facts.subscriptions + facts.patterns > 0 { "P" } else { "N" };
        format!(
            "id={} addr={} laddr={} fd=-1 name={} age={age} idle=0 flags={flags} db=0 sub={} psub={} ssub=0 multi=-1 \
             qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} \
             user=default redir=-1 resp={} lib-name={} lib-ver={}\n",
            self.id,
            self.address,
            self.local,
            facts.name,
            facts.subscriptions,
            facts.patterns,
            facts.last_command,
            facts.version,
            facts.lib_name,
            facts.lib_version,
        )
    }
}
