//! Large records: one that is larger than a part becomes several entries of the journal, which travel, are written and
//! are counted one by one, and takes effect with the last of them.
//!
//! ```text
//! first   60 | bytes of the whole record (varint) | bytes
//! more    61 | bytes
//! last    62 | bytes
//! ```
//!
//! So nothing in the journal, on the wire or on disk is much larger than a part, and whoever receives one sees each part
//! arrive. The parts of a record follow on each other; only the end of a mastership can leave some without the last.
//! What follows then is not a part of the same record, and the rest is void.
//!
//! **Invariant:** the first entry of an epoch that follows on an incomplete record is no `more` and no `last`
//! (`Journal::begin_epoch` appends an empty record). So no two records are ever taken for one.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;

use crate::ids::Offset;
use crate::limits;
use crate::wire::{self, Reader};

/// On disk and on the wire for ever. Tags of effects stay clear of them.
const FIRST: u8 = 60;
const MORE: u8 = 61;
const LAST: u8 = 62;

/// Bytes that stand before a part at the most: its length, its tag and the length of the whole.
const HEAD_BYTES_MAX: usize = 5 + 1 + 10;

/// Parts that do not make a record: the journal is damaged, or was not read from a record's beginning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("entry {0} goes on with a record that has not begun")]
    NotBegun(Offset),
    #[error("the record whose parts end at {at} has {found} bytes, and its first part says {expected}")]
    Length { at: Offset, expected: usize, found: usize },
    #[error("the record that begins at {at} has {bytes} bytes, more than any legal one")]
    TooLarge { at: Offset, bytes: u64 },
    #[error("part {at} cannot be read: {error}")]
    Unreadable { at: Offset, error: wire::Error },
}

/// Whether a record is one entry.
#[inline]
#[must_use]
pub(super) fn is_whole(bytes: usize) -> bool {
    bytes <= limits::RECORD_PART_BYTES
}

/// Divides a record into entries as they stand in blocks, each behind its length. The record's own memory holds them, so a
/// large one is not copied.
#[must_use]
pub(super) fn divide(mut record: Vec<u8>) -> Vec<Bytes> {
    let total = record.len();
    let count = total.div_ceil(limits::RECORD_PART_BYTES).max(1);
    let part = |index: usize| {
        let from = index * limits::RECORD_PART_BYTES;
        from..(from + limits::RECORD_PART_BYTES).min(total)
    };
    let heads: Vec<Head> = (0..count)
        .map(|index| match index {
            0 => Head::new(FIRST, Some(total), part(index).len()),
            last if last + 1 == count => Head::new(LAST, None, part(index).len()),
            _ => Head::new(MORE, None, part(index).len()),
        })
        .collect();
    let mut end = total + heads.iter().map(|head| head.bytes().len()).sum::<usize>();
    record.resize(end, 0);
    let mut ends = vec![0; count];
    for index in (0..count).rev() {
        let (from, head) = (part(index), heads[index].bytes());
        ends[index] = end;
        let start = end - from.len();
        record.copy_within(from, start);
        record[start - head.len()..start].copy_from_slice(head);
        end = start - head.len();
    }
    let record = Bytes::from(record);
    let mut start = 0;
    ends.into_iter().map(|end| record.slice(std::mem::replace(&mut start, end)..end)).collect()
}

/// As `divide`, of a record in which texts stand at these places of its own bytes. Each entry is given as its beginning and
/// the rest, which lies in a text's buffer, unless it is copied.
#[must_use]
pub(super) fn divide_shared(record: &[u8], texts: Vec<(usize, Bytes)>) -> Vec<(Bytes, Bytes)> {
    let total = record.len() + texts.iter().map(|(_, text)| text.len()).sum::<usize>();
    let count = total.div_ceil(limits::RECORD_PART_BYTES).max(1);
    let mut parts = Vec::with_capacity(count);
    let mut pieces = Pieces { record, at: 0, texts: texts.into() };
    for index in 0..count {
        let bytes = limits::RECORD_PART_BYTES.min(total - index * limits::RECORD_PART_BYTES);
        let head = match index {
            0 => Head::new(FIRST, Some(total), bytes),
            last if last + 1 == count => Head::new(LAST, None, bytes),
            _ => Head::new(MORE, None, bytes),
        };
        let mut begin = head.bytes().to_vec();
        let mut missing = bytes;
        let lent = loop {
            match pieces.next(missing) {
                Piece::Shared(text) if text.len() == missing => break text,
                Piece::Shared(text) => {
                    missing -= text.len();
                    begin.extend_from_slice(&text);
                }
                Piece::Own(own) => {
                    missing -= own.len();
                    begin.extend_from_slice(own);
                    if missing == 0 {
                        break Bytes::new();
                    }
                }
            }
        };
        parts.push((begin.into(), lent));
    }
    parts
}

