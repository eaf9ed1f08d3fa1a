//! What of a session goes along when its client is carried to another node, and comes back from there.
//!
//! ```text
//! format 3 | RESP 2 or 3 | database | flags | name | library | its version | queued commands: each arguments: each bytes
//!          | channels: each bytes | patterns: each bytes | shard channels: each bytes
//!          | tracking: 0, or its mode, 0 or 1 for NOLOOP, prefixes: each bytes
//!          | user
//! ```
//!
//! Format 1 ends before the channels, format 2 before the user.
//!
//! Numbers are varints, bytes stand behind their length. A watched key is not among it: versions of keys are counted by
//! each node for itself, so EXEC answers nil as if the key had been touched.
//!
//! That a session is authenticated is said and not granted: who takes it up has to have been given the password.

use std::sync::Arc;

use bytes::Bytes;
use tercet_proto::resp::Version;

use super::listens::TOPICS;
use super::{Multi, Session, Watched};
use crate::accounts::INITIAL_RESP_USER;
use crate::limits;
use crate::resp::table::{self, Kind, Row, Transactional, flag as flag_of_row};
use crate::tracking::{Mode, Tracker};
use crate::wire::{Reader, put_bytes, put_varint};

const FORMAT: u64 = 3;

/// That of nodes that know no subscriptions.
const FORMAT_BEFORE: u64 = 1;

/// How a client tracks, by its number in a packed session.
const MODES: [Mode; 4] = [Mode::Reads, Mode::OptIn, Mode::OptOut, Mode::Broadcast];

mod flag {
    pub(super) const AUTHENTICATED: u64 = 1;
    pub(super) const WATCHING: u64 = 2;
    pub(super) const MULTI: u64 = 4;
    pub(super) const MULTI_IS_BROKEN: u64 = 8;
}

/// Why a session cannot be taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Wire(#[from] crate::wire::Error),
    #[error("format {0} is not known")]
    Format(u64),
    #[error("{0} is out of range")]
    Range(u64),
}

impl Session {
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let multi = self.multi.as_ref();
        let flags = [
            (self.is_authenticated, flag::AUTHENTICATED),
            (!self.watched.is_empty(), flag::WATCHING),
            (multi.is_some(), flag::MULTI),
            (multi.is_some_and(|multi| multi.is_broken), flag::MULTI_IS_BROKEN),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum();
        let resp = if self.version == Version::Resp3 { 3 } else { 2 };
        [FORMAT, resp, u64::from(self.database), flags].into_iter().for_each(|number| put_varint(&mut out, number));
        let about = self.client.about.lock();
        for text in [&about.name, &about.library, &about.library_version] {
            put_bytes(&mut out, text.as_bytes());
        }
        let queued = multi.map_or(&[][..], |multi| &multi.queued);
        put_varint(&mut out, queued.len() as u64);
        for (_, args) in queued {
            put_varint(&mut out, args.len() as u64);
            args.iter().for_each(|arg| put_bytes(&mut out, arg));
        }
        for topic in TOPICS {
            let names = self.subscribed(topic);
            put_varint(&mut out, names.len() as u64);
            names.iter().for_each(|name| put_bytes(&mut out, name));
        }
        match self.tracker() {
            None => put_varint(&mut out, 0),
            Some(tracker) => {
                let mode = MODES.iter().position(|mode| *mode == tracker.mode).unwrap_or(0) as u64;
                [mode + 1, tracker.is_no_loop.into(), tracker.prefixes.len() as u64]
                    .into_iter()
                    .for_each(|number| put_varint(&mut out, number));
                tracker.prefixes.iter().for_each(|prefix| put_bytes(&mut out, prefix));
            }
        }
        put_bytes(&mut out, self.user.as_bytes());
        out
    }

