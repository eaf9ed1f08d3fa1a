//! `struct`: values as packed bytes, after the library of Roberto Ierusalimschy that Redis has.
//!
//! ```text
//! > < =  big, little, native order        ! or !n  alignment      x  a byte of padding
//! b B  h H  l L  T  i[n] I[n]  signed and unsigned integers       f d  floats
//! s  string that ends with NUL            c[n]  n bytes (c0: as many as the number before says)
//! ```

use mlua::{Lua, MultiValue, Result, Table, Value};

use super::answer::{Answer, answer, as_number, message, type_name};

type Refused<T> = std::result::Result<T, String>;

const MOST_INTEGER: usize = 32;
const NATIVE_ALIGNMENT: usize = 8;

/// Values that one call returns: the host holds all of them at once, and may hold few.
const MOST_VALUES: usize = 2000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Item {
    Integer { size: usize, signed: bool },
    Float,
    Double,
    Text,
    Bytes(Option<usize>),
    Padding,
}

/// Walks over a format.
struct Format<'f> {
    text: &'f [u8],
    at: usize,
    is_little: bool,
    alignment: usize,
}

impl<'f> Format<'f> {
    fn new(text: &'f [u8]) -> Self {
        Self { text, at: 0, is_little: cfg!(target_endian = "little"), alignment: 1 }
    }

    fn digits(&mut self) -> Refused<Option<usize>> {
        let start = self.at;
        let mut number = 0_usize;
        while let Some(digit) = self.text.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            number = number
                .checked_mul(10)
                .and_then(|number| number.checked_add(usize::from(digit - b'0')))
                .filter(|number| *number <= i32::MAX as usize)
                .ok_or("integral size overflow")?;
            self.at += 1;
        }
        Ok((self.at > start).then_some(number))
    }

    fn integer_size(&mut self) -> Refused<usize> {
        let size = self.digits()?.unwrap_or(4);
        if size > MOST_INTEGER {
            return Err(format!("integral size {size} is larger than limit of {MOST_INTEGER}"));
        }
        Ok(size)
    }

    /// The next item, and how many bytes are left out in front of it at `position`.
    fn next(&mut self, position: usize) -> Refused<Option<(Item, usize)>> {
        while let Some(letter) = self.text.get(self.at).copied() {
            self.at += 1;
            let item = match letter {
                b' ' => continue,
                b'>' => {
                    self.is_little = false;
                    continue;
                }
                b'<' => {
                    self.is_little = true;
                    continue;
                }
                b'=' => {
                    self.is_little = cfg!(target_endian = "little");
                    continue;
                }
                b'!' => {
                    let alignment = self.digits()?.unwrap_or(NATIVE_ALIGNMENT);
                    if !alignment.is_power_of_two() {
                        return Err("alignment is not a power of 2".into());
                    }
                    self.alignment = alignment;
                    continue;
                }
                b'b' | b'B' => Item::Integer { size: 1, signed: letter == b'b' },
                b'h' | b'H' => Item::Integer { size: 2, signed: letter == b'h' },
                b'l' | b'L' => Item::Integer { size: 8, signed: letter == b'l' },
                b'T' => Item::Integer { size: 8, signed: false },
                b'i' | b'I' => Item::Integer { size: self.integer_size()?, signed: letter == b'i' },
                b'f' => Item::Float,
                b'd' => Item::Double,
                b's' => Item::Text,
                b'c' => match self.digits()? {
                    None => Item::Bytes(Some(1)),
                    Some(0) => Item::Bytes(None),
                    Some(size) => Item::Bytes(Some(size)),
                },
                b'x' => Item::Padding,
                other => return Err(format!("invalid format option '{}'", char::from(other))),
            };
            let size = match item {
                Item::Integer { size, .. } => size,
                Item::Float => 4,
                Item::Double => 8,
                Item::Text | Item::Bytes(_) | Item::Padding => 1,
            };
            let align = size.min(self.alignment);
            let skipped = if align > 1 && align.is_power_of_two() { position.wrapping_neg() & (align - 1) } else { 0 };
            return Ok(Some((item, skipped)));
        }
        Ok(None)
    }
}

pub(super) fn library(lua: &Lua) -> Result<Table> {
    let table = lua.create_table()?;
    table.set("pack", lua.create_function(|lua, args: MultiValue| answer(lua, || pack(&args).map(Answer::Text)))?)?;
    table.set(
        "unpack",
        lua.create_function(|lua, args: MultiValue| answer(lua, || unpack(lua, &args).map(Answer::Values)))?,
    )?;
    table.set("size", lua.create_function(|lua, args: MultiValue| answer(lua, || size(&args)))?)?;
    Ok(table)
}

fn text(args: &MultiValue, place: usize, name: &str) -> Refused<Vec<u8>> {
    match args.get(place) {
        Some(Value::String(text)) => Ok(text.as_bytes().to_vec()),
        Some(Value::Number(number)) => Ok(super::number::argument(*number)),
        Some(Value::Integer(number)) => Ok(number.to_string().into_bytes()),
        other => Err(format!(
            "bad argument #{} to '{name}' (string expected, got {})",
            place + 1,
            type_name(other.unwrap_or(&Value::Nil))
        )),
    }
}

