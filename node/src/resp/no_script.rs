//! Which commands Redis refuses in scripts.

use std::sync::LazyLock;

use super::facts::{self, Fact};
use super::row::Row;
use super::table;

/// Whether Redis refuses a command in scripts.
pub(crate) fn is_no_script(row: &Row) -> bool {
    static NO_SCRIPT: LazyLock<Vec<bool>> = LazyLock::new(|| {
        // Since 7.2 commands that block may be called: in a script they do not wait.
        let blocks = |row: &Row, fact: &Fact| fact.flags.contains(&"blocking") || row.name.starts_with("wait");
        let is_one =
            |row: &Row| facts::of(row.name).is_some_and(|fact| fact.flags.contains(&"noscript") && !blocks(row, fact));
        table::rows().iter().map(is_one).collect()
    });
    NO_SCRIPT.get(row.id).is_some_and(|is_one| *is_one)
}
