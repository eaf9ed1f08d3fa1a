//! Scripts and functions in Lua 5.1, with the world that Redis gives them.
//!
//! ```text
//! EVAL, FCALL --> run.rs: a transaction, a watch --> interpreter.rs (one a thread) --> prelude.lua
//!                   ^                                                                    | redis.call
//!                   '------------------------ Session::call_within <---------------------'
//! ```
//!
//! A script is one transaction: what it has changed is one record. It declares its keys; others are locked as it comes to
//! them, in order, and where that is not possible it begins again with the whole key space, before it has changed
//! anything. The keys that it comes to are those of its commands, so nothing is touched that is not held.
//!
//! **Bounds:** time (`busy-reply-threshold` for SCRIPT KILL, `script-time-limit` for all), memory (`script-memory-limit`).

mod answer;
mod bits;
mod convert;
mod interpreter;
mod json;
mod library;
mod msgpack;
mod number;
mod pack;
mod patience;
mod pattern;
mod run;
mod source;

pub(crate) use interpreter::sha1hex;
pub(crate) use library::{Function, Library, load as load_library};
pub(crate) use run::{check, is_quick, may_write};
pub(crate) use source::parse as parse_source;

/// The version of Redis that scripts are told.
const VERSION: &str = "7.4.0";
const VERSION_NUMBER: u32 = 0x0007_0400;

fn log(level: f64, text: &str) {
    // As the levels of Redis: debug, verbose, notice, warning. A script may write many.
    match level as i64 {
        0 | 1 => tracing::debug!("script: {text}"),
        2 => tracing::info!("script: {text}"),
        _ => tracing::warn!("script: {text}"),
    }
}
