//! Queues that belong to an exchange: x-delayed-message keeps in its own what is not due yet, x-recent-history what came last.
//!
//! ```text
//! publish, x-delay 500 --> exchange --> amq.delayed.NAME --(due)--> exchange, by its x-delayed-type --> queues
//! publish --> exchange --> queues, amq.history.NAME         bind --(copies)--> the queue that was bound
//! ```
//!
//! They are queues like others, so what is in them is replicated, checkpointed, in images, and counted in the budget. They
//! are declared and deleted with their exchange. Their names are reserved, and no client may use them.

use tercet_proto::amqp::{FieldTable, FieldValue, FieldView, Properties, ShortBytes, ShortString};
use xxhash_rust::xxh3::xxh3_128;

use super::exchange_kind::{DELAYED_TYPE, Declaration, Kind};
use super::limits;
use super::settings::Settings;

/// The header of a message that is to be delayed, in milliseconds.
const DELAY: &str = "x-delay";

/// The header of a message that is not remembered.
const NOT_REMEMBERED: &str = "x-recent-history-no-store";

/// The argument of a queue that says whose it is.
const EXCHANGE: &str = "x-of-exchange";

/// The argument of an exchange that says how much it remembers.
const LENGTH: &str = "x-recent-history-length";

/// What the queue of an exchange is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Messages that are not due yet.
    Delay,
    /// The messages that came last.
    History,
}

/// Whose queue it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) exchange: ShortString,
    pub(super) purpose: Purpose,
}

impl Purpose {
    /// Of an exchange of this type, if it has a queue.
    pub(super) fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Delayed => Some(Self::Delay),
            Kind::RecentHistory => Some(Self::History),
            Kind::Direct
            | Kind::Fanout
            | Kind::Topic
            | Kind::Headers
            | Kind::ConsistentHash
            | Kind::ModulusHash
            | Kind::Random => None,
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Delay => "amq.delayed.",
            Self::History => "amq.history.",
        }
    }
}

impl Owner {
    /// Clients cannot declare a queue of such a name.
    pub(super) fn of(name: &ShortString, arguments: &FieldTable) -> Option<Self> {
        let all = [Purpose::Delay, Purpose::History];
        let purpose = all.into_iter().find(|purpose| name.starts_with(purpose.prefix()))?;
        let exchange = ShortString::try_from(arguments.get(EXCHANGE)?.as_str()?).ok()?;
        Some(Self { exchange, purpose })
    }

    pub(super) fn settings(&self, arguments: &FieldTable) -> Settings {
        match self.purpose {
            Purpose::Delay => Settings { delays: true, ..Settings::default() },
            Purpose::History => Settings {
                max_length: Some(history_length(arguments).unwrap_or(limits::HISTORY_MESSAGES)),
                max_bytes: Some(limits::HISTORY_BYTES),
                ..Settings::default()
            },
        }
    }
}

/// Name and arguments of the queue that an exchange is declared with.
pub(super) fn of(exchange: &ShortString, of: &Declaration) -> Option<(ShortString, FieldTable)> {
    let purpose = Purpose::of(of.kind)?;
    let mut arguments = FieldTable::new();
    arguments.insert(key(EXCHANGE), exchange.as_str());
    if let Some(length) = of.arguments.get(LENGTH) {
        arguments.insert(key(LENGTH), length.clone());
    }
    let prefix = purpose.prefix();
    let name = ShortString::try_from(format!("{prefix}{exchange}"));
    // Too long with the prefix: then the exchange's name is only in the argument.
    let digest = || ShortString::truncated(&format!("{prefix}{:032x}", xxh3_128(exchange.as_bytes())));
    Some((name.unwrap_or_else(|_| digest()), arguments))
}

fn key(name: &'static str) -> ShortBytes {
    ShortBytes::try_from(name).expect("our own names are short")
}

/// How many messages an exchange remembers; nothing if the argument is not there or no positive number.
pub(super) fn history_length(arguments: &FieldTable) -> Option<usize> {
    let length = arguments.get(LENGTH)?.as_i64()?;
    usize::try_from(length).ok().filter(|length| *length > 0)
}

