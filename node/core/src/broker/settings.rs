//! What the arguments of a queue ask for, as values.

use tercet_proto::amqp::{FieldTable, FieldValue, ShortString};

use super::limits;

/// The arguments of a queue that change what it does. They have been checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// `x-message-ttl`, milliseconds.
    pub(super) time_to_live: Option<u64>,
    /// `x-expires`, milliseconds: the queue goes when nobody has used it for so long.
    pub(super) expires: Option<u64>,
    pub(super) dead_letter: Option<DeadLetter>,
    /// `x-max-length`: ready messages.
    pub(super) max_length: Option<usize>,
    /// `x-max-length-bytes`: bytes of their bodies.
    pub(super) max_bytes: Option<usize>,
    pub(super) overflow: Overflow,
    /// `x-max-priority`; 0 is a queue without priorities.
    pub(super) max_priority: u8,
    /// `x-single-active-consumer`
    pub(super) active: Active,
    /// `x-message-deduplication`
    pub(super) once: Option<Once>,
    /// `x-delivery-limit`: how often a message may come back.
    pub(super) delivery_limit: Option<u32>,
    /// `x-consumer-timeout`, milliseconds; 0 is for ever.
    pub(super) consumer_timeout: Option<u64>,
    /// `x-queue-type: quorum`
    pub(super) is_quorum: bool,
    /// `x-queue-type: stream`
    pub(super) stream: Option<Stream>,
    /// It is where an exchange keeps what is not due yet.
    pub(super) delays: bool,
}

/// What is read of a stream stays there until it is too old or too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    /// `x-max-age`, milliseconds.
    pub(super) max_age: Option<u64>,
}

/// A time such as `7D`, in milliseconds: a number and one of Y, M, D, h, m, s.
#[must_use]
pub fn interval(text: &str) -> Option<u64> {
    const DAY: u64 = 24 * 3600;
    let unit = text.chars().last()?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let seconds = match unit {
        'Y' => 365 * DAY,
        'M' => 30 * DAY,
        'D' => DAY,
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return None,
    };
    number.checked_mul(seconds)?.checked_mul(1000)
}

/// The window within which a message of the same id is taken once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Once {
    /// Ids that are remembered.
    pub(crate) size: usize,
    pub(crate) milliseconds: Option<u64>,
}

impl Default for Once {
    fn default() -> Self {
        Self { size: limits::UNIQUE_IDS, milliseconds: None }
    }
}

impl Once {
    /// Whether what came at `at` is out of the window by now.
    pub(crate) fn is_over(&self, at: u64, now: u64) -> bool {
        self.milliseconds.is_some_and(|milliseconds| now >= at.saturating_add(milliseconds))
    }

    /// `x-cache-size` and `x-cache-ttl`.
    pub(super) fn of(arguments: &FieldTable) -> Self {
        let number = |name| arguments.get(name).and_then(FieldValue::as_i64).and_then(|n| u64::try_from(n).ok());
        let size = number("x-cache-size").and_then(|size| usize::try_from(size).ok()).unwrap_or(limits::UNIQUE_IDS);
        Self { size: size.clamp(1, limits::UNIQUE_IDS_MOST), milliseconds: number("x-cache-ttl") }
    }
}

/// Where messages go that nobody took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadLetter {
    pub(super) exchange: ShortString,
    /// Instead of their own.
    pub(super) key: Option<ShortString>,
}

/// What a full queue does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Overflow {
    #[default]
    DropHead,
    RejectPublish,
    RejectPublishAndBury,
}

impl Overflow {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "drop-head" => Some(Self::DropHead),
            "reject-publish" => Some(Self::RejectPublish),
            "reject-publish-dlx" => Some(Self::RejectPublishAndBury),
            _ => None,
        }
    }
}

/// How many consumers of a queue get messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Active {
    #[default]
    All,
    Single,
}

impl Settings {
    pub(super) fn of(arguments: &FieldTable) -> Self {
        let number = |name| arguments.get(name).and_then(FieldValue::as_i64).and_then(|n| u64::try_from(n).ok());
        let size = |name| number(name).and_then(|number| usize::try_from(number).ok());
        let text = |name| arguments.get(name).and_then(FieldValue::as_str);
        let short = |name| text(name).and_then(|text| ShortString::try_from(text).ok());
        let flag = |name| arguments.get(name).and_then(FieldValue::as_bool) == Some(true);
        let single = flag("x-single-active-consumer");
        let is_quorum = text("x-queue-type") == Some("quorum");
        if text("x-queue-type") == Some("stream") {
            // Whatever else policies say is for queues that lose what was consumed.
            return Self {
                max_bytes: size("x-max-length-bytes"),
                consumer_timeout: number("x-consumer-timeout"),
                once: (flag("x-message-deduplication")).then(|| Once::of(arguments)),
                stream: Some(Stream { max_age: text("x-max-age").and_then(interval) }),
                ..Self::default()
            };
        }
        Self {
            time_to_live: number("x-message-ttl"),
            expires: number("x-expires"),
            dead_letter: short("x-dead-letter-exchange")
                .map(|exchange| DeadLetter { exchange, key: short("x-dead-letter-routing-key") }),
            max_length: size("x-max-length"),
            max_bytes: size("x-max-length-bytes"),
            overflow: text("x-overflow").and_then(Overflow::from_name).unwrap_or_default(),
            max_priority: number("x-max-priority").map_or(0, |number| number.min(255) as u8),
            active: if single { Active::Single } else { Active::All },
            once: (flag("x-message-deduplication")).then(|| Once::of(arguments)),
            delivery_limit: match number("x-delivery-limit") {
                Some(limit) => Some(u32::try_from(limit).unwrap_or(u32::MAX)),
                None => is_quorum.then_some(limits::DELIVERIES),
            },
            consumer_timeout: number("x-consumer-timeout"),
            is_quorum,
            stream: None,
            delays: false,
        }
    }

    /// Whether time alone changes the queue.
    pub(super) fn is_timed(&self) -> bool {
        self.time_to_live.is_some()
            || self.expires.is_some()
            || self.delays
            || self.stream.is_some_and(|stream| stream.max_age.is_some())
    }
}
