//! Which version of the wire formats a process speaks, as every call between processes says it: `tercet-version: 1/0`, its
//! own and the oldest that it still understands.
//!
//! A rolling upgrade needs two neighbouring versions to understand each other. A process that says nothing is of the time
//! before this header: version 0.

use std::fmt;

use tonic::codegen::http::{HeaderMap, HeaderValue};

pub const HEADER: &str = "tercet-version";

/// What this process speaks. It grows with every change of a wire format that the version before does not take:
///
/// | version | what came |
/// |---|---|
/// | 1 | this header |
/// | 2 | fields of hashes expire: effect 24, and images of such hashes |
pub const SPOKEN: u32 = 2;
/// Fields of hashes expire. A master executes none of those commands while a node of an earlier version follows it.
pub const FIELDS_EXPIRE: u32 = 2;
/// The oldest that it understands.
pub const UNDERSTOOD: u32 = 0;

/// The other side is too old or too new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Refused {
    spoken: u32,
    understood: u32,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spoken, understood } = self;
        write!(
            f,
            "the other side speaks version {spoken} of the wire formats and understands {understood} and later, this one \
             speaks {SPOKEN} and understands {UNDERSTOOD} and later: upgrade in smaller steps"
        )
    }
}

/// What this process says of itself.
#[must_use]
pub fn ours() -> HeaderValue {
    // Digits and a slash are always a value.
    HeaderValue::from_str(&format!("{SPOKEN}/{UNDERSTOOD}")).unwrap_or(HeaderValue::from_static("0/0"))
}

/// Whether the two sides understand each other.
///
/// # Errors
/// One of them is too old.
#[allow(clippy::absurd_extreme_comparisons, reason = "the oldest version grows")]
pub fn check(headers: &HeaderMap) -> Result<(), Refused> {
    let said = headers.get(HEADER).and_then(|value| value.to_str().ok());
    let (spoken, understood) = said.and_then(|text| text.split_once('/')).unwrap_or(("0", "0"));
    let (spoken, understood) = (spoken.parse().unwrap_or(0), understood.parse().unwrap_or(0));
    if spoken < UNDERSTOOD || SPOKEN < understood { Err(Refused { spoken, understood }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(HEADER.parse().unwrap(), HeaderValue::from_str(text).unwrap())])
    }

    #[test]
    fn neighbours_understand_each_other_and_who_is_too_new_is_refused() {
        assert_eq!(check(&HeaderMap::new()), Ok(()), "the time before the header");
        assert_eq!(check(&HeaderMap::from_iter([(HEADER.parse().unwrap(), ours())])), Ok(()));
        assert_eq!(check(&said("7/1")), Ok(()), "it still understands us");
        let refused = check(&said("7/6")).unwrap_err();
        assert!(refused.to_string().contains("version 7"), "{refused}");
        assert_eq!(check(&said("garbage")), Ok(()), "as one that says nothing");
    }
}
