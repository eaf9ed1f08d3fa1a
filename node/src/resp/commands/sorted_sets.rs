//! Commands of the family sorted_sets.

use crate::resp::table::Row;

pub(super) const ROWS: &[Row] = &[];
