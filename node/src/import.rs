//! `tercet-node import`: the keys of a living Redis, or of one of its files, into the master that runs here; or what a
//! RabbitMQ has declared, with the messages of its queues (`broker.rs`).
//!
//! ```text
//! redis://...  --SCAN, then DUMP and PTTL in a pipeline--.
//!                                                        +--batches--> RESTORE in a pipeline --> the node
//! dump.rdb     --a key at a time-------------------------'
//! ```
//!
//! What changes at the source meanwhile may be missed: stop its writers first. At the end the numbers of keys are compared.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tercet_edge::tls::outside::Files;

use crate::config::{Config, Import, Over};
use crate::keyspace::rdb::{File, Item, Kept};

mod amqp;
mod broker;
mod error;
mod link;
mod place;
mod progress;

pub use error::Error;
use link::{Link, Reply};
use place::Place;
use progress::Bar;

/// Keys of one SCAN and one pipeline.
const BATCH_KEYS: usize = 512;
/// A batch ends when it has so many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Batches between the two sides.
const BATCHES: usize = 4;

/// What goes from one side to the other.
struct Batch {
    items: Vec<Item>,
    /// Of all that there is to do, and what it counts.
    done: u64,
    all: u64,
}

/// Copies, and says what came of it.
///
/// # Errors
/// A side cannot be reached or refuses, or the source is damaged. What was copied before that stays.
pub fn run(config: &Config, import: &Import) -> Result<String, Error> {
    let (from, over) = (import.from.as_str(), import.over);
    if from.starts_with("amqp://") || from.starts_with("amqps://") {
        return from_rabbitmq(config, import);
    }
    let mut node = Link::open(&Place::of_node(config, config.resp_port, config.resp_tls_port)?)?;
    if !config.requirepass.is_empty() {
        node.ask("AUTH", &[b"AUTH", config.requirepass.as_bytes()])?;
    }
    let (batches, taken) = sync_channel(BATCHES);
    let source = Source::of(from, &import.tls)?;
    let reading = std::thread::Builder::new().name("import".to_owned()).spawn(move || source.read(&batches));
    let reading = reading.map_err(|error| Error::Connection { address: "this machine".to_owned(), error })?;
    let written = write(&mut node, &taken, over);
    // The reader ends when nobody takes its batches.
    drop(taken);
    let read = reading.join().unwrap_or(Ok(0));
    let written = written?;
    let gone = read?;
    let lost = if gone > 0 { format!("; {gone} expired or were deleted meanwhile") } else { String::new() };
    Ok(format!(
        "{} keys and {} libraries copied in {:.1} s ({:.0} keys/s){lost}",
        written.keys,
        written.libraries,
        written.took.as_secs_f64(),
        written.keys as f64 / written.took.as_secs_f64().max(0.001),
    ))
}

fn from_rabbitmq(config: &Config, import: &Import) -> Result<String, Error> {
    let wrong = || Error::Source(import.from.clone());
    let (tls, url) = under_tls(&import.from, "amqp", &import.tls).ok_or_else(wrong)?;
    let url = Url::of(url).ok_or_else(wrong)?;
    let (user, password) = url.login.unwrap_or_else(|| ("guest".to_owned(), "guest".to_owned()));
    let vhost = (!url.path.is_empty()).then(|| decoded(url.path));
    let port = url.port.unwrap_or(if tls.is_some() { 5671 } else { 5672 });
    let place = Place::of_source(url.host, port, tls)?;
    let definitions = match (&import.definitions, &import.management) {
        (Some(path), _) => broker::Definitions::File(path),
        (None, None) => {
            let port = if tls.is_some() { 15671 } else { 15672 };
            broker::Definitions::Asked(Place { port, ..place.clone() })
        }
        (None, Some(address)) => {
            let wrong = || Error::Source(address.clone());
            let (tls, rest) = under_tls(address, "http", &import.tls).ok_or_else(wrong)?;
            let url = Url::of(rest.trim_end_matches('/')).ok_or_else(wrong)?;
            let port = url.port.unwrap_or(if tls.is_some() { 15671 } else { 15672 });
            broker::Definitions::Asked(Place::of_source(url.host, port, tls)?)
        }
    };
    let source = broker::Source { place, user, password, vhost };
    broker::run(config, &source, &definitions)
}

