//! The key browser: keys by pattern, one key with a page of its value, and what may be changed of it.
//!
//! Who may do what is Redis's ACL. A user without rules there who administers has those of `default`: so has `guest` at the
//! beginning, which has its password as well. Every other user without rules sees no keys.
//!
//! A key stands in a path as base64url, `-` for the empty one: keys are bytes.

use std::cell::Cell;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::answer::{Answer, Error, Outcome};
use super::limits;
use super::request::Request;
use super::values;
use crate::accounts::{self, Tag};
use crate::clock;
use crate::console::Call;
use crate::engine::{Locked, View};
use crate::glob;
use crate::keyspace::Entry;
use crate::keyspace::value::ValueRef;
use crate::limits::DATABASES;

/// Commands that change a key from the page: none waits, and each names its key first.
const CHANGES: &[&str] = &[
    "set", "rename", "pexpire", "persist", "rpush", "lpush", "lset", "lrem", "hset", "hdel", "sadd", "srem", "zadd",
    "zrem", "xadd", "xdel",
];

/// The command whose right a user needs to be shown a value of this type.
fn reading(value: ValueRef<'_>) -> &'static [&'static [u8]] {
    match value {
        ValueRef::Integer(_) | ValueRef::String(_) => &[b"get"],
        ValueRef::List(_) => &[b"lrange", b"0", b"-1"],
        ValueRef::Hash(_) => &[b"hscan", b"0"],
        ValueRef::Set(_) => &[b"sscan", b"0"],
        ValueRef::SortedSet(_) => &[b"zrange", b"0", b"-1"],
        ValueRef::Stream(_) => &[b"xrange", b"-", b"+"],
    }
}

/// Such a command, with its key.
fn reading_of<'a>(entry: Entry<'a>) -> Vec<&'a [u8]> {
    let mut args: Vec<&[u8]> = reading(entry.value()).to_vec();
    args.insert(1, entry.key());
    args
}

/// The user of Redis's ACL who somebody is here.
///
/// # Errors
/// There is none.
pub(super) fn redis_user(request: &Request) -> Result<&str, Error> {
    let of = |name: &str| request.directory.users.get(name).filter(|user| user.has_rule("on")).map(|_| ());
    let own = &request.user.name;
    let has_rules = request.directory.users.get(own).is_some_and(|user| !user.rules.is_empty());
    let name = if !has_rules && request.is(Tag::Administrator) { accounts::INITIAL_RESP_USER } else { own };
    of(name).map(|()| name).ok_or(Error::NotAllowed("This user has no rules of Redis's ACL, or is switched off there"))
}

fn database(text: &str) -> Result<u8, Error> {
    let number = if text.is_empty() { Some(0) } else { text.parse().ok() };
    number.filter(|number| *number < DATABASES).ok_or_else(|| Error::bad("there is no such database"))
}

fn count(request: &Request) -> Result<usize, Error> {
    match request.query("count").filter(|text| !text.is_empty()).map(str::parse) {
        None => Ok(limits::KEYS),
        Some(Ok(count)) if (1..=limits::MOST_KEYS).contains(&count) => Ok(count),
        Some(_) => Err(Error::bad(format!("count: 1 to {}", limits::MOST_KEYS))),
    }
}

/// The name of a key in a path.
fn id_of(key: &[u8]) -> String {
    if key.is_empty() { "-".to_owned() } else { URL_SAFE_NO_PAD.encode(key) }
}

fn key_of(id: &str) -> Result<Vec<u8>, Error> {
    if id == "-" {
        return Ok(Vec::new());
    }
    URL_SAFE_NO_PAD.decode(id).map_err(|_| Error::bad("a key stands in the path as base64url"))
}

/// What a list of keys says of each.
fn row(entry: Entry<'_>, now_ms: u64) -> Value {
    json!({
        "id": id_of(entry.key()),
        "key": values::shown(entry.key(), limits::ELEMENT_BYTES),
        "type": entry.value().type_name(),
        "length": values::length(entry.value()),
        "ttl_ms": entry.expire_at().map(|at| at.0.saturating_sub(now_ms)),
    })
}

