//! An interpreter of Lua with the world that scripts see; a thread that runs scripts has one of its own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use mlua::{Function, HookTriggers, Lua, LuaOptions, MultiValue, Result, StdLib, Table, Value, VmState};
use sha1::{Digest, Sha1};
use tercet_proto::resp::Version;

use super::answer::as_number;
use super::convert::{self, Versions};
use super::{bits, json, msgpack, number, pack, pattern};

/// Instructions between two looks at the clock: a fraction of a millisecond.
const LOOK_EVERY: u32 = 10_000;

/// What a script may leave behind before it is collected at once.
const GARBAGE: usize = 8 << 20;

/// Compiled scripts of an interpreter; beyond it all are forgotten, and compiled again when they are called.
const COMPILED: usize = 1000;

/// What a script runs against.
pub(super) trait Host {
    /// Executes a command and writes its reply, or its error.
    ///
    /// # Errors
    /// The script has to end.
    fn call(&mut self, args: &[&[u8]], version: Version, out: &mut Vec<u8>) -> std::result::Result<(), Stop>;

    /// Whether the script's user may execute a command.
    ///
    /// # Errors
    /// There is no such command.
    fn may(&mut self, args: &[&[u8]]) -> std::result::Result<bool, String>;
}

pub(super) use super::patience::{Patience, Stop, Watch};

/// How a script failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was ended from outside.
    Stopped(Stop),
    /// It raised an error: its text (with a code), and where.
    Raised { text: Vec<u8>, place: Option<(String, i64)> },
}

pub(super) struct Interpreter {
    lua: Lua,
    globals: Table,
    state: Table,
    compile: Function,
    run: Function,
    load: Function,
    json: Rc<Cell<json::Settings>>,
    random: Rc<Cell<u64>>,
    patience: Rc<Patience>,
    compiled: HashMap<String, Function>,
}

impl std::fmt::Debug for Interpreter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Interpreter({} bytes)", self.lua.used_memory())
    }
}

/// A script's inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs<'i> {
    pub(super) keys: &'i [&'i [u8]],
    pub(super) arguments: &'i [&'i [u8]],
    pub(super) given: Given,
    /// The client's.
    pub(super) version: Version,
}

/// How long a script may go on, and how much memory it may take.
pub(super) struct Bounds {
    pub(super) watch: Watch,
    pub(super) memory: usize,
}

/// How KEYS and ARGV are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// As global variables: EVAL.
    Globals,
    /// As arguments of the function: FCALL.
    Arguments,
}