/// What stands behind `scheme://`, or behind `schemes://` with what TLS needs.
fn under_tls<'a, 't>(text: &'a str, scheme: &str, files: &'t Files) -> Option<(Option<&'t Files>, &'a str)> {
    let rest = text.strip_prefix(scheme)?;
    rest.strip_prefix("://").map(|rest| (None, rest)).or_else(|| Some((Some(files), rest.strip_prefix("s://")?)))
}

/// What stands behind the scheme: `[user[:password]@]host[:port][/path]`.
struct Url<'a> {
    login: Option<(String, String)>,
    host: &'a str,
    port: Option<u16>,
    path: &'a str,
}

impl<'a> Url<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (login, place) = text.rsplit_once('@').map_or((None, text), |(login, place)| (Some(login), place));
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or(("", login));
            (decoded(user), decoded(password))
        });
        let (place, path) = place.split_once('/').unwrap_or((place, ""));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, Some(port.parse().ok()?)),
            _ => (place, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then_some(Self { login, host, port, path })
    }
}

/// Where keys come from.
enum Source {
    Redis { place: Place, login: Option<(String, String)>, database: Option<u32> },
    File(PathBuf),
}

impl Source {
    fn of(text: &str, files: &Files) -> Result<Self, Error> {
        let wrong = || Error::Source(text.to_owned());
        let Some((tls, url)) = under_tls(text, "redis", files) else {
            let path = PathBuf::from(text);
            return if path.is_file() { Ok(Self::File(path)) } else { Err(wrong()) };
        };
        let url = Url::of(url).ok_or_else(wrong)?;
        let database = if url.path.is_empty() { None } else { Some(url.path.parse().map_err(|_| wrong())?) };
        let place = Place::of_source(url.host, url.port.unwrap_or(6379), tls)?;
        Ok(Self::Redis { place, login: url.login, database })
    }

    /// Reads everything into batches. Says how many keys were named and gone when they were asked for.
    fn read(self, batches: &SyncSender<Batch>) -> Result<u64, Error> {
        match self {
            Self::Redis { place, login, database } => {
                let mut link = Link::open(&place)?;
                if let Some((user, password)) = login {
                    let words: [&[u8]; 3] = [b"AUTH", user.as_bytes(), password.as_bytes()];
                    let words = if user.is_empty() { vec![words[0], words[2]] } else { words.to_vec() };
                    link.ask("AUTH", &words)?;
                }
                read_redis(&mut link, database, batches)
            }
            Self::File(path) => read_file(&path, batches).map(|()| 0),
        }
    }
}

/// `%41` as `A`.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                out.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                out.push(b'%');
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Databases and their numbers of keys, from INFO.
fn databases(link: &mut Link) -> Result<Vec<(u32, u64)>, Error> {
    let text = link.ask("INFO", &[b"INFO", b"keyspace"])?.text();
    let lines = text.lines().filter_map(|line| line.strip_prefix("db")?.split_once(":keys="));
    let count = |text: &str| text.split(',').next()?.parse().ok();
    Ok(lines.filter_map(|(number, rest)| Some((number.parse().ok()?, count(rest)?))).collect())
}

