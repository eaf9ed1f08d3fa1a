//! Running a script or a function for a session, as one transaction.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tercet_proto::resp::{Encoder, Version};

use super::interpreter::{Bounds, Failure, Given, Inputs, Interpreter, Stop, Watch};
use super::{library, sha1hex, source};
use crate::clock;
use crate::engine::Transaction;
use crate::limits;
use crate::resp::commands::number;
use crate::resp::error::Error;
use crate::resp::session::{ScriptCaller, Session};
use crate::resp::table::{Access, Args, ScriptKind as Kind};
use crate::role::Verdict;
use crate::scripts::{self, Flags, Running, Source};

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// The interpreter of a thread, and what it knows.
struct World {
    interpreter: Interpreter,
    /// Of SCRIPT FLUSH, and of the libraries.
    generation: (u64, u64),
    functions: HashMap<String, mlua::Function>,
}

impl World {
    fn new(generation: (u64, u64)) -> Result<Self, Error> {
        let interpreter = Interpreter::new().map_err(|error| Error::text(format!("ERR {error}")))?;
        Ok(Self { interpreter, generation, functions: HashMap::new() })
    }
}

/// A script that ended for this begins again, with the whole key space.
const WIDEN: &str = "the script needs more keys than it holds";

/// What a script is, as soon as its name or its text is known.
struct Subject {
    /// SHA-1 or name.
    name: String,
    flags: Option<Flags>,
    kind: scripts::Kind,
    source: Option<Arc<Source>>,
    function: Option<Arc<library::Function>>,
}

fn lower(sha: &[u8]) -> String {
    String::from_utf8_lossy(sha).to_ascii_lowercase()
}

/// Whether the script that a command runs has always been short.
pub(crate) fn is_quick(session: &Session, kind: Kind, args: &Args<'_>) -> bool {
    let scripts = &session.node.scripts;
    let Some(what) = args.get(1) else { return true };
    match kind {
        Kind::Eval => scripts.find(&sha1hex(what)).is_some_and(|source| source.pace.is_quick()),
        // What is not known is refused at once.
        Kind::EvalSha => scripts.find(&lower(what)).is_none_or(|source| source.pace.is_quick()),
        Kind::Function => {
            let libraries = session.libraries();
            libraries.function(&String::from_utf8_lossy(what)).is_none_or(|(_, function)| function.pace.is_quick())
        }
    }
}

/// Whether a script may change something: one that does not say so may.
pub(crate) fn may_write(session: &Session, kind: Kind, args: &Args<'_>) -> bool {
    subject(session, kind, args).is_ok_and(|subject| subject.flags.is_none_or(|flags| !flags.no_writes))
}

fn subject(session: &Session, kind: Kind, args: &Args<'_>) -> Result<Subject, Error> {
    let scripts = &session.node.scripts;
    let what = args.get(1).copied().unwrap_or_default();
    let of_source = |source: Arc<Source>| Subject {
        name: source.sha.clone(),
        flags: source.flags,
        kind: scripts::Kind::Script,
        source: Some(source),
        function: None,
    };
    match kind {
        Kind::Eval => {
            let sha = sha1hex(what);
            let source = match scripts.find(&sha) {
                Some(source) => source,
                None => Arc::new(source::parse(sha, what).map_err(|reason| Error::text(format!("ERR {reason}")))?),
            };
            Ok(of_source(source))
        }
        Kind::EvalSha => {
            let source = scripts.find(&lower(what));
            source.map(of_source).ok_or(Error::text("NOSCRIPT No matching script. Please use EVAL."))
        }
        Kind::Function => {
            let libraries = session.libraries();
            let (_, function) =
                libraries.function(&String::from_utf8_lossy(what)).ok_or(Error::text("ERR Function not found"))?;
            let function = Arc::clone(function);
            Ok(Subject {
                name: function.name.clone(),
                flags: Some(function.flags),
                kind: scripts::Kind::Function,
                source: None,
                function: Some(function),
            })
        }
    }
}

