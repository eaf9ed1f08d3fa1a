//! `import --from amqp://...`: what a RabbitMQ has declared, by its management API or out of a file, and the messages of its
//! queues.
//!
//! ```text
//! RabbitMQ --definitions--> POST /api/definitions --> the node
//!          --basic.get, many at a time--> basic.publish, mandatory --> the node
//!          <-- basic.ack of all of them -- once all are confirmed --'
//! ```
//!
//! A message is taken away at the source only after the node has confirmed it: whatever breaks off the import leaves it in
//! one of the two at least. A message goes straight to its queue, with its properties; what exchanges did with it before is
//! not repeated.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use tercet_proto::amqp::{ContentHeader, FrameKind, Method, ShortString};

use super::amqp::Link;
use super::error::Error;
use super::place::Place;
use super::progress::Bar;
use crate::accounts::INITIAL_AMQP_USER;
use crate::api::Api;
use crate::config::Config;

/// Messages that are asked for at once, and acknowledged together.
const BATCH: u64 = 256;

/// A RabbitMQ.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) place: Place,
    pub(super) user: String,
    pub(super) password: String,
    /// Only this virtual host.
    pub(super) vhost: Option<String>,
}

/// Where its definitions are read.
#[derive(Debug)]
pub(super) enum Definitions<'a> {
    /// From its management API.
    Asked(Place),
    File(&'a Path),
}

/// Copies, and says what came of it.
pub(super) fn run(config: &Config, source: &Source, definitions: &Definitions<'_>) -> Result<String, Error> {
    let api = Api::of_node(config).map_err(Error::Api)?;
    let mut file = read(source, definitions)?;
    if let Some(vhost) = &source.vhost {
        keep_only(&mut file, vhost);
    }
    // The node's own guest stays as it is: whoever imports is guest.
    if let Some(users) = file["users"].as_array_mut() {
        users.retain(|user| user["name"] != INITIAL_AMQP_USER);
    }
    api.send("POST", "definitions", &file).map_err(Error::Api)?;
    let queues: Vec<(String, String)> =
        rows(&file, "queues").map(|queue| (text(queue, "vhost"), text(queue, "name"))).collect();
    let mut vhosts: Vec<&String> = queues.iter().map(|(vhost, _)| vhost).collect();
    vhosts.sort();
    vhosts.dedup();
    let (began, mut moved) = (Instant::now(), Moved::default());
    for vhost in vhosts {
        let names = queues.iter().filter(|(of, _)| of == vhost).map(|(_, name)| name.as_str()).collect::<Vec<_>>();
        let lent = lend_permissions(&api, vhost)?;
        let drained = drain_vhost(config, source, vhost, &names, &mut moved);
        if lent {
            let path = format!("permissions/{}/{INITIAL_AMQP_USER}", encoded(vhost));
            api.send("DELETE", &path, &json!({})).map_err(Error::Api)?;
        }
        drained?;
    }
    let count = |name: &str| rows(&file, name).count();
    let took = began.elapsed().as_secs_f64();
    let stripped = match moved.stripped {
        0 => String::new(),
        count => format!("; {count} had a user_id, which is left out"),
    };
    Ok(format!(
        "{} virtual hosts, {} users, {} policies, {} exchanges, {} queues and {} bindings declared; {} messages moved in \
         {took:.1} s ({:.0} messages/s){stripped}",
        count("vhosts"),
        count("users"),
        count("policies"),
        count("exchanges"),
        queues.len(),
        count("bindings"),
        moved.messages,
        moved.messages as f64 / took.max(0.001),
    ))
}

#[derive(Debug, Default)]
struct Moved {
    messages: u64,
    /// Messages whose user_id the node would not believe.
    stripped: u64,
}

