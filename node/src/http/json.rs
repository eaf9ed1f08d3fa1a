//! Field tables and properties of AMQP as JSON, and back.

use bytes::Bytes;
use serde_json::{Map, Number, Value};
use tercet_proto::amqp::{BasicProperties, FieldTable, FieldValue, Properties, ShortBytes};

use super::answer::Error;
use super::request::{integer, plain};
use crate::node::Node;

/// A field table as an object. Bytes that are no text become text with marks in place of them.
pub(super) fn of_table(table: &FieldTable) -> Value {
    let pairs = table.iter().map(|(key, value)| (key.to_text().into_owned(), of_field(value)));
    Value::Object(pairs.collect())
}

pub(super) fn of_field(value: &FieldValue) -> Value {
    if let Some(number) = value.as_i64() {
        return Value::from(number);
    }
    match value {
        FieldValue::Bool(value) => Value::Bool(*value),
        FieldValue::F32(number) => float(f64::from(*number)),
        FieldValue::F64(number) => float(*number),
        FieldValue::LongString(bytes) | FieldValue::Bytes(bytes) => {
            Value::String(String::from_utf8_lossy(bytes).into_owned())
        }
        FieldValue::Array(items) => Value::Array(items.iter().map(of_field).collect()),
        FieldValue::Table(table) => of_table(table),
        FieldValue::Timestamp(seconds) => Value::from(*seconds),
        _ => Value::Null,
    }
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// An object as a field table: whole numbers become 64 bits, as RabbitMQ has it.
///
/// # Errors
/// A key is longer than 255 bytes, or a number too large.
pub(super) fn to_table(object: &Map<String, Value>) -> Result<FieldTable, Error> {
    let mut table = FieldTable::new();
    for (key, value) in object {
        let key = ShortBytes::new(Bytes::copy_from_slice(key.as_bytes()));
        let key = key.map_err(|_| Error::bad("a key of a table is longer than 255 bytes"))?;
        table.insert(key, to_field(value)?);
    }
    Ok(table)
}

fn to_field(value: &Value) -> Result<FieldValue, Error> {
    Ok(match value {
        Value::Null => FieldValue::Void,
        Value::Bool(value) => FieldValue::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => FieldValue::I64(number),
            (None, Some(number)) if !value.is_u64() => FieldValue::F64(number),
            _ => return Err(Error::bad(format!("a number is too large: {number}"))),
        },
        Value::String(text) => FieldValue::LongString(Bytes::copy_from_slice(text.as_bytes())),
        Value::Array(items) => FieldValue::Array(items.iter().map(to_field).collect::<Result<_, _>>()?),
        Value::Object(object) => FieldValue::Table(to_table(object)?),
    })
}

macro_rules! properties {
    ($($field:ident $name:literal $kind:ident),* $(,)?) => {
        /// The properties of a message that are set.
        pub(super) fn of_properties(raw: &[u8]) -> Value {
            let mut object = Map::new();
            if let Ok(properties) = Properties::from_raw(Bytes::copy_from_slice(raw)) {
                let properties = properties.to_basic();
                $( if let Some(value) = &properties.$field {
                    object.insert($name.to_owned(), properties!(@out $kind, value));
                } )*
            }
            Value::Object(object)
        }

        /// # Errors
        /// One of them is not of its type.
        pub(super) fn to_properties(object: &Map<String, Value>) -> Result<Properties, Error> {
            let mut properties = BasicProperties::default();
            $( if let Some(value) = object.get($name).filter(|value| !value.is_null()) {
                properties.$field = Some(properties!(@in $kind, value, $name));
            } )*
            Ok(properties.encode())
        }
    };
    (@out text, $value:expr) => { Value::String($value.to_text().into_owned()) };
    (@out table, $value:expr) => { of_table($value) };
    (@out number, $value:expr) => { Value::from(*$value) };
    (@in text, $value:expr, $name:expr) => {
        ShortBytes::new(plain($value).into()).map_err(|_| Error::bad(concat!($name, " is longer than 255 bytes")))?
    };
    (@in table, $value:expr, $name:expr) => {
        match $value {
            Value::Object(object) => to_table(object)?,
            Value::Array(list) if list.is_empty() => FieldTable::new(),
            _ => return Err(Error::bad(concat!($name, " is no object"))),
        }
    };
    (@in number, $value:expr, $name:expr) => {
        integer($value)
            .and_then(|number| number.try_into().ok())
            .ok_or_else(|| Error::bad(concat!($name, " is not a number that fits")))?
    };
}

properties! {
    content_type "content_type" text,
    content_encoding "content_encoding" text,
    headers "headers" table,
    delivery_mode "delivery_mode" number,
    priority "priority" number,
    correlation_id "correlation_id" text,
    reply_to "reply_to" text,
    expiration "expiration" text,
    message_id "message_id" text,
    timestamp "timestamp" number,
    kind "type" text,
    user_id "user_id" text,
    app_id "app_id" text,
    cluster_id "cluster_id" text,
}

/// How this API calls a node: tools expect the form of Erlang's names.
pub(super) fn node_name(node: &Node) -> String {
    node_name_of(&node.identity.name)
}

pub(super) fn node_name_of(name: &str) -> String {
    format!("rabbit@{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_read_back_as_json() {
        let value = serde_json::json!({ "n": 5, "f": 1.5, "t": "x", "b": true, "l": [1, "a", null], "o": { "p": -1 } });
        let Value::Object(object) = &value else { panic!("an object") };
        let table = to_table(object).unwrap();
        assert_eq!(of_table(&table), value);
        let mut bytes = Vec::new();
        table.encode(&mut bytes);
        assert_eq!(of_table(&FieldTable::decode(&bytes).unwrap()), value);
        let Value::Object(large) = serde_json::json!({ "n": u64::MAX }) else { panic!("an object") };
        assert!(to_table(&large).is_err());
    }

    #[test]
    fn properties_read_back_as_json() {
        let value = serde_json::json!({
            "content_type": "text/plain", "headers": { "n": 1 }, "delivery_mode": 2, "priority": 3, "timestamp": 7, "type": "t"
        });
        let Value::Object(object) = &value else { panic!("an object") };
        assert_eq!(of_properties(to_properties(object).unwrap().raw()), value);
        let Value::Object(text) = serde_json::json!({ "delivery_mode": "2" }) else { panic!("an object") };
        assert_eq!(of_properties(to_properties(&text).unwrap().raw()), serde_json::json!({ "delivery_mode": 2 }));
        let Value::Object(wrong) = serde_json::json!({ "priority": 300 }) else { panic!("an object") };
        assert!(to_properties(&wrong).is_err());
    }
}