/// The bytes of a record with texts in it, in their order.
struct Pieces<'a> {
    record: &'a [u8],
    at: usize,
    texts: VecDeque<(usize, Bytes)>,
}

enum Piece<'a> {
    Own(&'a [u8]),
    Shared(Bytes),
}

impl<'a> Pieces<'a> {
    /// The next bytes that lie side by side, `most` at the most.
    fn next(&mut self, most: usize) -> Piece<'a> {
        let until = match self.texts.front_mut() {
            Some((place, text)) if *place == self.at => {
                let piece = text.split_to(most.min(text.len()));
                if text.is_empty() {
                    self.texts.pop_front();
                }
                return Piece::Shared(piece);
            }
            Some((place, _)) => *place,
            None => self.record.len(),
        };
        let end = until.min(self.at + most);
        let own = &self.record[self.at..end];
        self.at = end;
        Piece::Own(own)
    }
}

/// Length, tag and, before the first part, the length of the whole.
struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

impl Head {
    fn new(tag: u8, total: Option<usize>, part: usize) -> Self {
        let mut body = vec![tag];
        if let Some(total) = total {
            wire::put_varint(&mut body, total as u64);
        }
        let mut all = Vec::with_capacity(HEAD_BYTES_MAX);
        wire::put_varint(&mut all, (body.len() + part) as u64);
        all.extend_from_slice(&body);
        let mut bytes = [0; HEAD_BYTES_MAX];
        bytes[..all.len()].copy_from_slice(&all);
        Self { bytes, len: all.len() }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Whether a record is a part that others of the same record follow.
#[must_use]
fn is_followed(record: &[u8]) -> bool {
    matches!(record.first(), Some(&(FIRST | MORE)))
}

/// Whether the first entry of these is one that others of the same record follow. Its end may be missing.
#[must_use]
pub(super) fn is_followed_entry(entries: &[u8]) -> bool {
    let mut reader = Reader::new(entries);
    reader.varint().is_ok() && is_followed(&entries[entries.len() - reader.remaining()..])
}

/// Puts records together again. Whoever applies records, in their order, has one.
#[derive(Debug, Default)]
pub struct Assembler {
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    at: Offset,
    total: usize,
    bytes: Vec<u8>,
}

impl Assembler {
    /// Takes the next entry of the journal. Gives the record that is complete with it; nothing for a part that others
    /// follow.
    ///
    /// # Errors
    /// It does not go on with what came before.
    #[inline]
    pub fn take<'a>(&mut self, offset: Offset, entry: &'a [u8]) -> Result<Option<Cow<'a, [u8]>>, Error> {
        match entry.first() {
            Some(&(FIRST | MORE | LAST)) => self.part(offset, entry).map(|record| record.map(Cow::Owned)),
            _ => {
                if self.begun.is_some() {
                    self.begun = None;
                }
                Ok(Some(Cow::Borrowed(entry)))
            }
        }
    }

    /// The first entry of the record that is not complete yet: as long as there is one, nothing of it is applied.
    #[must_use]
    pub fn begun(&self) -> Option<Offset> {
        self.begun.as_ref().map(|begun| begun.at)
    }

