//! How is a small hash or set kept? As one run of bytes, arrays first, so that a look-up reads few of them.
//!
//! ```text
//! rows u16 | tag x rows | length of column 0 x rows | (length of column 1 x rows) | the texts, row by row
//! ```
//!
//! A tag is eight bits of a row's key, column 0. Texts are up to 255 bytes long. Adding and removing move what lies behind,
//! which costs less than a hash table up to some hundred rows, and takes a fraction of its memory. The bytes lie in the
//! entry of the key while they are few.

use rand::RngCore;

use super::random::below;
use super::space::{Room, Space};

const HEAD_BYTES: usize = 2;
/// Bytes of a text at the most.
pub(super) const TEXT_MAX: usize = u8::MAX as usize;

/// Rows of so many texts each, where they lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a, const COLUMNS: usize> {
    bytes: &'a [u8],
}

/// Rows of so many texts each, to be changed.
#[derive(Clone, Debug)]
pub(super) struct Packed<const COLUMNS: usize, S = Vec<u8>> {
    bytes: S,
}

/// Whether a text may be the same as another one: what differs most are the last bytes and the length.
#[inline]
fn tag_of(key: &[u8]) -> u8 {
    let mut mixed = key.len() as u32;
    for byte in &key[key.len().saturating_sub(3)..] {
        mixed = mixed.wrapping_mul(0x9e37_79b1) ^ u32::from(*byte);
    }
    (mixed.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

#[inline]
fn sum(lengths: &[u8]) -> usize {
    lengths.iter().map(|length| u32::from(*length)).sum::<u32>() as usize
}

impl<'a, const COLUMNS: usize> Rows<'a, COLUMNS> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        match self.bytes.first_chunk::<HEAD_BYTES>() {
            Some(head) => usize::from(u16::from_le_bytes(*head)),
            None => 0,
        }
    }

    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    fn tags(self) -> &'a [u8] {
        &self.bytes[HEAD_BYTES.min(self.bytes.len())..][..self.len()]
    }

    /// The lengths of a column.
    #[inline]
    fn lengths(self, column: usize) -> &'a [u8] {
        let rows = self.len();
        &self.bytes[HEAD_BYTES + rows * (1 + column)..][..rows]
    }

    #[inline]
    fn texts_at(self) -> usize {
        HEAD_BYTES + self.len() * (1 + COLUMNS)
    }

    /// Where a row's texts begin.
    #[inline]
    fn row_at(self, row: usize) -> usize {
        self.texts_at() + (0..COLUMNS).map(|column| sum(&self.lengths(column)[..row])).sum::<usize>()
    }

    /// The row of a key.
    #[inline]
    pub(super) fn find(self, key: &[u8]) -> Option<usize> {
        if self.bytes.is_empty() {
            return None;
        }
        let (tags, lengths, tag) = (self.tags(), self.lengths(0), tag_of(key));
        let mut from = 0;
        while let Some(step) = memchr::memchr(tag, &tags[from..]) {
            let row = from + step;
            if usize::from(lengths[row]) == key.len() {
                let at = self.row_at(row);
                if &self.bytes[at..at + key.len()] == key {
                    return Some(row);
                }
            }
            from = row + 1;
        }
        None
    }

    /// The texts of a row.
    #[inline]
    pub(super) fn row(self, row: usize) -> [&'a [u8]; COLUMNS] {
        let mut at = self.row_at(row);
        std::array::from_fn(|column| {
            let start = at;
            at += usize::from(self.lengths(column)[row]);
            &self.bytes[start..at]
        })
    }

    pub(super) fn iter(self) -> Iter<'a, COLUMNS> {
        Iter { rows: self, row: 0, at: if self.bytes.is_empty() { 0 } else { self.texts_at() } }
    }

    pub(super) fn random(self, rng: &mut impl RngCore) -> Option<[&'a [u8]; COLUMNS]> {
        (self.len() > 0).then(|| self.row(below(rng, self.len())))
    }
}

