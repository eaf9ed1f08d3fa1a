//! Lua's patterns, matched step by step, so that a script that matches for long can be ended: Lua's own matching is C, and
//! `(.-).-.-b` over some hundred letters takes it hours.
//!
//! What a pattern means, and the errors of one that means nothing, are those of Lua 5.1 (`lstrlib.c`).

use mlua::{Lua, MultiValue, Result, Value};

use super::answer::{Answer, answer};
use super::patience::Patience;

/// As in Lua.
const MOST_CAPTURES: usize = 32;

/// Matching calls itself for each part of a pattern: a longer one would take the stack.
const MOST_PATTERN: usize = 1000;

/// What a capture holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Captured {
    /// From here, so many bytes.
    Text(usize, usize),
    /// `()`: this place.
    Position(usize),
}

/// A match, with what it has captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) captures: Vec<Captured>,
}

/// The first match at `from` or after it. `is_anchored`: at `from` only.
///
/// # Errors
/// The pattern is none, or the script has to end.
pub(super) fn find(
    text: &[u8],
    pattern: &[u8],
    from: usize,
    is_anchored: bool,
    patience: &Patience,
) -> std::result::Result<Option<Match>, String> {
    if pattern.len() > MOST_PATTERN {
        return Err("pattern too complex".into());
    }
    let mut matcher = Matcher { text, pattern, patience, captures: Vec::new() };
    for start in from..=text.len() {
        matcher.captures.clear();
        if let Some(end) = matcher.matches(start, 0)? {
            return Ok(Some(Match { start, end, captures: matcher.captured()? }));
        }
        if is_anchored {
            break;
        }
    }
    Ok(None)
}

#[derive(Debug, Clone, Copy)]
struct Capture {
    start: usize,
    length: Length,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Open,
    Position,
    Bytes(usize),
}

struct Matcher<'m> {
    text: &'m [u8],
    pattern: &'m [u8],
    patience: &'m Patience,
    captures: Vec<Capture>,
}

type End = std::result::Result<Option<usize>, String>;