/// GET /api/keys?db=0&match=user:*&type=hash&cursor=0&count=100
///
/// `{"keys": [...], "cursor": "..."}`; no cursor: these were the last. There may be fewer keys than asked for, and more to
/// come: a request looks at a bounded number of them.
pub(super) fn list(request: &Request) -> Outcome {
    let node = request.node();
    let user = redis_user(request)?;
    let rights = node.acl.rights(&node.engine.accounts, user).ok_or(Error::AccessRefused)?;
    if !rights.allows(&[b"scan", b"0"]) {
        return Err(Error::NotAllowed("This user may not SCAN"));
    }
    let database = database(request.query("db").unwrap_or_default())?;
    let (count, pattern) = (count(request)?, request.query("match").filter(|text| !text.is_empty() && *text != "*"));
    let kind = request.query("type").filter(|text| !text.is_empty());
    let cursor = request.query("cursor").filter(|text| !text.is_empty()).map_or(Ok(0), str::parse);
    let mut cursor: u64 = cursor.map_err(|_| Error::bad("the cursor is no number"))?;
    let now = clock::unix_now();
    let (hits, misses, nothing) = (Cell::new(0), Cell::new(0), Locked::Nothing);
    let view = View::new(&node.engine, &nothing, database, now, &hits, &misses);
    let (began, mut keys, mut looked) = (Instant::now(), Vec::new(), 0);
    let mut is_at_end = false;
    while keys.len() < count && looked < limits::LOOKED_AT && began.elapsed() < limits::LOOKING {
        let slice = limits::SLICE.min(count - keys.len()).max(if pattern.is_some() || kind.is_some() {
            limits::SLICE
        } else {
            1
        });
        let (next, _) = view.scan(cursor, slice, |entry| {
            looked += 1;
            let fits = kind.is_none_or(|kind| kind == entry.value().type_name())
                && pattern.is_none_or(|pattern| glob::matches(pattern.as_bytes(), entry.key()));
            if fits && rights.allows(&reading_of(entry)) {
                keys.push(row(entry, now.0));
            }
            None
        });
        cursor = next;
        if next == 0 {
            is_at_end = true;
            break;
        }
    }
    let next = (!is_at_end).then(|| cursor.to_string());
    let body = json!({ "keys": keys, "cursor": next, "looked_at": looked, "user": user });
    Ok(Answer::json(body).after(view.depends_on()))
}

/// GET /api/keys/:db/:id?cursor=…&count=… : a page of the value.
pub(super) fn show(request: &Request) -> Outcome {
    let node = request.node();
    let user = redis_user(request)?;
    let rights = node.acl.rights(&node.engine.accounts, user).ok_or(Error::AccessRefused)?;
    let (database, key, count) = (database(request.capture(0))?, key_of(request.capture(1))?, count(request)?);
    let now = clock::unix_now();
    let (hits, misses) = (Cell::new(0), Cell::new(0));
    let locked = Locked::keys(&node.engine.keyspace, std::iter::once(key.as_slice()));
    let view = View::new(&node.engine, &locked, database, now, &hits, &misses);
    let entry = view.peek(&key);
    // Whether a key is there that may not be read is not said, either.
    let may_read = entry.map_or_else(|| rights.allows(&[b"get", &key]), |entry| rights.allows(&reading_of(entry)));
    if !may_read {
        return Err(Error::AccessRefused);
    }
    let entry = entry.ok_or(Error::NotFound)?;
    let page = values::page(entry.value(), request.query("cursor").unwrap_or_default(), count)?;
    let mut body = row(entry, now.0);
    let sizes = node.engine.keyspace.thresholds().sizes().limits;
    body["encoding"] = json!(if entry.is_changed_text() { "raw" } else { entry.value().encoding_name(&sizes) });
    body["memory"] = json!(entry.memory_usage(limits::MEMORY_SAMPLES));
    body["items"] = Value::Array(page.items);
    body["cursor"] = json!(page.next);
    body["may_change"] = json!(rights.allows(&[b"unlink", &key]));
    if let ValueRef::Stream(stream) = entry.value() {
        body["groups"] = values::groups(stream);
        body["last_id"] = json!(stream.last_id().to_string());
    }
    Ok(Answer::json(body).after(view.depends_on()))
}

