//! Changes to the accounts, as the journal holds them.
//!
//! ```text
//! effect = tag | partition | body          see `crate::effect`
//! body of SetUser = name | field ... | 0   field = number | bytes; a user's fields grow in number
//! ```
//!
//! Tags and numbers of fields are append-only, and a test holds them.

use super::password::{Algorithm, SaltedHash};
use super::{Permissions, Policy, PolicyKind, TopicPermissions, User, Vhost};
use crate::wire::{self, Reader};

/// One change. It says everything: a user is set whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    SetUser(User),
    /// With its permissions.
    DeleteUser {
        name: String,
    },
    SetVhost {
        name: String,
        vhost: Vhost,
    },
    /// With all that is kept here for it. What the broker has in it is to be deleted before.
    DeleteVhost {
        name: String,
    },
    SetPermissions {
        user: String,
        vhost: String,
        permissions: Permissions,
    },
    ClearPermissions {
        user: String,
        vhost: String,
    },
    SetTopicPermissions {
        user: String,
        vhost: String,
        exchange: String,
        permissions: TopicPermissions,
    },
    ClearTopicPermissions {
        user: String,
        vhost: String,
        exchange: String,
    },
    /// `value` is JSON. Global parameters have an empty virtual host and component.
    SetParameter {
        vhost: String,
        component: String,
        name: String,
        value: String,
    },
    ClearParameter {
        vhost: String,
        component: String,
        name: String,
    },
    SetPolicy {
        vhost: String,
        kind: PolicyKind,
        name: String,
        policy: Policy,
    },
    ClearPolicy {
        vhost: String,
        kind: PolicyKind,
        name: String,
    },
}

mod tag {
    pub(super) const SET_USER: u8 = 192;
    pub(super) const DELETE_USER: u8 = 193;
    pub(super) const SET_VHOST: u8 = 194;
    pub(super) const DELETE_VHOST: u8 = 195;
    pub(super) const SET_PERMISSIONS: u8 = 196;
    pub(super) const CLEAR_PERMISSIONS: u8 = 197;
    pub(super) const SET_TOPIC_PERMISSIONS: u8 = 198;
    pub(super) const CLEAR_TOPIC_PERMISSIONS: u8 = 199;
    pub(super) const SET_PARAMETER: u8 = 200;
    pub(super) const CLEAR_PARAMETER: u8 = 201;
    pub(super) const SET_POLICY: u8 = 202;
    pub(super) const CLEAR_POLICY: u8 = 203;
}

/// Numbers of a user's fields; 0 ends them.
mod field {
    pub(super) const OF_SETTING: u64 = 1;
    pub(super) const SALTED_SHA256: u64 = 2;
    pub(super) const SALTED_SHA512: u64 = 3;
    pub(super) const SHA256: u64 = 4;
    pub(super) const TAG: u64 = 5;
    pub(super) const RULE: u64 = 6;
    pub(super) const MAX_CONNECTIONS: u64 = 7;
    pub(super) const MAX_CHANNELS: u64 = 8;
}

impl Change {
    /// The effects that are changes of accounts.
    pub const TAGS: std::ops::RangeInclusive<u8> = 192..=223;

    #[must_use]
    pub fn tag(&self) -> u8 {
        match self {
            Self::SetUser(_) => tag::SET_USER,
            Self::DeleteUser { .. } => tag::DELETE_USER,
            Self::SetVhost { .. } => tag::SET_VHOST,
            Self::DeleteVhost { .. } => tag::DELETE_VHOST,
            Self::SetPermissions { .. } => tag::SET_PERMISSIONS,
            Self::ClearPermissions { .. } => tag::CLEAR_PERMISSIONS,
            Self::SetTopicPermissions { .. } => tag::SET_TOPIC_PERMISSIONS,
            Self::ClearTopicPermissions { .. } => tag::CLEAR_TOPIC_PERMISSIONS,
            Self::SetParameter { .. } => tag::SET_PARAMETER,
            Self::ClearParameter { .. } => tag::CLEAR_PARAMETER,
            Self::SetPolicy { .. } => tag::SET_POLICY,
            Self::ClearPolicy { .. } => tag::CLEAR_POLICY,
        }
    }

