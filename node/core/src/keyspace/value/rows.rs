//! How are the elements of a large hash or set kept? As rows of bytes in the buffer of their segment, found by a hash table of
//! offsets.
//!
//! ```text
//! row      length of each column | text of each column
//! length   0..=253 | 254, u16 | 255, u32: the place of a longer text, which lies by itself
//! ```
//!
//! A row that grows is written anew behind the others; what is dead is taken out when it is a quarter of the buffer.
//! Segments are divided and united as `segments` says.

use super::hashing::{scan_position, table_hash};
use super::keys::same;
use super::memory::allocated;
use super::random::{PROBES_MAX, below};
use super::scan::{Page, WHOLE_MAX};
use super::segments::{SEGMENT_MAX, Segments, Shelf};
use hashbrown::HashTable;
use hashbrown::hash_table;
use rand::RngCore;

/// Longer texts lie by themselves.
const INLINE_MAX: usize = 512;
/// In a buffer of this size all texts lie by themselves: only prepared positions fill a segment like that.
const BUFFER_MAX: usize = 1 << 30;
const WIDE: u8 = 254;
const FAR: u8 = 255;
/// Dead bytes that are not worth a walk.
const DEAD_KEPT: usize = 256;

type Columns<'t, const COLUMNS: usize> = [&'t [u8]; COLUMNS];

/// A table of rows whose first column is their key.
#[derive(Clone, Debug)]
pub(super) enum Rows<const COLUMNS: usize> {
    Single(Box<Buffer<COLUMNS>>),
    Segmented(Box<Segments<Buffer<COLUMNS>>>),
}

/// The rows of one segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffer<const COLUMNS: usize> {
    /// Where each row begins.
    index: HashTable<u32>,
    bytes: Vec<u8>,
    dead: usize,
    far: Far,
}

/// Texts that lie by themselves, in numbered places.
#[derive(Clone, Debug, Default)]
struct Far {
    texts: Vec<Box<[u8]>>,
    free: Vec<u32>,
}

impl Far {
    fn add(&mut self, text: &[u8]) -> u32 {
        match self.free.pop() {
            Some(place) => {
                self.texts[place as usize] = text.into();
                place
            }
            None => {
                self.texts.push(text.into());
                self.texts.len() as u32 - 1
            }
        }
    }

    fn remove(&mut self, place: u32) {
        self.texts[place as usize] = Box::default();
        self.free.push(place);
    }
}

/// Where the text of a column is.
#[derive(Clone, Copy)]
enum Place {
    Here { length: usize },
    Far { place: u32 },
}

impl Place {
    /// Bytes in the row behind the lengths.
    #[inline]
    fn here(self) -> usize {
        match self {
            Place::Here { length } => length,
            Place::Far { .. } => 0,
        }
    }
}

impl<const COLUMNS: usize> Buffer<COLUMNS> {
    /// The places of a row's texts, and where the first one begins.
    #[inline]
    fn layout(&self, row: u32) -> ([Place; COLUMNS], usize) {
        let mut at = row as usize;
        let places = std::array::from_fn(|_| {
            let bytes = &self.bytes;
            match bytes[at] {
                WIDE => {
                    at += 3;
                    Place::Here { length: usize::from(u16::from_le_bytes([bytes[at - 2], bytes[at - 1]])) }
                }
                FAR => {
                    at += 5;
                    let place = [bytes[at - 4], bytes[at - 3], bytes[at - 2], bytes[at - 1]];
                    Place::Far { place: u32::from_le_bytes(place) }
                }
                length => {
                    at += 1;
                    Place::Here { length: usize::from(length) }
                }
            }
        });
        (places, at)
    }

