//! What one client has negotiated: authentication, protocol version, subscriptions, whether it wants replies.

use std::{collections::BTreeSet, sync::Arc};

use tercet_proto::resp::Version;

use super::Client;

/// CLIENT REPLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Replies {
    #[default]
    On,
    Off,
    /// The next command is not answered.
    SkipNext,
    /// This one is not, the next one is.
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Needed,
    Done,
}

/// The state of a connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Arc<Client>,
    pub(crate) login: Login,
    /// How long the answer to a wrong login waits.
    pub(crate) penalty: Option<std::time::Duration>,
    pub(crate) version: Version,
    pub(crate) replies: Replies,
    pub(crate) channels: BTreeSet<Vec<u8>>,
    pub(crate) patterns: BTreeSet<Vec<u8>>,
}

impl Session {
    pub(crate) fn new(client: Arc<Client>, login: Login) -> Self {
        Self {
            client,
            login,
            penalty: None,
            version: Version::Resp2,
            replies: Replies::On,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
        }
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    pub(crate) fn is_subscribed(&self) -> bool {
        self.subscriptions() > 0
    }

    /// RESET: as if it had just connected.
    pub(crate) fn reset(&mut self, login: Login) {
        *self = Self::new(Arc::clone(&self.client), login);
        let mut facts = self.client.facts.lock();
        facts.name.clear();
        (facts.subscriptions, facts.patterns, facts.version) = (0, 0, 2);
    }
}
