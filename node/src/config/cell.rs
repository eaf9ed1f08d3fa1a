//! Cells of settings that change at run time: how a value is read from text, kept, and shown.
//!
//! `Kind::read` turns text into a `Value` or says, in Redis's words, what is wrong; a cell keeps the value where its owner
//! reads it without a lock (texts: with a short one). The two are apart so that CONFIG SET can check all of its arguments
//! before it changes any.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering::Relaxed};

use parking_lot::RwLock;

use super::bytes::memory;
use super::special::{self, OUR_POLICY, OutputLimits, Percentiles};

/// What a setting's text means.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number from, to.
    Integer(i64, i64),
    /// As `Integer`; what lies outside becomes the nearest bound.
    Clamped(i64, i64),
    /// Bytes with a unit, at least, at most.
    Memory(i64, i64),
    /// As `Memory`, or a percentage of maxmemory, which is kept as a negative number.
    MemoryOrPercent,
    /// yes or no.
    Flag,
    Choice(&'static [&'static str]),
    Text,
    /// `notify-keyspace-events`.
    Events,
    /// `client-output-buffer-limit`.
    OutputLimits,
    /// `save`.
    Save,
    /// `latency-tracking-info-percentiles`.
    Percentiles,
    /// So many whole numbers, for settings that are only kept.
    Numbers(usize),
}

/// A value that has been read and may be kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Integer(i64),
    Text(String),
    OutputLimits(special::OutputLimitsChange),
    Percentiles(Vec<f64>),
}

impl Kind {
    /// # Errors
    /// What is wrong with the text.
    pub fn read(self, text: &str) -> Result<Value, String> {
        let integer = |text: &str| {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let is_plain = digits == "0" || !digits.starts_with(['0', '+']);
            let number = text.parse::<i64>().ok().filter(|_| is_plain);
            number.ok_or_else(|| "argument couldn't be parsed into an integer".to_owned())
        };
        let between = |number: i64, least: i64, most: i64| {
            if (least..=most).contains(&number) {
                Ok(Value::Integer(number))
            } else {
                Err(format!("argument must be between {least} and {most} inclusive"))
            }
        };
        match self {
            Self::Integer(least, most) => between(integer(text)?, least, most),
            Self::Clamped(least, most) => Ok(Value::Integer(integer(text)?.clamp(least, most))),
            Self::Memory(least, most) => {
                let bytes = memory(text).ok_or("argument must be a memory value")?;
                between(bytes, least, most)
            }
            Self::MemoryOrPercent => {
                if let Some(percent) = text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok()) {
                    return match percent {
                        0..=100 => Ok(Value::Integer(-percent)),
                        _ => Err("percentage argument must be less or equal to 100".into()),
                    };
                }
                memory(text).map(Value::Integer).ok_or_else(|| "argument must be a memory or percent value".into())
            }
            Self::Flag => match text.to_ascii_lowercase().as_str() {
                "yes" => Ok(Value::Integer(1)),
                "no" => Ok(Value::Integer(0)),
                _ => Err("argument must be 'yes' or 'no'".into()),
            },
            Self::Choice(names) => {
                let index = names.iter().position(|name| name.eq_ignore_ascii_case(text));
                let index = index.ok_or_else(|| {
                    // The refusal keeps Redis's words; --help tells of what is ours.
                    let known: Vec<&str> = names.iter().copied().filter(|name| *name != OUR_POLICY).collect();
                    format!("argument(s) must be one of the following: {}", known.join(", "))
                })?;
                Ok(Value::Integer(index as i64))
            }
            Self::Text => Ok(Value::Text(text.to_owned())),
            Self::Events => special::read_events(text).map(|bits| Value::Integer(i64::from(bits))),
            Self::OutputLimits => special::read_output_limits(text).map(Value::OutputLimits),
            Self::Save => special::read_save(text).map(Value::Text),
            Self::Percentiles => special::read_percentiles(text).map(Value::Percentiles),
            Self::Numbers(count) => {
                let words: Vec<&str> = text.split_ascii_whitespace().collect();
                if words.len() != count {
                    return Err("wrong number of arguments".into());
                }
                if words.iter().any(|word| word.parse::<i64>().is_err()) {
                    return Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.".into());
                }
                Ok(Value::Text(words.join(" ")))
            }
        }
    }

    fn show(self, number: i64) -> String {
        match self {
            Self::Flag => if number == 0 { "no" } else { "yes" }.to_owned(),
            Self::Choice(names) => {
                usize::try_from(number).ok().and_then(|index| names.get(index)).copied().unwrap_or_default().to_owned()
            }
            Self::MemoryOrPercent if number < 0 => format!("{}%", -number),
            Self::Events => special::show_events(number as u32),
            _ => number.to_string(),
        }
    }
}

