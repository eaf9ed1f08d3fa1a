//! How does an item of a list lie in a block? With its length on both sides, so that it is found from either end.
//!
//! ```text
//! 0..=239 (its length) | text                                 | bytes so far u8
//! 0xf1, 0xf2, 0xf3, 0xf4 or 0xf8 | number of 1, 2, 3, 4 or 8 bytes | bytes so far u8
//! 0xfe | length u32 | text                                    | bytes so far u32 | 0xff
//! ```
//!
//! A text that is a canonical integer is kept as a number where that is shorter. So equal items have equal bytes.

use super::super::integer::parse_integer;
use super::super::text::Text;

/// The longest text with one byte of length.
const SHORT_MAX: usize = 239;
const NUMBER: u8 = 0xf0;
const LONG: u8 = 0xfe;
const LONG_BACK: u8 = 0xff;
/// No number is longer as a text.
const DIGITS_MAX: usize = 20;

/// The bytes of an item, to be written somewhere.
#[derive(Clone, Copy)]
pub(super) struct Encoded<'a> {
    head: [u8; 9],
    head_length: u8,
    text: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    pub(super) fn new(item: &'a [u8]) -> Self {
        let mut head = [0; 9];
        if item.len() <= DIGITS_MAX
            && let Some(number) = parse_integer(item)
        {
            let width = width_of(number);
            if width < item.len() {
                head[0] = NUMBER | width as u8;
                head[1..].copy_from_slice(&number.to_le_bytes());
                return Self { head, head_length: 1 + width as u8, text: &[] };
            }
        }
        if item.len() <= SHORT_MAX {
            head[0] = item.len() as u8;
            return Self { head, head_length: 1, text: item };
        }
        head[0] = LONG;
        head[1..5].copy_from_slice(&(item.len() as u32).to_le_bytes());
        Self { head, head_length: 5, text: item }
    }

    #[inline]
    fn front(&self) -> usize {
        usize::from(self.head_length) + self.text.len()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.front() + if self.head[0] == LONG { 5 } else { 1 }
    }

    /// Writes it to a place of exactly its length.
    #[inline]
    pub(super) fn write(&self, place: &mut [u8]) {
        let (head, front) = (usize::from(self.head_length), self.front());
        if head == 1 {
            place[0] = self.head[0];
        } else {
            place[..head].copy_from_slice(&self.head[..head]);
        }
        place[head..front].copy_from_slice(self.text);
        if self.head[0] == LONG {
            place[front..front + 4].copy_from_slice(&(front as u32).to_le_bytes());
            place[front + 4] = LONG_BACK;
        } else {
            place[front] = front as u8;
        }
    }

    /// Whether these are its bytes.
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        let head = usize::from(self.head_length);
        bytes.len() == self.len() && bytes[..head] == self.head[..head] && &bytes[head..self.front()] == self.text
    }
}

#[inline]
fn width_of(number: i64) -> usize {
    match number {
        -0x80..=0x7f => 1,
        -0x8000..=0x7fff => 2,
        -0x80_0000..=0x7f_ffff => 3,
        -0x8000_0000..=0x7fff_ffff => 4,
        _ => 8,
    }
}

/// Bytes of the first item.
#[inline]
pub(super) fn first_len(bytes: &[u8]) -> usize {
    match bytes[0] {
        length if usize::from(length) <= SHORT_MAX => usize::from(length) + 2,
        LONG => u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize + 10,
        number => usize::from(number & 0xf) + 2,
    }
}

/// Bytes of the last item.
#[inline]
pub(super) fn last_len(bytes: &[u8]) -> usize {
    let end = bytes.len();
    match bytes[end - 1] {
        LONG_BACK => u32::from_le_bytes([bytes[end - 5], bytes[end - 4], bytes[end - 3], bytes[end - 2]]) as usize + 5,
        front => usize::from(front) + 1,
    }
}

/// The text of an item, which is all of these bytes.
#[inline]
pub(super) fn text(bytes: &[u8]) -> Text<'_> {
    match bytes[0] {
        length if usize::from(length) <= SHORT_MAX => Text::lent(&bytes[1..bytes.len() - 1]),
        LONG => Text::lent(&bytes[5..bytes.len() - 5]),
        number => {
            let width = usize::from(number & 0xf);
            let mut wide = if bytes[width] & 0x80 == 0 { [0; 8] } else { [0xff; 8] };
            wide[..width].copy_from_slice(&bytes[1..=width]);
            Text::number(i64::from_le_bytes(wide))
        }
    }
}

/// Where the item of this index begins, of `count` items; at `count`, the end. From whichever end is nearer.
pub(super) fn seek(bytes: &[u8], count: usize, index: usize) -> usize {
    if index <= count / 2 {
        (0..index).fold(0, |at, _| at + first_len(&bytes[at..]))
    } else {
        (index..count).fold(bytes.len(), |end, _| end - last_len(&bytes[..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_read_from_either_end() {
        let mut items: Vec<Vec<u8>> =
            [0, 1, 2, 20, 238, 239, 240, 300, 5_000].map(|length| vec![b'x'; length]).to_vec();
        for shift in 0..64 {
            for number in [1i64 << shift, (1i64 << shift).wrapping_sub(1), (1i64 << shift).wrapping_neg()] {
                items.push(number.to_string().into_bytes());
            }
        }
        items.extend([&b"-0"[..], b"007", b"+1", b"-"].map(<[u8]>::to_vec));
        let mut bytes = Vec::new();
        for item in &items {
            let encoded = Encoded::new(item);
            let at = bytes.len();
            bytes.resize(at + encoded.len(), 0);
            encoded.write(&mut bytes[at..]);
            assert!(encoded.is(&bytes[at..]) && !Encoded::new(b"other").is(&bytes[at..]));
            assert!(encoded.len() <= item.len() + if item.len() > SHORT_MAX { 10 } else { 2 });
        }
        let (mut front, mut back) = (&bytes[..], &bytes[..]);
        for (item, last) in items.iter().zip(items.iter().rev()) {
            let (one, rest) = front.split_at(first_len(front));
            assert_eq!(text(one).as_slice(), item);
            front = rest;
            let (rest, one) = back.split_at(back.len() - last_len(back));
            assert_eq!(text(one).as_slice(), last);
            back = rest;
        }
        assert!(front.is_empty() && back.is_empty());
        for index in 0..=items.len() {
            let expected: usize = items[..index].iter().map(|item| Encoded::new(item).len()).sum();
            assert_eq!(seek(&bytes, items.len(), index), expected);
        }
    }
}
