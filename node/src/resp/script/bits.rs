//! `bit`: operations on 32-bit numbers, as LuaBitOp has them.

use mlua::{Lua, Result, Table, Value, Variadic};

use super::answer::{Answer, answer};

/// A number of Lua as 32 bits: modulo 2^32.
fn bits(value: &Value, place: usize, name: &str) -> std::result::Result<u32, String> {
    let number = match value {
        Value::Integer(number) => return Ok(*number as u32),
        Value::Number(number) => *number,
        Value::String(text) => text.to_str().ok().and_then(|text| text.trim().parse().ok()).unwrap_or(f64::NAN),
        _ => f64::NAN,
    };
    if number.is_nan() && !matches!(value, Value::Number(_)) {
        return Err(format!(
            "bad argument #{place} to '{name}' (number expected, got {})",
            super::answer::type_name(value)
        ));
    }
    // Round to nearest even, as the library's trick with the mantissa does.
    let rounded = number.round_ties_even();
    if !rounded.is_finite() {
        return Ok(0);
    }
    Ok(rounded.rem_euclid(4_294_967_296.0) as u32)
}

fn signed(bits: u32) -> f64 {
    f64::from(bits as i32)
}

pub(super) fn library(lua: &Lua) -> Result<Table> {
    let table = lua.create_table()?;
    let fold = |name: &'static str, operation: fn(u32, u32) -> u32| {
        lua.create_function(move |lua, args: Variadic<Value>| {
            answer(lua, || {
                let mut all = args.iter().enumerate().map(|(index, value)| bits(value, index + 1, name));
                let first = all.next().unwrap_or_else(|| bits(&Value::Nil, 1, name))?;
                let all = all.try_fold(first, |left, right| Ok::<_, String>(operation(left, right?)))?;
                Ok(Answer::Number(signed(all)))
            })
        })
    };
    table.set("band", fold("band", |left, right| left & right)?)?;
    table.set("bor", fold("bor", |left, right| left | right)?)?;
    table.set("bxor", fold("bxor", |left, right| left ^ right)?)?;
    let one = |name: &'static str, operation: fn(u32) -> u32| {
        lua.create_function(move |lua, value: Value| {
            answer(lua, || Ok(Answer::Number(signed(operation(bits(&value, 1, name)?)))))
        })
    };
    table.set("tobit", one("tobit", |bits| bits)?)?;
    table.set("bnot", one("bnot", |bits| !bits)?)?;
    table.set("bswap", one("bswap", u32::swap_bytes)?)?;
    let shift = |name: &'static str, operation: fn(u32, u32) -> u32| {
        lua.create_function(move |lua, (value, by): (Value, Value)| {
            answer(lua, || {
                let (value, by) = (bits(&value, 1, name)?, bits(&by, 2, name)?);
                Ok(Answer::Number(signed(operation(value, by & 31))))
            })
        })
    };
    table.set("lshift", shift("lshift", |value, by| value << by)?)?;
    table.set("rshift", shift("rshift", |value, by| value >> by)?)?;
    table.set("arshift", shift("arshift", |value, by| ((value as i32) >> by) as u32)?)?;
    table.set("rol", shift("rol", u32::rotate_left)?)?;
    table.set("ror", shift("ror", u32::rotate_right)?)?;
    let hex = lua.create_function(|lua, (value, digits): (Value, Value)| {
        answer(lua, || {
            let value = bits(&value, 1, "tohex")?;
            let digits = if digits.is_nil() { 8 } else { bits(&digits, 2, "tohex")? as i32 };
            let text = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
            let shown = digits.unsigned_abs().min(8) as usize;
            Ok(Answer::Text(text.as_bytes()[8 - shown..].to_vec()))
        })
    })?;
    table.set("tohex", hex)?;
    Ok(table)
}
