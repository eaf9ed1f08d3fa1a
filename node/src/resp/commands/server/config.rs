//! CONFIG: our own settings under their flags, those of Redis that change at run time, and what Redis's tools ask for.

use std::sync::atomic::Ordering::Relaxed;

use tercet_proto::resp::Encoder;

use super::{G, Session};
use crate::config::live::{self, LIVE};
use crate::config::{Config, SETTINGS, Secret, Switch, Value, rewrite};
use crate::glob;
use crate::limits;
use crate::resp::error::Error;
use crate::resp::table::flag::{ADMIN, LOADING, NO_SCRIPT};
use crate::resp::table::{Args, Command, Outcome, session};

/// A parameter of Redis that is given by something else here.
struct Fixed {
    name: &'static str,
    refusal: &'static str,
    value: fn(&Config) -> String,
}

const IMMUTABLE: &str = "can't set immutable config";
const PROTECTED: &str = "can't set protected config";

macro_rules! fixed {
    ($($name:literal $refusal:ident $value:expr;)*) => {
        const FIXED: &[Fixed] = &[$(Fixed { name: $name, refusal: $refusal, value: $value }),*];
    };
}

fixed! {
    "port" IMMUTABLE |config| config.resp_port.to_string();
    "appendonly" IMMUTABLE |config| yes_or_no(config.persistence == Switch::On);
    "appendfsync" IMMUTABLE |config| config.text("fsync").unwrap_or_default();
    "dir" PROTECTED |config| config.data.display().to_string();
    "dbfilename" PROTECTED |_| "dump.rdb".into();
    "databases" IMMUTABLE |_| limits::DATABASES.to_string();
    "replica-read-only" IMMUTABLE |_| "yes".into();
    "slave-read-only" IMMUTABLE |_| "yes".into();
    "daemonize" IMMUTABLE |_| "no".into();
    "supervised" IMMUTABLE |_| "no".into();
    "cluster-enabled" IMMUTABLE |_| "no".into();
    "activedefrag" IMMUTABLE |_| "no".into();
    "appendfilename" IMMUTABLE |_| "appendonly.aof".into();
    "appenddirname" IMMUTABLE |_| "appendonlydir".into();
    "enable-module-command" IMMUTABLE |_| "no".into();
    "enable-protected-configs" IMMUTABLE |_| "no".into();
    "io-threads-do-reads" IMMUTABLE |_| "yes".into();
    "logfile" IMMUTABLE |_| String::new();
    "pidfile" IMMUTABLE |_| String::new();
    "rdbchecksum" IMMUTABLE |_| "yes".into();
    "repl-diskless-load" IMMUTABLE |_| "swapdb".into();
    "replicaof" IMMUTABLE |_| String::new();
    "slaveof" IMMUTABLE |_| String::new();
    "syslog-enabled" IMMUTABLE |_| "no".into();
    "tcp-backlog" IMMUTABLE |_| tercet_edge::limits::BACKLOG.to_string();
    "unixsocket" IMMUTABLE |_| String::new();
    "unixsocketperm" IMMUTABLE |_| "0".into();
    "always-show-logo" IMMUTABLE |_| "no".into();
    "set-proc-title" IMMUTABLE |_| "no".into();
    "disable-thp" IMMUTABLE |_| "no".into();
    "oom-score-adj" IMMUTABLE |_| "no".into();
    "sanitize-dump-payload" IMMUTABLE |_| "yes".into();
}

/// Shown to who asks for them by their names.
const HIDDEN: &[&[u8]] = &[b"key-load-delay", b"rdb-key-save-delay"];

fn yes_or_no(is_on: bool) -> String {
    if is_on { "yes" } else { "no" }.into()
}

const USUAL: u32 = ADMIN | LOADING | NO_SCRIPT;

pub(super) const ROWS: &[Command] = &[
    session("config|get", -3, USUAL, G, "Returns the effective values of configuration parameters.", get),
    session("config|set", -4, USUAL, G, "Sets configuration parameters in-flight.", set),
    session("config|resetstat", 2, USUAL, G, "Resets the server's statistics.", reset_statistics),
    session("config|rewrite", 2, USUAL, G, "Persists the effective configuration to file.", write_file),
];

