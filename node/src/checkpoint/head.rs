//! What stands before the rows of a partition. Fields are only ever added at the end.
//!
//! ```text
//! shard     cut | page bits | databases | keys of each     varints
//! queue     cut | last id | pending | taken until, if that is behind the cut
//! topology  cut
//! accounts  cut
//! ```

use crate::ids::Offset;
use crate::keyspace::pages::PAGE_BITS_MAX;
use crate::limits;
use crate::wire::{self, Reader};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShardHead {
    pub(super) cut: Offset,
    pub(super) bits: u32,
    pub(super) keys: Vec<usize>,
}

impl ShardHead {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_varint(&mut out, self.cut.0);
        wire::put_varint(&mut out, u64::from(self.bits));
        wire::put_varint(&mut out, self.keys.len() as u64);
        self.keys.iter().for_each(|keys| wire::put_varint(&mut out, *keys as u64));
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, wire::Error> {
        let mut reader = Reader::new(bytes);
        let cut = Offset(reader.varint()?);
        let bits = u32::try_from(reader.varint()?).ok().filter(|bits| *bits <= PAGE_BITS_MAX);
        let bits = bits.ok_or(wire::Error::Overflow)?;
        let databases = reader.varint()?;
        if databases > u64::from(limits::DATABASES) {
            return Err(wire::Error::Overflow);
        }
        let keys = (0..databases).map(|_| Ok(reader.varint()? as usize)).collect::<Result<_, wire::Error>>()?;
        Ok(Self { cut, bits, keys })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct QueueHead {
    pub(super) cut: Offset,
    /// The greatest id that was given up to the cut.
    pub(super) last_id: u64,
    /// Rows up to this record are being written: some are ahead of the cut. Zero: none.
    pub(super) pending: Offset,
    /// Messages that records up to here have taken may have no row. Zero, or behind the cut.
    pub(super) taken_until: Offset,
}

impl QueueHead {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_varint(&mut out, self.cut.0);
        wire::put_varint(&mut out, self.last_id);
        wire::put_varint(&mut out, self.pending.0);
        if self.taken_until != Offset::ZERO {
            wire::put_varint(&mut out, self.taken_until.0);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, wire::Error> {
        let mut reader = Reader::new(bytes);
        let (cut, last_id, pending) = (Offset(reader.varint()?), reader.varint()?, Offset(reader.varint()?));
        let taken_until = if reader.is_empty() { Offset::ZERO } else { Offset(reader.varint()?) };
        Ok(Self { cut, last_id, pending, taken_until })
    }
}

pub(super) fn encode_topology(cut: Offset) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_varint(&mut out, cut.0);
    out
}

pub(super) fn decode_topology(bytes: &[u8]) -> Result<Offset, wire::Error> {
    Reader::new(bytes).varint().map(Offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_never_change_and_more_may_follow() {
        let shard = ShardHead { cut: Offset(300), bits: 7, keys: vec![5, 0, 1] };
        let mut bytes = shard.encode();
        assert_eq!(bytes, [0xAC, 2, 7, 3, 5, 0, 1]);
        bytes.push(9);
        assert_eq!(ShardHead::decode(&bytes), Ok(shard));
        let queue = QueueHead { cut: Offset(3), last_id: 200, pending: Offset(4), taken_until: Offset::ZERO };
        assert_eq!(queue.encode(), [3, 0xC8, 1, 4]);
        let taken = QueueHead { taken_until: Offset(9), ..queue };
        assert_eq!((taken.encode(), QueueHead::decode(&taken.encode())), (vec![3, 0xC8, 1, 4, 9], Ok(taken)));
        assert_eq!(QueueHead::decode(&[3, 0xC8, 1, 4, 0]), Ok(queue));
        assert_eq!((encode_topology(Offset(5)), decode_topology(&[5, 1])), (vec![5], Ok(Offset(5))));
    }

    #[test]
    fn false_heads_are_refused() {
        assert!(ShardHead::decode(&[1, 17, 0]).is_err(), "more pages than there are numbers");
        assert!(ShardHead::decode(&[1, 0, 17]).is_err(), "more databases than there are");
        assert!(ShardHead::decode(&[1, 0, 2, 1]).is_err());
        assert!(QueueHead::decode(&[1, 2]).is_err());
    }
}
