//! How functions of the host answer to the prelude: `true, values` or `false, message`.
//!
//! Errors of Lua functions are raised by the prelude, in Lua, so that they are plain strings that a script can catch, with
//! the place of the script in front.

use mlua::{IntoLua, Lua, MultiValue, Result, Value};

/// What a function answers.
#[derive(Debug)]
pub(super) enum Answer {
    Number(f64),
    Text(Vec<u8>),
    Value(Value),
    Values(MultiValue),
}

pub(super) fn answer(lua: &Lua, body: impl FnOnce() -> std::result::Result<Answer, String>) -> Result<MultiValue> {
    let mut values = MultiValue::new();
    match body() {
        Ok(answer) => {
            match answer {
                Answer::Number(number) => values.push_front(Value::Number(number)),
                Answer::Text(text) => values.push_front(Value::String(lua.create_string(text)?)),
                Answer::Value(value) => values.push_front(value),
                Answer::Values(several) => values = several,
            }
            values.push_front(Value::Boolean(true));
        }
        Err(message) => {
            values.push_front(message.into_lua(lua)?);
            values.push_front(Value::Boolean(false));
        }
    }
    Ok(values)
}

/// A number of Lua, however the host keeps it.
pub(super) fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// The name of a value's type, as Lua's own messages have it.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "no value",
        Value::Integer(_) => "number",
        other => other.type_name(),
    }
}

/// A memory error or the like, as a message.
pub(super) fn message(error: mlua::Error) -> String {
    match error {
        mlua::Error::MemoryError(_) => "not enough memory".into(),
        other => other.to_string(),
    }
}
