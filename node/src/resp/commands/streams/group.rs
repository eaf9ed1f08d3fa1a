//! XGROUP: groups and their consumers come and go.

use tercet_proto::resp::Encoder;

use super::{G, help, id, lossy, number, reading, stream};
use crate::effect::{KeyChange, StreamChange, class};
use crate::engine::Transaction;
use crate::keyspace::value::stream::{Consumer, Stream, StreamId};
use crate::resp::error::Error;
use crate::resp::table::flag::DENY_OOM;
use crate::resp::table::{Args, Command, Keys, Outcome, write};

pub(super) const ROWS: &[Command] = &[
    write("xgroup|create", -5, DENY_OOM, KEY, G, "Creates a consumer group.", create),
    write("xgroup|setid", -5, 0, KEY, G, "Sets the last-delivered ID of a consumer group.", set_id),
    write("xgroup|destroy", 4, 0, KEY, G, "Destroys a consumer group.", destroy),
    write("xgroup|createconsumer", 5, DENY_OOM, KEY, G, "Creates a consumer in a consumer group.", create_consumer),
    write("xgroup|delconsumer", 5, 0, KEY, G, "Deletes a consumer from a consumer group.", remove_consumer),
    reading(
        "xgroup|help",
        2,
        0,
        Keys::None,
        G,
        "Returns helpful text about the different subcommands.",
        |_, _, out| {
            help(out, HELP);
            Ok(())
        },
    ),
];

const KEY: Keys = Keys::Range(2, 2, 1);

const HELP: &[&str] = &[
    "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
    "HELP",
    "    Print this help.",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    SetId,
    Destroy,
    CreateConsumer,
    RemoveConsumer,
}

fn create(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    run(transaction, args, Action::Create, out)
}

fn set_id(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    run(transaction, args, Action::SetId, out)
}

fn destroy(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    run(transaction, args, Action::Destroy, out)
}

fn create_consumer(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    run(transaction, args, Action::CreateConsumer, out)
}

fn remove_consumer(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    run(transaction, args, Action::RemoveConsumer, out)
}

#[derive(Default)]
struct Options {
    makes_stream: bool,
    read: Option<u64>,
}

impl Options {
    fn parse(args: &Args<'_>, action: Action) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut rest = args.get(5..).unwrap_or_default();
        while let [word, behind @ ..] = rest {
            rest = behind;
            match (word.to_ascii_lowercase().as_slice(), behind) {
                (b"mkstream", _) if action == Action::Create => options.makes_stream = true,
                (b"entriesread", [text, behind @ ..]) if matches!(action, Action::Create | Action::SetId) => {
                    options.read = match number::integer(text)? {
                        -1 => None,
                        number => Some(
                            u64::try_from(number)
                                .map_err(|_| Error::text("ERR value for ENTRIESREAD must be positive or -1"))?,
                        ),
                    };
                    rest = behind;
                }
                _ => return Err(wrong_number(args)),
            }
        }
        Ok(options)
    }
}

fn wrong_number(args: &Args<'_>) -> Error {
    let name = lossy(args[1]);
    Error::text(format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try XGROUP HELP."))
}

fn run(transaction: &mut Transaction<'_>, args: &Args<'_>, action: Action, out: &mut Encoder<'_>) -> Outcome {
    let options = Options::parse(args, action)?;
    let (key, name) = (args[2], args[3]);
    let now = transaction.now().0;
    let slot = transaction.open(key);
    let found = stream(slot.value())?;
    if found.is_none() && !options.makes_stream {
        return Err(Error::text(
            "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
             option to create an empty stream automatically.",
        ));
    }
    let group = found.and_then(|stream| stream.group(name));
    if group.is_none() && !matches!(action, Action::Create | Action::Destroy) {
        return Err(Error::text(format!(
            "NOGROUP No such consumer group '{}' for key name '{}'",
            lossy(name),
            lossy(key)
        )));
    }
    let consumer = |name: &[u8]| group.and_then(|group| group.consumer(name));
    let change = match action {
        Action::Create => {
            let last_id = position(args[4], found, id::strict)?;
            if group.is_some() {
                return Err(Error::text("BUSYGROUP Consumer Group name already exists"));
            }
            out.ok();
            StreamChange::CreateGroup { name, last_id, read: options.read }
        }
        Action::SetId => {
            let last_id = position(args[4], found, |text| id::with_ends(text, 0))?;
            out.ok();
            StreamChange::SetGroup { name, last_id, read: options.read }
        }
        Action::Destroy => {
            out.integer(i64::from(group.is_some()));
            if group.is_none() {
                return Ok(());
            }
            StreamChange::RemoveGroup { name }
        }
        Action::CreateConsumer => {
            let is_there = consumer(args[4]).is_some();
            out.integer(i64::from(!is_there));
            if is_there {
                return Ok(());
            }
            StreamChange::See { group: name, consumer: args[4], seen_at: now, active_at: None }
        }
        Action::RemoveConsumer => {
            let pending = consumer(args[4]).map(|consumer: &Consumer| consumer.pending().len());
            out.integer(pending.unwrap_or(0) as i64);
            if pending.is_none() {
                return Ok(());
            }
            StreamChange::RemoveConsumer { group: name, consumer: args[4] }
        }
    };
    slot.apply(&KeyChange::Stream(change))?;
    match action {
        Action::SetId => transaction.raise(class::STREAM, "xgroup-setid", key),
        Action::CreateConsumer => transaction.raise(class::STREAM, "xgroup-createconsumer", key),
        Action::Create | Action::Destroy | Action::RemoveConsumer => {}
    }
    Ok(())
}

/// Where a group begins.
fn position(
    text: &[u8],
    stream: Option<&Stream>,
    parse: impl FnOnce(&[u8]) -> Result<StreamId, Error>,
) -> Result<StreamId, Error> {
    if text == b"$" { Ok(stream.map_or(StreamId::MIN, Stream::last_id)) } else { parse(text) }
}
