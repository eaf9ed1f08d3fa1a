//! Replies of commands as values of Lua, and values of Lua as replies.
//!
//! ```text
//! RESP                 -> Lua                          Lua                         -> RESP
//! integer              number                          number                      integer, cut
//! bulk                 string                          string                      bulk
//! status, error        {ok=...}, {err=...}             {ok=...}, {err=...}         status, error
//! array                table                           table, up to the first nil  array
//! nil                  false (RESP3: nil)              false, nil                  nil
//! map, set (RESP3)     {map={}}, {set={}}              the same                    map, set
//! double, big number   {double=n}, {big_number=...}    the same                    double, big number
//! boolean (RESP3)      boolean                         true                        1 (RESP3: boolean)
//! verbatim             {verbatim_string={format=, string=}}
//! ```

use mlua::{Lua, Result, Table, Value};
use tercet_proto::resp::{Encoder, Version};

use super::number;
use super::patience::Patience;

/// Tables in tables deeper than this end a reply: each level takes a frame of the host's stack.
const MOST_DEPTH: usize = 100;

/// A reply that a script makes; a table that is shared by itself again and again has no other bound.
const MOST_BYTES: usize = 512 << 20;

/// The value of a whole reply that was written by us.
pub(super) fn to_lua(lua: &Lua, reply: &[u8]) -> Result<Value> {
    Reader { lua, reply, at: 0 }.value()
}

struct Reader<'r> {
    lua: &'r Lua,
    reply: &'r [u8],
    at: usize,
}

impl<'r> Reader<'r> {
    fn line(&mut self) -> &'r [u8] {
        let rest = self.reply.get(self.at..).unwrap_or_default();
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at += length + 1;
        rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length])
    }

    fn bytes(&mut self, length: usize) -> &'r [u8] {
        let rest = self.reply.get(self.at..).unwrap_or_default();
        self.at += length + 2;
        rest.get(..length).unwrap_or(rest)
    }

    fn one_field(&self, name: &str, value: Value) -> Result<Value> {
        let table = self.lua.create_table()?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    }

    fn value(&mut self) -> Result<Value> {
        let line = self.line();
        let Some((kind, rest)) = line.split_first() else { return Ok(Value::Nil) };
        let number = || std::str::from_utf8(rest).ok().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let text = |bytes: &[u8]| self.lua.create_string(bytes).map(Value::String);
        match kind {
            b':' => Ok(Value::Number(number() as f64)),
            b'$' | b'*' if number() < 0 => Ok(Value::Boolean(false)),
            b'$' => {
                let length = number() as usize;
                let bytes = self.bytes(length);
                self.lua.create_string(bytes).map(Value::String)
            }
            b'+' => {
                let text = text(rest)?;
                self.one_field("ok", text)
            }
            b'-' => {
                let text = text(rest)?;
                self.one_field("err", text)
            }
            b'*' | b'>' => self.list(number()).map(Value::Table),
            b'~' => {
                let set = self.lua.create_table()?;
                for _ in 0..number() {
                    let member = self.value()?;
                    if !member.is_nil() {
                        set.raw_set(member, true)?;
                    }
                }
                self.one_field("set", Value::Table(set))
            }
            b'%' => {
                let map = self.lua.create_table()?;
                for _ in 0..number() {
                    let (key, value) = (self.value()?, self.value()?);
                    if !key.is_nil() {
                        map.raw_set(key, value)?;
                    }
                }
                self.one_field("map", Value::Table(map))
            }
            b'|' => {
                for _ in 0..number().saturating_mul(2) {
                    self.value()?;
                }
                self.value()
            }
            b'_' => Ok(Value::Nil),
            b'#' => Ok(Value::Boolean(rest == b"t")),
            b',' => {
                let number = std::str::from_utf8(rest).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
                self.one_field("double", Value::Number(number))
            }
            b'(' => {
                let text = text(rest)?;
                self.one_field("big_number", text)
            }
            b'=' => {
                let length = number().max(0) as usize;
                let bytes = self.bytes(length);
                let verbatim = self.lua.create_table()?;
                verbatim.raw_set("format", self.lua.create_string(bytes.get(..3).unwrap_or_default())?)?;
                verbatim.raw_set("string", self.lua.create_string(bytes.get(4..).unwrap_or_default())?)?;
                self.one_field("verbatim_string", Value::Table(verbatim))
            }
            _ => Ok(Value::Nil),
        }
    }

    fn list(&mut self, length: i64) -> Result<Table> {
        let table = self.lua.create_table_with_capacity(length.clamp(0, 1 << 20) as usize, 0)?;
        for index in 1..=length {
            let value = self.value()?;
            table.raw_set(index, value)?;
        }
        Ok(table)
    }
}

/// Versions of the protocol that decide how a value is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Versions {
    /// The client's.
    pub(super) client: Version,
    /// What the script has set.
    pub(super) script: Version,
}

