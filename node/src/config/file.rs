//! The file of `--config`: reading it, and writing settings that were changed at run time back into it.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

use super::live::{self, LIVE, Live};
use super::{Error, SETTINGS, Secret};

pub(super) fn read(path: &str) -> Result<HashMap<String, String>, Error> {
    let wrong = |reason: String| Error::File { path: path.to_owned(), reason, flag: "--config".to_owned() };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
    table
        .into_iter()
        .map(|(key, value)| {
            let key = canonical(&key);
            let known = live::find(&key).is_some()
                || SETTINGS.iter().any(|setting| {
                    key == setting.flag || setting.secret == Secret::Secret && key == format!("{}-file", setting.flag)
                });
            if !known {
                return Err(Error::UnknownKey { path: path.to_owned(), key });
            }
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Boolean(is_on) if live::find(&key).is_some() => {
                    if is_on { "yes" } else { "no" }.to_owned()
                }
                toml::Value::Array(items) => items
                    .iter()
                    .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                    .collect::<Vec<_>>()
                    .join(","),
                other => other.to_string(),
            };
            Ok((key, text))
        })
        .collect()
}

/// A key as the tables spell it; `oom_score_adj` and `oom-score-adj` are the same.
fn canonical(key: &str) -> String {
    key.trim_matches(['"', '\'']).replace('_', "-")
}

/// Writes what differs from its default, or stands in the file, into the file; all else in it stays as it is. The file is
/// replaced in one step.
///
/// # Errors
/// The file cannot be read or written; it is as before.
pub fn rewrite(path: &Path, live: &Live) -> std::io::Result<()> {
    let text = rewritten(&std::fs::read_to_string(path)?, live);
    replace_file(path, text.as_bytes())
}

/// Puts a text in place of a file's, in one step: who reads it sees the old text or the new one. It keeps its permissions.
///
/// # Errors
/// It cannot be written; it is as before.
pub fn replace_file(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file = std::fs::File::create(&temporary)?;
        if let Ok(before) = std::fs::metadata(path) {
            file.set_permissions(before.permissions())?;
        }
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        std::fs::File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // What cannot be removed does no harm.
        _ = std::fs::remove_file(&temporary);
    }
    written
}

fn rewritten(text: &str, live: &Live) -> String {
    let mut pending: Vec<_> = LIVE.iter().map(|setting| (setting, setting.show(live))).collect();
    // Keys before the first table: that is where settings stand.
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let end = lines.iter().position(|line| line.trim_start().starts_with('[')).unwrap_or(lines.len());
    lines[..end].iter_mut().for_each(|line| {
        let Some((key, _)) = line.split_once('=').filter(|(key, _)| !key.trim_start().starts_with('#')) else { return };
        let key = canonical(key.trim());
        if let Some(index) = pending.iter().position(|(setting, _)| setting.is_called(&key)) {
            let (_, value) = pending.remove(index);
            *line = format!("{key} = {}", quoted(&value));
        }
    });
    let new =
        pending.into_iter().filter(|(setting, value)| setting.kind.read(value) != setting.kind.read(setting.default));
    lines.splice(end..end, new.map(|(setting, value)| format!("{} = {}", setting.name, quoted(&value))));
    lines.join("\n") + "\n"
}

/// As a TOML value.
fn quoted(value: &str) -> String {
    if value.parse::<i64>().is_ok() { value.to_owned() } else { toml::Value::String(value.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::special::OutputClass;

    #[test]
    fn a_rewritten_file_keeps_its_lines_and_says_what_has_changed() {
        let live = Live::default();
        for (name, text) in [("maxmemory", "1gb"), ("hz", "20"), ("notify-keyspace-events", "KEA")] {
            let setting = live::find(name).unwrap();
            setting.put(&live, setting.kind.read(text).unwrap());
        }
        let text = "# mine\nname = \"n7\"\nmaxmemory = '5mb' # much\nhz = 10\n";
        let expected = "# mine\nname = \"n7\"\nmaxmemory = 1073741824\nhz = 20\nnotify-keyspace-events = \"AKE\"\n";
        assert_eq!(rewritten(text, &live), expected);
    }

    #[test]
    fn what_is_rewritten_can_be_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hz = 10\n").unwrap();
        let live = Live::default();
        let setting = live::find("client-output-buffer-limit").unwrap();
        setting.put(&live, setting.kind.read("pubsub 7 8 9").unwrap());
        rewrite(file.path(), &live).unwrap();
        let again = read(file.path().to_str().unwrap()).unwrap();
        let copy = Live::default();
        setting.put(&copy, setting.kind.read(&again["client-output-buffer-limit"]).unwrap());
        assert_eq!(copy.client_output_buffer_limit.of(OutputClass::PubSub).soft_seconds, 9);
        assert!(rewrite(Path::new("/nowhere/node.toml"), &live).is_err());
    }
}
