//! Where do the members of a large sorted set live? Once, in numbered slots; its table and its tree hold the numbers.

use super::super::keys::Keys;
use super::super::memory::{self, allocated};
use super::super::short_bytes::ShortBytes;
use super::flat::Scored;

/// Slots are allocated in pieces, so that growing never moves them: 16 KB each.
const PIECE: usize = 512;
/// Below this number of slots the free ones are kept whatever happens.
const SPARSE_MIN: usize = 4096;

/// The number of a slot.
pub(super) type Id = u32;

#[derive(Clone, Debug)]
pub(super) struct Slots {
    pieces: Vec<Vec<Scored>>,
    free: Vec<Id>,
}

impl Keys<Id> for Slots {
    #[inline]
    fn key<'a>(&'a self, id: &'a Id) -> &'a [u8] {
        self.member(*id)
    }
}

impl Slots {
    pub(super) fn new() -> Slots {
        Slots { pieces: Vec::new(), free: Vec::new() }
    }

    #[inline]
    pub(super) fn get(&self, id: Id) -> &Scored {
        &self.pieces[id as usize / PIECE][id as usize % PIECE]
    }

    #[inline]
    pub(super) fn member(&self, id: Id) -> &[u8] {
        &self.get(id).member
    }

    #[inline]
    pub(super) fn insert(&mut self, scored: Scored) -> Id {
        if let Some(id) = self.free.pop() {
            *self.get_mut(id) = scored;
            return id;
        }
        if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
            // The first piece grows with its contents: a set may just have left the flat form.
            let capacity = if self.pieces.is_empty() { PIECE / 4 } else { PIECE };
            self.pieces.push(Vec::with_capacity(capacity));
        }
        let id = self.total();
        let piece = self.pieces.len() - 1;
        self.pieces[piece].push(scored);
        Id::try_from(id).expect("2^32 members of 32 bytes are more than memory holds")
    }

    #[inline]
    pub(super) fn set_score(&mut self, id: Id, score: f64) {
        self.get_mut(id).score = score;
    }

    #[inline]
    pub(super) fn remove(&mut self, id: Id) -> Scored {
        self.free.push(id);
        std::mem::replace(self.get_mut(id), Scored { score: 0.0, member: ShortBytes::new() })
    }

    /// Whether less than an eighth of the slots is in use, so that moving to new ones pays.
    pub(super) fn is_sparse(&self) -> bool {
        let total = self.total();
        total >= SPARSE_MIN && total - self.free.len() < total / 8
    }

    pub(super) fn heap_bytes(&self, samples: usize) -> usize {
        let slots = self.pieces.iter().map(|piece| allocated(piece.capacity() * size_of::<Scored>()));
        slots.sum::<usize>()
            + allocated(self.pieces.capacity() * size_of::<Vec<Scored>>())
            + allocated(self.free.capacity() * size_of::<Id>())
            + memory::sampled(self.pieces.iter().flatten(), self.total(), samples)
    }

    /// Slots in use or free: all pieces but the last are full.
    fn total(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }

    #[inline]
    fn get_mut(&mut self, id: Id) -> &mut Scored {
        &mut self.pieces[id as usize / PIECE][id as usize % PIECE]
    }
}