impl<const COLUMNS: usize> Packed<COLUMNS> {
    pub(super) const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    #[inline]
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl<const COLUMNS: usize, S: Space> Packed<COLUMNS, S> {
    /// Takes what `into_bytes` gave.
    #[inline]
    pub(super) fn from_bytes(bytes: S) -> Self {
        Self { bytes }
    }

    #[inline]
    pub(super) fn rows(&self) -> Rows<'_, COLUMNS> {
        Rows::new(self.bytes.bytes())
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.rows().len()
    }

    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        self.rows().find(key)
    }

    /// Adds a row whose key is not there. Texts are no longer than `TEXT_MAX`. Says whether there is room for it.
    pub(super) fn push(&mut self, texts: [&[u8]; COLUMNS]) -> bool {
        debug_assert!(texts.iter().all(|text| text.len() <= TEXT_MAX));
        let rows = self.len();
        let before = self.bytes.bytes().len();
        let head = if before == 0 { HEAD_BYTES } else { before };
        let after = head + 1 + COLUMNS + texts.iter().map(|text| text.len()).sum::<usize>();
        if !self.bytes.allows(after) {
            return false;
        }
        self.bytes.set_length(after);
        let bytes = self.bytes.bytes_mut();
        // From the back: the texts move by the whole of what is added to the arrays, the arrays by less and less.
        let texts_at = HEAD_BYTES + rows * (1 + COLUMNS);
        bytes.copy_within(texts_at..head, texts_at + 1 + COLUMNS);
        for array in (0..=COLUMNS).rev() {
            let from = HEAD_BYTES + array * rows;
            if array > 0 {
                bytes.copy_within(from..from + rows, from + array);
            }
            bytes[from + array + rows] = match array.checked_sub(1) {
                None => tag_of(texts[0]),
                Some(column) => texts[column].len() as u8,
            };
        }
        let mut at = head + 1 + COLUMNS;
        for text in texts {
            bytes[at..at + text.len()].copy_from_slice(text);
            at += text.len();
        }
        bytes[..HEAD_BYTES].copy_from_slice(&((rows + 1) as u16).to_le_bytes());
        true
    }

    /// Replaces a text that is not the key. Says whether there is room for it.
    pub(super) fn replace(&mut self, row: usize, column: usize, text: &[u8]) -> bool {
        debug_assert!(column > 0 && text.len() <= TEXT_MAX);
        let rows = self.len();
        let is = self.rows();
        let at = is.row_at(row) + (0..column).map(|before| usize::from(is.lengths(before)[row])).sum::<usize>();
        let old = usize::from(is.lengths(column)[row]);
        if text.len() != old && !self.bytes.stretch(at, old, text.len()) {
            return false;
        }
        let bytes = self.bytes.bytes_mut();
        bytes[at..at + text.len()].copy_from_slice(text);
        bytes[HEAD_BYTES + rows * (1 + column) + row] = text.len() as u8;
        true
    }

    /// Removes a row; the others keep their order. Says whether what is left may lie there.
    pub(super) fn remove(&mut self, row: usize) -> bool {
        let rows = self.len();
        let at = self.rows().row_at(row);
        let length = self.rows().row(row).iter().map(|text| text.len()).sum::<usize>();
        let before = self.bytes.bytes().len();
        let after = before - length - 1 - COLUMNS;
        if !self.bytes.allows(after) {
            return false;
        }
        let bytes = self.bytes.bytes_mut();
        // From the front: what follows each of the places that are left out moves by one more.
        let mut gone = HEAD_BYTES + row;
        for array in 0..=COLUMNS {
            let next = if array == COLUMNS { at } else { gone + rows };
            bytes.copy_within(gone + 1..next, gone - array);
            gone = next;
        }
        bytes.copy_within(at + length.., at - 1 - COLUMNS);
        self.bytes.set_length(after);
        self.bytes.bytes_mut()[..HEAD_BYTES].copy_from_slice(&((rows - 1) as u16).to_le_bytes());
        true
    }
}

/// Removes a row of some that are packed in their entry; says whether it was there. Nothing, and nothing has changed: too little
/// is left.
#[inline]
pub(super) fn remove_within<const COLUMNS: usize>(room: &mut Room<'_>, key: &[u8]) -> Option<bool> {
    let mut packed = Packed::<COLUMNS, _>::from_bytes(room);
    match packed.find(key) {
        Some(row) => (packed.len() > 1 && packed.remove(row)).then_some(true),
        None => Some(false),
    }
}

/// The rows, in the order in which they came.
#[derive(Clone)]
pub(super) struct Iter<'p, const COLUMNS: usize> {
    rows: Rows<'p, COLUMNS>,
    row: usize,
    at: usize,
}

impl<'p, const COLUMNS: usize> Iterator for Iter<'p, COLUMNS> {
    type Item = [&'p [u8]; COLUMNS];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.row == self.rows.len() {
            return None;
        }
        let texts = std::array::from_fn(|column| {
            let start = self.at;
            self.at += usize::from(self.rows.lengths(column)[self.row]);
            &self.rows.bytes[start..self.at]
        });
        self.row += 1;
        Some(texts)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.rows.len() - self.row;
        (left, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::testing::Seeded;
    use rand::Rng;

    fn text(rng: &mut impl Rng, longest: usize) -> Vec<u8> {
        let length = rng.random_range(0..=longest);
        (0..length).map(|_| rng.random_range(b'a'..b'd')).collect()
    }

    #[test]
    fn random_operations_agree_with_a_vector() {
        for seed in Seeded::seeds(6) {
            let mut rng = seed.rng();
            let (mut packed, mut model) = (Packed::<2>::new(), Vec::<[Vec<u8>; 2]>::new());
            for step in 0..1_500 {
                let longest = if step % 50 == 0 { TEXT_MAX } else { 5 };
                let (key, value) = (text(&mut rng, longest), text(&mut rng, longest));
                let row = model.iter().position(|row| row[0] == key);
                assert_eq!(packed.find(&key), row, "{seed:?}");
                match row {
                    None => {
                        packed.push([&key, &value]);
                        model.push([key, value]);
                    }
                    Some(row) if rng.random_ratio(2, 3) && model.len() > 5 => {
                        packed.remove(row);
                        model.remove(row);
                    }
                    Some(row) => {
                        packed.replace(row, 1, &value);
                        model[row][1] = value;
                    }
                }
                assert_eq!(packed.len(), model.len());
                let row = rng.random_range(0..model.len());
                assert!(packed.rows().row(row)[..] == model[row][..], "{seed:?}");
                if step % 20 == 0 {
                    assert!(
                        packed.rows().iter().map(|row| row.map(<[u8]>::to_vec)).eq(model.iter().cloned()),
                        "{seed:?}"
                    );
                }
            }
            while !model.is_empty() {
                packed.remove(0);
                model.remove(0);
            }
            assert_eq!((packed.len(), packed.rows().iter().count(), packed.find(b"")), (0, 0, None));
        }
    }

    #[test]
    fn one_column_is_enough_for_a_set() {
        let mut packed = Packed::<1>::new();
        (0..300u32).for_each(|number| _ = packed.push([number.to_string().as_bytes()]));
        assert!((0..300u32).all(|number| packed.find(number.to_string().as_bytes()) == Some(number as usize)));
        assert!(packed.into_bytes().len() < 300 * 5 + 300);
    }
}
