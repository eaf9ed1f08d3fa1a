//! ACL: users and what they may do. They are the replicated accounts, the same on every node.

use tercet_proto::resp::Encoder;

use super::G;
use crate::accounts::{Change, INITIAL_RESP_USER, User};
use crate::config::Config;
use crate::resp::acl::{CATEGORIES, Definition, Denied, Refusal, Rights, Selector, categories_of, joined};
use crate::resp::commands::number;
use crate::resp::error::{Error, shown};
use crate::resp::session::Session;
use crate::resp::table::flag::{ADMIN, LOADING, NO_SCRIPT};
use crate::resp::table::{self, Args, Command, Outcome, session};

const USUAL: u32 = LOADING | NO_SCRIPT;
const STRICT: u32 = ADMIN | USUAL;

pub(super) const ROWS: &[Command] = &[
    session("acl|setuser", -3, STRICT, G, "Creates and modifies an ACL user and its rules.", setuser),
    session("acl|getuser", 3, STRICT, G, "Lists the ACL rules of a user.", getuser),
    session("acl|deluser", -3, STRICT, G, "Deletes ACL users, and terminates their connections.", deluser),
    session("acl|list", 2, STRICT, G, "Dumps the effective rules in ACL file format.", list),
    session("acl|users", 2, STRICT, G, "Lists all ACL users.", users),
    session(
        "acl|whoami",
        2,
        USUAL,
        G,
        "Returns the authenticated username of the current connection.",
        |session, _, out| {
            out.bulk(session.user.as_bytes());
            Ok(())
        },
    ),
    session("acl|cat", -2, USUAL, G, "Lists the ACL categories, or the commands inside a category.", cat),
    session("acl|genpass", -2, USUAL, G, "Generates a password.", genpass),
    session("acl|log", -2, STRICT, G, "Lists recent security events.", log),
    session("acl|dryrun", -4, STRICT, G, "Simulates the execution of a command by a user.", dryrun),
    session("acl|save", 2, STRICT, G, "Saves the effective ACL rules in the configured ACL file.", save),
    session("acl|load", 2, STRICT, G, "Reloads the rules from the configured ACL file.", load),
];

fn refused(refusal: Refusal) -> Error {
    Error::text(format!("ERR {}", refusal.0))
}

fn name_of(bytes: &[u8]) -> Result<String, Error> {
    let is_clean = !bytes.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0);
    let name = std::str::from_utf8(bytes).ok().filter(|_| is_clean);
    name.map(str::to_owned).ok_or(Error::text("ERR Usernames can't contain spaces or null characters"))
}

fn setuser(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let name = name_of(args[2])?;
    session.may_change()?;
    let rules = joined(&args[3..]).map_err(refused)?;
    let all_channels = session.node.config.live.acl_pubsub_default.index() == 0;
    let engine = &session.node.engine;
    let mut wrong = None;
    let offset = engine.accounts.change_if(&engine.journal, |directory| {
        let known = directory.users.get(&name).cloned();
        let mut user = known.unwrap_or_else(|| User::new(name.clone()));
        let mut definition = if user.rules.is_empty() { Definition::new(all_channels) } else { Definition::of(&user) };
        for rule in &rules {
            if let Err(refusal) = definition.change(rule) {
                wrong = Some(refusal);
                return Vec::new();
            }
        }
        definition.write_to(&mut user);
        vec![Change::SetUser(user)]
    });
    if let Some(refusal) = wrong {
        return Err(refused(refusal));
    }
    session.depend_on(offset);
    out.ok();
    Ok(())
}

fn deluser(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    session.may_change()?;
    let names: Vec<String> = args[2..].iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    if names.iter().any(|name| name == INITIAL_RESP_USER) {
        return Err(Error::text("ERR The 'default' user cannot be removed"));
    }
    let engine = &session.node.engine;
    let mut deleted = 0;
    let offset = engine.accounts.change_if(&engine.journal, |directory| {
        let mine = names.iter().filter_map(|name| directory.users.get(name)).filter(|user| !user.rules.is_empty());
        let changes: Vec<Change> = mine
            .map(|user| {
                if user.tags.is_empty() && user.credentials.salted.is_none() {
                    Change::DeleteUser { name: user.name.clone() }
                } else {
                    // It goes on for AMQP and the page.
                    Change::SetUser(User { rules: Vec::new(), ..user.clone() })
                }
            })
            .collect();
        deleted = changes.len();
        changes
    });
    session.depend_on(offset);
    out.integer(deleted as i64);
    Ok(())
}

