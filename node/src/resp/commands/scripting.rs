//! EVAL, SCRIPT, FCALL and FUNCTION.

mod functions;
mod texts;

use crate::resp::table::flag::NO_SCRIPT;
use crate::resp::table::{Access, Command, Group, Handler, Keys, Kind, ScriptKind, container};

const G: Group = Group::Scripting;

/// The number of keys stands at 2, and they behind it.
const DECLARED: Keys = Keys::Counted(2, 0);

const fn script(name: &'static str, kind: ScriptKind, access: Access, summary: &'static str) -> Command {
    Command::new(name, -3, NO_SCRIPT, DECLARED, G, summary, Handler::Itself(Kind::Script(kind, access)))
}

pub(super) const ROWS: &[Command] = &[
    script("eval", ScriptKind::Eval, Access::ReadWrite, "Runs a script in Lua."),
    script("eval_ro", ScriptKind::Eval, Access::ReadOnly, "Runs a script in Lua that only reads."),
    script("evalsha", ScriptKind::EvalSha, Access::ReadWrite, "Runs a script that is known by its SHA-1."),
    script("evalsha_ro", ScriptKind::EvalSha, Access::ReadOnly, "Runs a script by its SHA-1 that only reads."),
    script("fcall", ScriptKind::Function, Access::ReadWrite, "Calls a function."),
    script("fcall_ro", ScriptKind::Function, Access::ReadOnly, "Calls a function that only reads."),
    container("script", G, "A container for commands about scripts.", texts::ROWS),
    container("function", G, "A container for commands about functions.", functions::ROWS),
];