impl Matcher<'_> {
    fn captured(&self) -> std::result::Result<Vec<Captured>, String> {
        let captured = |capture: &Capture| match capture.length {
            Length::Open => Err("unfinished capture".to_owned()),
            Length::Position => Ok(Captured::Position(capture.start)),
            Length::Bytes(length) => Ok(Captured::Text(capture.start, length)),
        };
        self.captures.iter().map(captured).collect()
    }

    /// Where the match ends of the pattern from `p` on with the text from `s` on.
    fn matches(&mut self, mut s: usize, mut p: usize) -> End {
        loop {
            self.patience.step()?;
            let Some(&item) = self.pattern.get(p) else { return Ok(Some(s)) };
            match item {
                b'(' if self.pattern.get(p + 1) == Some(&b')') => return self.open(s, p + 2, Length::Position),
                b'(' => return self.open(s, p + 1, Length::Open),
                b')' => return self.close(s, p + 1),
                b'$' if p + 1 == self.pattern.len() => return Ok((s == self.text.len()).then_some(s)),
                b'%' => match self.pattern.get(p + 1) {
                    Some(b'b') => match self.balance(s, p + 2)? {
                        Some(end) => {
                            (s, p) = (end, p + 4);
                            continue;
                        }
                        None => return Ok(None),
                    },
                    Some(b'f') => {
                        p += 2;
                        if self.pattern.get(p) != Some(&b'[') {
                            return Err("missing '[' after '%f' in pattern".into());
                        }
                        let end = self.class_end(p)?;
                        let before = if s == 0 { 0 } else { self.text[s - 1] };
                        let here = self.text.get(s).copied().unwrap_or(0);
                        if self.in_set(before, p, end - 1) || !self.in_set(here, p, end - 1) {
                            return Ok(None);
                        }
                        p = end;
                        continue;
                    }
                    Some(digit) if digit.is_ascii_digit() => match self.again(s, *digit)? {
                        Some(end) => {
                            (s, p) = (end, p + 2);
                            continue;
                        }
                        None => return Ok(None),
                    },
                    _ => {}
                },
                _ => {}
            }
            let end = self.class_end(p)?;
            let fits = s < self.text.len() && self.fits_one(self.text[s], p, end);
            match self.pattern.get(end) {
                Some(b'?') => {
                    if fits && let Some(end) = self.matches(s + 1, end + 1)? {
                        return Ok(Some(end));
                    }
                    p = end + 1;
                }
                Some(b'*') => return self.most(s, p, end),
                Some(b'+') => return if fits { self.most(s + 1, p, end) } else { Ok(None) },
                Some(b'-') => return self.least(s, p, end),
                _ if !fits => return Ok(None),
                _ => (s, p) = (s + 1, end),
            }
        }
    }

    fn most(&mut self, s: usize, p: usize, end: usize) -> End {
        let mut count = 0;
        while s + count < self.text.len() && self.fits_one(self.text[s + count], p, end) {
            self.patience.step()?;
            count += 1;
        }
        loop {
            if let Some(found) = self.matches(s + count, end + 1)? {
                return Ok(Some(found));
            }
            if count == 0 {
                return Ok(None);
            }
            count -= 1;
        }
    }

    fn least(&mut self, mut s: usize, p: usize, end: usize) -> End {
        loop {
            if let Some(found) = self.matches(s, end + 1)? {
                return Ok(Some(found));
            }
            if s >= self.text.len() || !self.fits_one(self.text[s], p, end) {
                return Ok(None);
            }
            s += 1;
        }
    }

    fn open(&mut self, s: usize, p: usize, length: Length) -> End {
        if self.captures.len() >= MOST_CAPTURES {
            return Err("too many captures".into());
        }
        self.captures.push(Capture { start: s, length });
        let level = self.captures.len();
        let found = self.matches(s, p)?;
        if found.is_none() {
            // Whatever was opened behind it was undone by those who did it.
            self.captures.truncate(level - 1);
        }
        Ok(found)
    }

    fn close(&mut self, s: usize, p: usize) -> End {
        let open = self.captures.iter().rposition(|capture| capture.length == Length::Open);
        let Some(index) = open else { return Err("invalid pattern capture".into()) };
        self.captures[index].length = Length::Bytes(s - self.captures[index].start);
        let found = self.matches(s, p)?;
        if found.is_none() {
            self.captures[index].length = Length::Open;
        }
        Ok(found)
    }

    /// `%1`: what was captured before, once more.
    fn again(&self, s: usize, digit: u8) -> End {
        let capture = digit.checked_sub(b'1').and_then(|index| self.captures.get(usize::from(index)));
        let length = match capture.map(|capture| capture.length) {
            Some(Length::Bytes(length)) => length,
            // In C, of a place as of a length that no text has.
            Some(Length::Position) => return Ok(None),
            Some(Length::Open) | None => return Err("invalid capture index".into()),
        };
        let start = capture.map_or(0, |capture| capture.start);
        let fits = self.text.len() - s >= length && self.text[start..start + length] == self.text[s..s + length];
        Ok(fits.then_some(s + length))
    }

    fn balance(&self, s: usize, p: usize) -> End {
        let (Some(&open), Some(&close)) = (self.pattern.get(p), self.pattern.get(p + 1)) else {
            return Err("unbalanced pattern".into());
        };
        if self.text.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1;
        for (index, byte) in self.text.iter().enumerate().skip(s + 1) {
            self.patience.step()?;
            if *byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(index + 1));
                }
            } else if *byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// Behind the class that begins at `p`.
    fn class_end(&self, p: usize) -> std::result::Result<usize, String> {
        let mut at = p + 1;
        match self.pattern[p] {
            b'%' if at == self.pattern.len() => Err("malformed pattern (ends with '%')".into()),
            b'%' => Ok(at + 1),
            b'[' => {
                if self.pattern.get(at) == Some(&b'^') {
                    at += 1;
                }
                loop {
                    // The first one is an element, also if it is `]`.
                    let Some(&byte) = self.pattern.get(at) else {
                        return Err("malformed pattern (missing ']')".into());
                    };
                    at += 1;
                    if byte == b'%' && at < self.pattern.len() {
                        at += 1;
                    }
                    if self.pattern.get(at) == Some(&b']') {
                        return Ok(at + 1);
                    }
                }
            }
            _ => Ok(at),
        }
    }

    fn fits_one(&self, byte: u8, p: usize, end: usize) -> bool {
        match self.pattern[p] {
            b'.' => true,
            b'%' => is_of_class(byte, self.pattern[p + 1]),
            b'[' => self.in_set(byte, p, end - 1),
            other => other == byte,
        }
    }

    /// Whether a byte is in the set from `p` to the `]` at `close`.
    fn in_set(&self, byte: u8, p: usize, close: usize) -> bool {
        let mut at = p + 1;
        let is_wanted = if self.pattern.get(at) == Some(&b'^') {
            at += 1;
            false
        } else {
            true
        };
        while at < close {
            let item = self.pattern[at];
            if item == b'%' {
                at += 1;
                if is_of_class(byte, self.pattern[at]) {
                    return is_wanted;
                }
                at += 1;
            } else if self.pattern.get(at + 1) == Some(&b'-') && at + 2 < close {
                if (item..=self.pattern[at + 2]).contains(&byte) {
                    return is_wanted;
                }
                at += 3;
            } else {
                if item == byte {
                    return is_wanted;
                }
                at += 1;
            }
        }
        !is_wanted
    }
}

fn is_of_class(byte: u8, class: u8) -> bool {
    let is_in = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_in != class.is_ascii_uppercase()
}

