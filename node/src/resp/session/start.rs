//! What a session begins with, and what it looks up by name: its user's rights, and the rows of its commands.

use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use tercet_proto::resp::Version;

use super::meter::Meter;
use super::{Blocking, Home, Replies, ScriptPlace, Session};
use crate::accounts;
use crate::clients::Client;
use crate::ids::{Offset, UnixMillis};
use crate::journal::Due;
use crate::node::Shared;
use crate::resp::acl::Rights;
use crate::resp::table::{self, Row};
use crate::role::Verdict;

impl Session {
    pub(crate) fn new(node: Shared, client: Arc<Client>) -> Self {
        let is_open = node.is_open_to_resp();
        let (is_authenticated, is_undecided) = (is_open == Some(true), is_open.is_none());
        let meter = Meter::new(node.counters.of_thread(table::rows().len()));
        let rights_version = node.engine.accounts.version();
        let rights = node.acl.rights(&node.engine.accounts, accounts::INITIAL_RESP_USER).unwrap_or_else(nobody);
        Self {
            node,
            client,
            version: Version::Resp2,
            database: 0,
            is_authenticated,
            is_undecided,
            replies: Replies::On,
            query_bytes: 0,
            is_monitored: false,
            is_script: false,
            is_closing: false,
            penalty: None,
            home: Home::Anywhere,
            now: UnixMillis(0),
            verdict: Verdict::Wait,
            meter,
            multi: None,
            watched: Vec::new(),
            depends_on: Due::NOTHING,
            wrote: Offset::ZERO,
            wait: None,
            waits_in: None,
            slow_wait: None,
            subscriptions: None,
            tracker: None,
            changed_keys: Vec::new(),
            is_caching_said: false,
            place: ScriptPlace::Anywhere,
            is_error_counted: false,
            user: accounts::INITIAL_RESP_USER.to_owned(),
            rights,
            rights_version,
            may_block: Blocking::Allowed,
            hits: Cell::new(0),
            misses: Cell::new(0),
            expired: 0,
            commands: 0,
            record: Vec::new(),
            last: None,
        }
    }

    /// The row of a command.
    #[inline]
    pub(crate) fn row<'a>(&mut self, mut args: impl Iterator<Item = &'a [u8]>) -> Option<&'static Row> {
        let name = args.next()?;
        if let Some((last, row)) = &self.last
            && last == name
        {
            return Some(table::refine(row, args.next()));
        }
        let row = table::find(name)?;
        match &mut self.last {
            Some((last, slot)) => {
                last.clear();
                last.extend_from_slice(name);
                *slot = row;
            }
            none => *none = Some((name.to_vec(), row)),
        }
        Some(table::refine(row, args.next()))
    }

    #[cold]
    pub(super) fn renew_rights(&mut self) {
        let accounts = &self.node.engine.accounts;
        self.rights_version = accounts.version();
        match self.node.acl.rights(accounts, &self.user) {
            Some(rights) => self.rights = rights,
            None => {
                // The user is gone, and so are its clients.
                self.rights = nobody();
                self.is_closing = true;
            }
        }
    }
}

fn nobody() -> Arc<Rights> {
    static NOBODY: LazyLock<Arc<Rights>> = LazyLock::new(|| Arc::new(Rights::nobody()));
    Arc::clone(&NOBODY)
}
