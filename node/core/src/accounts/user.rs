//! A user: one identity for all protocols.

use super::password::{SaltedHash, sha256};

/// The user that AMQP and HTTP have from the beginning.
pub const INITIAL_AMQP_USER: &str = "guest";

/// The user that RESP has from the beginning, and that a client is before it says who it is.
pub const INITIAL_RESP_USER: &str = "default";

/// What a user may do with the HTTP API and the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// Log in, and see its own.
    Management,
    /// And manage policies and parameters of its virtual hosts.
    PolicyMaker,
    /// And see everybody's connections, and the nodes.
    Monitoring,
    /// Everything.
    Administrator,
}

impl Tag {
    pub const ALL: [Self; 4] = [Self::Management, Self::PolicyMaker, Self::Monitoring, Self::Administrator];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Management => "management",
            Self::PolicyMaker => "policymaker",
            Self::Monitoring => "monitoring",
            Self::Administrator => "administrator",
        }
    }

    /// Whether who has this tag may do what `other` allows.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        match other {
            Self::Management => true,
            // Monitoring does not make policies; an administrator does everything.
            Self::PolicyMaker => matches!(self, Self::PolicyMaker | Self::Administrator),
            Self::Monitoring => matches!(self, Self::Monitoring | Self::Administrator),
            Self::Administrator => self == Self::Administrator,
        }
    }
}

/// How a user shows who it is. Any of them will do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The password is that of the setting `requirepass`. Empty: RESP asks for none, and others for `guest`.
    pub of_setting: bool,
    /// As RabbitMQ keeps it.
    pub salted: Option<SaltedHash>,
    /// SHA-256 of each password, as Redis keeps them.
    pub sha256: Vec<[u8; 32]>,
}

/// Bounds on what a user has open; `None`: no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserLimits {
    pub max_connections: Option<u64>,
    pub max_channels: Option<u64>,
}

/// Who somebody is, for every protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    pub name: String,
    pub credentials: Credentials,
    /// As in RabbitMQ; those of `Tag` mean something.
    pub tags: Vec<String>,
    /// Rules of Redis's ACL in their canonical form and order, without passwords: `on`, `~*`, `&*`, `+@all`. Empty: the
    /// user has no access through RESP. Only `on`, `off` and `nopass` are understood here.
    pub rules: Vec<Vec<u8>>,
    pub limits: UserLimits,
}

impl User {
    /// A user without a password: nobody can be it until it gets one.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The users that are there from the beginning.
    #[must_use]
    pub(super) fn initial() -> [Self; 2] {
        let credentials = Credentials { of_setting: true, ..Credentials::default() };
        let guest = Self {
            credentials: credentials.clone(),
            tags: vec![Tag::Administrator.name().to_owned()],
            ..Self::new(INITIAL_AMQP_USER)
        };
        let rules = ["on", "~*", "&*", "+@all"].map(|rule| rule.as_bytes().to_vec()).to_vec();
        [guest, Self { credentials, rules, ..Self::new(INITIAL_RESP_USER) }]
    }

    /// Gives the user this password, for all protocols, in place of any other. `salt` is drawn by the caller.
    pub fn set_password(&mut self, password: &[u8], salt: [u8; 4]) {
        self.credentials = Credentials {
            of_setting: false,
            salted: Some(SaltedHash::new(password, salt)),
            sha256: vec![sha256(password)],
        };
    }

    #[must_use]
    pub fn has_rule(&self, rule: &str) -> bool {
        self.rules.iter().any(|found| found == rule.as_bytes())
    }

    /// Whether the user has a tag that includes `tag`.
    #[must_use]
    pub fn is(&self, tag: Tag) -> bool {
        Tag::ALL.iter().any(|has| has.includes(tag) && self.tags.iter().any(|name| name == has.name()))
    }
}
