//! How does Redis pack a run of short strings and integers? Streams keep their entries in this form, and DUMP and
//! RESTORE carry small collections in it.
//!
//! ```text
//! listpack = bytes in all (u32 LE) | elements (u16 LE, 65535 = more) | element... | 0xFF
//! element  = encoding | content | length of both once more, 7 bits a byte, for the way back
//! ```

use super::value::parse_integer;

const HEADER: usize = 6;
const END: u8 = 0xFF;
/// From this number on the header does not say how many elements there are.
const UNKNOWN: usize = 65535;

/// An element: text, or an integer that is kept as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element<'a> {
    Integer(i64),
    Text(&'a [u8]),
}

impl Element<'_> {
    /// As its text is read: canonical integers become numbers.
    #[must_use]
    pub fn of(text: &[u8]) -> Element<'_> {
        parse_integer(text).map_or(Element::Text(text), Element::Integer)
    }

    #[must_use]
    pub fn integer(self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(number),
            Self::Text(_) => None,
        }
    }

    /// Calls `visit` with the text of the element.
    pub fn with_text<T>(self, visit: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Integer(number) => visit(itoa::Buffer::new().format(number).as_bytes()),
            Self::Text(text) => visit(text),
        }
    }

    #[must_use]
    pub fn to_vec(self) -> Vec<u8> {
        self.with_text(<[u8]>::to_vec)
    }

    #[must_use]
    pub fn is(self, other: &[u8]) -> bool {
        self.with_text(|text| text == other)
    }
}

/// Bytes that are no listpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a listpack that is damaged")]
pub struct Damaged;

/// A listpack that is owned and whole: it was written here, or checked when it was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listpack {
    bytes: Vec<u8>,
}

impl Default for Listpack {
    fn default() -> Self {
        Self { bytes: vec![7, 0, 0, 0, 0, 0, END] }
    }
}

impl Listpack {
    /// # Errors
    /// The bytes are not exactly one listpack.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Damaged> {
        check(&bytes)?;
        Ok(Self { bytes })
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes in all, header and end included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    #[must_use]
    pub fn memory_usage(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn push(&mut self, element: Element<'_>) {
        self.bytes.pop();
        put_element(&mut self.bytes, element);
        self.bytes.push(END);
        let count = u16::from_le_bytes([self.bytes[4], self.bytes[5]]);
        self.put_head(usize::from(count).saturating_add(1));
    }

    pub fn push_integer(&mut self, number: i64) {
        self.push(Element::Integer(number));
    }

    pub fn push_text(&mut self, text: &[u8]) {
        self.push(Element::of(text));
    }

    /// Puts an integer in place of the element that begins at `at`.
    pub fn replace_integer(&mut self, at: usize, number: i64) {
        let Some((_, after)) = take_element(&self.bytes, at) else { return };
        let mut element = Vec::with_capacity(11);
        put_element(&mut element, Element::Integer(number));
        if element.len() == after - at {
            self.bytes[at..after].copy_from_slice(&element);
            return;
        }
        self.bytes.splice(at..after, element);
        let count = u16::from_le_bytes([self.bytes[4], self.bytes[5]]);
        self.put_head(usize::from(count));
    }

    fn put_head(&mut self, count: usize) {
        let size = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&size.to_le_bytes());
        self.bytes[4..6].copy_from_slice(&(count.min(UNKNOWN) as u16).to_le_bytes());
    }

    #[must_use]
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor { bytes: &self.bytes, at: HEADER }
    }

    #[must_use]
    pub fn cursor_at(&self, at: usize) -> Cursor<'_> {
        Cursor { bytes: &self.bytes, at }
    }

    /// The element that ends where the one at `at` begins (or the end), and where it begins.
    #[must_use]
    pub fn before(&self, at: usize) -> Option<(Element<'_>, usize)> {
        let mut length = 0usize;
        let mut place = at;
        for shift in (0..35).step_by(7) {
            place = place.checked_sub(1).filter(|place| *place >= HEADER)?;
            length |= usize::from(self.bytes[place] & 127) << shift;
            if self.bytes[place] & 128 == 0 {
                let start = place.checked_sub(length).filter(|start| *start >= HEADER)?;
                return Some((take_element(&self.bytes, start)?.0, start));
            }
        }
        None
    }

    /// Where the end's mark is.
    #[must_use]
    pub fn end(&self) -> usize {
        self.bytes.len() - 1
    }
}

/// Walks over the elements of a listpack.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    /// Where the next element begins.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Cursor<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (element, after) = take_element(self.bytes, self.at)?;
        self.at = after;
        Some(element)
    }
}

/// The elements of a listpack that is somebody else's.
///
/// # Errors
/// It is none.
pub fn elements(bytes: &[u8]) -> Result<Cursor<'_>, Damaged> {
    check(bytes)?;
    Ok(Cursor { bytes, at: HEADER })
}

fn check(bytes: &[u8]) -> Result<(), Damaged> {
    let (head, _) = bytes.split_first_chunk::<HEADER>().ok_or(Damaged)?;
    let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let claimed = usize::from(u16::from_le_bytes([head[4], head[5]]));
    if size != bytes.len() || bytes.last() != Some(&END) || size <= HEADER {
        return Err(Damaged);
    }
    let (mut at, mut count) = (HEADER, 0);
    while at < size - 1 {
        let (element_bytes, after) = extent(bytes, at).ok_or(Damaged)?;
        // The way back has to lead to where the element begins.
        let mut back = Vec::with_capacity(5);
        put_back_length(&mut back, element_bytes);
        if after > size - 1 || bytes.get(at + element_bytes..after) != Some(&back[..]) {
            return Err(Damaged);
        }
        at = after;
        count += 1;
    }
    if claimed == UNKNOWN || claimed == count { Ok(()) } else { Err(Damaged) }
}