fn read_redis(link: &mut Link, only: Option<u32>, batches: &SyncSender<Batch>) -> Result<u64, Error> {
    let mut known = databases(link)?;
    known.retain(|(database, _)| only.is_none_or(|only| only == *database));
    let all = known.iter().map(|(_, keys)| keys).sum();
    let (mut done, mut gone) = (0, 0);
    // Redis before 7.0 has no functions.
    if let Ok(Reply::Array(libraries)) = link.ask("FUNCTION", &[b"FUNCTION", b"LIST", b"WITHCODE"]) {
        let code = |library: Reply| library.field("library_code").map(Item::Functions);
        let items: Vec<_> = libraries.into_iter().filter_map(code).collect();
        if batches.send(Batch { items, done, all }).is_err() {
            return Ok(gone);
        }
    }
    for (database, _) in known {
        link.ask("SELECT", &[b"SELECT", database.to_string().as_bytes()])?;
        let mut cursor = b"0".to_vec();
        loop {
            let count = BATCH_KEYS.to_string();
            let Reply::Array(page) = link.ask("SCAN", &[b"SCAN", &cursor, b"COUNT", count.as_bytes()])? else { break };
            let Ok([next, keys]) = <[Reply; 2]>::try_from(page) else { break };
            cursor = next.bytes();
            let keys: Vec<Vec<u8>> =
                if let Reply::Array(keys) = keys { keys.into_iter().map(Reply::bytes).collect() } else { Vec::new() };
            for key in &keys {
                link.send(&[b"DUMP", key])?;
                link.send(&[b"PTTL", key])?;
            }
            link.flush()?;
            let mut batch = Batch { items: Vec::with_capacity(keys.len()), done, all };
            let mut bytes = 0;
            for key in keys {
                let (payload, left) = (link.answer("DUMP")?, link.answer("PTTL")?);
                let Reply::Bulk(Some(payload)) = payload else {
                    gone += 1;
                    continue;
                };
                done += 1;
                bytes += payload.len();
                let expire_at = match left {
                    Reply::Integer(left) if left >= 0 => Some(crate::clock::unix_now().0.saturating_add(left as u64)),
                    _ => None,
                };
                batch.items.push(Item::Key(Kept { database, key, expire_at, payload }));
                if bytes >= BATCH_BYTES {
                    batch.done = done;
                    bytes = 0;
                    let full = std::mem::replace(&mut batch, Batch { items: Vec::new(), done, all });
                    if batches.send(full).is_err() {
                        return Ok(gone);
                    }
                }
            }
            batch.done = done;
            if batches.send(batch).is_err() || cursor == b"0" {
                break;
            }
        }
    }
    Ok(gone)
}

fn read_file(path: &PathBuf, batches: &SyncSender<Batch>) -> Result<(), Error> {
    let bytes = std::fs::read(path).map_err(|error| Error::File { path: path.clone(), error })?;
    let damaged = |error, at| Error::Damaged { path: path.clone(), error, at };
    let mut file = File::new(&bytes).map_err(|error| damaged(error, 0))?;
    loop {
        let (mut items, mut taken) = (Vec::new(), 0);
        let mut is_over = false;
        while !is_over && items.len() < BATCH_KEYS && taken < BATCH_BYTES {
            let at = file.progress().0;
            match file.next_item().map_err(|error| damaged(error, at))? {
                Some(item) => items.push(item),
                None => is_over = true,
            }
            taken += file.progress().0 - at;
        }
        let (done, all) = file.progress();
        if batches.send(Batch { items, done: done as u64, all: all as u64 }).is_err() || is_over {
            return Ok(());
        }
    }
}

/// What was written.
struct Written {
    keys: u64,
    libraries: u64,
    took: Duration,
}

