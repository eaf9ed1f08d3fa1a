//! Every command of the table within a transaction: one that locks by itself what the transaction holds would wait for this
//! very thread, for ever. Ranks of locks are checked in tests, so it panics instead, and has a name.

use super::testing::{say, session};
use crate::resp::table;

/// Arguments for what a command wants more than its name: a key, or a number.
const ARGUMENTS: [&str; 2] = ["k", "0"];

#[test]
fn no_command_locks_what_its_transaction_holds() {
    let mut executed = 0;
    for row in table::rows().iter().filter(|row| !row.has_subcommands()) {
        let words: Vec<&str> = row.name.split('|').collect();
        let mut session = session();
        for argument in ARGUMENTS {
            let mut command = words.clone();
            command.resize(command.len().max(row.arity.unsigned_abs() as usize), argument);
            for words in [&["SET", "k", "1"][..], &["MULTI"], &["SET", "k", "2"], &command] {
                say(&mut session, words);
            }
            let reply = say(&mut session, &["EXEC"]);
            executed += usize::from(reply.starts_with("*2\r\n"));
            // Some are answered at once (MULTI, WATCH), some are not allowed, some end the transaction.
            let known = ["*2\r\n+OK\r\n", "*1\r\n+OK\r\n", "-"];
            assert!(known.iter().any(|known| reply.starts_with(known)) || reply.is_empty(), "{command:?}: {reply}");
        }
    }
    assert!(executed > table::all().len(), "{executed} were executed, the others are not allowed there");
}