    /// Goes on as the session that was packed, but for its authentication: that is returned.
    ///
    /// # Errors
    /// The bytes are no session. This one is as before.
    pub(crate) fn unpack(&mut self, packed: &[u8]) -> Result<bool, Error> {
        let mut reader = Reader::new(packed);
        let format = reader.varint()?;
        if !(FORMAT_BEFORE..=FORMAT).contains(&format) {
            return Err(Error::Format(format));
        }
        let version = match reader.varint()? {
            2 => Version::Resp2,
            3 => Version::Resp3,
            other => return Err(Error::Range(other)),
        };
        let database = reader.varint()?;
        let index = u8::try_from(database).ok().filter(|index| *index < limits::DATABASES);
        let database = index.ok_or(Error::Range(database))?;
        let flags = reader.varint()?;
        let mut texts = [const { String::new() }; 3];
        for text in &mut texts {
            *text = String::from_utf8_lossy(reader.bytes()?).into_owned();
        }
        let mut multi = (flags & flag::MULTI != 0)
            .then(|| Multi { is_broken: flags & flag::MULTI_IS_BROKEN != 0, ..Multi::default() });
        for _ in 0..reader.varint()? {
            let mut args = Vec::new();
            for _ in 0..reader.varint()? {
                args.push(Bytes::copy_from_slice(reader.bytes()?));
            }
            let row = table::resolve(args.iter().map(|arg| &arg[..]));
            // What MULTI would not have queued here is not executed by EXEC either: nobody has checked the arguments.
            let is_queued = |row: &&Row| {
                row.accepts(args.len())
                    && !(row.has_subcommands() && args.len() > 1)
                    && !row.has(flag_of_row::AT_ONCE | flag_of_row::NOT_IN_MULTI)
                    && (!matches!(row.kind, Kind::Transactional(_))
                        || matches!(row.kind, Kind::Transactional(Transactional::Unwatch)))
            };
            match (&mut multi, row.filter(is_queued)) {
                (Some(multi), Some(row)) => multi.push(row, args),
                // The other node knows a command that this one does not.
                (Some(multi), None) => multi.is_broken = true,
                (None, _) => {}
            }
        }
        let (mut names, mut tracker) = (Vec::new(), None);
        if format > FORMAT_BEFORE {
            for topic in TOPICS {
                for _ in 0..reader.varint()? {
                    names.push((topic, reader.bytes()?));
                }
            }
            let mode = reader.varint()?;
            if mode > 0 {
                let mode = MODES.get((mode - 1) as usize).copied().ok_or(Error::Range(mode))?;
                let is_no_loop = reader.varint()? != 0;
                let mut prefixes = Vec::new();
                for _ in 0..reader.varint()? {
                    prefixes.push(reader.bytes()?.into());
                }
                tracker = Some(Tracker::new(Arc::clone(&self.client), mode, is_no_loop, 0, prefixes));
            }
        }
        let user = if format >= FORMAT { reader.text()?.to_owned() } else { INITIAL_RESP_USER.to_owned() };
        self.become_user(&user);
        self.end_subscriptions();
        for (topic, name) in names {
            self.subscribe(topic, name);
        }
        (self.version, self.database, self.multi) = (version, database, multi);
        self.watched = if flags & flag::WATCHING == 0 { Vec::new() } else { vec![Watched::Lost] };
        let mut about = self.client.about.lock();
        [about.name, about.library, about.library_version] = texts;
        (about.database, about.resp) = (database, if version == Version::Resp3 { 3 } else { 2 });
        drop(about);
        match tracker {
            // What has changed on the way, nobody knows.
            Some(tracker) => self.track_anew(tracker),
            None => self.end_tracking(),
        }
        Ok(flags & flag::AUTHENTICATED != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pubsub::Channel;
    use crate::resp::session::testing::{self, say};

    #[test]
    fn a_session_goes_on_where_it_is_unpacked() {
        let mut here = testing::session();
        for words in [
            &["HELLO", "3", "SETNAME", "bob"][..],
            &["CLIENT", "SETINFO", "lib-name", "lib"],
            &["SELECT", "5"],
            &["SUBSCRIBE", "a", "b"],
            &["PSUBSCRIBE", "c*"],
            &["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "user:"],
            &["MULTI"],
            &["SET", "key", "value"],
            &["GET", "key"],
        ] {
            say(&mut here, words);
        }
        let mut there = testing::session();
        assert_eq!(there.unpack(&here.pack()), Ok(true));
        assert_eq!(there.pack(), here.pack());
        assert_eq!(say(&mut there, &["EXEC"]), "*2\r\n+OK\r\n$5\r\nvalue\r\n");
        assert_eq!(say(&mut there, &["CLIENT", "GETNAME"]), "$3\r\nbob\r\n");
        assert_eq!(there.database, 5);
        assert_eq!(there.node.pubsub.publish(Channel::Plain, b"a", b"message"), 1);
        there.end_subscriptions();
        assert_eq!(there.node.pubsub.publish(Channel::Plain, b"cd", b"message"), 0);
    }

    #[test]
    fn the_session_of_an_older_node_is_taken_up() {
        let mut session = testing::session();
        assert_eq!(session.unpack(&[1, 3, 5, 1, 0, 0, 0, 0]), Ok(true));
        assert_eq!((session.version, session.database), (Version::Resp3, 5));
    }

    #[test]
    fn what_was_watched_counts_as_touched() {
        let mut here = testing::session();
        for words in [&["WATCH", "key"][..], &["MULTI"], &["SET", "key", "value"]] {
            say(&mut here, words);
        }
        let mut there = testing::session();
        there.unpack(&here.pack()).unwrap();
        assert_eq!(say(&mut there, &["EXEC"]), "*-1\r\n");
        for words in [&["MULTI"][..], &["SET", "key", "value"]] {
            say(&mut there, words);
        }
        assert_eq!(say(&mut there, &["EXEC"]), "*1\r\n+OK\r\n", "once");
    }

    #[test]
    fn a_broken_transaction_stays_broken() {
        let mut here = testing::session();
        say(&mut here, &["MULTI"]);
        say(&mut here, &["SET", "key"]);
        let mut there = testing::session();
        there.unpack(&here.pack()).unwrap();
        assert!(say(&mut there, &["EXEC"]).starts_with("-EXECABORT"));
    }

    #[test]
    fn a_queued_command_that_multi_would_refuse_breaks_the_transaction() {
        for words in [&["SET"][..], &["GET"], &["EXEC"], &["WATCH", "key"], &["tercet.carry", "1"], &["no-such", "x"]] {
            let mut packed = vec![1, 2, 0, 4, 0, 0, 0, 1, words.len() as u8];
            for word in words {
                packed.push(word.len() as u8);
                packed.extend_from_slice(word.as_bytes());
            }
            let mut session = testing::session();
            session.unpack(&packed).unwrap();
            assert!(say(&mut session, &["EXEC"]).starts_with("-EXECABORT"), "{words:?}");
        }
    }

    #[test]
    fn whatever_is_said_to_be_a_session_is_one_or_is_refused() {
        let mut here = testing::session();
        for words in [&["MULTI"][..], &["SET", "key", "value"], &["GET", "key"]] {
            say(&mut here, words);
        }
        let good = here.pack();
        // Every byte in turn, with every value that a length or a tag could have.
        for at in 0..good.len() {
            for value in [0, 1, 2, 3, 4, 5, 8, 15, 16, 0x7f, 0x80, 0xc3, 0xff] {
                let mut packed = good.clone();
                packed[at] = value;
                let mut session = testing::session();
                if session.unpack(&packed).is_ok() {
                    say(&mut session, &["EXEC"]);
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_session_change_nothing() {
        let mut session = testing::session();
        say(&mut session, &["SELECT", "5"]);
        let packed = session.pack();
        let mut other = testing::session();
        let before = other.pack();
        for end in 0..packed.len() {
            assert!(other.unpack(&packed[..end]).is_err(), "cut off at {end}");
        }
        assert_eq!(other.unpack(&[9]), Err(Error::Format(9)));
        assert_eq!(other.unpack(&[2, 2, 200, 1]), Err(Error::Range(200)));
        assert_eq!(other.pack(), before);
    }
}
