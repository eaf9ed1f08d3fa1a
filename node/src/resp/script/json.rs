//! `cjson`: JSON for scripts, with the texts and the defaults of the library that Redis has.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Result, Table, Value};

use super::answer::{Answer, answer, as_number, message};
use super::patience::Patience;

type Refused<T> = std::result::Result<T, String>;

/// What a script may set; every script begins with the defaults.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    sparse_convert: bool,
    sparse_ratio: u32,
    sparse_safe: u32,
    encode_depth: u32,
    decode_depth: u32,
    precision: usize,
    encode_invalid: Invalid,
    decode_invalid: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Refused,
    Allowed,
    Null,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth: 1000,
            decode_depth: 1000,
            precision: 14,
            encode_invalid: Invalid::Refused,
            decode_invalid: true,
        }
    }
}

/// Deeper than this the host's own stack would be at risk, whatever a script sets.
const MOST_DEPTH: u32 = 100;

/// Bytes of one encoded text: a table that is shared by itself again and again has no other bound.
pub(super) const MOST_BYTES: usize = 512 << 20;

pub(super) fn library(lua: &Lua, settings: &Rc<Cell<Settings>>, patience: &Rc<Patience>) -> Result<Table> {
    let table = lua.create_table()?;
    let (now, patience) = (Rc::clone(settings), Rc::clone(patience));
    table.set(
        "encode",
        lua.create_function(move |lua, args: MultiValue| {
            answer(lua, || {
                let value = only("encode", &args)?;
                let mut out = Vec::new();
                Encoder { settings: now.get(), patience: &patience, out: &mut out }.value(value, 0)?;
                Ok(Answer::Text(out))
            })
        })?,
    )?;
    let now = Rc::clone(settings);
    table.set(
        "decode",
        lua.create_function(move |lua, args: MultiValue| {
            answer(lua, || {
                let text = match only("decode", &args)? {
                    Value::String(text) => text.as_bytes().to_vec(),
                    Value::Number(number) => number.to_string().into_bytes(),
                    Value::Integer(number) => number.to_string().into_bytes(),
                    other => {
                        let name = super::answer::type_name(other);
                        return Err(format!("bad argument #1 to 'decode' (string expected, got {name})"));
                    }
                };
                Decoder { lua, text: &text, at: 0, settings: now.get() }.whole().map(Answer::Value)
            })
        })?,
    )?;
    let setting = |name: &'static str, change: fn(&mut Settings, &MultiValue) -> Refused<Value>| {
        let now = Rc::clone(settings);
        lua.create_function(move |lua, args: MultiValue| {
            answer(lua, || {
                let mut changed = now.get();
                let shown =
                    change(&mut changed, &args).map_err(|wrong| format!("bad argument #1 to '{name}' ({wrong})"))?;
                now.set(changed);
                Ok(Answer::Value(shown))
            })
        })
    };
    table.set("encode_max_depth", setting("encode_max_depth", |all, args| depth(&mut all.encode_depth, args))?)?;
    table.set("decode_max_depth", setting("decode_max_depth", |all, args| depth(&mut all.decode_depth, args))?)?;
    table.set(
        "encode_number_precision",
        setting("encode_number_precision", |all, args| {
            if let Some(value) = args.front().filter(|value| !value.is_nil()) {
                let digits = as_number(value).map(|number| number as i64);
                all.precision = digits
                    .and_then(|digits| usize::try_from(digits).ok())
                    .filter(|digits| (1..=14).contains(digits))
                    .ok_or("expected integer between 1 and 14")?;
            }
            Ok(Value::Integer(all.precision as mlua::Integer))
        })?,
    )?;
    table.set(
        "encode_keep_buffer",
        setting("encode_keep_buffer", |_, args| Ok(args.front().cloned().unwrap_or(Value::Boolean(true))))?,
    )?;
    table.set(
        "encode_invalid_numbers",
        setting("encode_invalid_numbers", |all, args| {
            all.encode_invalid = match args.front() {
                None | Some(Value::Nil) => all.encode_invalid,
                Some(Value::Boolean(true)) => Invalid::Allowed,
                Some(Value::Boolean(false)) => Invalid::Refused,
                Some(Value::String(text)) if *text.as_bytes() == b"null"[..] => Invalid::Null,
                Some(_) => return Err("invalid option".into()),
            };
            Ok(Value::Boolean(all.encode_invalid != Invalid::Refused))
        })?,
    )?;
    table.set(
        "decode_invalid_numbers",
        setting("decode_invalid_numbers", |all, args| {
            if let Some(Value::Boolean(is_on)) = args.front() {
                all.decode_invalid = *is_on;
            }
            Ok(Value::Boolean(all.decode_invalid))
        })?,
    )?;
    table.set(
        "encode_sparse_array",
        setting("encode_sparse_array", |all, args| {
            if let Some(Value::Boolean(is_on)) = args.front() {
                all.sparse_convert = *is_on;
            }
            let number = |place: usize| args.get(place).and_then(as_number).map(|number| number as u32);
            all.sparse_ratio = number(1).unwrap_or(all.sparse_ratio);
            all.sparse_safe = number(2).unwrap_or(all.sparse_safe);
            Ok(Value::Boolean(all.sparse_convert))
        })?,
    )?;
    Ok(table)
}

