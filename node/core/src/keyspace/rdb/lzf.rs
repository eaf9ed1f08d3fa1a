//! Unpacks what Redis has compressed with LZF.
//!
//! ```text
//! 000lllll                          l + 1 bytes follow as they are
//! lllddddd dddddddd                 l + 2 bytes from d + 1 bytes back       (l of 1 to 6)
//! 111ddddd llllllll dddddddd        l + 9 bytes from d + 1 bytes back
//! ```

/// A reference of three bytes stands for 264 at the most.
const MOST_EXPANSION: usize = 88;

/// The text, if it is exactly `length` bytes long.
pub(super) fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(length.min(packed.len().saturating_mul(MOST_EXPANSION)));
    let mut rest = packed;
    while let Some((control, behind)) = rest.split_first() {
        rest = behind;
        if *control < 32 {
            let (literal, behind) = rest.split_at_checked(usize::from(*control) + 1)?;
            out.extend_from_slice(literal);
            rest = behind;
        } else {
            let mut count = usize::from(control >> 5);
            if count == 7 {
                let (more, behind) = rest.split_first()?;
                count += usize::from(*more);
                rest = behind;
            }
            let (low, behind) = rest.split_first()?;
            rest = behind;
            let distance = (usize::from(control & 31) << 8 | usize::from(*low)) + 1;
            let from = out.len().checked_sub(distance)?;
            for at in from..from + count + 2 {
                out.push(out[at]);
            }
        }
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_references_are_unpacked() {
        let packed = [1, b'a', b'b', 0b0010_0000, 1, 0b1110_0000, 0, 0];
        assert_eq!(unpack(&packed, 14), Some(b"ababaaaaaaaaaa".to_vec()));
        assert_eq!(unpack(&[0, b'a', 0b0010_0000, 1], 4), None, "before the beginning");
        assert_eq!(unpack(&[5, b'a'], 6), None, "cut off");
        assert_eq!(unpack(&[0, b'a'], 2), None, "too short");
    }
}
