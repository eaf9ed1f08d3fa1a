//! What the rows on disk are, as far as the next checkpoint has to know: which pages and queues have any.

use std::collections::BTreeMap;

use super::head::{QueueHead, ShardHead, decode_topology};
use crate::ids::{Offset, Partition, PartitionKind};
use crate::keyspace::pages::Taken;
use crate::limits;
use crate::storage::{self, Batch, Family, Generation, Storage, head_key, page_key, piece_key, split_key, split_page};

/// Rows of all partitions. As on disk, always: it follows when a batch is written.
#[derive(Debug)]
pub(crate) struct Known {
    pub(super) shards: Vec<ShardRows>,
    /// Queues that have rows, with the last head that closed a checkpoint.
    pub(super) queues: BTreeMap<Partition, QueueHead>,
    /// The newest record in the topology's image. `None`: it has no row.
    pub(super) topology: Option<Offset>,
    /// As `topology`, of the accounts.
    pub(super) accounts: Option<Offset>,
    pub(super) generation: Generation,
}

impl Known {
    /// No rows at all.
    pub(crate) fn none(shards: usize, generation: Generation) -> Self {
        let shards = std::iter::repeat_with(ShardRows::default).take(shards).collect();
        Self { shards, queues: BTreeMap::new(), topology: None, accounts: None, generation }
    }

    /// What is on disk.
    pub(super) fn read(storage: &Storage, shards: usize, generation: Generation) -> Result<Self, storage::Error> {
        let mut known = Self::none(shards, generation);
        const END: [u8; 16] = [0xFF; 16];
        storage.each_row(Family::Keys, &[][..]..&END[..], |key, value| {
            let Some((partition, rest)) = split_key(key) else { return Ok(()) };
            let PartitionKind::Shard(index) = partition.kind() else { return Ok(()) };
            let Some(rows) = known.shards.get_mut(index) else { return Ok(()) };
            if rest.is_empty() {
                let head = ShardHead::decode(value);
                *rows =
                    ShardRows::new(head.map_err(|error| storage.damaged("head of a shard", error.to_string()))?.bits);
            } else {
                match split_page(rest) {
                    Some((page, None)) if page < rows.sizes.len() => rows.set(page, value.len()),
                    Some((page, Some((number, piece)))) => rows.note_piece(page, number, piece, value.len()),
                    _ => {}
                }
            }
            Ok::<_, storage::Error>(())
        })?;
        storage.each_row(Family::Messages, &[][..]..&END[..], |key, value| {
            if let Some((partition, [])) = split_key(key) {
                match partition.kind() {
                    PartitionKind::Topology => known.topology = decode_topology(value).ok(),
                    PartitionKind::Accounts => known.accounts = decode_topology(value).ok(),
                    PartitionKind::Shard(_) => {}
                    PartitionKind::Queue(_) => {
                        let head = QueueHead::decode(value);
                        let head = head.map_err(|error| storage.damaged("head of a queue", error.to_string()))?;
                        known.queues.insert(partition, head);
                    }
                }
            }
            Ok::<_, storage::Error>(())
        })?;
        Ok(known)
    }

    /// Bytes of all pages.
    pub(super) fn page_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes + shard.large.values().map(|large| large.bytes).sum::<u64>()).sum()
    }
}

/// The pages of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ShardRows {
    bits: u32,
    /// Bytes of each page; 0 has no row. Empty: not even a head.
    sizes: Vec<u32>,
    bytes: u64,
    /// Large values in rows of their own, by page and number: those to which the page refers, and what was written for
    /// others and then left.
    large: BTreeMap<(usize, u32), LargeRows>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct LargeRows {
    count: u32,
    bytes: u64,
}

impl ShardRows {
    pub(super) fn new(bits: u32) -> Self {
        Self { bits, sizes: vec![0; 1 << bits], bytes: 0, large: BTreeMap::new() }
    }

    pub(super) fn bits(&self) -> u32 {
        self.bits
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Not even a head.
    pub(super) fn is_none(&self) -> bool {
        self.sizes.is_empty()
    }

    pub(super) fn set(&mut self, page: usize, bytes: usize) {
        let size = u32::try_from(bytes).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut self.sizes[page], size);
        self.bytes = self.bytes + u64::from(size) - u64::from(before);
    }

    /// A number that no large value of this shard has, nor one that was left.
    pub(super) fn next_number(&self) -> u32 {
        self.large.keys().map(|(_, number)| number + 1).max().unwrap_or(1)
    }

    /// A piece of a large value is on disk, or will be.
    pub(super) fn note_piece(&mut self, page: usize, number: u32, piece: u32, bytes: usize) {
        let large = self.large.entry((page, number)).or_default();
        large.count = large.count.max(piece.saturating_add(1));
        large.bytes += bytes as u64;
    }

    /// Puts pages that were taken into a batch, which refer to large values of these numbers. With it: what the rows are once
    /// it is written.
    pub(super) fn put(&self, partition: Partition, taken: &Taken, large: &[u32], batch: &mut Batch<'_>) -> Self {
        let is_divided_anew = self.is_none() || self.bits != taken.bits;
        debug_assert!(!is_divided_anew || taken.pages.len() == 1 << taken.bits, "a new division takes every page");
        let mut after = if is_divided_anew { Self::new(taken.bits) } else { self.clone() };
        after.large.clear();
        let had_row = |page: usize| self.sizes.get(page).is_some_and(|size| *size > 0);
        taken.each_page(|page, row| {
            if !row.is_empty() {
                batch.put(Family::Keys, &page_key(partition, page), row);
            } else if had_row(page) {
                batch.delete(Family::Keys, &page_key(partition, page));
            }
            after.set(page, row.len());
        });
        for ((page, number), rows) in &self.large {
            if large.contains(number) || !is_divided_anew && !taken.pages.contains(*page) {
                after.large.insert((*page, *number), *rows);
            } else if rows.count as u64 <= limits::ROWS_DELETED_ONE_BY_ONE {
                (0..rows.count)
                    .for_each(|piece| batch.delete(Family::Keys, &piece_key(partition, *page, *number, piece)));
            } else {
                let (from, to) =
                    (piece_key(partition, *page, *number, 0), piece_key(partition, *page, *number, rows.count));
                batch.delete_range(Family::Keys, &from, &to);
            }
        }
        for page in (1 << taken.bits..self.sizes.len()).filter(|page| had_row(*page)) {
            batch.delete(Family::Keys, &page_key(partition, page));
        }
        let head = ShardHead { cut: taken.cut, bits: taken.bits, keys: taken.keys.clone() };
        batch.put(Family::Keys, &head_key(partition), &head.encode());
        after
    }
}
