//! How is a small set of integers kept? As a sorted array of one width.
//!
//! ```text
//! width u8 (1, 2, 4 or 8) | number x n, ascending, little endian
//! ```

use rand::RngCore;

use super::random::below;
use super::space::Space;
use super::text::Text;

const HEAD_BYTES: usize = 1;

/// The array where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Integers<'a> {
    bytes: &'a [u8],
}

#[inline]
fn width_of(number: i64) -> usize {
    match number {
        -0x80..=0x7f => 1,
        -0x8000..=0x7fff => 2,
        -0x8000_0000..=0x7fff_ffff => 4,
        _ => 8,
    }
}

#[inline]
fn put(place: &mut [u8], number: i64) {
    let width = place.len();
    place.copy_from_slice(&number.to_le_bytes()[..width]);
}

impl<'a> Integers<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    fn width(self) -> usize {
        self.bytes.first().map_or(1, |width| usize::from(*width))
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        self.bytes.len().saturating_sub(HEAD_BYTES) / self.width()
    }

    #[inline]
    pub(super) fn at(self, index: usize) -> i64 {
        let width = self.width();
        let at = HEAD_BYTES + index * width;
        match self.bytes[at..at + width] {
            [byte] => i64::from(byte as i8),
            [a, b] => i64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => unreachable!("no integer is of another width"),
        }
    }

    /// Where a number is, or where it would be.
    #[inline]
    pub(super) fn find(self, number: i64) -> Result<usize, usize> {
        if width_of(number) > self.width() {
            return Err(if number < 0 { 0 } else { self.len() });
        }
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.at(middle).cmp(&number) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    pub(super) fn iter(self) -> Iter<'a> {
        Iter { integers: self, range: 0..self.len() }
    }

    pub(super) fn random(self, rng: &mut impl RngCore) -> Option<Text<'a>> {
        (self.len() > 0).then(|| Text::number(self.at(below(rng, self.len()))))
    }
}

/// Adds a number that is not there, at the place where `find` would have it. Says whether there is room for it.
pub(super) fn insert(space: &mut impl Space, index: usize, number: i64) -> bool {
    let integers = Integers::new(space.bytes());
    let (old, count) = (integers.width(), integers.len());
    let width = if count == 0 { width_of(number) } else { old.max(width_of(number)) };
    if !space.allows(HEAD_BYTES + (count + 1) * width) {
        return false;
    }
    if width > old || count == 0 {
        widen(space, count, old, width);
    }
    let at = HEAD_BYTES + index * width;
    if !space.open(at, width) {
        return false;
    }
    put(&mut space.bytes_mut()[at..at + width], number);
    true
}

/// From the back, so that nothing is overwritten that is still to be read.
fn widen(space: &mut impl Space, count: usize, old: usize, width: usize) {
    space.set_length(HEAD_BYTES + count * width);
    let bytes = space.bytes_mut();
    for index in (0..count).rev() {
        let mut wide = [0; 8];
        let from = HEAD_BYTES + index * old;
        wide[..old].copy_from_slice(&bytes[from..from + old]);
        if bytes[from + old - 1] & 0x80 != 0 {
            wide[old..].fill(0xff);
        }
        let to = HEAD_BYTES + index * width;
        bytes[to..to + width].copy_from_slice(&wide[..width]);
    }
    bytes[0] = width as u8;
}

/// Removes the number at a place. The width stays. Says whether what is left may lie there.
pub(super) fn remove(space: &mut impl Space, index: usize) -> bool {
    let width = Integers::new(space.bytes()).width();
    space.close(HEAD_BYTES + index * width, width)
}

/// The numbers in ascending order, as texts.
#[derive(Clone)]
pub(super) struct Iter<'a> {
    integers: Integers<'a>,
    range: std::ops::Range<usize>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Text<'a>;

    #[inline]
    fn next(&mut self) -> Option<Text<'a>> {
        self.range.next().map(|index| Text::number(self.integers.at(index)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::testing::Seeded;
    use rand::Rng;
    use std::collections::BTreeSet;

    fn insert(bytes: &mut Vec<u8>, number: i64) -> bool {
        Integers::new(bytes).find(number).is_err_and(|index| super::insert(bytes, index, number))
    }

    #[test]
    fn random_operations_agree_with_an_ordered_set() {
        for seed in Seeded::seeds(30) {
            let mut rng = seed.rng();
            let (mut bytes, mut model) = (Vec::new(), BTreeSet::new());
            for step in 0..1_000 {
                // Wide numbers come late, so that every widening happens with some numbers there.
                let narrowest = [56, 48, 32, 0][step / 250];
                let number = rng.random::<i64>() >> rng.random_range(narrowest..=63);
                if rng.random_ratio(2, 3) {
                    assert_eq!(insert(&mut bytes, number), model.insert(number), "{seed:?}");
                } else {
                    let number = *model.range(number..).next().unwrap_or(&number);
                    let found = Integers::new(&bytes).find(number);
                    assert_eq!(found.is_ok(), model.remove(&number), "{seed:?}");
                    if let Ok(index) = found {
                        remove(&mut bytes, index);
                    }
                }
                let integers = Integers::new(&bytes);
                assert_eq!(integers.len(), model.len());
                assert!((0..integers.len()).map(|index| integers.at(index)).eq(model.iter().copied()), "{seed:?}");
            }
        }
    }

    #[test]
    fn numbers_take_the_bytes_of_the_widest() {
        let mut bytes = Vec::new();
        for (number, length) in [(1, 2), (-128, 3), (300, 7), (-40_000, 17), (1 << 40, 41)] {
            assert!(insert(&mut bytes, number));
            assert_eq!(bytes.len(), length);
        }
        let numbers: Vec<Vec<u8>> = Integers::new(&bytes).iter().map(|text| text.to_vec()).collect();
        assert_eq!(numbers, [&b"-40000"[..], b"-128", b"1", b"300", b"1099511627776"]);
        (0..5).for_each(|_| assert!(remove(&mut bytes, 0)));
        assert_eq!(Integers::new(&bytes).len(), 0);
        assert!(insert(&mut bytes, 5), "an emptied one begins anew");
        assert_eq!((Integers::new(&bytes).at(0), bytes.len()), (5, 2));
    }
}
