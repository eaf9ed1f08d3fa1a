//! Commands of the family lists.

use crate::resp::table::Row;

pub(super) const ROWS: &[Row] = &[];