fn depth(current: &mut u32, args: &MultiValue) -> Refused<Value> {
    if let Some(value) = args.front().filter(|value| !value.is_nil()) {
        let depth = as_number(value).map(|number| number as i64);
        *current = depth
            .and_then(|depth| u32::try_from(depth).ok())
            .filter(|depth| (1..=i32::MAX as u32).contains(depth))
            .ok_or("expected integer between 1 and 2147483647")?;
    }
    Ok(Value::Integer(*current as mlua::Integer))
}

fn only<'v>(name: &str, args: &'v MultiValue) -> Refused<&'v Value> {
    match args.len() {
        1 => args.front().ok_or_else(String::new),
        _ => Err(format!("bad argument #1 to '{name}' (expected 1 argument)")),
    }
}

struct Encoder<'e> {
    settings: Settings,
    patience: &'e Patience,
    out: &'e mut Vec<u8>,
}

/// How a table is written.
enum Shape {
    Array(i64),
    Object,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value, depth: u32) -> Refused<()> {
        if self.out.len() > MOST_BYTES {
            return Err("Cannot serialise, the text is too long".into());
        }
        self.patience.step()?;
        match value {
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(pointer) if pointer.0.is_null() => self.out.extend_from_slice(b"null"),
            Value::Boolean(is_true) => self.out.extend_from_slice(if *is_true { b"true" } else { b"false" }),
            Value::Integer(number) => self.number(*number as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::String(text) => self.text(&text.as_bytes()),
            Value::Table(table) => self.table(table, depth + 1)?,
            other => return Err(format!("Cannot serialise {}: type not supported", other.type_name())),
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: u32) -> Refused<()> {
        if depth > self.settings.encode_depth.min(MOST_DEPTH) {
            return Err(format!("Cannot serialise, excessive depth ({depth})"));
        }
        match self.shape(table)? {
            Shape::Array(length) => {
                self.out.push(b'[');
                for index in 1..=length {
                    if index > 1 {
                        self.out.push(b',');
                    }
                    self.value(&table.raw_get(index).map_err(message)?, depth)?;
                }
                self.out.push(b']');
            }
            Shape::Object => {
                self.out.push(b'{');
                let mut is_first = true;
                for pair in table.pairs::<Value, Value>() {
                    let (key, value) = pair.map_err(message)?;
                    if !std::mem::take(&mut is_first) {
                        self.out.push(b',');
                    }
                    match &key {
                        Value::String(text) => self.text(&text.as_bytes()),
                        Value::Integer(number) => self.key(*number as f64)?,
                        Value::Number(number) => self.key(*number)?,
                        _ => return Err("Cannot serialise table: table key must be a number or string".into()),
                    }
                    self.out.push(b':');
                    self.value(&value, depth)?;
                }
                self.out.push(b'}');
            }
        }
        Ok(())
    }

    fn key(&mut self, number: f64) -> Refused<()> {
        self.out.push(b'"');
        self.number(number)?;
        self.out.push(b'"');
        Ok(())
    }

    fn shape(&self, table: &Table) -> Refused<Shape> {
        let (mut greatest, mut items) = (0_i64, 0_i64);
        for pair in table.pairs::<Value, Value>() {
            let (key, _) = pair.map_err(message)?;
            let number = match key {
                Value::Integer(number) => number as f64,
                Value::Number(number) => number,
                _ => return Ok(Shape::Object),
            };
            if number < 1.0 || number.fract() != 0.0 || number > 9e15 {
                return Ok(Shape::Object);
            }
            greatest = greatest.max(number as i64);
            items += 1;
        }
        let Settings { sparse_ratio, sparse_safe, sparse_convert, .. } = self.settings;
        let is_sparse = sparse_ratio > 0
            && greatest > items.saturating_mul(i64::from(sparse_ratio))
            && greatest > i64::from(sparse_safe);
        match (items, is_sparse) {
            (0, _) => Ok(Shape::Object),
            (_, true) if !sparse_convert => Err("Cannot serialise table: excessively sparse array".into()),
            (_, true) => Ok(Shape::Object),
            _ => Ok(Shape::Array(greatest)),
        }
    }

    fn number(&mut self, number: f64) -> Refused<()> {
        if !number.is_finite() {
            match self.settings.encode_invalid {
                Invalid::Refused => return Err("Cannot serialise number: must not be NaN or Inf".into()),
                Invalid::Null => self.out.extend_from_slice(b"null"),
                Invalid::Allowed if number.is_nan() => self.out.extend_from_slice(b"nan"),
                Invalid::Allowed => self.out.extend_from_slice(if number > 0.0 { b"inf" } else { b"-inf" }),
            }
            return Ok(());
        }
        super::number::general(number, self.settings.precision, self.out);
        Ok(())
    }

    fn text(&mut self, text: &[u8]) {
        self.out.push(b'"');
        for byte in text {
            match byte {
                b'"' => self.out.extend_from_slice(b"\\\""),
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                b'/' => self.out.extend_from_slice(b"\\/"),
                8 => self.out.extend_from_slice(b"\\b"),
                9 => self.out.extend_from_slice(b"\\t"),
                10 => self.out.extend_from_slice(b"\\n"),
                12 => self.out.extend_from_slice(b"\\f"),
                13 => self.out.extend_from_slice(b"\\r"),
                0..32 | 127 => self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => self.out.push(*byte),
            }
        }
        self.out.push(b'"');
    }
}

struct Decoder<'d> {
    lua: &'d Lua,
    text: &'d [u8],
    at: usize,
    settings: Settings,
}