impl Interpreter {
    /// # Errors
    /// There is no memory.
    pub(super) fn new() -> Result<Self> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(false))?;
        let json = Rc::new(Cell::new(json::Settings::default()));
        let random = Rc::new(Cell::new(0));
        let patience = Rc::<Patience>::default();
        let native = native(&lua, &json, &random, &patience)?;
        let state = lua.create_table()?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name("=prelude").set_mode(mlua::ChunkMode::Text);
        let exports: Table = prelude.call((native, &state))?;
        let interpreter = Self {
            globals: exports.get("globals")?,
            compile: exports.get("compile")?,
            run: exports.get("run")?,
            load: exports.get("load")?,
            state,
            json,
            random,
            patience,
            compiled: HashMap::new(),
            lua,
        };
        interpreter.look(LOOK_EVERY)?;
        Ok(interpreter)
    }

    /// Looks at the watch after so many instructions, in this thread of Lua and in all that it makes.
    fn look(&self, every: u32) -> Result<()> {
        let patience = Rc::clone(&self.patience);
        self.lua.set_global_hook(HookTriggers::new().every_nth_instruction(every), move |lua, _| {
            let was_stopped = patience.is_stopped();
            let Err(text) = patience.look() else { return Ok(VmState::Continue) };
            if !was_stopped {
                // A script may catch the error: from now on it is raised wherever it goes on.
                let text = text.clone();
                lua.set_global_hook(HookTriggers::new().every_nth_instruction(1), move |_, _| {
                    Err(mlua::Error::runtime(text.clone()))
                })?;
            }
            Err(mlua::Error::runtime(text))
        })
    }

    /// Compiles a text. `name` is how errors call it.
    ///
    /// # Errors
    /// The text of what is wrong.
    pub(super) fn compile(&self, text: &[u8], name: &str) -> std::result::Result<Function, Vec<u8>> {
        let compiled = self
            .lua
            .create_string(text)
            .and_then(|text| self.compile.call::<(Value, Value)>((text, format!("@{name}"))));
        match compiled {
            Ok((Value::Function(chunk), _)) => Ok(chunk),
            Ok((_, Value::String(failure))) => Err(failure.as_bytes().to_vec()),
            Ok(_) => Err(b"not a script".to_vec()),
            Err(error) => Err(super::answer::message(error).into_bytes()),
        }
    }

    /// As `compile`, for a script that may be called again under this name.
    ///
    /// # Errors
    /// The text of what is wrong.
    pub(super) fn script(&mut self, sha: &str, text: &[u8]) -> std::result::Result<Function, Vec<u8>> {
        if let Some(chunk) = self.compiled.get(sha) {
            return Ok(chunk.clone());
        }
        let chunk = self.compile(text, "user_script")?;
        if self.compiled.len() >= COMPILED {
            self.compiled.clear();
        }
        self.compiled.insert(sha.to_owned(), chunk.clone());
        Ok(chunk)
    }

    pub(super) fn used_memory(&self) -> usize {
        self.lua.used_memory()
    }

    /// Runs a chunk, and writes what it returns as a reply.
    ///
    /// # Errors
    /// It failed; nothing is written.
    pub(super) fn run(
        &self,
        chunk: &Function,
        inputs: Inputs<'_>,
        host: &mut dyn Host,
        bounds: Bounds,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), Failure> {
        self.json.set(json::Settings::default());
        self.random.set(rand_seed());
        self.patience.begin(bounds.watch);
        // What is there already is not the script's.
        let before = self.lua.used_memory();
        _ = self.lua.set_memory_limit(before.saturating_add(bounds.memory));
        let start = out.len();
        let script_version = Cell::new(Version::Resp2);
        let ran = self.run_in_scope(chunk, inputs, host, &script_version, out);
        _ = self.lua.set_memory_limit(0);
        if self.lua.used_memory() > before.saturating_add(GARBAGE) {
            // What it left behind is not kept for the next one.
            _ = self.lua.gc_collect();
        }
        let stopped = self.patience.end();
        if stopped.is_some() {
            // There is memory for it: the limit is gone.
            _ = self.look(LOOK_EVERY);
        }
        for name in ["call", "call_listed", "acl_check_cmd", "set_version"] {
            _ = self.state.raw_set(name, Value::Nil);
        }
        for name in ["KEYS", "ARGV"] {
            _ = self.globals.raw_set(name, Value::Nil);
        }
        let failure = match (stopped, ran) {
            (Some(stop), _) => Failure::Stopped(stop),
            (None, Ok(None)) => return Ok(()),
            (None, Ok(Some(failure))) => failure,
            (None, Err(error)) => failed(&error),
        };
        out.truncate(start);
        Err(failure)
    }

    /// Runs the text of a library; `register` is told of each of its functions.
    ///
    /// # Errors
    /// It failed.
    pub(super) fn load(
        &self,
        chunk: &Function,
        watch: Watch,
        memory: usize,
        mut register: impl FnMut(mlua::String, Function, Table, Option<mlua::String>) -> std::result::Result<(), String>,
    ) -> std::result::Result<(), Failure> {
        self.patience.begin(watch);
        _ = self.lua.set_memory_limit(self.lua.used_memory().saturating_add(memory));
        let loaded: Result<MultiValue> = self.lua.scope(|scope| {
            let register = scope.create_function_mut(|_, (name, callback, flags, description)| {
                Ok(match register(name, callback, flags, description) {
                    Ok(()) => (true, String::new()),
                    Err(text) => (false, text),
                })
            })?;
            self.state.raw_set("register", register)?;
            self.load.call(chunk)
        });
        _ = self.state.raw_set("register", Value::Nil);
        _ = self.lua.set_memory_limit(0);
        let stopped = self.patience.end();
        if stopped.is_some() {
            _ = self.look(LOOK_EVERY);
        }
        match (stopped, loaded) {
            (Some(stop), _) => Err(Failure::Stopped(stop)),
            (None, Err(error)) => Err(failed(&error)),
            (None, Ok(values)) => match (values.front(), values.get(1)) {
                (Some(Value::Boolean(true)), _) => Ok(()),
                (_, failure) => Err(raised(failure.unwrap_or(&Value::Nil)).unwrap_or_else(|error| failed(&error))),
            },
        }
    }

    fn run_in_scope(
        &self,
        chunk: &Function,
        inputs: Inputs<'_>,
        host: &mut dyn Host,
        script_version: &Cell<Version>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Failure>> {
        let lua = &self.lua;
        let list = |items: &[&[u8]]| {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (index, item) in items.iter().enumerate() {
                table.raw_set(index + 1, lua.create_string(item)?)?;
            }
            Ok::<_, mlua::Error>(table)
        };
        let (keys, arguments) = (list(inputs.keys)?, list(inputs.arguments)?);
        if inputs.given == Given::Globals {
            self.globals.raw_set("KEYS", &keys)?;
            self.globals.raw_set("ARGV", &arguments)?;
        }
        let host = RefCell::new(host);
        let refused = |lua: &Lua, text: &str| {
            let table = lua.create_table()?;
            table.raw_set("err", text)?;
            Ok::<_, mlua::Error>((false, Value::Table(table)))
        };
        let execute = |lua: &Lua, args: &[&[u8]]| {
            if args.is_empty() {
                return refused(lua, "ERR Please specify at least one argument for this redis lib call");
            }
            // A script calls again only when a call has ended.
            let Ok(mut host) = host.try_borrow_mut() else { return refused(lua, "ERR a command is under way") };
            let mut reply = Vec::new();
            if let Err(stop) = host.call(args, script_version.get(), &mut reply) {
                let text = stop.0.clone();
                self.patience.stop(stop);
                self.look(1)?;
                return Err(mlua::Error::runtime(text));
            }
            let is_error = reply.first() == Some(&b'-');
            Ok((!is_error, convert::to_lua(lua, &reply)?))
        };
        let strange = "ERR Lua redis lib command arguments must be strings or integers";
        let returned: MultiValue = lua.scope(|scope| {
            let call = scope.create_function(|lua, args: MultiValue| match Arguments::of(lua, &args)? {
                Some(args) => args.with(|args| execute(lua, args)),
                None => refused(lua, strange),
            })?;
            let call_listed = scope.create_function(|lua, (list, count): (Table, usize)| {
                // As bytes: the host may hold few values of Lua at a time.
                let mut args = Vec::with_capacity(count);
                for index in 1..=count {
                    match Arguments::bytes(&list.raw_get(index)?) {
                        Some(bytes) => args.push(bytes),
                        None => return refused(lua, strange),
                    }
                }
                let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
                execute(lua, &args)
            })?;
            let may = scope.create_function(|lua, args: MultiValue| {
                let Some(args) = Arguments::of(lua, &args)? else { return refused(lua, strange) };
                let Ok(mut host) = host.try_borrow_mut() else { return refused(lua, "ERR a command is under way") };
                match args.with(|args| host.may(args)) {
                    Ok(may) => Ok((true, Value::Boolean(may))),
                    Err(text) => refused(lua, &text),
                }
            })?;
            let set_version = scope.create_function(|_, version: f64| {
                script_version.set(if version == 3.0 { Version::Resp3 } else { Version::Resp2 });
                Ok(())
            })?;
            self.state.raw_set("call", call)?;
            self.state.raw_set("call_listed", call_listed)?;
            self.state.raw_set("acl_check_cmd", may)?;
            self.state.raw_set("set_version", set_version)?;
            match inputs.given {
                Given::Globals => self.run.call(chunk),
                Given::Arguments => self.run.call((chunk, keys, arguments)),
            }
        })?;
        let mut returned = returned.into_iter();
        let is_well = returned.next().is_some_and(|value| value == Value::Boolean(true));
        let value = returned.next().unwrap_or(Value::Nil);
        if is_well {
            let versions = Versions { client: inputs.version, script: script_version.get() };
            convert::to_reply(&value, versions, &self.patience, out)?;
            return Ok(None);
        }
        Ok(Some(raised(&value)?))
    }
}

