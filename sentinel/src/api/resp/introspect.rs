//! COMMAND and the HELP texts, derived from the table.

use super::row::{Call, Row, find};

const FLAGS: &[&str] = &["loading", "stale", "sentinel"];

const fn row(name: &'static str, arity: i64, summary: &'static str, run: fn(&mut Call<'_>)) -> Row {
    Row { name, arity, flags: FLAGS, summary, run, subcommands: &[] }
}

pub(super) static SUBCOMMANDS: &[Row] = &[
    row("count", 2, "Counts the commands.", count),
    row("docs", -2, "Documents commands.", docs),
    row("help", 2, "Shows this list.", command_help),
    row("info", -2, "Describes commands by name.", info),
    row("list", -2, "Names the commands.", list),
];

pub(super) fn command(call: &mut Call<'_>) {
    let count = call.table.len();
    call.reply().array(count);
    for row in call.table {
        describe(call, row, "");
    }
}

fn count(call: &mut Call<'_>) {
    let count = call.table.len();
    call.reply().integer(count as i64);
}

fn list(call: &mut Call<'_>) {
    let table = call.table;
    let mut reply = call.reply();
    reply.array(table.len());
    for row in table {
        reply.bulk(row.name.as_bytes());
    }
}

fn info(call: &mut Call<'_>) {
    let args = call.args;
    if args.len() == 2 {
        return command(call);
    }
    call.reply().array(args.len() - 2);
    for name in &args[2..] {
        match find(call.table, name) {
            Some(row) => describe(call, row, ""),
            None => call.reply().null_array(),
        }
    }
}

fn docs(call: &mut Call<'_>) {
    let args = call.args;
    let rows: Vec<&Row> = if args.len() == 2 {
        call.table.iter().collect()
    } else {
        args[2..].iter().filter_map(|name| find(call.table, name)).collect()
    };
    call.reply().map(rows.len());
    for row in rows {
        document(call, row, "");
    }
}

fn command_help(call: &mut Call<'_>) {
    help(call, "COMMAND", SUBCOMMANDS);
}

/// `<COMMAND> HELP`: simple strings, as Redis answers.
pub(super) fn help(call: &mut Call<'_>, command: &str, rows: &[Row]) {
    let mut reply = call.reply();
    reply.array(rows.len() * 2 + 1);
    reply.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for row in rows {
        reply.simple(&row.name.to_uppercase());
        reply.simple(&format!("    {}", row.summary));
    }
}

fn full_name(parent: &str, row: &Row) -> String {
    if parent.is_empty() { row.name.to_owned() } else { format!("{parent}|{}", row.name) }
}

/// One entry of COMMAND INFO: no command here has keys.
fn describe(call: &mut Call<'_>, row: &Row, parent: &str) {
    let name = full_name(parent, row);
    let mut reply = call.reply();
    reply.array(10);
    reply.bulk(name.as_bytes());
    reply.integer(row.arity);
    reply.set(row.flags.len());
    for flag in row.flags {
        reply.simple(flag);
    }
    for _ in 0..3 {
        reply.integer(0);
    }
    reply.set(0);
    reply.array(0);
    reply.array(0);
    reply.array(row.subcommands.len());
    for child in row.subcommands {
        describe(call, child, row.name);
    }
}

fn document(call: &mut Call<'_>, row: &Row, parent: &str) {
    let name = full_name(parent, row);
    let group = if row.flags.contains(&"pubsub") { "pubsub" } else { "sentinel" };
    let mut reply = call.reply();
    reply.bulk(name.as_bytes());
    reply.map(3 + usize::from(!row.subcommands.is_empty()));
    for (key, value) in [("summary", row.summary), ("since", "2.8.4"), ("group", group)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if !row.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(row.subcommands.len());
        for child in row.subcommands {
            document(call, child, row.name);
        }
    }
}
