//! The first line of a script: `#!lua flags=no-writes,allow-oom name=mylib`.

use crate::scripts::{Flags, Pace, Source};

/// What stands in the first line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Header {
    pub(super) engine: String,
    pub(super) name: Option<String>,
    pub(super) flags: Option<String>,
    pub(super) has_two_names: bool,
    /// Options that are neither, as they stand there.
    pub(super) unknown: Vec<String>,
}

/// The header of a text that begins with `#!`, and the text with an empty line in its place.
///
/// # Errors
/// The first line does not end.
pub(super) fn split(text: &[u8]) -> Result<Option<(Header, Vec<u8>)>, &'static str> {
    let Some(rest) = text.strip_prefix(b"#!") else { return Ok(None) };
    let end = memchr::memchr(b'\n', rest).ok_or("Invalid script shebang")?;
    let line = String::from_utf8_lossy(&rest[..end]).into_owned();
    let (engine, options) = line.split_once(|letter: char| letter.is_ascii_whitespace()).unwrap_or((&line, ""));
    let mut header = Header { engine: engine.to_owned(), ..Header::default() };
    for word in options.split_ascii_whitespace() {
        if let Some(flags) = word.strip_prefix("flags=") {
            header.flags = Some(flags.to_owned());
        } else if let Some(name) = word.strip_prefix("name=") {
            let bare = ['"', '\''].iter().find_map(|quote| name.strip_prefix(*quote)?.strip_suffix(*quote));
            header.has_two_names |= header.name.is_some();
            header.name = Some(bare.unwrap_or(name).to_owned());
        } else {
            header.unknown.push(word.to_owned());
        }
    }
    Ok(Some((header, rest[end..].to_vec())))
}

/// # Errors
/// The name of a flag that there is not.
pub(super) fn flags<'f>(names: impl IntoIterator<Item = &'f str>) -> Result<Flags, String> {
    let mut flags = Flags::default();
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        match name {
            "no-writes" => flags.no_writes = true,
            "allow-oom" => flags.allow_oom = true,
            "allow-stale" => flags.allow_stale = true,
            "no-cluster" => flags.no_cluster = true,
            "allow-cross-slot-keys" => flags.allow_cross_slot_keys = true,
            other => return Err(other.to_owned()),
        }
    }
    Ok(flags)
}

/// A script as EVAL and SCRIPT LOAD bring it.
///
/// # Errors
/// What is wrong with the first line.
pub(crate) fn parse(sha: String, text: &[u8]) -> Result<Source, String> {
    let (flags, text) = match split(text).map_err(str::to_owned)? {
        None => (None, text.to_vec()),
        Some((header, rest)) => {
            if header.engine != "lua" {
                return Err("Unexpected engine in script shebang: #!".to_owned() + &header.engine);
            }
            if let Some(unknown) = header.unknown.first().cloned().or(header.name.map(|name| format!("name={name}"))) {
                return Err(format!("Unknown lua shebang option: {unknown}"));
            }
            let names = header.flags.unwrap_or_default();
            let flags = flags(names.split(',')).map_err(|name| format!("Unexpected flag in script shebang: {name}"))?;
            (Some(flags), rest)
        }
    };
    Ok(Source { sha, text, flags, pace: Pace::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_what_a_script_may_do() {
        let source = parse(String::new(), b"#!lua flags=no-writes,allow-oom\nreturn 1").unwrap();
        assert_eq!(source.flags, Some(Flags { no_writes: true, allow_oom: true, ..Flags::default() }));
        assert_eq!(source.text, b"\nreturn 1", "lines keep their numbers");
        assert_eq!(parse(String::new(), b"return 1").unwrap().flags, None);
        for (text, error) in [
            (&b"#!not-lua\n"[..], "Unexpected engine in script shebang: #!not-lua"),
            (b"#!lua badger=data\n", "Unknown lua shebang option: badger=data"),
            (b"#!lua flags=allow-oom,what?\n", "Unexpected flag in script shebang: what?"),
            (b"#!lua", "Invalid script shebang"),
        ] {
            assert_eq!(parse(String::new(), text).err().as_deref(), Some(error));
        }
    }
}
