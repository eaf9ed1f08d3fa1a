//! SENTINEL: its subcommands, one function each.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{
    fields, info, introspect,
    pubsub::glob,
    row::{Call, Next, find},
};
use crate::{
    limits,
    orders::Order,
    picture::{MasterPicture, Picture},
    simulated::Simulated,
    state::Address,
};

const NO_SUCH_MASTER: &str = "ERR No such master with that name";

/// The picture, if `name` is our service and it has a master.
fn known(call: &mut Call<'_>, name: &[u8]) -> Option<(Picture, MasterPicture)> {
    let picture = call.server.backend.picture();
    match picture.master.clone() {
        Some(master) if picture.service.as_bytes() == name => Some((picture, master)),
        Some(_) | None => None,
    }
}

fn known_or_error(call: &mut Call<'_>) -> Option<(Picture, MasterPicture)> {
    let found = known(call, call.args[2]);
    if found.is_none() {
        call.reply().error(NO_SUCH_MASTER);
    }
    found
}

pub(super) fn help(call: &mut Call<'_>) {
    if let Some(row) = find(call.table, b"sentinel") {
        introspect::help(call, "SENTINEL", row.subcommands);
    }
}

pub(super) fn masters(call: &mut Call<'_>) {
    let picture = call.server.backend.picture();
    let mut reply = call.reply();
    reply.array(usize::from(picture.master.is_some()));
    if let Some(master) = &picture.master {
        fields::master(&picture, master).write(&mut reply);
    }
}

pub(super) fn master(call: &mut Call<'_>) {
    if let Some((picture, master)) = known_or_error(call) {
        fields::master(&picture, &master).write(&mut call.reply());
    }
}

pub(super) fn replicas(call: &mut Call<'_>) {
    if let Some((picture, _)) = known_or_error(call) {
        let mut reply = call.reply();
        reply.array(picture.replicas.len());
        for replica in &picture.replicas {
            fields::replica(&picture, replica).write(&mut reply);
        }
    }
}

pub(super) fn sentinels(call: &mut Call<'_>) {
    if let Some((picture, _)) = known_or_error(call) {
        let mut reply = call.reply();
        reply.array(picture.sentinels.len());
        for sentinel in &picture.sentinels {
            fields::sentinel(&picture, sentinel).write(&mut reply);
        }
    }
}

pub(super) fn master_address(call: &mut Call<'_>) {
    match known(call, call.args[2]) {
        Some((_, master)) => {
            let Address { host, port } = &master.instance.address;
            let mut reply = call.reply();
            reply.array(2);
            reply.bulk(host.as_bytes());
            reply.bulk(port.to_string().as_bytes());
        }
        None => call.reply().null_array(),
    }
}

/// Votes are Raft's, so there is never a leader to tell of; whether the master is down we do tell.
pub(super) fn is_master_down(call: &mut Call<'_>) {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok());
    let (Some(port), Some(_)) = (number(call.args[3]), number(call.args[4])) else {
        return call.reply().error("ERR value is not an integer or out of range");
    };
    let picture = call.server.backend.picture();
    let is_down = picture.master.is_some_and(|master| {
        let Address { host, port: known } = &master.instance.address;
        host.as_bytes() == call.args[2] && i64::from(*known) == port && master.instance.s_down_ms.is_some()
    });
    let mut reply = call.reply();
    reply.array(3);
    reply.integer(i64::from(is_down));
    reply.bulk(b"*");
    reply.integer(0);
}

pub(super) fn myid(call: &mut Call<'_>) {
    let id = call.server.backend.picture().sentinel_id;
    call.reply().bulk(id.as_bytes());
}

pub(super) fn ckquorum(call: &mut Call<'_>) {
    let Some((picture, _)) = known_or_error(call) else { return };
    let usable = 1 + picture.sentinels.iter().filter(|sentinel| sentinel.instance.s_down_ms.is_none()).count();
    // Quorum and majority are the same number here: Raft's.
    if usable >= picture.quorum {
        let text = format!("OK {usable} usable Sentinels. Quorum and failover authorization can be reached");
        call.reply().simple(&text);
    } else {
        call.reply().error(&format!(
            "NOQUORUM {usable} usable Sentinels. Not enough available Sentinels to reach the specified quorum for this \
             master. Not enough available Sentinels to reach the majority and authorize a failover"
        ));
    }
}

