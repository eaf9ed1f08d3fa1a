//! HELP of a container: what its rows say.

use tercet_proto::resp::Encoder;

use crate::resp::table::{Args, Row};

/// HELP of a container that has no row for it; whether nothing stands behind it.
#[inline]
pub(super) fn is_help(row: &Row, args: &Args<'_>) -> Option<bool> {
    (row.has_subcommands() && args.get(1).is_some_and(|name| name.eq_ignore_ascii_case(b"help")))
        .then_some(args.len() == 2)
}

/// The subcommands of a container, as its rows say.
pub(super) fn help(row: &Row, out: &mut Encoder<'_>) {
    let name = row.name.to_ascii_uppercase();
    let mut lines = vec![format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    for subcommand in row.subcommands() {
        lines.push(subcommand.last_name().to_ascii_uppercase());
        lines.push(format!("    {}", subcommand.summary));
    }
    lines.extend(["HELP".to_owned(), "    Prints this help.".to_owned()]);
    out.array(lines.len());
    lines.iter().for_each(|line| out.simple(line));
}