impl Decoder<'_> {
    fn whole(mut self) -> Refused<Value> {
        if self.text.len() > 1 && (self.text[0] == 0 || self.text[1] == 0) {
            return Err("JSON parser does not support UTF-16 or UTF-32".into());
        }
        let value = self.value(0)?;
        self.blanks();
        if self.at < self.text.len() { Err(self.expected("the end", self.at)) } else { Ok(value) }
    }

    fn blanks(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// "Expected X but found Y at character N".
    fn expected(&self, what: &str, at: usize) -> String {
        let rest = self.text.get(at..).unwrap_or_default();
        let found = match rest.first() {
            None => "T_END",
            Some(b'{') => "T_OBJ_BEGIN",
            Some(b'}') => "T_OBJ_END",
            Some(b'[') => "T_ARR_BEGIN",
            Some(b']') => "T_ARR_END",
            Some(b',') => "T_COMMA",
            Some(b':') => "T_COLON",
            Some(b'"') => "T_STRING",
            Some(b'0'..=b'9') => "T_NUMBER",
            Some(b'-') if rest.len() > 1 => "T_NUMBER",
            Some(b't') if rest.starts_with(b"true") => "T_BOOLEAN",
            Some(b'f') if rest.starts_with(b"false") => "T_BOOLEAN",
            Some(b'n') if rest.starts_with(b"null") => "T_NULL",
            Some(_) => "invalid token",
        };
        format!("Expected {what} but found {found} at character {}", at + 1)
    }

    fn deeper(&self, depth: u32) -> Refused<u32> {
        let depth = depth + 1;
        if depth > self.settings.decode_depth.min(MOST_DEPTH) {
            return Err(format!("Found too many nested data structures ({depth})"));
        }
        Ok(depth)
    }

    fn value(&mut self, depth: u32) -> Refused<Value> {
        self.blanks();
        let rest = &self.text[self.at..];
        match rest.first() {
            Some(b'"') => {
                let text = self.string()?;
                self.lua.create_string(text).map(Value::String).map_err(message)
            }
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b't') if rest.starts_with(b"true") => {
                self.at += 4;
                Ok(Value::Boolean(true))
            }
            Some(b'f') if rest.starts_with(b"false") => {
                self.at += 5;
                Ok(Value::Boolean(false))
            }
            Some(b'n') if rest.starts_with(b"null") => {
                self.at += 4;
                Ok(Value::NULL)
            }
            Some(b'-' | b'+' | b'0'..=b'9' | b'i' | b'I' | b'n' | b'N') => self.number(),
            _ => Err(self.expected("value", self.at)),
        }
    }

    fn number(&mut self) -> Refused<Value> {
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
        let word = std::str::from_utf8(&rest[..length]).unwrap_or_default();
        let digits = word.trim_start_matches(['-', '+']).to_ascii_lowercase();
        let has_spare_zero = digits.starts_with('0') && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        let is_plain = digits.starts_with(|letter: char| letter.is_ascii_digit())
            && !has_spare_zero
            && !digits.starts_with("0x")
            && !word.starts_with('+');
        if !is_plain && !self.settings.decode_invalid {
            return Err(self.expected("value", start));
        }
        let sign = if word.starts_with('-') { -1.0 } else { 1.0 };
        let number = if let Some(hex) = digits.strip_prefix("0x") {
            u64::from_str_radix(hex, 16).ok().map(|number| sign * number as f64)
        } else {
            word.parse::<f64>().ok()
        };
        let number =
            number.ok_or_else(|| format!("Expected value but found invalid number at character {}", start + 1))?;
        self.at += length;
        Ok(Value::Number(number))
    }

    fn object(&mut self, depth: u32) -> Refused<Value> {
        let depth = self.deeper(depth)?;
        self.at += 1;
        let table = self.lua.create_table().map_err(message)?;
        self.blanks();
        if self.text.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(Value::Table(table));
        }
        loop {
            self.blanks();
            if self.text.get(self.at) != Some(&b'"') {
                return Err(self.expected("object key string", self.at));
            }
            let key = self.string()?;
            self.blanks();
            if self.text.get(self.at) != Some(&b':') {
                return Err(self.expected("colon", self.at));
            }
            self.at += 1;
            let value = self.value(depth)?;
            let key = self.lua.create_string(key).map_err(message)?;
            table.raw_set(key, value).map_err(message)?;
            self.blanks();
            match self.text.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Table(table));
                }
                _ => return Err(self.expected("comma or object end", self.at)),
            }
        }
    }

    fn array(&mut self, depth: u32) -> Refused<Value> {
        let depth = self.deeper(depth)?;
        self.at += 1;
        let table = self.lua.create_table().map_err(message)?;
        self.blanks();
        if self.text.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(Value::Table(table));
        }
        for index in 1_i64.. {
            let value = self.value(depth)?;
            table.raw_set(index, value).map_err(message)?;
            self.blanks();
            match self.text.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    break;
                }
                _ => return Err(self.expected("comma or array end", self.at)),
            }
        }
        Ok(Value::Table(table))
    }

    fn string(&mut self) -> Refused<Vec<u8>> {
        let start = self.at;
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.text.get(self.at) {
                None => {
                    return Err(format!(
                        "Expected value but found unexpected end of string at character {}",
                        start + 1
                    ));
                }
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    let escape = self.text.get(self.at + 1).copied();
                    let plain = match escape {
                        Some(byte @ (b'"' | b'\\' | b'/')) => byte,
                        Some(b'b') => 8,
                        Some(b'f') => 12,
                        Some(b'n') => 10,
                        Some(b'r') => 13,
                        Some(b't') => 9,
                        Some(b'u') => {
                            let code = self.unicode().ok_or_else(|| {
                                format!(
                                    "Expected value but found invalid unicode escape code at character {}",
                                    self.at + 1
                                )
                            })?;
                            let mut buffer = [0; 4];
                            out.extend_from_slice(code.encode_utf8(&mut buffer).as_bytes());
                            continue;
                        }
                        _ => {
                            return Err(format!(
                                "Expected value but found invalid escape code at character {}",
                                self.at + 1
                            ));
                        }
                    };
                    out.push(plain);
                    self.at += 2;
                }
                Some(byte) => {
                    out.push(*byte);
                    self.at += 1;
                }
            }
        }
    }

    /// At the backslash of `\u0000`, perhaps with the second half of a pair behind it; goes on behind it.
    fn unicode(&mut self) -> Option<char> {
        let unit = |at: usize| {
            let escape = self.text.get(at..at + 6)?;
            let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
            digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
        };
        let first = unit(self.at)?;
        let (code, used) = match first {
            0xd800..0xdc00 => {
                let second = unit(self.at + 6).filter(|second| (0xdc00..0xe000).contains(second))?;
                (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12)
            }
            other => (other, 6),
        };
        let code = char::from_u32(code)?;
        self.at += used;
        Some(code)
    }
}
