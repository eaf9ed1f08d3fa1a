//! Commands of the family hashes.

use crate::resp::table::Row;

pub(super) const ROWS: &[Row] = &[];