/// For the prelude: `match(text, pattern, from, is_anchored)` answers where the first match begins and ends (as Lua counts)
/// and what it has captured, or nothing; `plain(text, part, from)` where a part begins and ends.
pub(super) fn library(lua: &Lua, patience: &std::rc::Rc<Patience>) -> Result<mlua::Table> {
    let library = lua.create_table()?;
    let patience = std::rc::Rc::clone(patience);
    library.set(
        "match",
        lua.create_function(
            move |lua, (text, pattern, from, is_anchored): (mlua::String, mlua::String, usize, bool)| {
                answer(lua, || {
                    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
                    let Some(found) = find(&text, &pattern, from, is_anchored, &patience)? else {
                        return Ok(Answer::Value(Value::Nil));
                    };
                    let place = |at: usize| Value::Number(at as f64);
                    let mut values = MultiValue::new();
                    values.push_back(place(found.start + 1));
                    values.push_back(place(found.end));
                    for captured in found.captures {
                        values.push_back(match captured {
                            Captured::Position(at) => place(at + 1),
                            Captured::Text(start, length) => {
                                let part = lua.create_string(&text[start..start + length]);
                                Value::String(part.map_err(super::answer::message)?)
                            }
                        });
                    }
                    Ok(Answer::Values(values))
                })
            },
        )?,
    )?;
    library.set(
        "plain",
        lua.create_function(|lua, (text, part, from): (mlua::String, mlua::String, usize)| {
            answer(lua, || {
                let (text, part) = (text.as_bytes(), part.as_bytes());
                let Some(at) = memchr::memmem::find(&text[from.min(text.len())..], &part) else {
                    return Ok(Answer::Value(Value::Nil));
                };
                let ends = [from + at + 1, from + at + part.len()];
                Ok(Answer::Values(ends.into_iter().map(|at| Value::Number(at as f64)).collect()))
            })
        })?,
    )?;
    Ok(library)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::super::patience::Stop;
    use super::*;

    #[test]
    fn random_patterns_match_as_in_lua() {
        let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random::<u64>);
        println!("SEED={seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let lua = Lua::new();
        let reference: mlua::Function =
            lua.load("local f = string.find; return function(t, p, i) return pcall(f, t, p, i) end").eval().unwrap();
        let parts = [
            "a", "b", ".", "%a", "%D", "%s", "[ab]", "[^a]", "[a-c]", "[%d_]", "[]]", "[^]]", "(", ")", "()", "*", "+",
            "-", "?", "%1", "%2", "%bab", "%f[a]", "%f[^%w]", "$", "^", "%", "[", "%%", "x", "[a-]", "%z", "[%]", "%x",
        ];
        for _ in 0..40_000 {
            let text: String =
                (0..rng.random_range(0..12)).map(|_| ['a', 'b', 'c', ' ', '1', ']'][rng.random_range(0..6)]).collect();
            let pattern: String =
                (0..rng.random_range(0..7)).map(|_| parts[rng.random_range(0..parts.len())]).collect();
            if !pattern.contains(['^', '$', '*', '+', '?', '.', '(', '[', '%', '-']) {
                // Lua looks for it as it is.
                continue;
            }
            let from = rng.random_range(0..=text.len());
            let expected: MultiValue = reference.call((text.clone(), pattern.clone(), from + 1)).unwrap();
            let is_anchored = pattern.starts_with('^');
            let bare = pattern.strip_prefix('^').unwrap_or(&pattern);
            let found = find(text.as_bytes(), bare.as_bytes(), from, is_anchored, &Patience::default());
            let what = format!("{text:?} {pattern:?} {from}");
            let is_well = expected.front() == Some(&Value::Boolean(true));
            match found {
                Err(error) => {
                    let said = expected.get(1).and_then(|value| value.to_string().ok()).unwrap_or_default();
                    assert!(!is_well && said.contains(&error), "{what}: {error}, and Lua says {said}");
                }
                Ok(found) => {
                    assert!(is_well, "{what}: {found:?}, and Lua refuses: {expected:?}");
                    let words: Vec<String> =
                        expected.iter().skip(1).map(|value| value.to_string().unwrap_or_default()).collect();
                    let ours: Vec<String> = match found {
                        None => vec!["nil".into()],
                        Some(found) => [(found.start + 1).to_string(), found.end.to_string()]
                            .into_iter()
                            .chain(found.captures.iter().map(|captured| match captured {
                                Captured::Position(at) => (at + 1).to_string(),
                                Captured::Text(start, length) => text[*start..start + length].to_owned(),
                            }))
                            .collect(),
                    };
                    assert_eq!(ours, words, "{what}");
                }
            }
        }
    }

    #[test]
    fn matching_ends_when_the_script_has_to() {
        let patience = Patience::default();
        let began = Instant::now();
        patience.begin(Rc::new(move || {
            if began.elapsed() > Duration::from_millis(50) { Err(Stop("enough".into())) } else { Ok(()) }
        }));
        let text = "a".repeat(5_000);
        for pattern in ["(.-).-.-.-.-b", "a-a-a-a-a-b", ".*.*.*.*b"] {
            assert_eq!(find(text.as_bytes(), pattern.as_bytes(), 0, false, &patience), Err("enough".into()));
        }
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_pattern_that_would_take_the_stack_is_refused() {
        let long = "a?".repeat(600);
        assert!(find(b"a", long.as_bytes(), 0, false, &Patience::default()).is_err());
        let deepest = "a?".repeat(500);
        let text = vec![b'a'; 1000];
        assert!(find(&text, deepest.as_bytes(), 0, false, &Patience::default()).unwrap().is_some());
    }
}