/// The keys that a command declares.
fn inputs<'a>(args: &'a Args<'a>, kind: Kind) -> Result<(&'a Args<'a>, &'a Args<'a>), Error> {
    let not_a_number = || match kind {
        Kind::Function => Error::text("ERR Bad number of keys provided"),
        Kind::Eval | Kind::EvalSha => Error::NotInteger,
    };
    let count = args.get(2).and_then(|text| number::parse_integer(text)).ok_or_else(not_a_number)?;
    let rest = args.get(3..).unwrap_or_default();
    if count < 0 {
        return Err(Error::text("ERR Number of keys can't be negative"));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > rest.len() {
        return Err(Error::text("ERR Number of keys can't be greater than number of args"));
    }
    Ok(rest.split_at(count))
}

impl Session {
    /// EVAL and its like.
    pub(crate) fn run_script(
        &mut self,
        kind: Kind,
        access: Access,
        transaction: &mut Transaction<'_>,
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let subject = subject(self, kind, args)?;
        let (keys, arguments) = inputs(args, kind)?;
        let may_write = self.may_begin(&subject, access)?;
        let node = Arc::clone(&self.node);
        let listed = node.scripts.begin(subject.kind, &subject.name, args);
        _ = self.libraries();
        let generation = (node.scripts.generation(), node.libraries.version());
        let world = WORLD.take().filter(|world| world.generation == generation);
        let mut world = match world {
            Some(world) => world,
            None => World::new(generation)?,
        };
        let chunk = chunk(self, &mut world, &subject)?;
        if let (Kind::Eval, Some(source)) = (kind, &subject.source)
            && node.scripts.find(&source.sha).is_none()
        {
            let kept = Source {
                sha: source.sha.clone(),
                text: source.text.clone(),
                flags: source.flags,
                pace: scripts::Pace::default(),
            };
            node.scripts.keep_evaluated(kept);
        }
        let given = if kind == Kind::Function { Given::Arguments } else { Given::Globals };
        let inputs = Inputs { keys, arguments, given, version: self.version };
        self.is_error_counted = false;
        let (database, version) = (self.database, self.version);
        let outcome = loop {
            let needs_all = Rc::new(Cell::new(false));
            let bounds = bounds(self, &listed.running);
            let mut host = Host {
                session: self,
                transaction,
                running: &listed.running,
                caller: ScriptCaller {
                    may_write,
                    allow_oom: subject.flags.is_some_and(|flags| flags.allow_oom || flags.no_writes),
                },
                needs_all: Rc::clone(&needs_all),
            };
            let outcome = world.interpreter.run(&chunk, inputs, &mut host, bounds, out);
            (self.database, self.version) = (database, version);
            transaction.select(database);
            // It has changed nothing yet.
            if needs_all.get() && transaction.hold_all() {
                continue;
            }
            break outcome;
        };
        let micros = (clock::boot_now().0.saturating_sub(listed.running.since.0)) / 1000;
        let kept = node.scripts.find(&subject.name);
        match (&subject.function, kept) {
            (Some(function), _) => function.pace.note(micros),
            (None, Some(source)) => source.pace.note(micros),
            (None, None) => {}
        }
        node.scripts.memory.store(world.interpreter.used_memory(), Ordering::Relaxed);
        WORLD.set(Some(world));
        outcome.map_err(|failure| explained(failure, &subject))
    }

    /// Whether a script may begin, and whether it may write.
    fn may_begin(&self, subject: &Subject, access: Access) -> Result<bool, Error> {
        let is_read_only = access == Access::ReadOnly;
        let Some(flags) = subject.flags else { return Ok(!is_read_only) };
        if is_read_only && !flags.no_writes {
            return Err(Error::text("ERR Can not execute a script with write flag using *_ro command."));
        }
        if !flags.no_writes {
            match self.verdict() {
                Verdict::Replica => return Err(Error::ReadOnly),
                Verdict::Master if self.wants_more_replicas() => return Err(Error::TooFewReplicas),
                Verdict::TooFewReplicas => return Err(Error::TooFewReplicas),
                _ => {}
            }
            if !flags.allow_oom && self.node.eviction.is_over() {
                return Err(Error::text(
                    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
                ));
            }
        }
        Ok(!flags.no_writes)
    }
}

