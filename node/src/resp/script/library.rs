//! Libraries of functions: FUNCTION LOAD, and how an interpreter comes to know them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlua::{Table, Value};

use super::interpreter::{Failure, Interpreter, Stop, Watch};
use super::source;
use crate::scripts::{Flags, Pace};

/// How long loading may take, as in Redis.
const LOAD_TIME: Duration = Duration::from_millis(500);

const LOAD_MEMORY: usize = 64 << 20;

/// Functions of one library.
const MOST_FUNCTIONS: usize = 1000;

/// A library.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) name: String,
    pub(crate) code: Vec<u8>,
    pub(crate) functions: Vec<Arc<Function>>,
}

/// One of its functions.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) flags: Flags,
    pub(crate) pace: Pace,
}

impl Function {
    pub(crate) fn flag_names(&self) -> Vec<&'static str> {
        let Flags { no_writes, allow_oom, allow_stale, no_cluster, allow_cross_slot_keys } = self.flags;
        [
            (no_writes, "no-writes"),
            (allow_oom, "allow-oom"),
            (allow_stale, "allow-stale"),
            (no_cluster, "no-cluster"),
            (allow_cross_slot_keys, "allow-cross-slot-keys"),
        ]
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect()
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

const BAD_NAME: &str =
    "names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// Loads a library into an interpreter, and says which functions it has, with their callbacks.
fn load_into(
    interpreter: &Interpreter,
    code: &[u8],
    mut register: impl FnMut(Function, mlua::Function) -> Result<(), String>,
) -> Result<(), String> {
    let lossy = |text: Vec<u8>| String::from_utf8_lossy(&text).into_owned();
    let chunk = interpreter
        .compile(code, "user_function")
        .map_err(|text| format!("Error compiling function: {}", lossy(text)))?;
    let began = Instant::now();
    let watch: Watch =
        Rc::new(move || if began.elapsed() > LOAD_TIME { Err(Stop("FUNCTION LOAD timeout".into())) } else { Ok(()) });
    let loaded = interpreter.load(&chunk, watch, LOAD_MEMORY, |name, callback, flags: Table, description| {
        let name = name.to_string_lossy();
        if !is_name(&name) {
            return Err(format!("ERR Library {BAD_NAME}"));
        }
        let mut names = Vec::new();
        for flag in flags.sequence_values::<Value>() {
            match flag {
                Ok(Value::String(flag)) => names.push(flag.to_string_lossy()),
                _ => return Err("ERR unknown flag given".into()),
            }
        }
        let flags = source::flags(names.iter().map(String::as_str)).map_err(|_| "ERR unknown flag given".to_owned())?;
        let description = description.map(|text| text.to_string_lossy());
        register(Function { name, description, flags, pace: Pace::default() }, callback)
    });
    loaded.map_err(|failure| match failure {
        Failure::Stopped(Stop(text)) => text,
        Failure::Raised { text, .. } => {
            let text = lossy(text);
            format!("Error registering functions: {text}")
        }
    })
}

/// Makes a library of its code.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn load(code: &[u8]) -> Result<Library, String> {
    let Some((header, text)) = source::split(code).map_err(|_| "Invalid library metadata".to_owned())? else {
        return Err("Missing library metadata".into());
    };
    if let Some(unknown) = header.unknown.first().cloned().or(header.flags.map(|flags| format!("flags={flags}"))) {
        return Err(format!("Invalid metadata value given: {unknown}"));
    }
    if header.has_two_names {
        return Err("Invalid metadata value, name argument was given multiple times".into());
    }
    let name = header.name.ok_or("Library name was not given")?;
    if !is_name(&name) {
        return Err(format!("Library {BAD_NAME}"));
    }
    if !header.engine.eq_ignore_ascii_case("lua") {
        return Err(format!("Engine '{}' not found", header.engine));
    }
    // In a world of its own, which is thrown away: what goes wrong leaves nothing behind.
    let interpreter = Interpreter::new().map_err(super::answer::message)?;
    let mut functions: Vec<Arc<Function>> = Vec::new();
    load_into(&interpreter, &text, |function, _| {
        if functions.iter().any(|known| known.name.eq_ignore_ascii_case(&function.name)) {
            return Err("ERR Function already exists in the library".into());
        }
        if functions.len() >= MOST_FUNCTIONS {
            return Err("ERR too many functions".into());
        }
        functions.push(Arc::new(function));
        Ok(())
    })?;
    if functions.is_empty() {
        return Err("No functions registered".into());
    }
    Ok(Library { name, code: code.to_vec(), functions })
}

/// The callbacks of a library that was loaded once, in this interpreter.
pub(super) fn callbacks(interpreter: &Interpreter, code: &[u8]) -> Result<Vec<(String, mlua::Function)>, String> {
    let text = source::split(code).ok().flatten().map(|(_, text)| text).unwrap_or_default();
    let mut callbacks = Vec::new();
    load_into(interpreter, &text, |function, callback| {
        callbacks.push((function.name, callback));
        Ok(())
    })?;
    Ok(callbacks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "#!lua name=mine\nredis.register_function('f', function(keys, args) return args[1] end)\n\
        redis.register_function{function_name='g', callback=function() return 1 end, flags={'no-writes'}, description='d'}";

    #[test]
    fn a_library_says_which_functions_it_has() {
        let library = load(CODE.as_bytes()).unwrap();
        let functions: Vec<_> = library.functions.iter().map(|f| (f.name.as_str(), f.flag_names())).collect();
        assert_eq!((library.name.as_str(), functions), ("mine", vec![("f", vec![]), ("g", vec!["no-writes"])]));
    }

    #[test]
    fn what_is_wrong_with_a_library_is_said_as_redis_says_it() {
        for (code, text) in [
            ("return 1", "Missing library metadata"),
            ("#!lua name=a-b\n", "Library names can only contain"),
            ("#!bad name=a\n", "Engine 'bad' not found"),
            ("#!lua name=a\nreturn 1", "No functions registered"),
            ("#!lua name=a\nbad script", "Error compiling function"),
            ("#!lua name=a\nredis.call('ping')", "nonexistent global variable 'call'"),
            ("#!lua name=a\nmath.random()", "nonexistent global variable 'math'"),
            ("#!lua name=a\na = 1", "Attempt to modify a readonly table"),
            ("#!lua name=a\nwhile true do end", "FUNCTION LOAD timeout"),
            ("#!lua name=a\nredis.register_function('f', 1)", "second argument to redis.register_function must be"),
        ] {
            let error = load(code.as_bytes()).unwrap_err();
            assert!(error.contains(text), "{code}: {error}");
        }
    }
}