/// Where a setting's value is kept.
pub(super) trait Cell: Sync {
    fn put(&self, value: Value);
    fn show(&self, kind: Kind) -> String;
}

/// A whole number, or bytes.
#[derive(Debug, Default)]
pub struct Number(AtomicI64);

impl Number {
    #[inline]
    #[must_use]
    pub fn load(&self) -> i64 {
        self.0.load(Relaxed)
    }

    /// For settings that are never negative.
    #[inline]
    #[must_use]
    pub fn size(&self) -> usize {
        usize::try_from(self.load()).unwrap_or(0)
    }
}

impl Cell for Number {
    fn put(&self, value: Value) {
        if let Value::Integer(number) = value {
            self.0.store(number, Relaxed);
        }
    }

    fn show(&self, kind: Kind) -> String {
        kind.show(self.load())
    }
}

/// yes or no.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Cell for Flag {
    fn put(&self, value: Value) {
        if let Value::Integer(number) = value {
            self.0.store(number != 0, Relaxed);
        }
    }

    fn show(&self, kind: Kind) -> String {
        kind.show(i64::from(self.is_on()))
    }
}

/// One of some names, by its place among them.
#[derive(Debug, Default)]
pub struct Choice(AtomicUsize);

impl Choice {
    #[inline]
    #[must_use]
    pub fn index(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Cell for Choice {
    fn put(&self, value: Value) {
        if let Value::Integer(number) = value {
            self.0.store(usize::try_from(number).unwrap_or(0), Relaxed);
        }
    }

    fn show(&self, kind: Kind) -> String {
        kind.show(self.index() as i64)
    }
}

/// Classes of events: the bits of `effect::class`.
#[derive(Debug, Default)]
pub struct Events(AtomicU32);

impl Events {
    #[inline]
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

impl Cell for Events {
    fn put(&self, value: Value) {
        if let Value::Integer(number) = value {
            self.0.store(number as u32, Relaxed);
        }
    }

    fn show(&self, kind: Kind) -> String {
        kind.show(i64::from(self.bits()))
    }
}

#[derive(Debug)]
pub struct Text(RwLock<Arc<str>>);

impl Default for Text {
    fn default() -> Self {
        Self(RwLock::new("".into()))
    }
}

impl Text {
    #[must_use]
    pub fn load(&self) -> Arc<str> {
        Arc::clone(&self.0.read())
    }
}

impl Cell for Text {
    fn put(&self, value: Value) {
        if let Value::Text(text) = value {
            *self.0.write() = text.into();
        }
    }

    fn show(&self, _: Kind) -> String {
        self.load().to_string()
    }
}

impl Cell for OutputLimits {
    fn put(&self, value: Value) {
        if let Value::OutputLimits(change) = value {
            self.change(&change);
        }
    }

    fn show(&self, _: Kind) -> String {
        self.to_string()
    }
}

impl Cell for Percentiles {
    fn put(&self, value: Value) {
        if let Value::Percentiles(percentiles) = value {
            self.replace(percentiles);
        }
    }

    fn show(&self, _: Kind) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_units_of_redis() {
        for (text, bytes) in [("1gb", 1 << 30), ("5k", 5000), ("0", 0), ("7B", 7), ("2MB", 2 << 20)] {
            assert_eq!(memory(text), Some(bytes), "{text}");
        }
        for text in ["5 apples", "-1", "", "1x", "1.5gb"] {
            assert_eq!(memory(text), None, "{text}");
        }
        assert_eq!(memory("99999999999999999999"), None);
    }

    #[test]
    fn a_wrong_text_is_refused_in_the_words_of_redis() {
        let refused = |kind: Kind, text: &str| kind.read(text).unwrap_err();
        assert_eq!(refused(Kind::Integer(0, 9), "x"), "argument couldn't be parsed into an integer");
        assert_eq!(refused(Kind::Integer(0, 9), "10"), "argument must be between 0 and 9 inclusive");
        assert_eq!(refused(Kind::Memory(0, 9), "-1"), "argument must be a memory value");
        assert_eq!(refused(Kind::Flag, "on"), "argument must be 'yes' or 'no'");
        assert_eq!(refused(Kind::Choice(&["a", "b"]), "c"), "argument(s) must be one of the following: a, b");
        assert_eq!(Kind::Clamped(1, 500).read("501"), Ok(Value::Integer(500)));
        assert_eq!(Kind::MemoryOrPercent.read("50%"), Ok(Value::Integer(-50)));
    }
}