/// Whether a script can be compiled.
///
/// # Errors
/// What is wrong.
pub(crate) fn check(text: &[u8]) -> Result<(), String> {
    let interpreter = Interpreter::new().map_err(super::answer::message)?;
    interpreter.compile(text, "user_script").map(|_| ()).map_err(|reason| String::from_utf8_lossy(&reason).into_owned())
}

fn chunk(session: &Session, world: &mut World, subject: &Subject) -> Result<mlua::Function, Error> {
    if let Some(source) = &subject.source {
        return world.interpreter.script(&source.sha, &source.text).map_err(|text| {
            Error::text(format!("ERR Error compiling script (new function): {}", String::from_utf8_lossy(&text)))
        });
    }
    if let Some(callback) = world.functions.get(&subject.name) {
        return Ok(callback.clone());
    }
    let libraries = session.libraries();
    let (library, _) = libraries.function(&subject.name).ok_or(Error::text("ERR Function not found"))?;
    let callbacks =
        library::callbacks(&world.interpreter, &library.code).map_err(|reason| Error::text(format!("ERR {reason}")))?;
    world.functions.extend(callbacks);
    world.functions.get(&subject.name).cloned().ok_or(Error::text("ERR Function not found"))
}

/// How long a script may go on.
fn bounds(session: &Session, running: &Arc<Running>) -> Bounds {
    let (node, running) = (Arc::clone(&session.node), Arc::clone(running));
    let wanted_since: Cell<Option<clock::BootNanos>> = Cell::new(None);
    let watch: Watch = Rc::new(move || {
        let now = clock::boot_now();
        let has_written = running.has_written.load(Ordering::Relaxed);
        if running.is_killed.load(Ordering::Acquire) && !has_written {
            let by = if running.kind == scripts::Kind::Function { "FUNCTION" } else { "SCRIPT" };
            return Err(Stop(format!("Script killed by user with {by} KILL.")));
        }
        let ran_ms = now.millis_since(running.since);
        if ran_ms > u64::try_from(node.config.live.script_time_limit.load()).unwrap_or(0) {
            return Err(Stop("Script ended because it ran longer than script-time-limit".into()));
        }
        if node.authority.is_wanted(now) {
            let since = wanted_since.get().unwrap_or(now);
            wanted_since.set(Some(since));
            let patience = if has_written { limits::SCRIPT_AT_DOOR.as_millis() as u64 } else { 0 };
            if now.millis_since(since) >= patience {
                return Err(Stop("Script ended because this node is about to be master no more".into()));
            }
        } else {
            wanted_since.set(None);
        }
        Ok(())
    });
    Bounds { watch, memory: session.node.config.live.script_memory_limit.size() }
}

fn explained(failure: Failure, subject: &Subject) -> Error {
    let name = if subject.kind == scripts::Kind::Function { "@user_function" } else { "@user_script" };
    let (text, (source, line)) = match failure {
        Failure::Stopped(Stop(text)) => (format!("ERR {text}").into_bytes(), (name.to_owned(), 1)),
        // After a tail call the line is not known any more.
        Failure::Raised { text, place } => (text, place.unwrap_or_else(|| (name.to_owned(), 1))),
    };
    let text = crate::resp::error::shown(&text);
    Error::text(format!("{text} script: {}, on {source}:{line}.", subject.name))
}

/// What a script works on.
struct Host<'h, 't> {
    session: &'h mut Session,
    transaction: &'h mut Transaction<'t>,
    running: &'h Running,
    caller: ScriptCaller,
    needs_all: Rc<Cell<bool>>,
}

impl super::interpreter::Host for Host<'_, '_> {
    fn call(&mut self, args: &[&[u8]], version: Version, out: &mut Vec<u8>) -> Result<(), Stop> {
        self.session.version = version;
        let is_held = self.session.call_within(self.transaction, args, self.caller, out);
        if !is_held {
            if !self.transaction.has_effects() {
                self.needs_all.set(true);
                return Err(Stop(WIDEN.into()));
            }
            let text = "ERR the script has changed something and now needs a key that it did not declare, which another \
                        client holds; declare all keys";
            Encoder::new(out, version).error(text);
        }
        if self.transaction.has_effects() {
            self.running.has_written.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn may(&mut self, args: &[&[u8]]) -> Result<bool, String> {
        self.session.may_call(args)
    }
}
