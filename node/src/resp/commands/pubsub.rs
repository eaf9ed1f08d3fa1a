//! Publish and subscribe.

use tercet_proto::resp::Encoder;

use super::help;
use crate::pubsub::{Channel, Topic};
use crate::resp::error::Error;
use crate::resp::session::Session;
use crate::resp::table::flag::{FAST, LOADING, MAY_REPLICATE, NO_SCRIPT, PUBSUB, WHILE_SUBSCRIBED};
use crate::resp::table::{Args, Command, Group, Outcome, container, session};

const G: Group = Group::PubSub;
const SUBSCRIBING: u32 = PUBSUB | NO_SCRIPT | LOADING | WHILE_SUBSCRIBED;
const PUBLISHING: u32 = PUBSUB | LOADING | FAST | MAY_REPLICATE;

pub(super) const ROWS: &[Command] = &[
    session("subscribe", -2, SUBSCRIBING, G, "Listens for messages published to channels.", |session, args, out| {
        subscribe(session, Topic::Channel, "subscribe", args, out)
    }),
    session(
        "psubscribe",
        -2,
        SUBSCRIBING,
        G,
        "Listens for messages published to channels that match one or more patterns.",
        |session, args, out| subscribe(session, Topic::Pattern, "psubscribe", args, out),
    ),
    session(
        "ssubscribe",
        -2,
        SUBSCRIBING,
        G,
        "Listens for messages published to shard channels.",
        |session, args, out| subscribe(session, Topic::Shard, "ssubscribe", args, out),
    ),
    session(
        "unsubscribe",
        -1,
        SUBSCRIBING,
        G,
        "Stops listening to messages posted to channels.",
        |session, args, out| unsubscribe(session, Topic::Channel, "unsubscribe", args, out),
    ),
    session(
        "punsubscribe",
        -1,
        SUBSCRIBING,
        G,
        "Stops listening to messages published to channels that match one or more patterns.",
        |session, args, out| unsubscribe(session, Topic::Pattern, "punsubscribe", args, out),
    ),
    session(
        "sunsubscribe",
        -1,
        SUBSCRIBING,
        G,
        "Stops listening to messages posted to shard channels.",
        |session, args, out| unsubscribe(session, Topic::Shard, "sunsubscribe", args, out),
    ),
    session("publish", 3, PUBLISHING, G, "Posts a message to a channel.", |session, args, out| {
        publish(session, Channel::Plain, args, out)
    }),
    session("spublish", 3, PUBLISHING, G, "Posts a message to a shard channel.", |session, args, out| {
        publish(session, Channel::Shard, args, out)
    }),
    container(
        "pubsub",
        G,
        "A container for Pub/Sub commands.",
        &[
            session(
                "pubsub|channels",
                -2,
                PUBSUB | LOADING,
                G,
                "Returns the active channels.",
                |session, args, out| channels(session, Channel::Plain, args, out),
            ),
            session(
                "pubsub|shardchannels",
                -2,
                PUBSUB | LOADING,
                G,
                "Returns the active shard channels.",
                |session, args, out| channels(session, Channel::Shard, args, out),
            ),
            session(
                "pubsub|numsub",
                -2,
                PUBSUB | LOADING,
                G,
                "Returns a count of subscribers to channels.",
                |session, args, out| numsub(session, Channel::Plain, args, out),
            ),
            session(
                "pubsub|shardnumsub",
                -2,
                PUBSUB | LOADING,
                G,
                "Returns the count of subscribers of shard channels.",
                |session, args, out| numsub(session, Channel::Shard, args, out),
            ),
            session(
                "pubsub|numpat",
                2,
                PUBSUB | LOADING,
                G,
                "Returns a count of unique pattern subscriptions.",
                |session, _, out| {
                    out.integer(session.node.pubsub.patterns() as i64);
                    Ok(())
                },
            ),
            session(
                "pubsub|help",
                2,
                LOADING,
                G,
                "Returns helpful text about the different subcommands.",
                |_, _, out| {
                    help(out, HELP);
                    Ok(())
                },
            ),
        ],
    ),
];

const HELP: &[&str] = &[
    "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
    "HELP",
    "    Print this help.",
];

/// Tells of a subscription that was made or ended, and how many are left.
fn tell(out: &mut Encoder<'_>, what: &str, name: Option<&[u8]>, count: usize) {
    out.push(3);
    out.bulk(what.as_bytes());
    match name {
        Some(name) => out.bulk(name),
        None => out.null(),
    }
    out.integer(count as i64);
}

fn subscribe(session: &mut Session, topic: Topic, what: &str, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    for name in &args[1..] {
        let count = session.subscribe(topic, name);
        tell(out, what, Some(name), count);
    }
    Ok(())
}

fn unsubscribe(session: &mut Session, topic: Topic, what: &str, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let names: Vec<Box<[u8]>> = match args {
        [_] => session.subscribed(topic),
        [_, names @ ..] => names.iter().map(|name| (*name).into()).collect(),
        [] => Vec::new(),
    };
    if names.is_empty() {
        tell(out, what, None, session.count_subscriptions(topic));
    }
    for name in &names {
        let count = session.unsubscribe(topic, name);
        // What was published before comes before the word that it has ended.
        session.read_mail(out);
        tell(out, what, Some(name), count);
    }
    Ok(())
}

fn publish(session: &mut Session, channel: Channel, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let reached = session.node.pubsub.publish(channel, args[1], args[2]);
    out.integer(reached as i64);
    Ok(())
}

fn channels(session: &mut Session, channel: Channel, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let pattern = match args {
        [_, _] => None,
        [_, _, pattern] => Some(*pattern),
        _ => return Err(Error::subcommand_syntax("PUBSUB", args[1])),
    };
    let channels = session.node.pubsub.channels(channel, pattern);
    out.array(channels.len());
    channels.iter().for_each(|name| out.bulk(name));
    Ok(())
}

fn numsub(session: &mut Session, channel: Channel, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let names = &args[2..];
    out.array(names.len() * 2);
    for name in names {
        out.bulk(name);
        out.integer(session.node.pubsub.subscribers(channel, name) as i64);
    }
    Ok(())
}