fn read(source: &Source, definitions: &Definitions<'_>) -> Result<Value, Error> {
    let file = match definitions {
        Definitions::Asked(Place { host, port, tls }) => {
            let api = Api::at(host, *port, tls.clone(), &source.user, &source.password).map_err(Error::Api)?;
            api.get("definitions").map_err(Error::Api)?
        }
        Definitions::File(path) => {
            let failed = |error| Error::File { path: path.to_path_buf(), error };
            let text = std::fs::read(path).map_err(failed)?;
            serde_json::from_slice(&text).map_err(|error| failed(std::io::Error::other(error)))?
        }
    };
    if file.is_object() { Ok(file) } else { Err(Error::Api("these are no definitions".to_owned())) }
}

/// Leaves of definitions what is of one virtual host, and the users that may use it.
fn keep_only(file: &mut Value, vhost: &str) {
    for (section, key) in [
        ("vhosts", "name"),
        ("permissions", "vhost"),
        ("topic_permissions", "vhost"),
        ("parameters", "vhost"),
        ("policies", "vhost"),
        ("queues", "vhost"),
        ("exchanges", "vhost"),
        ("bindings", "vhost"),
    ] {
        if let Some(rows) = file[section].as_array_mut() {
            rows.retain(|row| row[key] == vhost);
        }
    }
    let users: BTreeSet<String> = rows(file, "permissions").map(|row| text(row, "user")).collect();
    if let Some(rows) = file["users"].as_array_mut() {
        rows.retain(|row| users.contains(&text(row, "name")));
    }
}

fn rows<'f>(file: &'f Value, section: &str) -> impl Iterator<Item = &'f Value> {
    file[section].as_array().into_iter().flatten()
}

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |out, byte| {
        if byte.is_ascii_alphanumeric() { format!("{out}{}", char::from(byte)) } else { format!("{out}%{byte:02X}") }
    })
}

/// Lets guest publish in a virtual host. Says whether it could not before.
fn lend_permissions(api: &Api, vhost: &str) -> Result<bool, Error> {
    let path = format!("permissions/{}/{INITIAL_AMQP_USER}", encoded(vhost));
    if api.get(&path).is_ok() {
        return Ok(false);
    }
    let all = json!({ "configure": "", "write": ".*", "read": ".*" });
    api.send("PUT", &path, &all).map_err(Error::Api)?;
    Ok(true)
}

fn drain_vhost(config: &Config, source: &Source, vhost: &str, queues: &[&str], moved: &mut Moved) -> Result<(), Error> {
    let mut from = Link::open(&source.place, &source.user, &source.password, vhost)?;
    let place = Place::of_node(config, config.amqp_port, config.amqp_tls_port)?;
    let password = if config.requirepass.is_empty() { INITIAL_AMQP_USER } else { &config.requirepass };
    let mut to = Link::open(&place, INITIAL_AMQP_USER, password, vhost)?;
    to.ask(&Method::ConfirmSelect { no_wait: false })?;
    let mut bar = Bar::begin();
    let mut all = 0;
    for queue in queues {
        all += messages(&mut from, queue)?;
    }
    let before = moved.messages;
    let mut tag = 0;
    for queue in queues {
        loop {
            let batch = forward(&mut from, &mut to, queue, &mut tag, moved)?;
            let count = moved.messages - before;
            bar.show("messages", count, count, all);
            if batch == Batch::Last {
                break;
            }
        }
        let left = messages(&mut from, queue)?;
        if left > 0 {
            return Err(Error::Left { queue: (*queue).to_owned(), vhost: vhost.to_owned(), left });
        }
    }
    bar.end();
    Ok(())
}

fn short(name: &str) -> ShortString {
    ShortString::truncated(name)
}

