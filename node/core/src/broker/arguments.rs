//! Arguments of queues and exchanges: which are known, what they must be, and when two declarations say the same.

use tercet_proto::amqp::{FieldTable, FieldValue};

use super::exchange::Kind;
use super::own_queue;
use super::refusal::{Refusal, Resource};
use super::settings::{Overflow, interval};

/// What a queue's argument has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A whole number, zero or more.
    Count,
    /// A whole number, one or more.
    Positive,
    /// Milliseconds, as many as a timer takes: up to 2^32 - 1.
    Time,
    PositiveTime,
    /// A whole number up to 255.
    Octet,
    Text,
    Flag,
    /// `x-queue-type`
    QueueType,
    /// `x-overflow`
    Overflow,
    /// `x-max-age`
    Age,
    /// One of these texts, and what another one is called.
    OneOf(&'static [&'static str], &'static str),
    /// `x-queue-version`
    Version,
    /// `x-queue-leader-locator`
    Locator,
    /// `x-dead-letter-strategy`
    Strategy,
}

impl Form {
    fn is_time(self) -> bool {
        matches!(self, Self::Time | Self::PositiveTime)
    }
}

/// The arguments of a queue that others know. What is not here is accepted and means nothing, as with RabbitMQ.
const QUEUE: &[(&str, Form)] = &[
    ("x-expires", Form::PositiveTime),
    ("x-message-ttl", Form::Time),
    ("x-dead-letter-exchange", Form::Text),
    ("x-dead-letter-routing-key", Form::Text),
    ("x-max-length", Form::Count),
    ("x-max-length-bytes", Form::Count),
    ("x-max-priority", Form::Octet),
    ("x-overflow", Form::Overflow),
    ("x-single-active-consumer", Form::Flag),
    ("x-delivery-limit", Form::Count),
    ("x-message-deduplication", Form::Flag),
    ("x-consumer-timeout", Form::Count),
    ("x-cache-size", Form::Positive),
    ("x-cache-ttl", Form::Positive),
    ("x-max-age", Form::Age),
    // They say how others would store or place the queue; nothing of it is seen by a client.
    ("x-queue-type", Form::QueueType),
    ("x-queue-mode", Form::OneOf(&["default", "lazy"], "unsupported queue mode")),
    ("x-queue-version", Form::Version),
    ("x-queue-master-locator", Form::Text),
    ("x-queue-leader-locator", Form::Locator),
    ("x-dead-letter-strategy", Form::Strategy),
    ("x-quorum-initial-group-size", Form::Positive),
    ("x-initial-cluster-size", Form::Positive),
    ("x-stream-max-segment-size-bytes", Form::Count),
    ("x-stream-filter-size-bytes", Form::Count),
];

/// Arguments of the table above that a stream takes. All others ask for what a stream does not do.
const STREAM: &[&str] = &[
    "x-queue-type",
    "x-max-age",
    "x-max-length-bytes",
    "x-message-deduplication",
    "x-cache-size",
    "x-cache-ttl",
    "x-consumer-timeout",
    "x-initial-cluster-size",
    "x-queue-leader-locator",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
];

/// Arguments that only a stream takes.
const STREAM_ONLY: &[&str] =
    &["x-max-age", "x-initial-cluster-size", "x-stream-max-segment-size-bytes", "x-stream-filter-size-bytes"];

/// Arguments that a redeclaration has to repeat; `x-queue-type` is compared apart.
const COMPARED: &[&str] = &[
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-single-active-consumer",
    "x-delivery-limit",
    "x-message-deduplication",
    "x-stream-max-segment-size-bytes",
];

/// Checks the arguments of a new queue.
pub(super) fn check_queue(resource: &Resource, arguments: &FieldTable) -> Result<(), Refusal> {
    let queue_type = arguments.get("x-queue-type").and_then(FieldValue::as_str).unwrap_or("classic");
    for (name, form) in QUEUE {
        let Some(value) = arguments.get(name) else { continue };
        let argument = || (*name).to_owned();
        if let Some(reason) = wrong_form(*form, value) {
            return Err(Refusal::InvalidArgument { resource: resource.clone(), argument: argument(), reason });
        }
        let is_taken = match queue_type {
            "stream" => STREAM.contains(name),
            _ => !STREAM_ONLY.contains(name),
        };
        if !is_taken {
            let queue_type = queue_type.to_owned();
            return Err(Refusal::ArgumentOfType { resource: resource.clone(), argument: argument(), queue_type });
        }
    }
    let key = "x-dead-letter-routing-key";
    if arguments.get(key).is_some() && arguments.get("x-dead-letter-exchange").is_none() {
        let (resource, reason) = (resource.clone(), "routing_key_but_no_dlx_defined".to_owned());
        return Err(Refusal::InvalidArgument { resource, argument: key.to_owned(), reason });
    }
    Ok(())
}

