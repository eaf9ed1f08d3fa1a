//! A request as its handler sees it: who asks, what the path names, query and body.

use std::sync::Arc;

use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::{Map, Value};
use tercet_proto::amqp::ShortString;

use super::answer::Error;
use super::shared::Http;
use crate::accounts::{Directory, Tag, User};
use crate::node::Node;
use crate::permission::{self, Right};

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) http: Arc<Http>,
    pub(super) user: User,
    pub(super) directory: Arc<Directory>,
    /// What stands in the path where the route has a name.
    pub(super) captures: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) headers: HeaderMap,
    pub(super) peer: std::net::SocketAddr,
}

impl Request {
    pub(super) fn node(&self) -> &Node {
        &self.http.node
    }

    pub(super) fn capture(&self, index: usize) -> &str {
        self.captures.get(index).map_or("", String::as_str)
    }

    /// A virtual host of the path that is there and that the user may see.
    pub(super) fn vhost(&self, index: usize) -> Result<ShortString, Error> {
        let name = self.capture(index);
        if !self.directory.vhosts.contains_key(name) {
            return Err(Error::NotFound);
        }
        if !self.sees(name) {
            return Err(Error::NotAllowed("User not authorised to access virtual host"));
        }
        short(name)
    }

    /// A name of the path.
    pub(super) fn name(&self, index: usize) -> Result<ShortString, Error> {
        short(self.capture(index))
    }

    /// An exchange's name: the default exchange has no name, and cannot stand in a path without one.
    pub(super) fn exchange(&self, index: usize) -> Result<ShortString, Error> {
        let name = self.name(index)?;
        Ok(if name.as_str() == "amq.default" { ShortString::default() } else { name })
    }

    /// Whether the user may see what is in a virtual host.
    pub(super) fn sees(&self, vhost: &str) -> bool {
        self.user.is(Tag::Monitoring) || self.directory.permissions_of(&self.user.name, vhost).is_some()
    }

    pub(super) fn is(&self, tag: Tag) -> bool {
        self.user.is(tag)
    }

    /// Permissions count as they do for AMQP.
    ///
    /// # Errors
    /// The user has no permissions in the virtual host, or none for this name.
    pub(super) fn may(&self, right: Right, vhost: &str, name: &str) -> Result<(), Error> {
        let permissions = self.directory.permissions_of(&self.user.name, vhost).ok_or(Error::AccessRefused)?;
        if permission::allows(permissions, right, name) { Ok(()) } else { Err(Error::AccessRefused) }
    }

    /// As `may`, of a routing key of a topic exchange.
    ///
    /// # Errors
    /// The user has topic permissions for the exchange, and none for this key.
    pub(super) fn may_topic(&self, right: Right, vhost: &str, exchange: &str, key: &str) -> Result<(), Error> {
        let topics = permission::Topics::of(&self.directory, &self.user.name, vhost);
        if topics.allows(right, exchange, key) { Ok(()) } else { Err(Error::AccessRefused) }
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.query(name), Some("true" | "1" | "yes"))
    }

    /// The body: an object, or nothing.
    pub(super) fn object(&self) -> Result<Object, Error> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Object(Map::new()));
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(map)) => Ok(Object(map)),
            Ok(_) | Err(_) => Err(Error::bad("not_json")),
        }
    }
}

/// The fields of a body.
#[derive(Debug)]
pub(super) struct Object(pub(super) Map<String, Value>);

impl Object {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// # Errors
    /// Some of these are not there: in RabbitMQ's words.
    pub(super) fn require(&self, names: &[&str]) -> Result<(), Error> {
        let missing: Vec<_> = names.iter().filter(|name| self.get(name).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let list: Vec<_> = missing.iter().map(|name| format!("{{key_missing,{name}}}")).collect();
        Err(Error::bad(format!("[{}]", list.join(","))))
    }

    /// A text; numbers are taken for text, as RabbitMQ does.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(Error::bad(format!("{name} is no text"))),
        }
    }

    /// A truth value; `rabbitmqadmin` sends them as text.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(other) => Err(Error::bad(format!("{{not_boolean,{}}}", plain(other)))),
        }
    }

    /// A number, perhaps as text.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => integer(value)
                .map(Some)
                .ok_or_else(|| Error::bad(format!("{name} is no whole number: {}", plain(value)))),
        }
    }

    /// An object within, or an empty one.
    pub(super) fn object(&self, name: &str) -> Result<Map<String, Value>, Error> {
        match self.get(name) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            // An empty one of JSON libraries that know lists only.
            Some(Value::Array(list)) if list.is_empty() => Ok(Map::new()),
            Some(_) => Err(Error::bad(format!("{name} is no object"))),
        }
    }
}

/// A whole number, perhaps as text.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A name as AMQP has it.
///
/// # Errors
/// It is longer than 255 bytes.
pub(super) fn short(text: &str) -> Result<ShortString, Error> {
    ShortString::try_from(text).map_err(|_| Error::bad("a name is longer than 255 bytes"))
}

/// The parts of a path, decoded. A slash at the end is no part.
///
/// # Errors
/// What stands behind `%` are no hex digits, or it is not UTF-8.
pub(super) fn segments(path: &str) -> Result<Vec<String>, Error> {
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').skip(1).map(|part| decoded(part, Plus::Itself).ok_or(Error::NotFound)).collect()
}

/// The fields of a query. What cannot be decoded is left out.
pub(super) fn query(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Some((decoded(name, Plus::Space)?, decoded(value, Plus::Space)?))
    };
    text.split('&').filter(|part| !part.is_empty()).filter_map(pair).collect()
}

/// What `+` stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Itself,
    Space,
}

fn decoded(text: &str, plus: Plus) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            b'+' if plus == Plus::Space => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// A text as one part of a path.
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_decoded_part_by_part() {
        let parts = |path| segments(path).map_err(|_| ());
        assert_eq!(parts("/api/queues/%2F/a%20b+c/"), Ok(["api", "queues", "/", "a b+c"].map(str::to_owned).to_vec()));
        assert_eq!(parts("/api/x%2"), Err(()));
        assert_eq!(parts("/api/%ff"), Err(()));
        let pairs = query("name=a+b&use_regex=true&x&%zz=1");
        assert_eq!(pairs[0], ("name".to_owned(), "a b".to_owned()));
        assert_eq!((pairs.len(), &*pairs[2].0), (3, "x"));
        assert_eq!(encoded("a.#/ü"), "a.%23%2F%C3%BC");
    }

    #[test]
    fn fields_are_read_as_the_tools_write_them() {
        let object = |text: &str| Object(serde_json::from_str(text).unwrap());
        let fields =
            object(r#"{"durable":"true","auto_delete":false,"count":"5","n":7,"nothing":null,"arguments":[]}"#);
        assert!(fields.flag("durable").unwrap() && !fields.flag("auto_delete").unwrap());
        assert!(!fields.flag("absent").unwrap() && fields.flag("count").is_err());
        assert_eq!((fields.number("count").unwrap(), fields.number("n").unwrap()), (Some(5), Some(7)));
        assert_eq!(fields.text("n").unwrap().as_deref(), Some("7"));
        assert!(fields.object("arguments").unwrap().is_empty());
        let Err(Error::BadRequest(reason)) = fields.require(&["n", "nothing", "encoding"]) else { panic!("missing") };
        assert_eq!(reason, "[{key_missing,nothing},{key_missing,encoding}]");
    }
}
