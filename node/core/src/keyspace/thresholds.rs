//! The sizes at which values change their form, as the settings say.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::value::Limits;
use super::value::stream::NodeLimits;
use crate::lock::{Rank, RwLock};

/// Length of a string at most, where no setting says otherwise: `proto-max-bulk-len`.
const TEXT_MAX: usize = 512 << 20;
/// `hll-sparse-max-bytes`, where no setting says otherwise.
const SPARSE_SKETCH_MAX: usize = 3000;

/// All of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub limits: Limits,
    pub stream_node: NodeLimits,
    /// Bytes of a sparse HyperLogLog.
    pub sparse_sketch: usize,
    /// Bytes of a string.
    pub text: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            stream_node: NodeLimits::default(),
            sparse_sketch: SPARSE_SKETCH_MAX,
            text: TEXT_MAX,
        }
    }
}

/// Read by commands, written when settings change.
#[derive(Debug)]
pub struct Thresholds {
    sizes: RwLock<Sizes>,
    /// Beside the others: writes to strings read it.
    text: AtomicUsize,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { sizes: RwLock::new(Rank::Leaf, Sizes::default()), text: AtomicUsize::new(TEXT_MAX) }
    }
}

impl Thresholds {
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        *self.sizes.read()
    }

    /// Bytes of a string at most.
    #[inline]
    #[must_use]
    pub fn text(&self) -> usize {
        self.text.load(Relaxed)
    }

    pub fn set(&self, sizes: Sizes) {
        if self.sizes() != sizes {
            *self.sizes.write() = sizes;
            self.text.store(sizes.text, Relaxed);
        }
    }
}
