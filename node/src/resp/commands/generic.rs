//! Commands of the family generic.

use crate::resp::table::Row;

pub(super) const ROWS: &[Row] = &[];