/// What a quorum queue and a stream cannot be, in RabbitMQ's words.
pub(super) fn check_properties(
    resource: &Resource,
    wanted: &str,
    declaration: &super::queue::Declaration,
) -> Result<(), Refusal> {
    let queue_type = declaration.arguments.get("x-queue-type").and_then(FieldValue::as_str);
    let Some(queue_type @ ("quorum" | "stream")) = queue_type else { return Ok(()) };
    let invalid = |property| Refusal::InvalidProperty { resource: resource.clone(), property };
    if !declaration.durable {
        return Err(invalid("non-durable"));
    }
    if declaration.owner.is_some() {
        return Err(invalid("exclusive-owner"));
    }
    if declaration.auto_delete {
        return Err(invalid("auto-delete"));
    }
    if wanted.is_empty() {
        return Err(Refusal::ServerNamed { queue_type: queue_type.to_owned() });
    }
    if queue_type == "quorum" && declaration.arguments.get("x-max-priority").is_some() {
        return Err(Refusal::ArgumentOfType {
            resource: resource.clone(),
            argument: "x-max-priority".to_owned(),
            queue_type: queue_type.to_owned(),
        });
    }
    Ok(())
}

/// Checks the arguments of a new exchange.
pub(super) fn check_exchange(resource: &Resource, kind: Kind, arguments: &FieldTable) -> Result<(), Refusal> {
    if let Some(wrong) = own_queue::wrong_arguments(kind, arguments) {
        return Err(Refusal::WrongExchange(wrong));
    }
    match arguments.get("alternate-exchange") {
        Some(value) if value.as_str().is_none() => Err(Refusal::ArgumentType {
            resource: resource.clone(),
            argument: "alternate-exchange".to_owned(),
            given: type_name(value),
        }),
        _ => Ok(()),
    }
}

fn wrong_form(form: Form, value: &FieldValue) -> Option<String> {
    let unacceptable = || Some(format!("{{unacceptable_type,{}}}", type_name(value)));
    match form {
        Form::Count | Form::Positive | Form::Time | Form::PositiveTime | Form::Octet => match value.as_i64() {
            None => Some(format!("\"expected integer, got {}\"", type_name(value))),
            Some(number) if number < 0 => Some(format!("{{value_negative,{number}}}")),
            Some(0) if matches!(form, Form::Positive | Form::PositiveTime) => Some("{value_zero,0}".to_owned()),
            Some(number) if form.is_time() && number > i64::from(u32::MAX) => {
                Some(format!("{{value_too_large,{number}}}"))
            }
            Some(number) if form == Form::Octet && number > 255 => Some(format!("{{max_value_exceeded,{number}}}")),
            Some(_) => None,
        },
        Form::Text if value.as_str().is_none() => unacceptable(),
        Form::Flag if value.as_bool().is_none() => unacceptable(),
        Form::QueueType => match value.as_str() {
            None => unacceptable(),
            Some("classic" | "quorum" | "stream") => None,
            Some(other) => Some(format!("\"unsupported queue type '{other}'\"")),
        },
        Form::Age => match value.as_str() {
            None => unacceptable(),
            Some(text) if interval(text).is_none() => Some("invalid_max_age".to_owned()),
            Some(_) => None,
        },
        Form::OneOf(allowed, what) => match value.as_str() {
            None => unacceptable(),
            Some(text) if !allowed.contains(&text) => Some(format!("\"{what} '{text}'\"")),
            Some(_) => None,
        },
        Form::Version => match value.as_i64() {
            None => unacceptable(),
            Some(1 | 2) => None,
            Some(version) => Some(format!("\"unsupported queue version '{version}'\"")),
        },
        Form::Locator => match value.as_str() {
            None => unacceptable(),
            Some("client-local" | "balanced" | "random" | "least-leaders") => None,
            Some(_) => Some("invalid_queue_locator_arg".to_owned()),
        },
        Form::Strategy => match value.as_str() {
            None => unacceptable(),
            Some("at-most-once" | "at-least-once") => None,
            Some(_) => Some("invalid_dlx_strategy".to_owned()),
        },
        Form::Overflow => match value.as_str() {
            None => unacceptable(),
            Some(text) if Overflow::from_name(text).is_none() => Some("invalid_overflow".to_owned()),
            Some(_) => None,
        },
        Form::Text | Form::Flag => None,
    }
}