fn number(args: &MultiValue, place: usize, name: &str) -> Refused<f64> {
    let value = args.get(place);
    let number = match value {
        Some(Value::String(text)) => text.to_str().ok().and_then(|text| text.trim().parse().ok()),
        other => other.and_then(as_number),
    };
    number.ok_or_else(|| {
        let found = type_name(value.unwrap_or(&Value::Nil));
        format!("bad argument #{} to '{name}' (number expected, got {found})", place + 1)
    })
}

fn pack(args: &MultiValue) -> Refused<Vec<u8>> {
    let format = text(args, 0, "pack")?;
    let (mut format, mut out, mut place) = (Format::new(&format), Vec::new(), 1);
    while let Some((item, skipped)) = format.next(out.len())? {
        out.resize(out.len() + skipped, 0);
        match item {
            Item::Padding => {
                out.push(0);
                continue;
            }
            Item::Integer { size, .. } => {
                let number = number(args, place, "pack")?;
                let bits = if number < 0.0 { number as i64 as u64 } else { number as u64 };
                let fill = if number < 0.0 { 0xff } else { 0 };
                let mut bytes = vec![fill; size.max(8)];
                bytes[..8].copy_from_slice(&bits.to_le_bytes());
                bytes.truncate(size);
                if !format.is_little {
                    bytes.reverse();
                }
                out.extend_from_slice(&bytes);
            }
            Item::Float => {
                let number = number(args, place, "pack")? as f32;
                out.extend_from_slice(&if format.is_little { number.to_le_bytes() } else { number.to_be_bytes() });
            }
            Item::Double => {
                let number = number(args, place, "pack")?;
                out.extend_from_slice(&if format.is_little { number.to_le_bytes() } else { number.to_be_bytes() });
            }
            Item::Text => {
                out.extend_from_slice(&text(args, place, "pack")?);
                out.push(0);
            }
            Item::Bytes(size) => {
                let text = text(args, place, "pack")?;
                let size = size.unwrap_or(text.len());
                let cut = text
                    .get(..size)
                    .ok_or_else(|| format!("bad argument #{} to 'pack' (string too short)", place + 1))?;
                out.extend_from_slice(cut);
            }
        }
        place += 1;
    }
    Ok(out)
}

fn unpack(lua: &Lua, args: &MultiValue) -> Refused<MultiValue> {
    let (format, data) = (text(args, 0, "unpack")?, text(args, 1, "unpack")?);
    let start = match args.get(2) {
        None | Some(Value::Nil) => 1.0,
        Some(_) => number(args, 2, "unpack")?,
    };
    if start < 1.0 {
        return Err("offset must be 1 or greater".into());
    }
    let mut at = start as usize - 1;
    let mut values: Vec<Value> = Vec::new();
    let mut format = Format::new(&format);
    while let Some((item, skipped)) = format.next(at)? {
        at = at.saturating_add(skipped);
        let take = |at: &mut usize, size: usize| {
            let end = at.checked_add(size).filter(|end| *end <= data.len());
            let end = end.ok_or_else(|| "data string too short".to_owned())?;
            let taken = &data[*at..end];
            *at = end;
            Ok::<_, String>(taken)
        };
        let ordered = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            if !format.is_little {
                bytes.reverse();
            }
            bytes
        };
        let value = match item {
            Item::Padding => {
                take(&mut at, 1)?;
                continue;
            }
            Item::Integer { size, signed } => {
                let bytes = ordered(take(&mut at, size)?);
                let mut low = [if signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 }; 8];
                let used = size.min(8);
                low[..used].copy_from_slice(&bytes[..used]);
                Value::Number(if signed { i64::from_le_bytes(low) as f64 } else { u64::from_le_bytes(low) as f64 })
            }
            Item::Float => {
                let bytes = ordered(take(&mut at, 4)?);
                Value::Number(f64::from(f32::from_le_bytes(bytes.try_into().unwrap_or_default())))
            }
            Item::Double => {
                let bytes = ordered(take(&mut at, 8)?);
                Value::Number(f64::from_le_bytes(bytes.try_into().unwrap_or_default()))
            }
            Item::Text => {
                let rest = data.get(at..).unwrap_or_default();
                let length = rest.iter().position(|byte| *byte == 0).ok_or("unfinished string in data")?;
                at += length + 1;
                Value::String(lua.create_string(&rest[..length]).map_err(message)?)
            }
            Item::Bytes(size) => {
                let size = match size {
                    Some(size) => size,
                    None => match values.pop() {
                        Some(Value::Number(size)) if size >= 0.0 => size as usize,
                        _ => return Err("format 'c0' needs a previous size".into()),
                    },
                };
                Value::String(lua.create_string(take(&mut at, size)?).map_err(message)?)
            }
        };
        values.push(value);
        if values.len() > MOST_VALUES {
            return Err("too many results to unpack".into());
        }
    }
    values.push(Value::Number((at + 1) as f64));
    Ok(values.into_iter().collect())
}

fn size(args: &MultiValue) -> Refused<Answer> {
    let format = text(args, 0, "size")?;
    let (mut format, mut total) = (Format::new(&format), 0_usize);
    while let Some((item, skipped)) = format.next(total)? {
        let size = match item {
            Item::Integer { size, .. } => size,
            Item::Float => 4,
            Item::Double => 8,
            Item::Padding => 1,
            Item::Text => return Err("variable-size format in 'size'".into()),
            Item::Bytes(None) => return Err("variable-length format in 'size'".into()),
            Item::Bytes(Some(size)) => size,
        };
        total = total.saturating_add(skipped).saturating_add(size);
    }
    Ok(Answer::Number(total as f64))
}