/// Users with rules, by name.
fn definitions(session: &mut Session) -> Vec<(String, Definition)> {
    let (directory, offset) = session.node.engine.accounts.directory_and_offset();
    session.depend_on(offset);
    let users = directory.users.values().filter(|user| !user.rules.is_empty());
    users.map(|user| (user.name.clone(), Definition::of(user))).collect()
}

fn getuser(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let wanted = String::from_utf8_lossy(args[2]).into_owned();
    let found = definitions(session).into_iter().find(|(name, _)| *name == wanted);
    let Some((_, mut definition)) = found else {
        out.null();
        return Ok(());
    };
    let setting = session.node.requirepass();
    definition.needs_no_password |= definition.of_setting && setting.is_empty();
    out.map(6);
    out.bulk(b"flags");
    let flags = definition.flags();
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    let hashes = definition.hashes(setting);
    out.array(hashes.len());
    hashes.iter().for_each(|hash| out.bulk(hash.as_bytes()));
    put_selector(&definition.root, out);
    out.bulk(b"selectors");
    out.array(definition.selectors.len());
    for selector in &definition.selectors {
        out.map(3);
        put_selector(selector, out);
    }
    Ok(())
}

fn put_selector(selector: &Selector, out: &mut Encoder<'_>) {
    for (name, text) in
        [("commands", selector.show_commands()), ("keys", selector.show_keys()), ("channels", selector.show_channels())]
    {
        out.bulk(name.as_bytes());
        out.bulk(&text);
    }
}

fn list(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let definitions = definitions(session);
    out.array(definitions.len());
    for (name, definition) in definitions {
        out.bulk(&definition.line(&name, session.node.requirepass()));
    }
    Ok(())
}

fn users(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let definitions = definitions(session);
    out.array(definitions.len());
    definitions.iter().for_each(|(name, _)| out.bulk(name.as_bytes()));
    Ok(())
}

fn cat(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match &args[2..] {
        [] => {
            out.array(CATEGORIES.len());
            CATEGORIES.iter().for_each(|name| out.bulk(name.as_bytes()));
        }
        [wanted] => {
            let name = CATEGORIES.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(wanted));
            let name = name.ok_or_else(|| Error::text(format!("ERR Unknown category '{}'", shown(wanted))))?;
            let rows: Vec<_> = table::rows()
                .iter()
                .filter(|row| !row.has_subcommands() && categories_of(row).contains(name))
                .collect();
            out.array(rows.len());
            rows.iter().for_each(|row| out.bulk(row.name.as_bytes()));
        }
        _ => return Err(Error::Arity("acl|cat".into())),
    }
    Ok(())
}

fn genpass(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let bits = match &args[2..] {
        [] => 256,
        [bits] => number::integer(bits)?,
        _ => return Err(Error::Arity("acl|genpass".into())),
    };
    let bits = usize::try_from(bits).ok().filter(|bits| (1..=4096).contains(bits)).ok_or(Error::text(
        "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
    ))?;
    let digits: Vec<u8> = (0..bits.div_ceil(4)).map(|_| b"0123456789abcdef"[rand::random_range(0..16)]).collect();
    out.bulk(&digits);
    Ok(())
}

fn log(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let log = &session.node.acl.log;
    let most = match &args[2..] {
        [] => 10,
        [word] if word.eq_ignore_ascii_case(b"reset") => {
            log.reset();
            out.ok();
            return Ok(());
        }
        [count] => usize::try_from(number::integer(count)?).unwrap_or(0),
        _ => return Err(Error::Arity("acl|log".into())),
    };
    let entries = log.newest(most);
    out.array(entries.len());
    let now = crate::clock::unix_now().0;
    for entry in entries {
        out.map(10);
        let mut text = |name: &str, value: &[u8]| {
            out.bulk(name.as_bytes());
            out.bulk(value);
        };
        text("reason", entry.reason.as_bytes());
        text("context", entry.context.name().as_bytes());
        text("object", &entry.object);
        text("username", entry.user.as_bytes());
        text("age-seconds", format!("{:.3}", now.saturating_sub(entry.created.0) as f64 / 1000.0).as_bytes());
        text("client-info", entry.client.as_bytes());
        for (name, number) in [
            ("count", entry.count),
            ("entry-id", entry.id),
            ("timestamp-created", entry.created.0),
            ("timestamp-last-updated", entry.updated.0),
        ] {
            out.bulk(name.as_bytes());
            out.integer(number as i64);
        }
    }
    Ok(())
}