fn failed(error: &mlua::Error) -> Failure {
    Failure::Raised { text: format!("ERR {}", super::answer::message(error.clone())).into_bytes(), place: None }
}

/// What an error of a script says.
fn raised(value: &Value) -> Result<Failure> {
    let mut text = b"ERR unknown error".to_vec();
    let mut place = None;
    if let Value::String(message) = value {
        text = [b"ERR ", &*message.as_bytes()].concat();
    }
    if let Value::Table(table) = value {
        if let Value::String(err) = table.raw_get("err")? {
            text = err.as_bytes().to_vec();
        }
        let line = as_number(&table.raw_get("line")?);
        if let (Value::String(source), Some(line)) = (table.raw_get::<Value>("source")?, line) {
            place = Some((source.to_string_lossy(), line as i64));
        }
    }
    Ok(Failure::Raised { text, place })
}

/// The arguments of a command, as strings of Lua.
struct Arguments(Vec<mlua::String>);

impl Arguments {
    /// `None`: one of them is neither a string nor a number.
    fn of(lua: &Lua, values: &MultiValue) -> Result<Option<Self>> {
        let mut all = Vec::with_capacity(values.len());
        for value in values {
            all.push(match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => lua.create_string(number::argument(*number))?,
                Value::Integer(number) => lua.create_string(number.to_string())?,
                _ => return Ok(None),
            });
        }
        Ok(Some(Self(all)))
    }

    /// `None`: it is neither a string nor a number.
    fn bytes(value: &Value) -> Option<Vec<u8>> {
        match value {
            Value::String(text) => Some(text.as_bytes().to_vec()),
            Value::Number(number) => Some(number::argument(*number)),
            Value::Integer(number) => Some(number.to_string().into_bytes()),
            _ => None,
        }
    }

    fn with<T>(&self, body: impl FnOnce(&[&[u8]]) -> T) -> T {
        let borrowed: Vec<_> = self.0.iter().map(mlua::String::as_bytes).collect();
        let slices: Vec<&[u8]> = borrowed.iter().map(|text| &**text).collect();
        body(&slices)
    }
}

fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// Functions of the host that the prelude works with.
fn native(
    lua: &Lua,
    json: &Rc<Cell<json::Settings>>,
    random: &Rc<Cell<u64>>,
    patience: &Rc<Patience>,
) -> Result<Table> {
    let native = lua.create_table()?;
    native.set("version", super::VERSION)?;
    native.set("version_number", super::VERSION_NUMBER)?;
    native.set("bit", bits::library(lua)?)?;
    native.set("pattern", pattern::library(lua, patience)?)?;
    native.set("struct", pack::library(lua)?)?;
    native.set("cmsgpack", msgpack::library(lua, patience)?)?;
    native.set("cjson", json::library(lua, json, patience)?)?;
    let about = |texts: &[(&str, &str)]| {
        let table = lua.create_table()?;
        texts.iter().try_for_each(|(name, text)| table.set(*name, *text))?;
        Ok::<_, mlua::Error>(table)
    };
    native.set("cmsgpack_about", about(&[("_NAME", "cmsgpack"), ("_VERSION", "lua-cmsgpack 0.4.0")])?)?;
    let cjson = about(&[("_NAME", "cjson"), ("_VERSION", "2.1.0")])?;
    cjson.set("null", Value::NULL)?;
    native.set("cjson_about", cjson)?;
    native.set(
        "where",
        lua.create_function(|lua, level: usize| {
            // From the caller of the prelude's function outwards: the first function that is a script's.
            for level in level.. {
                let found = lua.inspect_stack(level, |frame| {
                    let source = frame.source();
                    let name = source.source.map(|name| name.into_owned()).unwrap_or_default();
                    // Neither C nor the prelude nor the trace of a tail call.
                    (source.what == "C" || name.starts_with('='), name, frame.current_line())
                });
                match found {
                    None => break,
                    Some((true, ..)) => {}
                    Some((false, name, line)) => return Ok((Some(name), line.map(|line| line as f64))),
                }
            }
            Ok((None, None))
        })?,
    )?;
    native.set("sha1hex", lua.create_function(|_, text: mlua::String| Ok(sha1hex(&text.as_bytes())))?)?;
    native.set(
        "log",
        lua.create_function(|_, (level, text): (f64, mlua::String)| {
            super::log(level, &text.to_string_lossy());
            Ok(())
        })?,
    )?;
    native.set(
        "error_text",
        lua.create_function(|lua, text: mlua::String| lua.create_string(error_text(&text.as_bytes())))?,
    )?;
    let state = Rc::clone(random);
    native.set(
        "random",
        lua.create_function(move |lua, args: MultiValue| {
            super::answer::answer(lua, || {
                let fraction = next_random(&state);
                let bound = |place: usize| args.get(place).and_then(as_number).map(f64::trunc);
                let number = match (args.len(), bound(0), bound(1)) {
                    (0, ..) => fraction,
                    (1, Some(upper), _) if upper >= 1.0 => (fraction * upper).floor() + 1.0,
                    (2, Some(lower), Some(upper)) if lower <= upper => {
                        (fraction * (upper - lower + 1.0)).floor() + lower
                    }
                    (1 | 2, Some(_), _) => {
                        return Err(format!("bad argument #{} to 'random' (interval is empty)", args.len()));
                    }
                    (1 | 2, ..) => return Err("bad argument #1 to 'random' (number expected)".into()),
                    _ => return Err("wrong number of arguments".into()),
                };
                Ok(super::answer::Answer::Number(number))
            })
        })?,
    )?;
    let state = Rc::clone(random);
    native.set(
        "randomseed",
        lua.create_function(move |lua, seed: Value| {
            super::answer::answer(lua, || {
                let seed = match &seed {
                    Value::String(text) => text.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok()),
                    other => as_number(other),
                };
                let seed = seed.ok_or("bad argument #1 to 'randomseed' (number expected)")?;
                state.set((((seed as i64 as u32) as u64) << 16) + 0x330e);
                Ok(super::answer::Answer::Value(Value::Nil))
            })
        })?,
    )?;
    Ok(native)
}

/// A number from 0 to 1, without 1, after `drand48`.
fn next_random(state: &Cell<u64>) -> f64 {
    let next = state.get().wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff;
    state.set(next);
    (next >> 17) as f64 / 2_147_483_648.0
}

pub(crate) fn sha1hex(text: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha1::digest(text).iter().fold(String::with_capacity(40), |mut hex, byte| {
        // Writing to a String cannot fail.
        _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What `redis.error_reply` makes of a text: "-CODE words" and "CODE words" keep their code, one word gets ERR.
fn error_text(text: &[u8]) -> Vec<u8> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    let text = &text[..end];
    if text.contains(&b' ') { text.to_vec() } else { [b"ERR ", text].concat() }
}

#[cfg(test)]
mod tests;