/// Messages of a queue that are ready.
fn messages(link: &mut Link, queue: &str) -> Result<u64, Error> {
    let passive = Method::QueueDeclare {
        queue: short(queue),
        passive: true,
        durable: false,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments: tercet_proto::amqp::FieldTable::new(),
    };
    match link.ask(&passive)? {
        Method::QueueDeclareOk { message_count, .. } => Ok(u64::from(message_count)),
        other => Err(link.unexpected(&other)),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    More,
    Last,
}

/// Moves up to `BATCH` messages of a queue. `tag` numbers what was published.
fn forward(from: &mut Link, to: &mut Link, queue: &str, tag: &mut u64, moved: &mut Moved) -> Result<Batch, Error> {
    for _ in 0..BATCH {
        from.send(&Method::BasicGet { queue: short(queue), no_ack: false })?;
    }
    from.flush()?;
    let (mut open, mut last, mut batch) = (BTreeSet::new(), None, Batch::More);
    for _ in 0..BATCH {
        match from.method()? {
            Method::BasicGetOk { delivery_tag, .. } => {
                copy(from, to, queue, moved)?;
                *tag += 1;
                open.insert(*tag);
                last = Some(delivery_tag);
            }
            // What came after it is taken as well.
            Method::BasicGetEmpty {} => batch = Batch::Last,
            other => return Err(from.unexpected(&other)),
        }
    }
    to.flush()?;
    let count = open.len() as u64;
    while !open.is_empty() {
        match to.method()? {
            Method::BasicAck { delivery_tag, multiple: true } => open = open.split_off(&(delivery_tag + 1)),
            Method::BasicAck { delivery_tag, multiple: false } => _ = open.remove(&delivery_tag),
            // It was not confirmed, and stays at the source.
            Method::BasicNack { .. } => {
                return Err(Error::Queue { queue: queue.to_owned(), reason: "does not take a message" });
            }
            Method::BasicReturn { .. } => return Err(Error::Queue { queue: queue.to_owned(), reason: "is not there" }),
            other => return Err(to.unexpected(&other)),
        }
    }
    if let Some(delivery_tag) = last {
        from.send(&Method::BasicAck { delivery_tag, multiple: true })?;
        from.flush()?;
    }
    moved.messages += count;
    Ok(batch)
}

/// Publishes what follows a basic.get-ok, frame by frame.
fn copy(from: &mut Link, to: &mut Link, queue: &str, moved: &mut Moved) -> Result<(), Error> {
    let header =
        ContentHeader::decode(&from.frame(FrameKind::Header)?).map_err(|error| from.wrong(&error.to_string()))?;
    let mut properties = header.properties;
    if properties.user_id().is_some_and(|user| user != INITIAL_AMQP_USER.as_bytes()) {
        let mut basic = properties.to_basic();
        basic.user_id = None;
        properties = basic.encode();
        moved.stripped += 1;
    }
    let publish =
        Method::BasicPublish { exchange: short(""), routing_key: short(queue), mandatory: true, immediate: false };
    to.content(&publish, properties.raw(), header.body_size)?;
    let mut left = header.body_size;
    while left > 0 {
        let body = from.frame(FrameKind::Body)?;
        left =
            left.checked_sub(body.len() as u64).ok_or_else(|| from.wrong("a body is longer than its header says"))?;
        to.body(&body)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_virtual_host_is_left_with_those_who_may_use_it() {
        let mut file = json!({
            "users": [{ "name": "a" }, { "name": "b" }],
            "vhosts": [{ "name": "/" }, { "name": "x" }],
            "permissions": [{ "user": "a", "vhost": "x" }, { "user": "b", "vhost": "/" }],
            "queues": [{ "name": "q", "vhost": "x" }, { "name": "r", "vhost": "/" }],
        });
        keep_only(&mut file, "x");
        assert_eq!(file["users"], json!([{ "name": "a" }]));
        assert_eq!(file["queues"], json!([{ "name": "q", "vhost": "x" }]));
        assert_eq!((file["vhosts"].clone(), rows(&file, "exchanges").count()), (json!([{ "name": "x" }]), 0));
    }

    #[test]
    fn virtual_hosts_stand_in_paths_encoded() {
        assert_eq!(encoded("/"), "%2F");
        assert_eq!(encoded("a-ü"), "a%2D%C3%BC");
    }
}