fn dryrun(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let wanted = String::from_utf8_lossy(args[2]).into_owned();
    let found = definitions(session).into_iter().find(|(name, _)| *name == wanted);
    let (name, definition) = found.ok_or_else(|| Error::text(format!("ERR User '{}' not found", shown(args[2]))))?;
    let command = &args[3..];
    let row = table::resolve(command.iter().copied());
    let row = row.ok_or_else(|| Error::text(format!("ERR Command '{}' not found", shown(command[0]))))?;
    if !row.accepts(command.len()) {
        return Err(Error::Arity(row.name.into()));
    }
    match Rights::new(&name, &definition).check(row, command) {
        Ok(()) => out.ok(),
        Err(denied) => {
            let what = match denied {
                Denied::Command => format!("run the '{}' command", row.name),
                Denied::Key(key) => format!("access the '{}' key", String::from_utf8_lossy(&key)),
                Denied::Channel(channel) => format!("access the '{}' channel", String::from_utf8_lossy(&channel)),
            };
            out.bulk(format!("User {name} has no permissions to {what}").as_bytes());
        }
    }
    Ok(())
}

fn file(config: &Config) -> Result<&str, Error> {
    Some(config.aclfile.as_str()).filter(|path| !path.is_empty()).ok_or(Error::text(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
         command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store \
         users in the Redis configuration.",
    ))
}

fn save(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let definitions = definitions(session);
    let path = file(&session.node.config)?;
    let mut text = Vec::new();
    for (name, definition) in definitions {
        text.extend_from_slice(&definition.line(&name, session.node.requirepass()));
        text.push(b'\n');
    }
    crate::config::replace_file(std::path::Path::new(path), &text).map_err(|error| {
        tracing::warn!(path, %error, "users could not be written to the file");
        Error::text("ERR There was an error trying to save the ACLs. Please check the server logs for more information")
    })?;
    out.ok();
    Ok(())
}

/// Users of the file: all or, if one line is wrong, none.
fn load(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let path = file(&session.node.config)?.to_owned();
    session.may_change()?;
    let text = std::fs::read(&path)
        .map_err(|error| Error::text(format!("ERR Error loading ACLs, opening file '{path}': {error}")))?;
    let mut users: Vec<(String, Definition)> = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let words: Vec<&[u8]> = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
        let wrong = |reason: &str| {
            Error::text(format!(
                "ERR {path}:{}: {reason}. WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
                index + 1
            ))
        };
        let (name, rules) = match &words[..] {
            [] => continue,
            [first, ..] if first.starts_with(b"#") => continue,
            [first, name, rules @ ..] if first.eq_ignore_ascii_case(b"user") => (name_of(name)?, rules),
            _ => return Err(wrong("should start with user keyword followed by the username")),
        };
        let mut definition = Definition::new(false);
        for rule in joined(rules).map_err(|refusal| wrong(&refusal.0))? {
            definition.change(&rule).map_err(|refusal| wrong(&refusal.0))?;
        }
        if users.iter().any(|(known, _)| *known == name) {
            return Err(wrong(&format!("WARNING: Duplicate user '{name}' found")));
        }
        users.push((name, definition));
    }
    let engine = &session.node.engine;
    let offset = engine.accounts.change_if(&engine.journal, |directory| {
        let mut changes: Vec<Change> = users
            .iter()
            .map(|(name, definition)| {
                let mut user = directory.users.get(name).cloned().unwrap_or_else(|| User::new(name.clone()));
                definition.write_to(&mut user);
                Change::SetUser(user)
            })
            .collect();
        let gone = directory.users.values().filter(|user| {
            !user.rules.is_empty()
                && user.name != INITIAL_RESP_USER
                && !users.iter().any(|(name, _)| *name == user.name)
        });
        changes.extend(gone.map(|user| Change::SetUser(User { rules: Vec::new(), ..user.clone() })));
        changes
    });
    session.depend_on(offset);
    out.ok();
    Ok(())
}
