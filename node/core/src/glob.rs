//! Does a name match a pattern? The patterns of KEYS, SCAN and PSUBSCRIBE, to the letter of Redis's `stringmatchlen`:
//!
//! ```text
//! *  any bytes      ?  one byte      [abc] [a-z] [^a]  one byte of a class      \x  the byte x
//! ```
//!
//! Its oddities are part of what clients see: a class that is not closed ends with the pattern, a range may be written
//! the wrong way round, and `*` does not match a name that is empty from the start.

/// Patterns that branch deeper than this match nothing.
const DEPTH: usize = 1000;

/// Whether all of `name` matches `pattern`.
#[must_use]
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // The common pattern `prefix*`, without the machinery.
    if let Some(prefix) = pattern.strip_suffix(b"*")
        && memchr::memchr3(b'*', b'?', b'[', prefix).is_none()
        && memchr::memchr(b'\\', prefix).is_none()
    {
        return !name.is_empty() && name.starts_with(prefix);
    }
    step(pattern, name, &mut false, 0)
}

/// `exhausted` is set when a `*` has tried every rest of the name: no earlier `*` can do better then.
fn step(mut pattern: &[u8], mut name: &[u8], exhausted: &mut bool, depth: usize) -> bool {
    if depth > DEPTH {
        return false;
    }
    while let ([token, after @ ..], [byte, rest @ ..]) = (pattern, name) {
        match token {
            b'*' => return star(pattern, name, exhausted, depth),
            b'?' => pattern = after,
            b'[' => {
                let (is_in, behind) = class(after, *byte);
                if !is_in {
                    return false;
                }
                pattern = behind;
            }
            _ => {
                let (literal, behind) = match (token, after) {
                    (b'\\', [escaped, behind @ ..]) => (escaped, behind),
                    _ => (token, after),
                };
                if literal != byte {
                    return false;
                }
                pattern = behind;
            }
        }
        name = rest;
        if name.is_empty() {
            while let [b'*', after @ ..] = pattern {
                pattern = after;
            }
        }
    }
    pattern.is_empty() && name.is_empty()
}

fn star(mut pattern: &[u8], mut name: &[u8], exhausted: &mut bool, depth: usize) -> bool {
    while let [b'*', after @ ..] = pattern {
        pattern = after;
    }
    if pattern.is_empty() {
        return true;
    }
    while !name.is_empty() {
        if step(pattern, name, exhausted, depth + 1) {
            return true;
        }
        if *exhausted {
            return false;
        }
        name = &name[1..];
    }
    *exhausted = true;
    false
}

/// Whether `byte` is in the class whose text begins behind its `[`, and the pattern behind the class.
fn class(mut text: &[u8], byte: u8) -> (bool, &[u8]) {
    let is_negated = text.first() == Some(&b'^');
    if is_negated {
        text = &text[1..];
    }
    let mut is_in = false;
    loop {
        match text {
            [b'\\', escaped, rest @ ..] => {
                is_in |= *escaped == byte;
                text = rest;
            }
            [b']', rest @ ..] => return (is_in != is_negated, rest),
            [] => return (is_in != is_negated, text),
            [first, b'-', last, rest @ ..] => {
                // Redis compares as `char`, which has a sign where it is built most.
                let (first, last, byte) = (*first as i8, *last as i8, byte as i8);
                is_in |= (first.min(last)..=first.max(last)).contains(&byte);
                text = rest;
            }
            [literal, rest @ ..] => {
                is_in |= *literal == byte;
                text = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for name in yes {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} should match {name}");
        }
        for name in no {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} should not match {name}");
        }
    }

    #[test]
    fn wildcards() {
        check("*", &["a", "abc"], &[""]);
        check("h?llo", &["hello", "hxllo"], &["hllo", "heello"]);
        check("h*llo", &["hllo", "heeeello"], &["hell"]);
        check("user:*", &["user:", "user:1"], &["user", "use"]);
        check("a**b*", &["ab", "axxb", "axbx"], &["a", "b"]);
    }

    #[test]
    fn classes() {
        check("h[ae]llo", &["hello", "hallo"], &["hillo"]);
        check("h[^e]llo", &["hallo"], &["hello"]);
        check("h[a-c]llo", &["hallo", "hcllo"], &["hdllo"]);
        check("[c-a]", &["b"], &["d"]);
        check("[\\]]x", &["]x"], &["ax"]);
        check("[a-]", &["a", "]", "_"], &["b", "-"]);
        check("[abc", &["a"], &["d"]);
        check("[", &[], &["[", "a"]);
        check("[^", &["a"], &[]);
    }

    #[test]
    fn escapes() {
        check("\\*", &["*"], &["a"]);
        check("a\\?c", &["a?c"], &["abc"]);
        check("\\", &["\\"], &["a"]);
    }

    #[test]
    fn an_abusive_pattern_ends() {
        let pattern = "a*".repeat(50_000);
        assert!(!matches(format!("{pattern}b").as_bytes(), "a".repeat(50_000).as_bytes()));
        let deep = "*?".repeat(2_000);
        assert!(!matches(deep.as_bytes(), "a".repeat(5_000).as_bytes()));
    }
}