    /// Tag and body, as an image has them.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.tag());
        self.encode_body(out);
    }

    pub fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::SetUser(user) => put_user(out, user),
            Self::DeleteUser { name } | Self::DeleteVhost { name } => put_texts(out, &[name]),
            Self::SetVhost { name, vhost } => {
                put_texts(out, &[name, &vhost.description, &vhost.default_queue_type]);
                out.push(u8::from(vhost.is_tracing));
                wire::put_varint(out, vhost.tags.len() as u64);
                vhost.tags.iter().for_each(|tag| put_texts(out, &[tag]));
            }
            Self::SetPermissions { user, vhost, permissions: Permissions { configure, write, read } } => {
                put_texts(out, &[user, vhost, configure, write, read]);
            }
            Self::ClearPermissions { user, vhost } => put_texts(out, &[user, vhost]),
            Self::SetTopicPermissions { user, vhost, exchange, permissions: TopicPermissions { write, read } } => {
                put_texts(out, &[user, vhost, exchange, write, read]);
            }
            Self::ClearTopicPermissions { user, vhost, exchange } => put_texts(out, &[user, vhost, exchange]),
            Self::SetParameter { vhost, component, name, value } => put_texts(out, &[vhost, component, name, value]),
            Self::ClearParameter { vhost, component, name } => put_texts(out, &[vhost, component, name]),
            Self::SetPolicy { vhost, kind, name, policy } => {
                put_texts(out, &[vhost, name, &policy.pattern, &policy.apply_to]);
                out.push(kind_number(*kind));
                wire::put_zigzag(out, policy.priority);
                wire::put_bytes(out, &policy.definition);
            }
            Self::ClearPolicy { vhost, kind, name } => {
                put_texts(out, &[vhost, name]);
                out.push(kind_number(*kind));
            }
        }
    }

    /// # Errors
    /// The body is not one that this version wrote.
    pub fn decode_body(tag: u8, reader: &mut Reader<'_>) -> Result<Self, wire::Error> {
        let mut text = || reader.text().map(str::to_owned);
        Ok(match tag {
            tag::SET_USER => Self::SetUser(take_user(reader)?),
            tag::DELETE_USER => Self::DeleteUser { name: text()? },
            tag::SET_VHOST => {
                let (name, description, default_queue_type) = (text()?, text()?, text()?);
                let is_tracing = reader.byte()? != 0;
                let mut tags = Vec::new();
                for _ in 0..reader.varint()? {
                    tags.push(reader.text()?.to_owned());
                }
                Self::SetVhost { name, vhost: Vhost { description, tags, default_queue_type, is_tracing } }
            }
            tag::DELETE_VHOST => Self::DeleteVhost { name: text()? },
            tag::SET_PERMISSIONS => {
                let (user, vhost) = (text()?, text()?);
                let permissions = Permissions { configure: text()?, write: text()?, read: text()? };
                Self::SetPermissions { user, vhost, permissions }
            }
            tag::CLEAR_PERMISSIONS => Self::ClearPermissions { user: text()?, vhost: text()? },
            tag::SET_TOPIC_PERMISSIONS => {
                let (user, vhost, exchange) = (text()?, text()?, text()?);
                let permissions = TopicPermissions { write: text()?, read: text()? };
                Self::SetTopicPermissions { user, vhost, exchange, permissions }
            }
            tag::CLEAR_TOPIC_PERMISSIONS => {
                Self::ClearTopicPermissions { user: text()?, vhost: text()?, exchange: text()? }
            }
            tag::SET_PARAMETER => {
                Self::SetParameter { vhost: text()?, component: text()?, name: text()?, value: text()? }
            }
            tag::CLEAR_PARAMETER => Self::ClearParameter { vhost: text()?, component: text()?, name: text()? },
            tag::SET_POLICY => {
                let (vhost, name, pattern, apply_to) = (text()?, text()?, text()?, text()?);
                let kind = take_kind(reader)?;
                let (priority, definition) = (reader.zigzag()?, reader.bytes()?.to_vec());
                Self::SetPolicy { vhost, kind, name, policy: Policy { pattern, apply_to, priority, definition } }
            }
            tag::CLEAR_POLICY => {
                let (vhost, name) = (text()?, text()?);
                Self::ClearPolicy { vhost, kind: take_kind(reader)?, name }
            }
            unknown => return Err(wire::Error::Tag(unknown)),
        })
    }
}