    #[inline]
    fn row(&self, row: u32) -> Columns<'_, COLUMNS> {
        let (places, mut at) = self.layout(row);
        places.map(|place| match place {
            Place::Here { length } => {
                at += length;
                &self.bytes[at - length..at]
            }
            Place::Far { place } => &self.far.texts[place as usize],
        })
    }

    #[inline]
    fn key(&self, row: u32) -> &[u8] {
        let (places, at) = self.layout(row);
        match places[0] {
            Place::Here { length } => &self.bytes[at..at + length],
            Place::Far { place } => &self.far.texts[place as usize],
        }
    }

    /// Bytes of a row in the buffer.
    fn length_of(&self, row: u32) -> usize {
        let (places, at) = self.layout(row);
        at - row as usize + places.iter().map(|place| place.here()).sum::<usize>()
    }

    /// The lengths of a row's texts, if each of them is one byte.
    #[inline]
    fn short_lengths(&self, row: u32) -> Option<&[u8; COLUMNS]> {
        let lengths = self.bytes[row as usize..].first_chunk::<COLUMNS>()?;
        lengths.iter().all(|length| *length < WIDE).then_some(lengths)
    }

    #[inline]
    fn has_key(&self, row: u32, key: &[u8]) -> bool {
        let Some(lengths) = self.short_lengths(row) else { return same(self.key(row), key) };
        usize::from(lengths[0]) == key.len() && same(&self.bytes[row as usize + COLUMNS..][..key.len()], key)
    }

    #[inline]
    fn find(&self, key: &[u8]) -> Option<u32> {
        self.index.find(table_hash(key), |row| self.has_key(*row, key)).copied()
    }

    /// Writes a row behind the others.
    fn append(&mut self, texts: Columns<'_, COLUMNS>) -> u32 {
        let longest = if self.bytes.len() < BUFFER_MAX { INLINE_MAX } else { 0 };
        let needed = texts.iter().map(|text| 5 + text.len().min(INLINE_MAX)).sum::<usize>();
        if self.bytes.capacity() - self.bytes.len() < needed {
            // An eighth: what a buffer keeps free is lost.
            self.bytes.reserve_exact(needed.max(self.bytes.len() / 8).max(DEAD_KEPT / 4));
        }
        let row = u32::try_from(self.bytes.len()).expect("a buffer ends soon after a gibibyte");
        for text in texts {
            match text.len() {
                length if length > longest => {
                    let place = self.far.add(text);
                    self.bytes.push(FAR);
                    self.bytes.extend(place.to_le_bytes());
                }
                length if length >= usize::from(WIDE) => {
                    self.bytes.push(WIDE);
                    self.bytes.extend((length as u16).to_le_bytes());
                }
                length => self.bytes.push(length as u8),
            }
        }
        texts.into_iter().filter(|text| text.len() <= longest).for_each(|text| self.bytes.extend_from_slice(text));
        row
    }

    /// A row is not used any more.
    fn drop_row(&mut self, row: u32) {
        self.dead += self.length_of(row);
        for place in self.layout(row).0 {
            if let Place::Far { place } = place {
                self.far.remove(place);
            }
        }
    }

    /// Adds a row whose key is not there.
    fn insert(&mut self, texts: Columns<'_, COLUMNS>) {
        let row = self.append(texts);
        let mut index = std::mem::take(&mut self.index);
        index.insert_unique(table_hash(texts[0]), row, |row| table_hash(self.key(*row)));
        self.index = index;
    }

    /// Sets a row; says whether its key is new.
    fn set(&mut self, texts: Columns<'_, COLUMNS>) -> bool {
        let Some(row) = self.find(texts[0]) else {
            self.insert(texts);
            return true;
        };
        if COLUMNS == 1 {
            return false;
        }
        let is_short = self.short_lengths(row).is_some_and(|lengths| {
            std::iter::zip(lengths, texts).skip(1).all(|(length, text)| usize::from(*length) == text.len())
        });
        if is_short {
            let mut at = row as usize + COLUMNS + texts[0].len();
            for text in &texts[1..] {
                self.bytes[at..at + text.len()].copy_from_slice(text);
                at += text.len();
            }
            return false;
        }
        let (places, mut at) = self.layout(row);
        let fits = std::iter::zip(&places, texts).skip(1).all(|(place, text)| match place {
            Place::Here { length } => *length == text.len(),
            Place::Far { .. } => false,
        });
        if fits {
            for (place, text) in std::iter::zip(places, texts) {
                let length = place.here();
                self.bytes[at..at + length].copy_from_slice(&text[..length]);
                at += length;
            }
            return false;
        }
        let new = self.append(texts);
        if let Some(place) = self.index.find_mut(table_hash(texts[0]), |other| *other == row) {
            *place = new;
        }
        self.drop_row(row);
        self.tidy();
        false
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let Some(row) = self.find(key) else { return false };
        if let Ok(entry) = self.index.find_entry(table_hash(key), |other| *other == row) {
            entry.remove();
        }
        self.drop_row(row);
        self.tidy();
        true
    }

    /// Takes out what is dead if that is a quarter.
    #[inline]
    fn tidy(&mut self) {
        if self.dead > DEAD_KEPT && self.dead * 4 > self.bytes.len() {
            self.compact();
        }
    }

    #[cold]
    fn compact(&mut self) {
        let mut index = std::mem::take(&mut self.index);
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.dead);
        for row in &mut index {
            let (from, length) = (*row as usize, self.length_of(*row));
            *row = bytes.len() as u32;
            bytes.extend_from_slice(&self.bytes[from..from + length]);
        }
        // Less than an eighth of the places of the index is used: a smaller one will do.
        if index.len() < index.num_buckets() / 8 {
            self.bytes = bytes;
            index.shrink_to(index.len() * 2, |row| table_hash(self.key(*row)));
        } else {
            self.bytes = bytes;
        }
        self.index = index;
        self.dead = 0;
    }
}