/// Bytes of the encoding and content of the element at `at`, and where the next one begins.
fn extent(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let head = *bytes.get(at)?;
    let length = match head {
        0..=0x7F => 1,
        0x80..=0xBF => 1 + usize::from(head & 0x3F),
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 2 + (usize::from(head & 0x0F) << 8 | usize::from(*bytes.get(at + 1)?)),
        0xF0 => {
            let length = bytes.get(at + 1..at + 5)?;
            5 + u32::from_le_bytes(length.try_into().ok()?) as usize
        }
        0xF1 => 3,
        0xF2 => 4,
        0xF3 => 5,
        0xF4 => 9,
        _ => return None,
    };
    let after = at.checked_add(length)?.checked_add(back_length(length))?;
    (after < bytes.len()).then_some((length, after))
}

fn take_element(bytes: &[u8], at: usize) -> Option<(Element<'_>, usize)> {
    let (length, after) = extent(bytes, at)?;
    let whole = bytes.get(at..at + length)?;
    let head = whole[0];
    let signed = |bytes: &[u8]| {
        let mut number = [if bytes.last().is_some_and(|last| *last >= 0x80) { 0xFF } else { 0 }; 8];
        number[..bytes.len()].copy_from_slice(bytes);
        Element::Integer(i64::from_le_bytes(number))
    };
    let element = match head {
        0..=0x7F => Element::Integer(i64::from(head)),
        0x80..=0xBF => Element::Text(&whole[1..]),
        0xC0..=0xDF => {
            let number = i64::from(head & 0x1F) << 8 | i64::from(whole[1]);
            Element::Integer(if number >= 1 << 12 { number - (1 << 13) } else { number })
        }
        0xE0..=0xEF => Element::Text(&whole[2..]),
        0xF0 => Element::Text(&whole[5..]),
        _ => signed(&whole[1..]),
    };
    Some((element, after))
}

fn put_element(out: &mut Vec<u8>, element: Element<'_>) {
    let start = out.len();
    match element {
        Element::Integer(number @ 0..=127) => out.push(number as u8),
        Element::Integer(number @ -4096..=4095) => {
            let bits = (number as u16) & 0x1FFF;
            out.extend([0xC0 | (bits >> 8) as u8, bits as u8]);
        }
        Element::Integer(number) => {
            let (head, bytes) = match number {
                -0x8000..=0x7FFF => (0xF1, 2),
                -0x80_0000..=0x7F_FFFF => (0xF2, 3),
                -0x8000_0000..=0x7FFF_FFFF => (0xF3, 4),
                _ => (0xF4, 8),
            };
            out.push(head);
            out.extend_from_slice(&number.to_le_bytes()[..bytes]);
        }
        Element::Text(text) => {
            match text.len() {
                length @ 0..64 => out.push(0x80 | length as u8),
                length @ 64..4096 => out.extend([0xE0 | (length >> 8) as u8, length as u8]),
                length => {
                    out.push(0xF0);
                    out.extend_from_slice(&(length as u32).to_le_bytes());
                }
            }
            out.extend_from_slice(text);
        }
    }
    let length = out.len() - start;
    put_back_length(out, length);
}

fn back_length(length: usize) -> usize {
    match length {
        0..=127 => 1,
        128..=16382 => 2,
        16383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

fn put_back_length(out: &mut Vec<u8>, length: usize) {
    let bytes = back_length(length);
    for index in (0..bytes).rev() {
        let bits = (length >> (7 * index)) as u8 & 127;
        out.push(if index == bytes - 1 { bits } else { bits | 128 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Vec<u8>> {
        let mut texts: Vec<Vec<u8>> = [0usize, 1, 63, 64, 4095, 4096, 20_000].map(|length| vec![b'x'; length]).into();
        for shift in 0..64 {
            for number in [1i64 << shift, (1i64 << shift).wrapping_sub(1), (1i64 << shift).wrapping_neg()] {
                texts.push(number.to_string().into_bytes());
            }
        }
        texts
    }

    #[test]
    fn elements_read_back_both_ways() {
        let mut pack = Listpack::default();
        for text in samples() {
            pack.push_text(&text);
        }
        assert!(pack.cursor().map(Element::to_vec).eq(samples()));
        let (mut at, mut back) = (pack.end(), Vec::new());
        while let Some((element, start)) = pack.before(at) {
            back.push(element.to_vec());
            at = start;
        }
        back.reverse();
        assert_eq!(back, samples());
        assert_eq!(Listpack::from_bytes(pack.as_bytes().to_vec()), Ok(pack));
    }

    #[test]
    fn an_integer_is_replaced_whatever_its_width() {
        let mut pack = Listpack::default();
        pack.push_integer(1);
        pack.push_text(b"after");
        for number in [127, 128, -5, 1 << 40, 3] {
            pack.replace_integer(HEADER, number);
            let elements: Vec<_> = pack.cursor().collect();
            assert_eq!(elements, [Element::Integer(number), Element::Text(b"after")]);
            assert_eq!(check(pack.as_bytes()), Ok(()));
        }
    }

    #[test]
    fn damage_is_noticed_and_never_a_panic() {
        let mut pack = Listpack::default();
        samples().iter().take(20).for_each(|text| pack.push_text(&text[..text.len().min(70)]));
        let whole = pack.as_bytes();
        for end in 0..whole.len() {
            assert_eq!(check(&whole[..end]), Err(Damaged));
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.to_vec();
                bytes[at] ^= 1 << bit;
                if let Ok(cursor) = elements(&bytes) {
                    assert!(cursor.count() <= bytes.len());
                }
            }
        }
    }
}
