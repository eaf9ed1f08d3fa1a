//! The other sentinels as this one sees them.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::{clock::Moment, state::Address};

/// What one sentinel said of itself, and when it last did.
#[derive(Debug, Clone)]
pub(crate) struct Sibling {
    pub(crate) name: String,
    pub(crate) sentinel_id: String,
    pub(crate) resp: Address,
    pub(crate) answered: Moment,
    pub(crate) is_down: bool,
}

/// All that ever answered and are greeted still, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Siblings(pub(crate) Mutex<BTreeMap<String, Sibling>>);

impl Siblings {
    pub(crate) fn all(&self) -> BTreeMap<String, Sibling> {
        self.0.lock().clone()
    }

    pub(crate) fn get(&self, sentinel_id: &str) -> Option<Sibling> {
        self.0.lock().get(sentinel_id).cloned()
    }

    /// They come back with their next Hello.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }
}
