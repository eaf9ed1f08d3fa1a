//! Changes to the broker's partitions.

use crate::wire::{self, Reader};

/// One change to the topology or to a queue.
#[derive(Debug, Clone, PartialEq)]
pub enum BrokerEffect<'a> {
    Nothing(&'a [u8]),
}

impl<'a> BrokerEffect<'a> {
    pub(crate) fn tag(&self) -> u8 {
        64
    }

    pub(crate) fn encode_body(&self, out: &mut Vec<u8>) {
        let Self::Nothing(bytes) = self;
        wire::put_bytes(out, bytes);
    }

    pub(crate) fn decode_body(_tag: u8, reader: &mut Reader<'a>) -> Result<Self, wire::Error> {
        Ok(Self::Nothing(reader.bytes()?))
    }
}
