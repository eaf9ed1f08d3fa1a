//! Redis's commands: how often each was called and how long it took, by family, and which took longest.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::{Answer, Error, Outcome};
use super::request::Request;
use super::{keys, values};

/// Bytes of a command of the slow log that are shown: it has 32 arguments of 128 bytes at the most.
const SHOWN_BYTES: usize = 8 << 10;

/// GET /api/commands: those that were called, with microseconds; the busiest first.
pub(super) fn list(request: &Request) -> Outcome {
    let counters = &request.node().counters;
    let mut rows: Vec<(u64, Value)> = (request.http.console.commands)()
        .into_iter()
        .filter_map(|command| {
            let count = counters.count(command.id);
            let is_used = count.calls + count.rejected + count.failed > 0;
            let row = json!({
                "name": command.name,
                "family": command.family,
                "calls": count.calls,
                "microseconds": count.nanos / 1000,
                "rejected": count.rejected,
                "failed": count.failed,
            });
            is_used.then_some((count.calls, row))
        })
        .collect();
    rows.sort_by_key(|(calls, _)| std::cmp::Reverse(*calls));
    Ok(Answer::json(rows.into_iter().map(|(_, row)| row).collect()))
}

/// Calls by family, of those that were called.
pub(super) fn families(request: &Request) -> BTreeMap<&'static str, u64> {
    let counters = &request.node().counters;
    let mut families = BTreeMap::new();
    for command in (request.http.console.commands)() {
        let calls = counters.calls(command.id);
        if calls > 0 {
            *families.entry(command.family).or_default() += calls;
        }
    }
    families
}

/// GET /api/slowlog: the newest first. It shows what others have written, so Redis's rules have to allow SLOWLOG GET.
pub(super) fn slowlog(request: &Request) -> Outcome {
    let node = request.node();
    let rights = node.acl.rights(&node.engine.accounts, keys::redis_user(request)?).ok_or(Error::AccessRefused)?;
    if !rights.allows(&[b"slowlog", b"get"]) {
        return Err(Error::NotAllowed("This user may not use SLOWLOG GET"));
    }
    let most = node.config.live.slowlog_max_len.size();
    let row = |entry: crate::slowlog::Entry| {
        let command = entry.args.join(&b' ');
        json!({
            "id": entry.id,
            "at": entry.unix_seconds * 1000,
            "microseconds": entry.micros,
            "command": values::shown(&command, SHOWN_BYTES),
            "client": entry.address,
            "client_name": entry.client,
        })
    };
    Ok(Answer::json(node.slowlog.newest(most.min(super::limits::SLOW)).into_iter().map(row).collect()))
}
