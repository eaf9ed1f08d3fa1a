//! Which names and hosts are taken from flags, files and other processes. Whatever passes is good in a URI, in a log line,
//! in a reply of the Redis protocol and in a label of a metric.

use std::net::Ipv6Addr;

use crate::limits;

/// A name of a node, a sentinel or a service: letters, digits, `-`, `_`, `.`; it begins with a letter or a digit.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.len() <= limits::NAME_BYTES
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(is_inner)
}

/// A host name, an IPv4 address, or an IPv6 address without brackets.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = !text.is_empty()
        && text.len() <= limits::HOST_BYTES
        && text.bytes().all(is_inner)
        && !text.starts_with(['-', '.']);
    is_name || text.parse::<Ipv6Addr>().is_ok()
}

/// An identity as our processes draw it: 40 hexadecimal digits.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_uri_or_log_line_takes_is_no_name() {
        for good in ["n1", "node-1.eu_west", "0"] {
            assert!(is_name(good), "{good}");
        }
        let long = "n".repeat(limits::NAME_BYTES + 1);
        for bad in ["", "my node", "n1\r\n", "-n", "a/b", "a:1", "é", "n\0", &long] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn hosts_are_names_and_addresses() {
        for good in ["localhost", "n1", "tercet-0.tercet.default.svc", "10.0.0.1", "::1", "fe80::1", "my_host"] {
            assert!(is_host(good), "{good}");
        }
        let long = "h".repeat(limits::HOST_BYTES + 1);
        for bad in ["", "my node", "a:1", "[::1]", "a/b", "user@host", "a?b", "a#b", ".", "-a", "\u{7f}", &long] {
            assert!(!is_host(bad), "{bad:?}");
        }
    }
}