/// DELETE /api/keys/:db/:id
pub(super) fn delete(request: &Request) -> Outcome {
    let key = key_of(request.capture(1))?;
    match run(request, &[b"unlink", &key])? {
        (Value::Number(count), _) if count.as_i64() == Some(0) => Err(Error::NotFound),
        (_, depends_on) => Ok(Answer::done().after(depends_on)),
    }
}

/// POST /api/keys/:db/:id `{"command": "hset", "arguments": ["field", {"base64": "…"}]}`: the key is the first argument.
pub(super) fn change(request: &Request) -> Outcome {
    let fields = request.object()?;
    fields.require(&["command"])?;
    let command = fields.text("command")?.unwrap_or_default().to_ascii_lowercase();
    if !CHANGES.contains(&command.as_str()) {
        return Err(Error::bad(format!("command: one of {}", CHANGES.join(", "))));
    }
    let key = key_of(request.capture(1))?;
    let mut args = vec![command.into_bytes(), key];
    match fields.get("arguments") {
        None => {}
        Some(Value::Array(list)) => {
            for argument in list {
                args.push(bytes_of(argument)?);
            }
        }
        Some(_) => return Err(Error::bad("arguments: a list")),
    }
    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
    let (reply, depends_on) = run(request, &args)?;
    Ok(Answer::json(json!({ "reply": reply })).after(depends_on))
}

/// A text, a number, or `{"base64": …}`.
fn bytes_of(value: &Value) -> Result<Vec<u8>, Error> {
    match value {
        Value::String(text) => Ok(text.clone().into_bytes()),
        Value::Number(number) => Ok(number.to_string().into_bytes()),
        Value::Object(object) => {
            let text = object.get("base64").and_then(Value::as_str);
            text.and_then(|text| STANDARD.decode(text).ok()).ok_or_else(|| Error::bad("an argument is no base64"))
        }
        _ => Err(Error::bad("an argument is neither text, nor a number, nor {\"base64\": …}")),
    }
}

/// Executes a command as the user; its reply, which is a line, a number or a text.
fn run(request: &Request, args: &[&[u8]]) -> Result<(Value, crate::ids::Offset), Error> {
    let user = redis_user(request)?;
    let database = database(request.capture(0))?;
    let call = Call { user, peer: request.peer, database, args };
    let reply = (request.http.console.run)(&request.http.node, call);
    let text = String::from_utf8_lossy(&reply.bytes);
    let line = text.lines().next().unwrap_or_default();
    let value = match line.as_bytes().first() {
        Some(b'-') if line.starts_with("-NOPERM") => return Err(Error::AccessRefused),
        Some(b'-') => return Err(Error::bad(&line[1..])),
        Some(b':') => json!(line[1..].parse::<i64>().unwrap_or_default()),
        Some(b'$') => json!(text.split("\r\n").nth(1).unwrap_or_default()),
        _ => json!(line.trim_start_matches('+')),
    };
    Ok((value, reply.depends_on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_paths_whatever_their_bytes() {
        for key in [&b""[..], b"a", b"user:1", b"\xff\x00/", "schlüssel".as_bytes()] {
            let id = id_of(key);
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')), "{id}");
            assert_eq!(key_of(&id).ok().as_deref(), Some(key), "{id}");
        }
        assert!(key_of("a b").is_err());
    }

    #[test]
    fn arguments_are_texts_numbers_or_bytes() {
        assert_eq!(bytes_of(&json!("x")).ok(), Some(b"x".to_vec()));
        assert_eq!(bytes_of(&json!(1.5)).ok(), Some(b"1.5".to_vec()));
        assert_eq!(bytes_of(&json!({ "base64": "/w==" })).ok(), Some(b"\xff".to_vec()));
        assert!(bytes_of(&json!(["x"])).is_err() && bytes_of(&json!({ "base64": "!" })).is_err());
    }
}