impl<const COLUMNS: usize> Shelf<()> for Buffer<COLUMNS> {
    fn len(&self) -> usize {
        self.index.len()
    }

    fn places(&self) -> usize {
        self.index.num_buckets()
    }

    fn divide(self, bit: u64, (): &()) -> (Self, Self) {
        let (mut lower, mut upper) = (Self::default(), Self::default());
        let room = self.bytes.len() / 2 + self.bytes.len() / 16;
        for half in [&mut lower, &mut upper] {
            half.bytes.reserve_exact(room);
            half.index.reserve(SEGMENT_MAX / 2, |_| 0);
        }
        for row in &self.index {
            let texts = self.row(*row);
            let half = if scan_position(texts[0]) & bit == 0 { &mut lower } else { &mut upper };
            half.insert(texts);
        }
        (lower, upper)
    }

    fn unite(&mut self, other: Self, (): &()) {
        for row in &other.index {
            self.insert(other.row(*row));
        }
    }

    fn heap_bytes(&self) -> usize {
        let far = self.far.texts.iter().map(|text| allocated(text.len())).sum::<usize>();
        allocated(self.index.allocation_size())
            + allocated(self.bytes.capacity())
            + allocated(self.far.texts.capacity() * size_of::<Box<[u8]>>())
            + allocated(self.far.free.capacity() * size_of::<u32>())
            + far
    }
}