pub(super) fn failover(call: &mut Call<'_>) {
    if known_or_error(call).is_some() {
        call.next = Next::FailOver(String::from_utf8_lossy(call.args[2]).into_owned());
    }
}

pub(super) fn reset(call: &mut Call<'_>) {
    let picture = call.server.backend.picture();
    let matches = picture.master.is_some() && glob(call.args[2], picture.service.as_bytes());
    if matches {
        call.server.backend.reset();
    }
    call.reply().integer(i64::from(matches));
}

pub(super) fn monitor(call: &mut Call<'_>) {
    call.reply().error(
        "ERR membership is kept in Raft: this sentinel watches the one cluster of its --service; nodes join it by \
         connecting to the sentinels",
    );
}

pub(super) fn remove(call: &mut Call<'_>) {
    if known_or_error(call).is_some() {
        call.reply().error("ERR membership is kept in Raft: the master of this cluster cannot be removed");
    }
}

/// `SENTINEL RECOVER <name> [node] FORCE`. Without the last word it is refused: what it costs has to be meant.
pub(super) fn recover(call: &mut Call<'_>) {
    if known_or_error(call).is_none() {
        return;
    }
    let node = match &call.args[3..] {
        [force] if force.eq_ignore_ascii_case(b"force") => None,
        [node, force] if force.eq_ignore_ascii_case(b"force") => Some(String::from_utf8_lossy(node).into_owned()),
        _ => {
            return call.reply().error(
                "ERR what only the nodes hold that have not reported is lost by this; say SENTINEL RECOVER <name> [node] \
                 FORCE",
            );
        }
    };
    call.next = Next::Order(Order::Recover { node });
}

pub(super) fn remove_node(call: &mut Call<'_>) {
    if known_or_error(call).is_some() {
        call.next = Next::Order(Order::RemoveNode { name: String::from_utf8_lossy(call.args[3]).into_owned() });
    }
}

pub(super) fn remove_sentinel(call: &mut Call<'_>) {
    if known_or_error(call).is_some() {
        let sentinel = String::from_utf8_lossy(call.args[3]).into_owned();
        call.next = Next::Order(Order::RemoveSentinel { sentinel });
    }
}

/// What becomes of an option of SENTINEL SET.
enum Setting {
    DownAfter,
    /// Of the whole cluster, through Raft.
    MinIsr,
    /// What a majority of the sentinels is, and nothing else.
    Quorum,
    /// Accepted and without effect: the step that it tunes does not exist here.
    Idle,
    Denied(&'static str),
}

const SETTINGS: &[(&str, Setting)] = &[
    ("down-after-milliseconds", Setting::DownAfter),
    ("failover-timeout", Setting::Idle),
    ("parallel-syncs", Setting::Idle),
    ("master-reboot-down-after-period", Setting::Idle),
    ("min-isr", Setting::MinIsr),
    ("quorum", Setting::Quorum),
    ("auth-pass", Setting::Denied("auth-pass is not adjustable: sentinels reach nodes over their peer port")),
    ("auth-user", Setting::Denied("auth-user is not adjustable: sentinels reach nodes over their peer port")),
    ("rename-command", Setting::Denied("rename-command is not adjustable: sentinels send nodes no commands")),
    ("notification-script", Setting::Denied(SCRIPTS)),
    ("client-reconfig-script", Setting::Denied(SCRIPTS)),
];

const SCRIPTS: &str = "Reconfiguration of scripts path is denied for security reasons. Check the \
                       deny-scripts-reconfig configuration directive in your Sentinel configuration";

pub(super) fn set(call: &mut Call<'_>) {
    if known_or_error(call).is_none() {
        return;
    }
    let mut rest = &call.args[3..];
    while let [option, value, others @ ..] = rest {
        let name = String::from_utf8_lossy(option).to_lowercase();
        let text = String::from_utf8_lossy(value).into_owned();
        let invalid = || format!("ERR Invalid argument '{text}' for SENTINEL SET '{name}'");
        let number = text.parse::<u64>().ok().filter(|&number| number > 0);
        let result = match SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, setting)| setting) {
            None => Err(format!("ERR Unknown option or number of arguments for SENTINEL SET '{name}'")),
            Some(Setting::Denied(why)) => Err(format!("ERR {why}")),
            Some(Setting::MinIsr) => match number.and_then(|number| u32::try_from(number).ok()) {
                Some(min_isr) if others.is_empty() => {
                    call.next = Next::Order(Order::SetMinIsr { min_isr });
                    return;
                }
                Some(_) => Err("ERR min-isr is agreed on by all sentinels: set it alone, or last".into()),
                None => Err(invalid()),
            },
            Some(Setting::Quorum) => match number {
                Some(number) if number == call.server.backend.picture().quorum as u64 => Ok(()),
                Some(_) => {
                    Err("ERR quorum is not adjustable: a majority of the sentinels decides, through Raft".into())
                }
                None => Err(invalid()),
            },
            Some(Setting::Idle) => number.map(|_| ()).ok_or_else(invalid),
            Some(Setting::DownAfter) => match number {
                Some(millis) => {
                    call.next = Next::DownAfter(millis);
                    Ok(())
                }
                None => Err(invalid()),
            },
        };
        if let Err(error) = result {
            call.next = Next::Continue;
            return call.reply().error(&error);
        }
        rest = others;
    }
    if let [option] = rest {
        call.next = Next::Continue;
        let name = String::from_utf8_lossy(option).into_owned();
        return call.reply().error(&format!("ERR Unknown option or number of arguments for SENTINEL SET '{name}'"));
    }
    if matches!(call.next, Next::Continue) {
        call.reply().ok();
    }
}

