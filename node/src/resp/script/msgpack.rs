//! `cmsgpack`: MessagePack for scripts.

use std::rc::Rc;

use mlua::{Lua, MultiValue, Result, Table, Value};

use super::answer::{Answer, answer, as_number, message};
use super::patience::Patience;

type Refused<T> = std::result::Result<T, String>;

/// Tables deeper than this become nil, as in the library that Redis has.
const MOST_DEPTH: usize = 16;

/// How deep a message may be nested when it is read.
const MOST_NESTED: usize = 100;

/// Values that one call returns.
const MOST_VALUES: usize = 2000;

pub(super) fn library(lua: &Lua, patience: &Rc<Patience>) -> Result<Table> {
    let table = lua.create_table()?;
    let patience = Rc::clone(patience);
    table.set(
        "pack",
        lua.create_function(move |lua, args: MultiValue| {
            answer(lua, || {
                if args.is_empty() {
                    return Err("bad argument #0 to 'pack' (MessagePack pack needs input.)".into());
                }
                let mut out = Vec::new();
                args.iter().try_for_each(|value| pack(value, 0, &patience, &mut out))?;
                Ok(Answer::Text(out))
            })
        })?,
    )?;
    table.set(
        "unpack",
        lua.create_function(|lua, args: MultiValue| {
            answer(lua, || {
                let text = text(&args, "unpack")?;
                let mut reader = Reader { lua, text: &text, at: 0 };
                let mut values = MultiValue::new();
                while reader.at < text.len() {
                    values.push_back(reader.value(0)?);
                    few(values.len())?;
                }
                Ok(Answer::Values(values))
            })
        })?,
    )?;
    let some = |name: &'static str, limited: bool| {
        lua.create_function(move |lua, args: MultiValue| {
            answer(lua, || {
                let text = text(&args, name)?;
                let number = |place: usize| args.get(place).and_then(as_number).map(|number| number as i64);
                let limit = if limited { number(1).unwrap_or(0) } else { 1 };
                let offset = number(if limited { 2 } else { 1 }).unwrap_or(0);
                if limit < 0 || offset < 0 {
                    return Err(format!(
                        "Invalid request to unpack with offset of {offset} and limit of {}.",
                        text.len()
                    ));
                }
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                if start > text.len() {
                    return Err(format!("Start offset {offset} greater than input length {}.", text.len()));
                }
                let mut reader = Reader { lua, text: &text, at: start };
                let mut values = MultiValue::new();
                let most = if limit == 0 { i64::MAX } else { limit };
                while reader.at < text.len() && (values.len() as i64) < most {
                    values.push_back(reader.value(0)?);
                    few(values.len())?;
                }
                let next = if reader.at < text.len() { reader.at as f64 } else { -1.0 };
                values.push_front(Value::Number(next));
                Ok(Answer::Values(values))
            })
        })
    };
    table.set("unpack_one", some("unpack_one", false)?)?;
    table.set("unpack_limit", some("unpack_limit", true)?)?;
    Ok(table)
}

/// The host holds all values that it returns at once, and may hold few.
fn few(values: usize) -> Refused<()> {
    if values > MOST_VALUES { Err("too many results to unpack".into()) } else { Ok(()) }
}

fn text(args: &MultiValue, name: &str) -> Refused<Vec<u8>> {
    match args.front() {
        Some(Value::String(text)) => Ok(text.as_bytes().to_vec()),
        other => {
            let found = super::answer::type_name(other.unwrap_or(&Value::Nil));
            Err(format!("bad argument #1 to '{name}' (string expected, got {found})"))
        }
    }
}

fn pack(value: &Value, depth: usize, patience: &Patience, out: &mut Vec<u8>) -> Refused<()> {
    patience.step()?;
    if out.len() > super::json::MOST_BYTES {
        return Err("the message is too long".into());
    }
    match value {
        Value::String(text) => {
            let text = text.as_bytes();
            match text.len() {
                short @ 0..32 => out.push(0xa0 | short as u8),
                length @ 32..256 => out.extend_from_slice(&[0xd9, length as u8]),
                length @ 256..65536 => put(out, 0xda, &(length as u16).to_be_bytes()),
                length => put(out, 0xdb, &(length as u32).to_be_bytes()),
            }
            out.extend_from_slice(&text);
        }
        Value::Boolean(is_true) => out.push(if *is_true { 0xc3 } else { 0xc2 }),
        Value::Integer(number) => integer(*number, out),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 9.2e18 => integer(*number as i64, out),
        Value::Number(number) => {
            let single = *number as f32;
            if f64::from(single) == *number {
                put(out, 0xca, &single.to_be_bytes());
            } else {
                put(out, 0xcb, &number.to_be_bytes());
            }
        }
        Value::Table(table) if depth < MOST_DEPTH => {
            let (mut items, mut greatest, mut is_array) = (0_u32, 0.0_f64, true);
            for pair in table.pairs::<Value, Value>() {
                let (key, _) = pair.map_err(message)?;
                items += 1;
                match key {
                    Value::Integer(key) if key >= 1 => greatest = greatest.max(key as f64),
                    Value::Number(key) if key >= 1.0 && key.fract() == 0.0 => greatest = greatest.max(key),
                    _ => is_array = false,
                }
            }
            if is_array && greatest == f64::from(items) {
                header(out, items, 0x90, 0xdc);
                for index in 1..=items {
                    pack(&table.raw_get(index).map_err(message)?, depth + 1, patience, out)?;
                }
            } else {
                header(out, items, 0x80, 0xde);
                for pair in table.pairs::<Value, Value>() {
                    let (key, value) = pair.map_err(message)?;
                    pack(&key, depth + 1, patience, out)?;
                    pack(&value, depth + 1, patience, out)?;
                }
            }
        }
        _ => out.push(0xc0),
    }
    Ok(())
}

