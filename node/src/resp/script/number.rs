//! Numbers of Lua as text, as C's `%.17g` writes them.

/// `%.{precision}g`.
pub(super) fn general(number: f64, precision: usize, out: &mut Vec<u8>) {
    if number == 0.0 {
        out.extend_from_slice(if number.is_sign_negative() { b"-0" } else { b"0" });
        return;
    }
    if !number.is_finite() {
        let text = match (number.is_nan(), number.is_sign_negative()) {
            (true, true) => "-nan",
            (true, false) => "nan",
            (false, true) => "-inf",
            (false, false) => "inf",
        };
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let precision = precision.max(1);
    let scientific = format!("{number:.*e}", precision - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    let text = if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
    } else {
        let decimals = usize::try_from(precision as i32 - 1 - exponent).unwrap_or(0);
        trimmed(&format!("{number:.decimals$}"))
    };
    out.extend_from_slice(text.as_bytes());
}

/// A number as an argument of a command: whole ones without an exponent.
pub(super) fn argument(number: f64) -> Vec<u8> {
    let mut out = Vec::new();
    if number.fract() == 0.0 && number.abs() < 9.2e18 {
        out.extend_from_slice((number as i64).to_string().as_bytes());
    } else {
        general(number, 17, &mut out);
    }
    out
}

/// A number as an integer reply: without its fraction; what no integer holds is the least one, as on the processors that
/// Redis mostly runs on.
pub(super) fn to_integer(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) { number as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_no_integer_holds_is_the_least_one() {
        use super::to_integer;
        for (number, integer) in [(3.99, 3), (-3.99, -3), (0.0, 0), (-9_223_372_036_854_775_808.0, i64::MIN)] {
            assert_eq!(to_integer(number), integer);
        }
        for number in [9_223_372_036_854_775_808.0, 1e300, -1e300, f64::INFINITY, f64::NAN] {
            assert_eq!(to_integer(number), i64::MIN);
        }
    }

    use super::*;

    #[test]
    fn numbers_look_as_c_writes_them() {
        let shown = |number: f64, precision: usize| {
            let mut out = Vec::new();
            general(number, precision, &mut out);
            String::from_utf8(out).unwrap()
        };
        for (number, text) in
            [(0.1, "0.1"), (1e20, "1e+20"), (100.0, "100"), (1e-5, "1e-05"), (123456.789, "123456.789")]
        {
            assert_eq!(shown(number, 14), text);
        }
        assert_eq!(shown(0.1, 17), "0.10000000000000001");
        assert_eq!(argument(3.0), b"3");
        assert_eq!(argument(-1e15), b"-1000000000000000");
    }
}