/// The parameters of SENTINEL CONFIG; the last two are never shown.
fn configuration(picture: &Picture) -> [(&'static str, String); 7] {
    [
        ("announce-hostnames", "yes".into()),
        ("announce-ip", picture.address.host.clone()),
        ("announce-port", picture.address.port.to_string()),
        ("loglevel", log_level().into()),
        ("resolve-hostnames", "yes".into()),
        ("sentinel-pass", String::new()),
        ("sentinel-user", String::new()),
    ]
}

/// Levels of the log, by Redis's names.
const LOG_LEVELS: [&str; 4] = ["debug", "verbose", "notice", "warning"];

/// Which of them was set last; the third one at the start.
static LOG_LEVEL: AtomicUsize = AtomicUsize::new(2);

fn log_level() -> &'static str {
    LOG_LEVELS.get(LOG_LEVEL.load(Relaxed)).copied().unwrap_or("notice")
}

/// Whether there is such a level.
fn set_log_level(name: &[u8]) -> bool {
    let index = LOG_LEVELS.iter().position(|level| level.as_bytes().eq_ignore_ascii_case(name));
    if let Some(index) = index {
        LOG_LEVEL.store(index, Relaxed);
        tercet_edge::log::set_level(LOG_LEVELS[index]);
    }
    index.is_some()
}

const ONLY_GET_AND_SET: &str = "ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported.";

pub(super) fn config(call: &mut Call<'_>) {
    let configuration = configuration(&call.server.backend.picture());
    match call.args[2].to_ascii_lowercase().as_slice() {
        b"get" if call.args.len() > 3 => {
            let matches =
                |name: &str| call.args[3..].iter().any(|pattern| glob(&pattern.to_ascii_lowercase(), name.as_bytes()));
            let found: Vec<_> = configuration.iter().filter(|(name, _)| matches(name)).collect();
            let mut reply = call.reply();
            reply.map(found.len());
            for (name, value) in found {
                reply.bulk(name.as_bytes());
                reply.bulk(value.as_bytes());
            }
        }
        b"set" if call.args.len() > 4 => {
            if call.args.len().is_multiple_of(2) {
                return call.reply().error("ERR wrong number of arguments for 'sentinel|config' command");
            }
            let pairs: Vec<(String, &[u8])> = call.args[3..]
                .chunks_exact(2)
                .map(|pair| (String::from_utf8_lossy(pair[0]).to_lowercase(), pair[1]))
                .collect();
            for (name, value) in pairs {
                let error = match configuration.iter().find(|(known, _)| *known == name) {
                    None => format!("ERR Invalid argument '{name}' to SENTINEL CONFIG SET"),
                    Some((_, current)) if current.as_bytes() == value => continue,
                    Some(_) if name == "loglevel" && set_log_level(value) => continue,
                    Some(_) if name == "loglevel" => {
                        format!(
                            "ERR Invalid value '{}' to SENTINEL CONFIG SET 'loglevel'",
                            String::from_utf8_lossy(value)
                        )
                    }
                    Some(_) => format!("ERR {name} is not adjustable at run time; it is a flag of the sentinel"),
                };
                return call.reply().error(&error);
            }
            call.reply().ok();
        }
        _ => call.reply().error(ONLY_GET_AND_SET),
    }
}

