//! Commands about the connection itself.

use crate::resp::table::Row;

pub(super) const ROWS: &[Row] = &[];
