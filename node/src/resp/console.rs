//! Commands for the other frontends: as a client's, through a session of their own.

use tercet_proto::resp::Encoder;

use super::session::Session;
use super::table;
use crate::clients::{Protocol, Registration};
use crate::clock;
use crate::console::{Call, Command, Console, Reply};
use crate::node::Shared;
use crate::role::Verdict;

/// See `Console`.
pub(crate) const CONSOLE: Console = Console { run, commands };

fn run(node: &Shared, call: Call<'_>) -> Reply {
    let registration = Registration::new(node.clients.clone(), Protocol::Carried, call.peer, call.peer);
    let mut session = Session::new(node.clone(), registration.client.clone());
    session.is_authenticated = true;
    session.become_user(call.user);
    session.database = call.database;
    let mut bytes = Vec::new();
    session.begin_batch(Verdict::Master, clock::boot_now(), clock::unix_now());
    session.execute(table::resolve(call.args.iter().copied()), call.args, &mut bytes);
    let depends_on = session.end_batch(clock::boot_now(), 0).offset();
    if session.wait.take().is_some() {
        bytes.clear();
        Encoder::new(&mut bytes, session.version)
            .error_bytes(b"BUSY the keys are held by a script, or the command waits");
    }
    Reply { bytes, depends_on }
}

fn commands() -> Vec<Command> {
    table::rows().iter().map(|row| Command { id: row.id, name: row.name, family: row.group.name() }).collect()
}