fn put_texts(out: &mut Vec<u8>, texts: &[&str]) {
    texts.iter().for_each(|text| wire::put_bytes(out, text.as_bytes()));
}

fn kind_number(kind: PolicyKind) -> u8 {
    match kind {
        PolicyKind::User => 0,
        PolicyKind::Operator => 1,
    }
}

fn take_kind(reader: &mut Reader<'_>) -> Result<PolicyKind, wire::Error> {
    match reader.byte()? {
        0 => Ok(PolicyKind::User),
        1 => Ok(PolicyKind::Operator),
        unknown => Err(wire::Error::Tag(unknown)),
    }
}

fn put_user(out: &mut Vec<u8>, user: &User) {
    wire::put_bytes(out, user.name.as_bytes());
    let mut put = |number: u64, bytes: &[u8]| {
        wire::put_varint(out, number);
        wire::put_bytes(out, bytes);
    };
    if user.credentials.of_setting {
        put(field::OF_SETTING, &[]);
    }
    if let Some(hash) = &user.credentials.salted {
        let number = match hash.algorithm {
            Algorithm::Sha256 => field::SALTED_SHA256,
            Algorithm::Sha512 => field::SALTED_SHA512,
        };
        put(number, &hash.bytes);
    }
    user.credentials.sha256.iter().for_each(|digest| put(field::SHA256, digest));
    user.tags.iter().for_each(|tag| put(field::TAG, tag.as_bytes()));
    user.rules.iter().for_each(|rule| put(field::RULE, rule));
    if let Some(most) = user.limits.max_connections {
        put(field::MAX_CONNECTIONS, &most.to_le_bytes());
    }
    if let Some(most) = user.limits.max_channels {
        put(field::MAX_CHANNELS, &most.to_le_bytes());
    }
    wire::put_varint(out, 0);
}

fn take_user(reader: &mut Reader<'_>) -> Result<User, wire::Error> {
    let mut user = User::new(reader.text()?);
    loop {
        let number = reader.varint()?;
        if number == 0 {
            return Ok(user);
        }
        let bytes = reader.bytes()?;
        let salted = |algorithm| SaltedHash::from_bytes(algorithm, bytes.to_vec()).map(Some).ok_or(wire::Error::Short);
        let count = || bytes.try_into().map(|bytes| Some(u64::from_le_bytes(bytes))).map_err(|_| wire::Error::Short);
        match number {
            field::OF_SETTING => user.credentials.of_setting = true,
            field::SALTED_SHA256 => user.credentials.salted = salted(Algorithm::Sha256)?,
            field::SALTED_SHA512 => user.credentials.salted = salted(Algorithm::Sha512)?,
            field::SHA256 => user.credentials.sha256.push(bytes.try_into().map_err(|_| wire::Error::Short)?),
            field::TAG => {
                user.tags.push(std::str::from_utf8(bytes).map_err(|_| wire::Error::NotUtf8)?.to_owned());
            }
            field::RULE => user.rules.push(bytes.to_vec()),
            field::MAX_CONNECTIONS => user.limits.max_connections = count()?,
            field::MAX_CHANNELS => user.limits.max_channels = count()?,
            unknown => return Err(wire::Error::Tag(unknown.min(255) as u8)),
        }
    }
}