fn write(node: &mut Link, batches: &Receiver<Batch>, over: Over) -> Result<Written, Error> {
    let (began, mut shown) = (Instant::now(), Bar::begin());
    let (mut keys, mut libraries, mut selected) = (0, 0, None);
    let mut counts: std::collections::BTreeMap<u32, (u64, u64)> = std::collections::BTreeMap::new();
    for (database, count) in databases(node)? {
        counts.insert(database, (count, 0));
    }
    for batch in batches {
        let now = crate::clock::unix_now().0;
        let mut expected = Vec::with_capacity(batch.items.len());
        for item in batch.items {
            match item {
                Item::Functions(code) => {
                    node.ask("FUNCTION LOAD", &[b"FUNCTION", b"LOAD", b"REPLACE", &code])?;
                    libraries += 1;
                }
                Item::Key(kept) => {
                    // Who has expired on the way need not be sent.
                    if kept.expire_at.is_some_and(|at| at <= now) {
                        continue;
                    }
                    if selected != Some(kept.database) {
                        node.send(&[b"SELECT", kept.database.to_string().as_bytes()])?;
                        expected.push(None);
                        selected = Some(kept.database);
                    }
                    let expiry = kept.expire_at.unwrap_or(0).to_string();
                    let words: [&[u8]; 6] =
                        [b"RESTORE", &kept.key, expiry.as_bytes(), &kept.payload, b"ABSTTL", b"REPLACE"];
                    node.send(if over == Over::Anything { &words } else { &words[..5] })?;
                    expected.push(Some((kept.database, kept.key)));
                }
            }
        }
        node.flush()?;
        for asked in expected {
            let answer = node.reply()?;
            match (asked, answer) {
                (Some((database, key)), Reply::Error(text)) => {
                    let key = String::from_utf8_lossy(&key).into_owned();
                    return Err(if text.starts_with("BUSYKEY") {
                        Error::Exists { key, database }
                    } else {
                        Error::Key { key, database, text }
                    });
                }
                (Some((database, _)), _) => {
                    keys += 1;
                    counts.entry(database).or_default().1 += 1;
                }
                (None, Reply::Error(text)) => {
                    return Err(Error::Refused { address: node.address().to_owned(), command: "SELECT", text });
                }
                (None, _) => {}
            }
        }
        shown.show("keys", keys, batch.done, batch.all);
    }
    shown.end();
    verify(node, &counts, over)?;
    Ok(Written { keys, libraries, took: began.elapsed() })
}

/// What was copied is there: the counts of keys before, plus those that came. Keys that expire meanwhile make it fewer.
fn verify(node: &mut Link, counts: &std::collections::BTreeMap<u32, (u64, u64)>, over: Over) -> Result<(), Error> {
    let kept: std::collections::BTreeMap<_, _> = databases(node)?.into_iter().collect();
    for (&database, &(before, copied)) in counts {
        let now = kept.get(&database).copied().unwrap_or(0);
        let at_least = if over == Over::Anything { copied.max(before) } else { before + copied };
        // One in a hundred may have expired in the meantime.
        if now + at_least / 100 < at_least {
            return Err(Error::Count { database, copied, kept: now });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_login_host_port_and_database() {
        let of = |text: &str| match Source::of(text, &Files::default()) {
            Ok(Source::Redis { place: Place { host, port, tls: None }, login, database }) => {
                Some((host, port, login, database))
            }
            _ => None,
        };
        let login = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(of("redis://h"), Some(("h".to_owned(), 6379, None, None)));
        assert_eq!(of("redis://:p%40ss@h:7/3"), Some(("h".to_owned(), 7, login("", "p@ss"), Some(3))));
        assert_eq!(of("redis://u:p@[::1]:7"), Some(("::1".to_owned(), 7, login("u", "p"), None)));
        assert_eq!(of("redis://h:x"), None);
        assert_eq!(of("redis://"), None);
        assert_eq!(of("/no/such/file.rdb"), None);
    }
    #[test]
    fn a_scheme_with_an_s_is_under_tls() {
        let files = Files::default();
        assert_eq!(under_tls("amqp://h", "amqp", &files), Some((None, "h")));
        assert_eq!(under_tls("amqps://h", "amqp", &files), Some((Some(&files), "h")));
        assert_eq!(under_tls("amqpx://h", "amqp", &files), None);
        assert_eq!(under_tls("redis:/h", "redis", &files), None);
    }
}
