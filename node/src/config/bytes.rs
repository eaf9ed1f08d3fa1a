//! Numbers of bytes with a unit.

/// A number of bytes with a unit, as redis.conf writes it: 1gb = 1024^3, 1g = 1000^3.
pub(super) fn memory(text: &str) -> Option<i64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}