/// Whether a queue may be declared again like this.
pub(super) fn compare_queues(resource: &Resource, current: &FieldTable, received: &FieldTable) -> Result<(), Refusal> {
    // Not to say a type is to say classic.
    let classic = FieldValue::from("classic");
    let of = |table: &FieldTable| table.get("x-queue-type").cloned().unwrap_or_else(|| classic.clone());
    if received.get("x-queue-type").is_none() && of(current).as_str() == Some("stream") {
        return compare(resource, "x-queue-type", current.get("x-queue-type"), None);
    }
    compare(resource, "x-queue-type", Some(&of(current)), Some(&of(received)))?;
    if let (Some(one), Some(other)) = (current.get("x-max-age"), received.get("x-max-age")) {
        let text = |value: &FieldValue| value.as_str().unwrap_or_default().to_owned();
        compare_field(resource, "x-max-age", text(one), text(other))?;
    }
    for name in COMPARED {
        compare(resource, name, current.get(name), received.get(name))?;
    }
    Ok(())
}

pub(super) fn compare_exchanges(
    resource: &Resource,
    current: &FieldTable,
    received: &FieldTable,
) -> Result<(), Refusal> {
    let name = "alternate-exchange";
    compare(resource, name, current.get(name), received.get(name))
}

/// Compares a field of two declarations, such as `durable`.
pub(super) fn compare_field(
    resource: &Resource,
    argument: &str,
    current: impl std::fmt::Display + PartialEq,
    received: impl std::fmt::Display,
) -> Result<(), Refusal> {
    let [current, received] = [format!("'{current}'"), format!("'{received}'")];
    if current == received {
        return Ok(());
    }
    Err(Refusal::Inequivalent { resource: resource.clone(), argument: argument.to_owned(), received, current })
}

fn compare(
    resource: &Resource,
    argument: &str,
    current: Option<&FieldValue>,
    received: Option<&FieldValue>,
) -> Result<(), Refusal> {
    let same = match (current, received) {
        (Some(current), Some(received)) => match (current.as_i64(), received.as_i64()) {
            (Some(current), Some(received)) => current == received,
            _ => current == received,
        },
        (None, None) => true,
        _ => false,
    };
    if same {
        return Ok(());
    }
    let [received, current] = [received, current].map(|value| {
        value.map_or_else(
            || "none".to_owned(),
            |value| format!("the value '{}' of type '{}'", text(value), type_name(value)),
        )
    });
    Err(Refusal::Inequivalent { resource: resource.clone(), argument: argument.to_owned(), received, current })
}

fn text(value: &FieldValue) -> String {
    match value {
        FieldValue::Bool(value) => value.to_string(),
        FieldValue::LongString(bytes) | FieldValue::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        FieldValue::F32(value) => value.to_string(),
        FieldValue::F64(value) => value.to_string(),
        other => other.as_i64().map_or_else(|| format!("{other:?}"), |number| number.to_string()),
    }
}

/// The names that RabbitMQ's texts have for the types of fields.
#[must_use]
pub fn type_name(value: &FieldValue) -> &'static str {
    match value {
        FieldValue::Bool(_) => "bool",
        FieldValue::I8(_) => "byte",
        FieldValue::U8(_) => "unsignedbyte",
        FieldValue::I16(_) => "short",
        FieldValue::U16(_) => "unsignedshort",
        FieldValue::I32(_) => "signedint",
        FieldValue::U32(_) => "unsignedint",
        FieldValue::I64(_) => "long",
        FieldValue::F32(_) => "float",
        FieldValue::F64(_) => "double",
        FieldValue::Decimal { .. } => "decimal",
        FieldValue::LongString(_) => "longstr",
        FieldValue::Array(_) => "array",
        FieldValue::Timestamp(_) => "timestamp",
        FieldValue::Table(_) => "table",
        FieldValue::Void => "void",
        FieldValue::Bytes(_) => "binary",
    }
}

