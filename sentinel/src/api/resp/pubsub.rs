//! Subscriptions: SUBSCRIBE and its kin, delivery of events, and the glob patterns of Redis.

use std::collections::BTreeSet;

use tercet_proto::resp::Encoder;

use super::{row::Call, session::Session};
use crate::{events::Event, limits};

/// The only channel that a sentinel takes messages on.
const HELLO_CHANNEL: &[u8] = b"__sentinel__:hello";

pub(crate) fn subscribe(call: &mut Call<'_>) {
    each(call, |call, channel| {
        add(call, "subscribe", channel, |session| &mut session.channels);
    });
}

pub(crate) fn psubscribe(call: &mut Call<'_>) {
    each(call, |call, pattern| {
        add(call, "psubscribe", pattern, |session| &mut session.patterns);
    });
}

pub(crate) fn unsubscribe(call: &mut Call<'_>) {
    remove(call, "unsubscribe", |session| &mut session.channels);
}

pub(crate) fn punsubscribe(call: &mut Call<'_>) {
    remove(call, "punsubscribe", |session| &mut session.patterns);
}

/// Clients may say hello as Redis' sentinels do. It is answered and not believed: whoever can publish could forge a
/// topology with it, and ours is agreed on by Raft.
pub(crate) fn publish(call: &mut Call<'_>) {
    if call.args[1] == HELLO_CHANNEL {
        call.reply().integer(1);
    } else {
        call.reply().error("ERR Only HELLO messages are accepted by Sentinel instances.");
    }
}

/// Writes the event for each subscription that it matches, in Redis' order: the channel first, then patterns.
pub(crate) fn deliver(session: &Session, event: &Event, out: &mut Vec<u8>) {
    let mut push = Encoder::new(out, session.version);
    let channel = event.channel.as_bytes();
    if session.channels.contains(channel) {
        push.push(3);
        push.bulk(b"message");
        push.bulk(channel);
        push.bulk(event.message.as_bytes());
    }
    for pattern in session.patterns.iter().filter(|pattern| glob(pattern, channel)) {
        push.push(4);
        push.bulk(b"pmessage");
        push.bulk(pattern);
        push.bulk(channel);
        push.bulk(event.message.as_bytes());
    }
}

type Field = fn(&mut Session) -> &mut BTreeSet<Vec<u8>>;

fn each(call: &mut Call<'_>, one: impl Fn(&mut Call<'_>, &[u8])) {
    let args = call.args;
    for arg in &args[1..] {
        one(call, arg);
    }
}

fn add(call: &mut Call<'_>, kind: &str, name: &[u8], field: Field) {
    if call.session.subscriptions() >= limits::MOST_SUBSCRIPTIONS {
        call.reply().error("ERR too many subscriptions");
        return;
    }
    field(call.session).insert(name.to_vec());
    confirm(call, kind, Some(name));
}

fn remove(call: &mut Call<'_>, kind: &str, field: Field) {
    let args = call.args;
    let names: Vec<Vec<u8>> = if args.len() > 1 {
        args[1..].iter().map(|name| name.to_vec()).collect()
    } else {
        field(call.session).iter().cloned().collect()
    };
    if names.is_empty() {
        confirm(call, kind, None);
    }
    for name in names {
        field(call.session).remove(&name);
        confirm(call, kind, Some(&name));
    }
}

fn confirm(call: &mut Call<'_>, kind: &str, name: Option<&[u8]>) {
    let count = call.session.subscriptions();
    {
        let mut facts = call.session.client.facts.lock();
        facts.subscriptions = call.session.channels.len();
        facts.patterns = call.session.patterns.len();
    }
    call.reply().push(3);
    call.reply().bulk(kind.as_bytes());
    match name {
        Some(name) => call.reply().bulk(name),
        None => call.reply().null(),
    }
    call.reply().integer(count as i64);
}

/// Redis' glob: `*`, `?`, `[a-z]`, `[^a]`, `\x`. Iterative, so that no pattern takes more than quadratic time.
pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t == text.len() {
            return p == pattern.len();
        }
        if let Some(next) = match_one(pattern, p, text[t]) {
            p = next;
            t += 1;
            continue;
        }
        // The last star takes one byte more.
        match star {
            Some((after, taken)) => {
                p = after;
                t = taken + 1;
                star = Some((after, t));
            }
            None => return false,
        }
    }
}

/// Where the pattern goes on if its element at `p` matches `byte`.
fn match_one(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => {
            let mut at = p + 1;
            let negated = pattern.get(at) == Some(&b'^');
            at += usize::from(negated);
            let mut found = false;
            while let Some(&first) = pattern.get(at) {
                if first == b']' {
                    at += 1;
                    break;
                }
                if first == b'\\' && at + 1 < pattern.len() {
                    found |= pattern[at + 1] == byte;
                    at += 2;
                } else if pattern.get(at + 1) == Some(&b'-') && at + 2 < pattern.len() {
                    let (low, high) = (first.min(pattern[at + 2]), first.max(pattern[at + 2]));
                    found |= (low..=high).contains(&byte);
                    at += 3;
                } else {
                    found |= first == byte;
                    at += 1;
                }
            }
            (found != negated).then_some(at)
        }
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == byte).then_some(p + 2),
        literal => (literal == byte).then_some(p + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns_match_as_in_redis() {
        let cases: [(&str, &str, bool); 15] = [
            ("*", "+switch-master", true),
            ("*", "", true),
            ("+s*r", "+switch-master", true),
            ("+?down", "+sdown", true),
            ("+?down", "+down", false),
            ("[-+]sdown", "-sdown", true),
            // A range up to the bracket, in Redis too.
            ("[+-]sdown", "-sdown", false),
            ("[^+]sdown", "+sdown", false),
            ("[a-c]x", "bx", true),
            ("[c-a]x", "bx", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("abc", "abcd", false),
        ];
        for (pattern, text, matches) in cases {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), matches, "{pattern} against {text}");
        }
    }
}