/// What is wrong with the arguments of an exchange that has a queue, in the words of RabbitMQ's plugins.
pub(super) fn wrong_arguments(kind: Kind, arguments: &FieldTable) -> Option<String> {
    match kind {
        Kind::Delayed => match arguments.get(DELAYED_TYPE).and_then(FieldValue::as_str) {
            Some("x-delayed-message") => {
                Some("Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'".to_owned())
            }
            Some(name) if Kind::from_name(name).is_some() => None,
            _ => Some("Invalid argument, 'x-delayed-type' must be an existing exchange type".to_owned()),
        },
        Kind::RecentHistory if arguments.get(LENGTH).is_some() => match history_length(arguments) {
            None => {
                let given = arguments.get(LENGTH).map(|given| match given.as_str() {
                    Some(text) => format!("<<\"{text}\">>"),
                    None => given.as_i64().map_or_else(|| format!("{given:?}"), |number| number.to_string()),
                });
                let given = given.unwrap_or_default();
                Some(format!("Invalid argument {given}, '{LENGTH}' must be a positive integer"))
            }
            Some(length) if length > limits::HISTORY_MESSAGES_MOST => {
                Some(format!("Invalid argument {length}, '{LENGTH}' must be at most {}", limits::HISTORY_MESSAGES_MOST))
            }
            Some(_) => None,
        },
        _ => None,
    }
}

/// Milliseconds by which a message is to be delayed. One that is no positive number that a timer takes is none, as with
/// RabbitMQ's plugin.
pub(super) fn delay(properties: &Properties) -> Option<u64> {
    let milliseconds = match properties.headers()?.find(DELAY)? {
        FieldView::LongString(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
        other => other.to_value().as_i64()?,
    };
    u64::try_from(milliseconds).ok().filter(|delay| (1..=u64::from(u32::MAX)).contains(delay))
}

/// The properties of a message that has waited: its delay is negative from now on, so that nothing delays it again.
pub(super) fn has_waited(properties: &Properties) -> Properties {
    let Some(headers) = properties.headers().filter(|_| delay(properties).is_some()) else {
        return properties.clone();
    };
    let mut headers = headers.to_table();
    let waited = match headers.get(DELAY) {
        Some(FieldValue::I8(delay)) => FieldValue::I8(delay.wrapping_neg()),
        Some(FieldValue::I16(delay)) => FieldValue::I16(delay.wrapping_neg()),
        Some(FieldValue::I32(delay)) => FieldValue::I32(delay.wrapping_neg()),
        Some(FieldValue::LongString(text)) => {
            let delay: i64 = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            FieldValue::I64(-delay)
        }
        Some(other) => FieldValue::I64(other.as_i64().unwrap_or(0).wrapping_neg()),
        None => return properties.clone(),
    };
    headers.insert(key(DELAY), waited);
    properties.with_headers(&headers)
}

/// Whether x-recent-history keeps a message.
pub(super) fn is_remembered(properties: &Properties) -> bool {
    let value = properties.headers().and_then(|headers| headers.find(NOT_REMEMBERED));
    value.is_none_or(|value| value.to_value().as_bool() != Some(true))
}

#[cfg(test)]
mod tests {
    use tercet_proto::amqp::BasicProperties;

    use super::*;

    fn with(value: FieldValue) -> Properties {
        let mut headers = FieldTable::new();
        headers.insert(key(DELAY), value);
        BasicProperties { headers: Some(headers), ..BasicProperties::default() }.encode()
    }

    #[test]
    fn a_delay_is_a_positive_number_and_negative_once_it_is_over() {
        let table = [
            (FieldValue::I32(5), Some(5)),
            (FieldValue::I64(1 << 31), Some(1 << 31)),
            (FieldValue::from("70"), Some(70)),
            (FieldValue::I32(0), None),
            (FieldValue::I32(-5), None),
            (FieldValue::I64(1 << 32), None),
            (FieldValue::from("soon"), None),
            (FieldValue::Void, None),
        ];
        for (value, expected) in table {
            let properties = with(value.clone());
            assert_eq!(delay(&properties), expected, "{value:?}");
            assert_eq!(delay(&has_waited(&properties)), None, "{value:?}");
        }
        let waited = has_waited(&with(FieldValue::I32(5)));
        assert_eq!(waited.headers().unwrap().to_table().get(DELAY), Some(&FieldValue::I32(-5)));
        assert_eq!(delay(&BasicProperties::default().encode()), None);
    }

    #[test]
    fn the_queue_of_an_exchange_is_known_by_its_name_and_its_argument() {
        let kind = Kind::Delayed;
        let declaration = Declaration::predeclared(kind);
        for name in ["jobs".to_owned(), "x".repeat(255)] {
            let exchange = ShortString::try_from(name).unwrap();
            let (name, arguments) = of(&exchange, &declaration).unwrap();
            let owner = Owner { exchange, purpose: Purpose::Delay };
            assert_eq!(Owner::of(&name, &arguments), Some(owner));
        }
        assert_eq!(Owner::of(&ShortString::from_static("amq.delayed.jobs"), &FieldTable::new()), None);
    }
}