#[cfg(test)]
mod tests {
    use tercet_proto::amqp::ShortString;

    use super::*;

    fn resource() -> Resource {
        Resource::queue(&ShortString::from_static("/"), &ShortString::from_static("q"))
    }

    fn table(fields: &[(&'static str, FieldValue)]) -> FieldTable {
        fields.iter().map(|(key, value)| ((*key).try_into().unwrap(), value.clone())).collect()
    }

    #[test]
    fn differences_are_told_in_the_words_of_rabbitmq() {
        let told = |current: &[(&'static str, FieldValue)], received: &[(&'static str, FieldValue)]| {
            compare_queues(&resource(), &table(current), &table(received)).unwrap_err().to_string()
        };
        assert_eq!(
            told(&[("x-max-length", 10.into())], &[]),
            "inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received none but current is the value '10' of type 'signedint'"
        );
        assert_eq!(
            told(&[], &[("x-queue-type", "quorum".into())]),
            "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received the value 'quorum' of type 'longstr' but current is the value 'classic' of type 'longstr'"
        );
        assert_eq!(
            compare_field(&resource(), "durable", false, true).unwrap_err().to_string(),
            "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'"
        );
    }

    #[test]
    fn integers_compare_by_value_and_what_is_unknown_not_at_all() {
        let current = table(&[("x-max-length", FieldValue::U8(3)), ("x-queue-type", "classic".into())]);
        let received = table(&[("x-max-length", FieldValue::I64(3)), ("x-mine", 1.into())]);
        assert_eq!(compare_queues(&resource(), &current, &received), Ok(()));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_and_never_ignored() {
        let check = |name: &'static str, value: FieldValue| check_queue(&resource(), &table(&[(name, value)]));
        assert_eq!(check("x-delivery-limit", 5.into()), Ok(()));
        assert_eq!(check("x-message-ttl", 5.into()), Ok(()));
        assert!(matches!(check("x-expires", 0.into()), Err(Refusal::InvalidArgument { .. })));
        assert!(matches!(check("x-max-priority", 256.into()), Err(Refusal::InvalidArgument { .. })));
        assert!(matches!(check("x-overflow", "spill".into()), Err(Refusal::InvalidArgument { .. })));
        assert!(matches!(check("x-dead-letter-routing-key", "k".into()), Err(Refusal::InvalidArgument { .. })));
        assert_eq!(check("x-queue-type", "stream".into()), Ok(()));
        let told = "invalid arg 'x-max-age' for queue 'q' in vhost '/' of queue type rabbit_classic_queue";
        assert_eq!(check("x-max-age", "7D".into()).unwrap_err().to_string(), told);
        let stream = [("x-queue-type", "stream".into()), ("x-message-ttl", 5.into())];
        let told = "invalid arg 'x-message-ttl' for queue 'q' in vhost '/' of queue type rabbit_stream_queue";
        assert_eq!(check_queue(&resource(), &table(&stream)).unwrap_err().to_string(), told);
        let age = |age: &str| {
            let stream = [("x-queue-type", "stream".into()), ("x-max-age", age.into())];
            check_queue(&resource(), &table(&stream))
        };
        assert!(["7D", "1h", "0s"].map(age).iter().all(Result::is_ok));
        assert!(["5x", "h", "", "5é"].map(age).iter().all(Result::is_err));
        assert!(matches!(check("x-message-ttl", (-1).into()), Err(Refusal::InvalidArgument { .. })));
        assert!(matches!(check("x-message-ttl", "5".into()), Err(Refusal::InvalidArgument { .. })));
        assert!(matches!(check("x-queue-type", "heap".into()), Err(Refusal::InvalidArgument { .. })));
        assert_eq!(check("x-queue-mode", "lazy".into()), Ok(()));
        assert_eq!(check("x-single-active-consumer", false.into()), Ok(()));
        assert_eq!(check("x-mine", "anything".into()), Ok(()));
    }
}
