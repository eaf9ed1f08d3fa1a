//! Commands of the family sets.

use crate::resp::table::Row;

pub(super) const ROWS: &[Row] = &[];