/// There is no file to write: what has to last is in Raft.
pub(super) fn flushconfig(call: &mut Call<'_>) {
    call.reply().ok();
}

pub(super) fn pending_scripts(call: &mut Call<'_>) {
    call.reply().array(0);
}

pub(super) fn info_cache(call: &mut Call<'_>) {
    let names = call.args[2..].to_vec();
    let picture = call.server.backend.picture();
    let found = picture.master.is_some() && names.contains(&picture.service.as_bytes());
    let mut reply = call.reply();
    reply.map(usize::from(found));
    if found {
        let cached = info::cached(&picture);
        reply.bulk(picture.service.as_bytes());
        reply.array(cached.len());
        for (age, text) in cached {
            reply.array(2);
            reply.integer(age as i64);
            reply.bulk(text.as_bytes());
        }
    }
}

/// Redis' names for what have been intervals of ours from the start.
fn intervals(picture: &Picture) -> [(&'static str, u64); 13] {
    let millis = crate::clock::millis;
    [
        ("INFO-PERIOD", 100),
        ("PING-PERIOD", 50),
        ("ASK-PERIOD", millis(limits::SUSPEND_RETRY)),
        ("PUBLISH-PERIOD", millis(limits::HELLO_INTERVAL)),
        ("DEFAULT-DOWN-AFTER", picture.down_after_ms),
        ("DEFAULT-FAILOVER-TIMEOUT", fields::FAILOVER_TIMEOUT_MS),
        ("TILT-TRIGGER", millis(limits::TICK_SLIP)),
        ("TILT-PERIOD", picture.down_after_ms),
        ("SLAVE-RECONF-TIMEOUT", millis(limits::ACTIVATION_TIMEOUT)),
        ("MIN-LINK-RECONNECT-PERIOD", millis(limits::OBSERVE_RETRY)),
        ("ELECTION-TIMEOUT", 180),
        ("SCRIPT-MAX-RUNTIME", 0),
        ("SCRIPT-RETRY-DELAY", 0),
    ]
}

pub(super) fn debug(call: &mut Call<'_>) {
    let intervals = intervals(&call.server.backend.picture());
    if let Some(name) = call.args.get(2) {
        let name = String::from_utf8_lossy(name);
        let error = if intervals.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            format!("ERR {name} is not adjustable: the intervals of the sentinels have to fit each other")
        } else {
            format!("ERR Unknown option or number of arguments for SENTINEL DEBUG '{name}'")
        };
        return call.reply().error(&error);
    }
    let mut reply = call.reply();
    reply.map(intervals.len());
    for (name, value) in intervals {
        reply.bulk(name.as_bytes());
        reply.bulk(value.to_string().as_bytes());
    }
}

pub(super) fn simulate_failure(call: &mut Call<'_>) {
    let mut failure = None;
    for arg in &call.args[2..] {
        match arg.to_ascii_lowercase().as_slice() {
            b"crash-after-election" => failure = Some(Simulated::CrashAfterElection),
            b"crash-after-promotion" => failure = Some(Simulated::CrashAfterPromotion),
            b"help" => {
                let mut reply = call.reply();
                reply.array(2);
                reply.bulk(b"crash-after-election");
                reply.bulk(b"crash-after-promotion");
                return;
            }
            _ => return call.reply().error("ERR Unknown failure simulation specified"),
        }
    }
    call.server.backend.simulate(failure);
    call.reply().ok();
}
