//! Glob patterns as KEYS, SCAN and CONFIG GET have them (`stringmatchlen`): `*`, `?`, `[a-z]`, `[^a]`, `\x`.

/// Whether `text` matches the whole of `pattern`.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Iterative: only the last star is ever tried again, so a pattern of many stars cannot take exponential time.
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            retry = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t == text.len() {
            return pattern[p..].iter().all(|byte| *byte == b'*');
        }
        if let Some(next) = (p < pattern.len()).then(|| one(pattern, p, text[t])).flatten() {
            p = next;
            t += 1;
            continue;
        }
        match retry {
            None => return false,
            Some((after_star, from)) => {
                retry = Some((after_star, from + 1));
                p = after_star;
                t = from + 1;
            }
        }
    }
}

/// Matches one byte against the item at `p`; the place of the next item if it fits.
fn one(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    match pattern[p] {
        b'?' => Some(p + 1),
        b'[' => {
            let (fits, next) = class(pattern, p + 1, byte);
            fits.then_some(next)
        }
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == byte).then_some(p + 2),
        literal => (literal == byte).then_some(p + 1),
    }
}

/// A class whose `]` is missing ends with the pattern, as in Redis.
fn class(pattern: &[u8], mut p: usize, byte: u8) -> (bool, usize) {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut fits = false;
    loop {
        match pattern.get(p) {
            None => break,
            Some(b']') => {
                p += 1;
                break;
            }
            Some(b'\\') if p + 1 < pattern.len() => {
                fits |= pattern[p + 1] == byte;
                p += 2;
            }
            Some(&low) if p + 2 < pattern.len() && pattern[p + 1] == b'-' => {
                let high = pattern[p + 2];
                fits |= (low.min(high)..=low.max(high)).contains(&byte);
                p += 3;
            }
            Some(&literal) => {
                fits |= literal == byte;
                p += 1;
            }
        }
    }
    (fits != negated, p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let cases = [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("h?llo", "hello", true),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[a", "a", true),
            ("a", "", false),
            ("", "", true),
            ("a*b*c*", "a1b2c3", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = b"a*".repeat(50);
        assert!(!matches(&[pattern, b"b".to_vec()].concat(), &b"a".repeat(2000)));
    }
}