    #[cold]
    fn part(&mut self, at: Offset, entry: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut reader = Reader::new(entry);
        let unreadable = |error| Error::Unreadable { at, error };
        let tag = reader.byte().map_err(unreadable)?;
        if tag == FIRST {
            let bytes = reader.varint().map_err(unreadable)?;
            let total = usize::try_from(bytes).ok().filter(|total| *total <= limits::RECORD_BYTES);
            let total = total.ok_or(Error::TooLarge { at, bytes })?;
            // The system gives the pages only as they are filled.
            self.begun = Some(Begun { at, total, bytes: Vec::with_capacity(total) });
        }
        let mut begun = self.begun.take().ok_or(Error::NotBegun(at))?;
        begun.bytes.extend_from_slice(&entry[entry.len() - reader.remaining()..]);
        let (found, expected) = (begun.bytes.len(), begun.total);
        let is_complete = tag == LAST || tag == FIRST && found == expected;
        if found > expected || is_complete && found < expected {
            return Err(Error::Length { at, expected, found });
        }
        if is_complete {
            return Ok(Some(begun.bytes));
        }
        self.begun = Some(begun);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|index| (index % 251) as u8 + 1).collect()
    }

    /// The entries, without their lengths.
    fn entries(record: Vec<u8>) -> Vec<Vec<u8>> {
        let entry = |part: &Bytes| {
            let mut reader = Reader::new(part);
            let entry = reader.bytes().unwrap().to_vec();
            assert!(reader.is_empty());
            entry
        };
        divide(record).iter().map(entry).collect()
    }

    #[test]
    fn a_record_in_parts_is_put_together_as_it_was() {
        let part = limits::RECORD_PART_BYTES;
        for bytes in [1, part - 1, part, part + 1, 3 * part, 3 * part + 17] {
            let parts = entries(record(bytes));
            assert_eq!(parts.len(), bytes.div_ceil(part));
            let mut assembler = Assembler::default();
            let mut whole = None;
            for (entry, offset) in parts.iter().zip(5..) {
                assert!(whole.is_none() && entry.len() <= part + HEAD_BYTES_MAX);
                whole = assembler.take(Offset(offset), entry).unwrap();
                assert_eq!(assembler.begun(), whole.is_none().then_some(Offset(5)));
                assert_eq!(is_followed(entry), whole.is_none() || parts.len() == 1);
            }
            assert_eq!(whole.as_deref(), Some(&record(bytes)[..]), "{bytes} bytes");
        }
    }

    #[test]
    fn a_record_with_texts_is_divided_as_one_in_one_piece() {
        let part = limits::RECORD_PART_BYTES;
        for texts in [&[(0, part)][..], &[(3, 1)], &[(3, 2 * part), (3, 5), (10, part - 1)], &[(10, 3 * part + 7)]] {
            let own = record(10);
            let shared: Vec<(usize, Bytes)> = texts.iter().map(|(at, bytes)| (*at, record(*bytes).into())).collect();
            let mut whole = Vec::new();
            let mut at = 0;
            for (place, text) in &shared {
                whole.extend_from_slice(&own[at..*place]);
                whole.extend_from_slice(text);
                at = *place;
            }
            whole.extend_from_slice(&own[at..]);
            let joined = |(begin, lent): (Bytes, Bytes)| [&begin[..], &lent[..]].concat();
            let found: Vec<Vec<u8>> = divide_shared(&own, shared).into_iter().map(joined).collect();
            assert_eq!(found, divide(whole).iter().map(|part| part.to_vec()).collect::<Vec<_>>(), "{texts:?}");
        }
    }

    #[test]
    fn small_records_pass_and_end_one_that_was_left_incomplete() {
        let parts = entries(record(2 * limits::RECORD_PART_BYTES));
        let mut assembler = Assembler::default();
        assert_eq!(assembler.take(Offset(1), &parts[0]), Ok(None));
        assert_eq!(assembler.take(Offset(2), b"").unwrap().as_deref(), Some(&b""[..]));
        assert_eq!(assembler.begun(), None);
        assert_eq!(assembler.take(Offset(3), &parts[1]), Err(Error::NotBegun(Offset(3))));
        assert_eq!(assembler.take(Offset(4), &[1, 2]).unwrap().as_deref(), Some(&[1, 2][..]));
    }

    #[test]
    fn parts_that_make_no_record_are_refused() {
        let parts = entries(record(3 * limits::RECORD_PART_BYTES));
        let mut assembler = Assembler::default();
        assembler.take(Offset(1), &parts[0]).unwrap();
        assert!(matches!(assembler.take(Offset(2), &parts[2]), Err(Error::Length { .. })), "one is missing");
        let mut first = vec![FIRST];
        wire::put_varint(&mut first, limits::RECORD_BYTES as u64 + 1);
        assert!(matches!(assembler.take(Offset(3), &first), Err(Error::TooLarge { .. })));
        assert!(matches!(assembler.take(Offset(4), &[FIRST, 0x80]), Err(Error::Unreadable { .. })));
    }
}