/// Writes what a script returned.
pub(super) fn to_reply(value: &Value, versions: Versions, patience: &Patience, out: &mut Vec<u8>) -> Result<()> {
    Writer { versions, patience }.write(value, 0, out)
}

struct Writer<'w> {
    versions: Versions,
    patience: &'w Patience,
}

fn clean(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

impl Writer<'_> {
    fn write(&self, value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<()> {
        let versions = self.versions;
        self.patience.step().map_err(mlua::Error::runtime)?;
        if out.len() > MOST_BYTES {
            return Err(mlua::Error::runtime("the reply is too long"));
        }
        let mut encoder = Encoder::new(out, versions.client);
        match value {
            Value::String(text) => encoder.bulk(&text.as_bytes()),
            Value::Integer(number) => encoder.integer(*number),
            Value::Number(number) => encoder.integer(number::to_integer(*number)),
            Value::Boolean(is_true) => match (versions.script, versions.client, is_true) {
                (Version::Resp3, Version::Resp3, _) => encoder.raw(if *is_true { b"#t\r\n" } else { b"#f\r\n" }),
                (Version::Resp3, ..) => encoder.integer(i64::from(*is_true)),
                (_, _, true) => encoder.integer(1),
                (_, _, false) => encoder.null(),
            },
            Value::Table(table) => return self.write_table(table, depth, out),
            _ => encoder.null(),
        }
        Ok(())
    }

    fn write_table(&self, table: &Table, depth: usize, out: &mut Vec<u8>) -> Result<()> {
        let versions = self.versions;
        if depth >= MOST_DEPTH {
            Encoder::new(out, versions.client).error("ERR reached lua stack limit");
            return Ok(());
        }
        if let Value::String(text) = table.raw_get("err")? {
            let text = clean(&text.as_bytes());
            let text = text.strip_prefix(b"-").unwrap_or(&text);
            out.push(b'-');
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
            return Ok(());
        }
        if let Value::String(text) = table.raw_get("ok")? {
            out.push(b'+');
            out.extend_from_slice(&clean(&text.as_bytes()));
            out.extend_from_slice(b"\r\n");
            return Ok(());
        }
        match table.raw_get::<Value>("double")? {
            Value::Number(number) => {
                Encoder::new(out, versions.client).double(number);
                return Ok(());
            }
            Value::Integer(number) => {
                Encoder::new(out, versions.client).double(number as f64);
                return Ok(());
            }
            _ => {}
        }
        // The host may hold few values of Lua at a time: what is listed is counted first, and then taken one by one.
        if let Value::Table(map) = table.raw_get("map")? {
            Encoder::new(out, versions.client).map(count(&map)?);
            for pair in map.pairs::<Value, Value>() {
                let (key, value) = pair?;
                self.write(&key, depth + 1, out)?;
                self.write(&value, depth + 1, out)?;
            }
            return Ok(());
        }
        if let Value::Table(set) = table.raw_get("set")? {
            Encoder::new(out, versions.client).set(count(&set)?);
            for pair in set.pairs::<Value, Value>() {
                self.write(&pair?.0, depth + 1, out)?;
            }
            return Ok(());
        }
        if let Value::String(text) = table.raw_get("big_number")? {
            let text = clean(&text.as_bytes());
            match versions.client {
                Version::Resp3 => {
                    out.push(b'(');
                    out.extend_from_slice(&text);
                    out.extend_from_slice(b"\r\n");
                }
                Version::Resp2 => Encoder::new(out, versions.client).bulk(&text),
            }
            return Ok(());
        }
        if let Value::Table(verbatim) = table.raw_get("verbatim_string")?
            && let (Value::String(format), Value::String(text)) =
                (verbatim.raw_get::<Value>("format")?, verbatim.raw_get::<Value>("string")?)
        {
            match versions.client {
                Version::Resp3 => {
                    let mut format = format.as_bytes().to_vec();
                    format.resize(3, b' ');
                    let text = text.as_bytes();
                    out.extend_from_slice(format!("={}\r\n", text.len() + 4).as_bytes());
                    out.extend_from_slice(&format);
                    out.push(b':');
                    out.extend_from_slice(&text);
                    out.extend_from_slice(b"\r\n");
                }
                Version::Resp2 => Encoder::new(out, versions.client).bulk(&text.as_bytes()),
            }
            return Ok(());
        }
        let mut length = 0;
        while !table.raw_get::<Value>(length + 1)?.is_nil() {
            length += 1;
        }
        Encoder::new(out, versions.client).array(length);
        for index in 1..=length {
            self.write(&table.raw_get(index)?, depth + 1, out)?;
        }
        Ok(())
    }
}

/// Pairs of a table.
fn count(table: &Table) -> Result<usize> {
    table.pairs::<Value, Value>().try_fold(0, |count, pair| pair.map(|_| count + 1))
}
