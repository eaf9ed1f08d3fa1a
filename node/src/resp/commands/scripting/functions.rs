//! FUNCTION: libraries of functions.
//!
//! ```text
//! FUNCTION DUMP: library ... | version 2 bytes | CRC-64 8 bytes      library = 245 (RDB_OPCODE_FUNCTION2) | length | code
//! ```

use std::sync::Arc;

use tercet_proto::resp::Encoder;

use super::G;
use super::texts::{end, is_sync_option};
use crate::clock;
use crate::glob;
use crate::limits;
use crate::resp::error::Error;
use crate::resp::libraries::All;
use crate::resp::script::{Library, load_library};
use crate::resp::session::Session;
use crate::resp::table::flag::{DENY_OOM, LOADING, NO_SCRIPT};
use crate::resp::table::{Args, Command, Outcome, session};
use crate::scripts::Kind;

pub(super) const ROWS: &[Command] = &[
    session("function|load", -3, NO_SCRIPT | DENY_OOM, G, "Loads a library.", load),
    session("function|delete", 3, NO_SCRIPT, G, "Deletes a library.", delete),
    session("function|flush", -2, NO_SCRIPT, G, "Deletes all libraries.", flush),
    session("function|list", -2, NO_SCRIPT, G, "Lists libraries.", list),
    session("function|dump", 2, NO_SCRIPT, G, "Packs all libraries.", dump),
    session("function|restore", -3, NO_SCRIPT | DENY_OOM, G, "Loads packed libraries.", restore),
    session("function|stats", 2, NO_SCRIPT | LOADING, G, "Says what runs.", stats),
    session("function|kill", 2, NO_SCRIPT | LOADING, G, "Ends the function that runs.", |session, _, out| {
        end(session, Kind::Function, out)
    }),
];

fn refused(reason: impl Into<String>) -> Error {
    Error::text(format!("ERR {}", reason.into()))
}

fn load(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (options, code) = args[2..].split_at(args.len() - 3);
    let mut replaces = false;
    for option in options {
        if !option.eq_ignore_ascii_case(b"replace") {
            return Err(refused(format!("Unknown option given: {}", crate::resp::error::shown(option))));
        }
        replaces = true;
    }
    let library = load_library(code[0]).map_err(refused)?;
    let mut all = (*session.libraries()).clone();
    if !replaces && all.get(&library.name).is_some() {
        return Err(refused(format!("Library '{}' already exists", library.name)));
    }
    if let Some(function) = all.conflict(&library) {
        return Err(refused(format!("Function {function} already exists")));
    }
    let is_many = all.functions() + library.functions.len() > limits::FUNCTIONS;
    if is_many || all.bytes() + library.code.len() > limits::LIBRARY_BYTES {
        return Err(refused("the libraries are too large"));
    }
    let name = library.name.clone();
    all.insert(Arc::new(library));
    session.replace_libraries(&all)?;
    out.bulk(name.as_bytes());
    Ok(())
}

fn delete(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut all = (*session.libraries()).clone();
    if !all.remove(&String::from_utf8_lossy(args[2])) {
        return Err(refused("Library not found"));
    }
    session.replace_libraries(&all)?;
    out.ok();
    Ok(())
}

fn wrong_arguments(name: &str) -> Error {
    refused(format!("unknown subcommand or wrong number of arguments for '{name}'. Try FUNCTION HELP."))
}

fn flush(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(wrong_arguments("flush"));
    }
    if !is_sync_option(args, 2) {
        return Err(refused("FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    session.replace_libraries(&All::default())?;
    out.ok();
    Ok(())
}

fn list(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (mut with_code, mut pattern) = (false, None);
    let mut rest = args[2..].iter();
    while let Some(option) = rest.next() {
        if option.eq_ignore_ascii_case(b"withcode") && !with_code {
            with_code = true;
        } else if option.eq_ignore_ascii_case(b"libraryname") && pattern.is_none() {
            pattern = Some(*rest.next().ok_or_else(|| refused("library name argument was not given"))?);
        } else {
            return Err(refused(format!("Unknown argument {}", crate::resp::error::shown(option))));
        }
    }
    let all = session.libraries();
    let is_asked =
        |library: &&Arc<Library>| pattern.is_none_or(|pattern| glob::matches(pattern, library.name.as_bytes()));
    let chosen: Vec<_> = all.iter().filter(is_asked).collect();
    out.array(chosen.len());
    for library in chosen {
        out.map(if with_code { 4 } else { 3 });
        out.bulk(b"library_name");
        out.bulk(library.name.as_bytes());
        out.bulk(b"engine");
        out.bulk(b"LUA");
        out.bulk(b"functions");
        out.array(library.functions.len());
        for function in &library.functions {
            out.map(3);
            out.bulk(b"name");
            out.bulk(function.name.as_bytes());
            out.bulk(b"description");
            match &function.description {
                Some(text) => out.bulk(text.as_bytes()),
                None => out.null(),
            }
            out.bulk(b"flags");
            let flags = function.flag_names();
            out.set(flags.len());
            flags.iter().for_each(|flag| out.simple(flag));
        }
        if with_code {
            out.bulk(b"library_code");
            out.bulk(&library.code);
        }
    }
    Ok(())
}

/// Of a library in a dump.
const OPCODE: u8 = 245;
/// RDB's version of Redis 7.0.
const DUMP_VERSION: u16 = 10;

fn crc64(bytes: &[u8]) -> u64 {
    // Jones, as Redis: reflected, no initial value.
    bytes.iter().fold(0, |crc: u64, byte| {
        (0..8).fold(
            crc ^ u64::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ 0x95ac_9329_ac4b_c9b5 } else { crc >> 1 }
            },
        )
    })
}