impl<const COLUMNS: usize> Rows<COLUMNS> {
    pub(super) fn new() -> Self {
        Self::Single(Box::default())
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Single(buffer) => buffer.len(),
            Self::Segmented(segments) => segments.len(),
        }
    }

    #[inline]
    fn buffer_of(&self, key: &[u8]) -> &Buffer<COLUMNS> {
        match self {
            Self::Single(buffer) => buffer,
            Self::Segmented(segments) => segments.shelf(key),
        }
    }

    #[inline]
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.buffer_of(key).find(key).is_some()
    }

    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<Columns<'_, COLUMNS>> {
        let buffer = self.buffer_of(key);
        buffer.find(key).map(|row| buffer.row(row))
    }

    /// Sets the other columns of a key; says whether it is new.
    #[inline]
    pub(super) fn set(&mut self, texts: Columns<'_, COLUMNS>) -> bool {
        match self {
            Self::Single(buffer) if buffer.len() < SEGMENT_MAX => buffer.set(texts),
            Self::Single(buffer) if buffer.find(texts[0]).is_some() => buffer.set(texts),
            Self::Single(buffer) => {
                *self = Self::Segmented(Box::new(Segments::new(std::mem::take(&mut **buffer), &())));
                self.set(texts)
            }
            Self::Segmented(segments) => segments.change(texts[0], &(), |buffer| buffer.set(texts)),
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        match self {
            Self::Single(buffer) => buffer.remove(key),
            Self::Segmented(segments) => {
                let is_removed = segments.change(key, &(), |buffer| buffer.remove(key));
                if let Some(last) = segments.take_last() {
                    *self = Self::Single(Box::new(last));
                }
                is_removed
            }
        }
    }

    pub(super) fn iter(&self) -> Iter<'_, COLUMNS> {
        match self {
            Self::Single(buffer) => {
                Iter { current: Some((buffer, buffer.index.iter())), next: 1, rows: self, left: self.len() }
            }
            Self::Segmented(_) => Iter { current: None, next: 0, rows: self, left: self.len() },
        }
    }

    /// A row, each with the same probability, in constant expected time.
    pub(super) fn random(&self, rng: &mut impl RngCore) -> Option<Columns<'_, COLUMNS>> {
        if self.len() == 0 {
            return None;
        }
        for _ in 0..PROBES_MAX {
            let (buffer, places) = match self {
                Self::Single(buffer) => (&**buffer, buffer.places()),
                Self::Segmented(segments) => segments.random_shelf(rng),
            };
            let place = below(rng, places);
            if place < buffer.places()
                && let Some(row) = buffer.index.get_bucket(place)
            {
                return Some(buffer.row(*row));
            }
        }
        self.iter().nth(below(rng, self.len()))
    }

    /// One page of a scan, see `scan`.
    pub(super) fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<Columns<'_, COLUMNS>>) {
        if self.len() <= WHOLE_MAX {
            return (0, self.iter().collect());
        }
        let mut page = Page::new(cursor, count);
        match self {
            Self::Segmented(segments) => segments.scan(&mut page, |buffer, page| buffer.offer(page)),
            Self::Single(buffer) => {
                buffer.offer(&mut page);
                page.close(None);
            }
        }
        page.finish()
    }

    /// Bytes that it takes in all.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Single(buffer) => allocated(size_of::<Buffer<COLUMNS>>()) + buffer.heap_bytes(),
            Self::Segmented(segments) => allocated(size_of_val(&**segments)) + segments.heap_bytes(&()),
        }
    }
}

impl<const COLUMNS: usize> Buffer<COLUMNS> {
    fn offer<'t>(&'t self, page: &mut Page<Columns<'t, COLUMNS>>) {
        for row in &self.index {
            let texts = self.row(*row);
            page.offer(scan_position(texts[0]), texts);
        }
    }
}

/// All rows, in an order that holds while nothing changes.
pub(super) struct Iter<'t, const COLUMNS: usize> {
    rows: &'t Rows<COLUMNS>,
    current: Option<(&'t Buffer<COLUMNS>, hash_table::Iter<'t, u32>)>,
    /// The segment that comes after the current one.
    next: usize,
    left: usize,
}

impl<'t, const COLUMNS: usize> Iterator for Iter<'t, COLUMNS> {
    type Item = Columns<'t, COLUMNS>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((buffer, rows)) = &mut self.current
                && let Some(row) = rows.next()
            {
                self.left -= 1;
                return Some(buffer.row(*row));
            }
            let Rows::Segmented(segments) = self.rows else { return None };
            let buffer = segments.nth(self.next)?;
            self.current = Some((buffer, buffer.index.iter()));
            self.next += 1;
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<const COLUMNS: usize> ExactSizeIterator for Iter<'_, COLUMNS> {}
