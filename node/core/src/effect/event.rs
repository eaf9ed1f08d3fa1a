//! What is a change called in keyspace notifications, where the command does not say otherwise?

use super::{End, KeyChange, StreamChange};

/// Classes of events, and where they are published: the bits of `notify-keyspace-events`, numbered as in Redis.
pub mod class {
    pub const KEYSPACE: u32 = 1;
    pub const KEYEVENT: u32 = 1 << 1;
    pub const GENERIC: u32 = 1 << 2;
    pub const STRING: u32 = 1 << 3;
    pub const LIST: u32 = 1 << 4;
    pub const SET: u32 = 1 << 5;
    pub const HASH: u32 = 1 << 6;
    pub const SORTED_SET: u32 = 1 << 7;
    pub const EXPIRED: u32 = 1 << 8;
    pub const EVICTED: u32 = 1 << 9;
    pub const STREAM: u32 = 1 << 10;
    pub const MISS: u32 = 1 << 11;
    pub const MODULE: u32 = 1 << 13;
    pub const NEW: u32 = 1 << 14;
    /// What the letter A stands for.
    pub const ALL: u32 = GENERIC | STRING | LIST | SET | HASH | SORTED_SET | EXPIRED | EVICTED | STREAM | MODULE;
    /// Not a letter: somebody tracks keys, and every change of one is told.
    pub const TRACKED: u32 = 1 << 30;
}

impl KeyChange<'_> {
    /// The class and the name of the event.
    #[must_use]
    pub fn event(&self) -> (u32, &'static str) {
        match self {
            Self::Delete => (class::GENERIC, "del"),
            Self::SetString { .. } => (class::STRING, "set"),
            Self::SetInteger { .. } => (class::STRING, "incrby"),
            Self::Append { .. } => (class::STRING, "append"),
            Self::SetRange { .. } => (class::STRING, "setrange"),
            Self::Expire { .. } => (class::GENERIC, "expire"),
            Self::Persist => (class::GENERIC, "persist"),
            Self::Restore { .. } => (class::GENERIC, "restore"),
            Self::ListPush { end: End::Front, .. } => (class::LIST, "lpush"),
            Self::ListPush { end: End::Back, .. } => (class::LIST, "rpush"),
            Self::ListPop { end: End::Front, .. } => (class::LIST, "lpop"),
            Self::ListPop { end: End::Back, .. } => (class::LIST, "rpop"),
            Self::ListSet { .. } => (class::LIST, "lset"),
            Self::ListInsert { .. } => (class::LIST, "linsert"),
            Self::ListRemove { .. } | Self::ListRemoveMatching { .. } => (class::LIST, "lrem"),
            Self::ListTrim { .. } => (class::LIST, "ltrim"),
            Self::HashSet { .. } => (class::HASH, "hset"),
            Self::HashRemove { .. } => (class::HASH, "hdel"),
            Self::HashExpire { at: Some(_), .. } => (class::HASH, "hexpire"),
            Self::HashExpire { at: None, .. } => (class::HASH, "hpersist"),
            Self::SetAdd { .. } => (class::SET, "sadd"),
            Self::SetRemove { .. } => (class::SET, "srem"),
            Self::SortedAdd { .. } => (class::SORTED_SET, "zadd"),
            Self::SortedRemove { .. } => (class::SORTED_SET, "zrem"),
            Self::SortedRemoveRanks { .. } => (class::SORTED_SET, "zremrangebyrank"),
            Self::Stream(change) => change.event(),
        }
    }
}

impl StreamChange<'_> {
    fn event(&self) -> (u32, &'static str) {
        let name = match self {
            Self::Add { .. } => "xadd",
            Self::Trim { .. } => "xtrim",
            Self::Delete { .. } => "xdel",
            Self::SetId { .. } => "xsetid",
            Self::CreateGroup { .. } => "xgroup-create",
            Self::RemoveGroup { .. } => "xgroup-destroy",
            Self::RemoveConsumer { .. } => "xgroup-delconsumer",
            // Reading and acknowledging are no events; what XGROUP does with these it says itself.
            Self::SetGroup { .. } | Self::See { .. } | Self::Give { .. } | Self::Forget { .. } => return (0, ""),
        };
        (class::STREAM, name)
    }
}
