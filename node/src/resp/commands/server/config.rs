//! CONFIG: our own settings under their flags, and those of Redis that tools ask for.

use tercet_proto::resp::Encoder;

use super::{G, Session};
use crate::config::{SETTINGS, Secret, Switch};
use crate::glob;
use crate::limits;
use crate::resp::error::Error;
use crate::resp::table::flag::{ADMIN, LOADING, NO_SCRIPT};
use crate::resp::table::{Args, Outcome, Row, session};

/// Parameters of Redis that have one value here, for clients and tools that read them.
const FIXED: &[(&str, &str)] = &[
    ("databases", "16"),
    ("save", ""),
    ("proto-max-bulk-len", "536870912"),
    ("client-query-buffer-limit", "1073741824"),
    ("hz", "10"),
    ("timeout", "0"),
    ("tcp-keepalive", "300"),
    ("notify-keyspace-events", ""),
    ("slave-read-only", "yes"),
    ("replica-read-only", "yes"),
    ("replica-priority", "100"),
];

const USUAL: u32 = ADMIN | LOADING | NO_SCRIPT;

pub(super) const ROWS: &[Row] = &[
    session("config|get", -3, USUAL, G, "Returns the effective values of configuration parameters.", get),
    session("config|set", -4, USUAL, G, "Sets configuration parameters in-flight.", set),
    session("config|resetstat", 2, USUAL, G, "Resets the server's statistics.", resetstat),
    session("config|rewrite", 2, USUAL, G, "Persists the effective configuration to file.", |_, _, _| {
        Err(Error::text("ERR The server is running without a config file"))
    }),
];

fn resetstat(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let stats = &session.node.stats;
    for counter in [&stats.commands, &stats.connections, &stats.hits, &stats.misses, &stats.expired] {
        counter.store(0, std::sync::atomic::Ordering::Relaxed);
    }
    session.node.counters.reset();
    out.ok();
    Ok(())
}

/// All parameters with their values, by name.
fn parameters(session: &Session) -> Vec<(String, String)> {
    let config = &session.node.config;
    let mut all: Vec<(String, String)> = SETTINGS
        .iter()
        .filter(|setting| setting.secret == Secret::Open || setting.flag == "requirepass")
        .filter_map(|setting| Some((setting.flag.to_owned(), config.text(setting.flag)?)))
        .collect();
    all.extend(FIXED.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    all.push(("port".into(), config.resp_port.to_string()));
    all.push(("appendonly".into(), if config.persistence == Switch::On { "yes" } else { "no" }.into()));
    all.push(("appendfsync".into(), config.text("fsync").unwrap_or_default()));
    all.push(("dir".into(), config.data.display().to_string()));
    all.push(("repl-backlog-size".into(), limits::JOURNAL_MEMORY_BYTES.to_string()));
    all.sort();
    all
}

fn get(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let patterns: Vec<Vec<u8>> = args[2..].iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
    let found: Vec<_> = parameters(session)
        .into_iter()
        .filter(|(name, _)| patterns.iter().any(|pattern| glob::matches(pattern, name.as_bytes())))
        .collect();
    out.map(found.len());
    for (name, value) in found {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
    Ok(())
}

/// Nothing can be changed at run time yet. A parameter that already has the value is accepted, as scripts set defaults.
fn set(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (pairs, []) = args[2..].as_chunks::<2>() else { return Err(Error::Arity("config|set".into())) };
    let parameters = parameters(session);
    for pair in pairs {
        let name = String::from_utf8_lossy(&pair[0].to_ascii_lowercase()).into_owned();
        match parameters.iter().find(|(known, _)| *known == name) {
            None => {
                return Err(Error::text(format!(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                    String::from_utf8_lossy(pair[0])
                )));
            }
            Some((_, value)) if value.as_bytes() == pair[1] => {}
            Some(_) => {
                return Err(Error::text(format!(
                    "ERR CONFIG SET failed (possibly related to argument '{name}') - can't set immutable config"
                )));
            }
        }
    }
    out.ok();
    Ok(())
}