fn dump(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut bytes = Vec::new();
    for library in session.libraries().iter() {
        bytes.push(OPCODE);
        match library.code.len() {
            length @ 0..64 => bytes.push(length as u8),
            length @ 64..16384 => bytes.extend_from_slice(&[0x40 | (length >> 8) as u8, length as u8]),
            length => {
                bytes.push(0x80);
                bytes.extend_from_slice(&(length as u32).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&library.code);
    }
    bytes.extend_from_slice(&DUMP_VERSION.to_le_bytes());
    bytes.extend_from_slice(&crc64(&bytes).to_le_bytes());
    out.bulk(&bytes);
    Ok(())
}

/// The codes in a dump. `None`: it is damaged, or of a newer version.
fn unpack(payload: &[u8]) -> Option<Vec<&[u8]>> {
    let (body, footer) = payload.split_at_checked(payload.len().checked_sub(10)?)?;
    let version = u16::from_le_bytes(footer.get(..2)?.try_into().ok()?);
    let crc = u64::from_le_bytes(footer.get(2..)?.try_into().ok()?);
    if version > 11 || crc != crc64(payload.get(..payload.len() - 8)?) {
        return None;
    }
    let (mut rest, mut codes) = (body, Vec::new());
    while let Some((opcode, behind)) = rest.split_first() {
        if *opcode != OPCODE {
            return None;
        }
        let first = *behind.first()?;
        let (length, from): (usize, usize) = match first >> 6 {
            0 => (usize::from(first), 1),
            1 => (usize::from(first & 63) << 8 | usize::from(*behind.get(1)?), 2),
            2 if first == 0x80 => (u32::from_be_bytes(behind.get(1..5)?.try_into().ok()?) as usize, 5),
            _ => return None,
        };
        codes.push(behind.get(from..from.checked_add(length)?)?);
        rest = behind.get(from + length..)?;
    }
    Some(codes)
}

fn restore(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if args.len() > 4 {
        return Err(wrong_arguments("restore"));
    }
    let policy = args.get(3).map_or(b"append".to_vec(), |policy| policy.to_ascii_lowercase());
    if ![b"append".as_slice(), b"replace", b"flush"].contains(&policy.as_slice()) {
        return Err(refused("Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE."));
    }
    let codes = unpack(args[2]).ok_or_else(|| refused("DUMP payload version or checksum are wrong"))?;
    let mut all = if policy == b"flush" { All::default() } else { (*session.libraries()).clone() };
    let mut new = All::default();
    for code in codes {
        let library = load_library(code).map_err(refused)?;
        if policy == b"append" && all.get(&library.name).is_some() || new.get(&library.name).is_some() {
            return Err(refused(format!("Library {} already exists", library.name)));
        }
        all.remove(&library.name);
        new.insert(Arc::new(library));
    }
    for library in new.iter() {
        if let Some(function) = all.conflict(library) {
            return Err(refused(format!("Function {function} already exists")));
        }
        all.insert(Arc::clone(library));
    }
    if all.bytes() > limits::LIBRARY_BYTES || all.functions() > limits::FUNCTIONS {
        return Err(refused("the libraries are too large"));
    }
    session.replace_libraries(&all)?;
    out.ok();
    Ok(())
}

fn stats(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let libraries = session.libraries();
    out.map(2);
    out.bulk(b"running_script");
    match session.node.scripts.oldest().filter(|running| running.kind == Kind::Function) {
        None => out.null(),
        Some(running) => {
            out.map(3);
            out.bulk(b"name");
            out.bulk(running.name.as_bytes());
            out.bulk(b"command");
            out.array(running.command.len());
            running.command.iter().for_each(|arg| out.bulk(arg));
            out.bulk(b"duration_ms");
            out.integer(clock::boot_now().millis_since(running.since) as i64);
        }
    }
    out.bulk(b"engines");
    out.map(1);
    out.bulk(b"LUA");
    out.map(2);
    out.bulk(b"libraries_count");
    out.integer(libraries.len() as i64);
    out.bulk(b"functions_count");
    out.integer(libraries.functions() as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_redis() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }
}
