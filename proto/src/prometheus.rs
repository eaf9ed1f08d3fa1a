//! The text format in which Prometheus scrapes metrics (exposition format 0.0.4).
//!
//! ```text
//! # HELP tercet_replica_lag_records Records that the replica has not acknowledged.
//! # TYPE tercet_replica_lag_records gauge
//! tercet_replica_lag_records{replica="n2"} 0
//! ```

use std::borrow::Cow;
use std::fmt::Write as _;

/// `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, and begins at 0 with the process. Its name ends in `_total`.
    Counter,
    Gauge,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// The text of one scrape.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    name: Cow<'static, str>,
}

impl Exposition {
    /// Begins a metric; its samples follow.
    pub fn metric(&mut self, name: impl Into<Cow<'static, str>>, kind: Kind, help: &str) {
        self.name = name.into();
        let name = &self.name;
        // Writing to a String cannot fail.
        _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.name());
    }

    /// A value of the metric that was begun last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.text.push_str(&self.name);
        for (index, (label, text)) in labels.iter().enumerate() {
            // Writing to a String cannot fail.
            _ = write!(self.text, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escaped(text));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        _ = writeln!(self.text, " {value}");
    }

    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_reads_as_the_format_says() {
        let mut text = Exposition::default();
        text.metric("up", Kind::Gauge, "Whether it is.");
        text.sample(&[], 1);
        text.metric("seen_total", Kind::Counter, "Times that somebody was seen.");
        text.sample(&[("name", "a\"b\\c\nd"), ("place", "here")], 2.5);
        let expected = "# HELP up Whether it is.\n# TYPE up gauge\nup 1\n\
            # HELP seen_total Times that somebody was seen.\n# TYPE seen_total counter\n\
            seen_total{name=\"a\\\"b\\\\c\\nd\",place=\"here\"} 2.5\n";
        assert_eq!(text.finish(), expected);
    }
}