fn put(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

/// Of an array or a map; `tag` of the form with two bytes, the one with four follows it.
fn header(out: &mut Vec<u8>, items: u32, short: u8, tag: u8) {
    match items {
        0..16 => out.push(short | items as u8),
        16..65536 => put(out, tag, &(items as u16).to_be_bytes()),
        _ => put(out, tag + 1, &items.to_be_bytes()),
    }
}

fn integer(number: i64, out: &mut Vec<u8>) {
    match number {
        -32..128 => out.push(number as u8),
        128..256 => put(out, 0xcc, &(number as u8).to_be_bytes()),
        256..65536 => put(out, 0xcd, &(number as u16).to_be_bytes()),
        65536..0x1_0000_0000 => put(out, 0xce, &(number as u32).to_be_bytes()),
        0x1_0000_0000.. => put(out, 0xcf, &number.to_be_bytes()),
        -128..-32 => put(out, 0xd0, &(number as i8).to_be_bytes()),
        -32768..-128 => put(out, 0xd1, &(number as i16).to_be_bytes()),
        -0x8000_0000..-32768 => put(out, 0xd2, &(number as i32).to_be_bytes()),
        _ => put(out, 0xd3, &number.to_be_bytes()),
    }
}

struct Reader<'r> {
    lua: &'r Lua,
    text: &'r [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Refused<&[u8]> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.text.len());
        let end = end.ok_or_else(|| "Missing bytes in input.".to_owned())?;
        let taken = &self.text[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Refused<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| "Missing bytes in input.".to_owned())
    }

    fn length(&mut self, bytes: usize) -> Refused<usize> {
        Ok(self.take(bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn value(&mut self, depth: usize) -> Refused<Value> {
        if depth > MOST_NESTED {
            return Err("Bad data format in input.".into());
        }
        let [tag] = self.number::<1>()?;
        let number = |number: f64| Ok(Value::Number(number));
        match tag {
            0x00..=0x7f => number(f64::from(tag)),
            0xe0..=0xff => number(f64::from(tag as i8)),
            0xcc => number(f64::from(self.number::<1>()?[0])),
            0xcd => number(f64::from(u16::from_be_bytes(self.number()?))),
            0xce => number(f64::from(u32::from_be_bytes(self.number()?))),
            0xcf => number(u64::from_be_bytes(self.number()?) as f64),
            0xd0 => number(f64::from(i8::from_be_bytes(self.number()?))),
            0xd1 => number(f64::from(i16::from_be_bytes(self.number()?))),
            0xd2 => number(f64::from(i32::from_be_bytes(self.number()?))),
            0xd3 => number(i64::from_be_bytes(self.number()?) as f64),
            0xc0 => Ok(Value::Nil),
            0xc2 => Ok(Value::Boolean(false)),
            0xc3 => Ok(Value::Boolean(true)),
            0xca => number(f64::from(f32::from_be_bytes(self.number()?))),
            0xcb => number(f64::from_be_bytes(self.number()?)),
            0xa0..=0xbf => self.text(usize::from(tag & 31)),
            0xd9 | 0xc4 => self.length(1).and_then(|length| self.text(length)),
            0xda | 0xc5 => self.length(2).and_then(|length| self.text(length)),
            0xdb | 0xc6 => self.length(4).and_then(|length| self.text(length)),
            0x90..=0x9f => self.array(usize::from(tag & 15), depth),
            0xdc => self.length(2).and_then(|length| self.array(length, depth)),
            0xdd => self.length(4).and_then(|length| self.array(length, depth)),
            0x80..=0x8f => self.map(usize::from(tag & 15), depth),
            0xde => self.length(2).and_then(|length| self.map(length, depth)),
            0xdf => self.length(4).and_then(|length| self.map(length, depth)),
            _ => Err("Bad data format in input.".into()),
        }
    }

    fn text(&mut self, length: usize) -> Refused<Value> {
        let lua = self.lua;
        let text = self.take(length)?;
        lua.create_string(text).map(Value::String).map_err(message)
    }

    fn array(&mut self, length: usize, depth: usize) -> Refused<Value> {
        let table = self.lua.create_table().map_err(message)?;
        for index in 1..=length {
            let value = self.value(depth + 1)?;
            table.raw_set(index, value).map_err(message)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, length: usize, depth: usize) -> Refused<Value> {
        let table = self.lua.create_table().map_err(message)?;
        for _ in 0..length {
            let (key, value) = (self.value(depth + 1)?, self.value(depth + 1)?);
            if key.is_nil() || as_number(&key).is_some_and(f64::is_nan) {
                return Err("Bad data format in input.".into());
            }
            table.raw_set(key, value).map_err(message)?;
        }
        Ok(Value::Table(table))
    }
}