fn reset_statistics(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let stats = &session.node.stats;
    for counter in [
        &stats.commands,
        &stats.connections,
        &stats.rejected_connections,
        &stats.bytes_in,
        &stats.bytes_out,
        &stats.hits,
        &stats.misses,
        &stats.expired,
        &stats.reads,
        &stats.writes,
        &stats.expiry_micros,
        &session.node.eviction.evicted,
    ] {
        counter.store(0, Relaxed);
    }
    crate::freeing::reset_freed();
    session.node.counters.reset();
    out.ok();
    Ok(())
}

pub(super) fn write_file(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let config = &session.node.config;
    let Some(path) = &config.file else { return Err(Error::text("ERR The server is running without a config file")) };
    match rewrite(path, &config.live) {
        Ok(()) => {
            tracing::info!(path = %path.display(), "settings were written to the file");
            out.ok();
            Ok(())
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "settings could not be written to the file");
            Err(Error::text(format!("ERR Rewriting config file: {error}")))
        }
    }
}

/// All parameters with their values, by name.
fn parameters(config: &Config) -> Vec<(&'static str, String)> {
    let own = SETTINGS.iter().filter(|setting| setting.secret == Secret::Open || setting.flag == "requirepass");
    let own = own.filter_map(|setting| Some((setting.flag, config.text(setting.flag)?)));
    let live = LIVE.iter().flat_map(|setting| setting.names().map(|name| (name, setting.show(&config.live))));
    let fixed = FIXED.iter().map(|fixed| (fixed.name, (fixed.value)(config)));
    let mut all: Vec<_> = own.chain(live).chain(fixed).collect();
    all.sort_unstable_by_key(|(name, _)| *name);
    all
}

fn get(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let patterns: Vec<Vec<u8>> = args[2..].iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
    let found: Vec<_> = parameters(&session.node.config)
        .into_iter()
        .filter(|(name, _)| {
            let name = name.as_bytes();
            let is_hidden = HIDDEN.contains(&name);
            patterns.iter().any(|pattern| if is_hidden { pattern == name } else { glob::matches(pattern, name) })
        })
        .collect();
    out.map(found.len());
    for (name, value) in found {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
    Ok(())
}

/// Changes all that is named, or nothing.
fn set(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (pairs, []) = args[2..].as_chunks::<2>() else { return Err(Error::Syntax) };
    let config = &session.node.config;
    let names: Vec<String> = pairs.iter().map(|[name, _]| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    let parameters = parameters(config);
    if let Some(unknown) = names.iter().position(|name| !parameters.iter().any(|(known, _)| known == name)) {
        let name = String::from_utf8_lossy(pairs[unknown][0]);
        return Err(Error::text(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")));
    }
    let mut changes: Vec<(&'static live::LiveSetting, Value)> = Vec::new();
    for (index, (name, [_, text])) in names.iter().zip(pairs).enumerate() {
        let failed = |name: &str, reason: &str| {
            Error::text(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"))
        };
        let given = String::from_utf8_lossy(pairs[index][0]);
        if names[..index].contains(name) {
            return Err(failed(&given, "duplicate parameter"));
        }
        let text = String::from_utf8_lossy(text);
        match live::find(name) {
            Some(setting) => {
                let value = setting.kind.read(&text).map_err(|reason| failed(setting.name, &reason))?;
                changes.push((setting, value));
            }
            // What cannot change may be said again: scripts set defaults.
            None if parameters.iter().any(|(known, value)| known == name && *value == text) => {}
            None => {
                let fixed = FIXED.iter().find(|fixed| fixed.name == name);
                return Err(failed(&given, fixed.map_or(IMMUTABLE, |fixed| fixed.refusal)));
            }
        }
    }
    for (setting, value) in changes {
        setting.put(&config.live, value);
    }
    session.node.follow_settings();
    out.ok();
    Ok(())
}
