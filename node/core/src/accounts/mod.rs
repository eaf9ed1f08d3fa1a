//! Accounts: who may do what. Users with their passwords, Redis rules, AMQP permissions and tags; virtual hosts;
//! parameters and policies. One partition, the same on every node.
//!
//! ```text
//! RESP AUTH, AMQP PLAIN, HTTP basic --check.rs--> Directory (a snapshot)
//! ACL SETUSER, PUT /api/users, import --Accounts::change--> effects --> journal; the same apply on replicas
//! ```
//!
//! There is a beginning that needs no record: the virtual host `/`, `guest` for AMQP and HTTP, and `default` for RESP.
//! Both users have the password of the setting `requirepass` until they get another one.

mod change;
mod check;
mod of_vhost;
mod password;
mod user;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use change::Change;
pub use check::{Origin, Refused};
pub use of_vhost::{Permissions, Policy, PolicyKind, TopicPermissions, Vhost};
pub use password::{Algorithm, SaltedHash, sha256};
pub use user::{Credentials, INITIAL_AMQP_USER, INITIAL_RESP_USER, Tag, User, UserLimits};

use crate::effect::Effect;
use crate::ids::{Offset, Partition};
use crate::journal::Journal;
use crate::lock::{Rank, RwLock};
use crate::wire::{self, Reader};

/// The virtual host that is there from the beginning.
pub const DEFAULT_VHOST: &str = "/";

/// Everything at one moment. Keys are ordered, so listings and images are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    pub users: BTreeMap<String, User>,
    pub vhosts: BTreeMap<String, Vhost>,
    /// By user and virtual host.
    pub permissions: BTreeMap<(String, String), Permissions>,
    /// By user, virtual host and exchange.
    pub topic_permissions: BTreeMap<(String, String, String), TopicPermissions>,
    /// By virtual host (empty: global), component and name; JSON.
    pub parameters: BTreeMap<(String, String, String), String>,
    /// By virtual host, kind and name.
    pub policies: BTreeMap<(String, PolicyKind, String), Policy>,
}

impl Default for Directory {
    fn default() -> Self {
        let everything = || ".*".to_owned();
        let permissions = Permissions { configure: everything(), write: everything(), read: everything() };
        let vhost = Vhost { description: "Default virtual host".to_owned(), ..Vhost::default() };
        Self {
            users: User::initial().into_iter().map(|user| (user.name.clone(), user)).collect(),
            vhosts: BTreeMap::from([(DEFAULT_VHOST.to_owned(), vhost)]),
            permissions: BTreeMap::from([((INITIAL_AMQP_USER.to_owned(), DEFAULT_VHOST.to_owned()), permissions)]),
            topic_permissions: BTreeMap::new(),
            parameters: BTreeMap::new(),
            policies: BTreeMap::new(),
        }
    }
}

impl Directory {
    fn nothing() -> Self {
        Self {
            users: BTreeMap::new(),
            vhosts: BTreeMap::new(),
            permissions: BTreeMap::new(),
            topic_permissions: BTreeMap::new(),
            parameters: BTreeMap::new(),
            policies: BTreeMap::new(),
        }
    }

    /// What `user` may do in `vhost`. `None`: nothing, not even open it.
    #[must_use]
    pub fn permissions_of(&self, user: &str, vhost: &str) -> Option<&Permissions> {
        self.permissions.get(&(user.to_owned(), vhost.to_owned()))
    }

    /// Policies of one kind in a virtual host, by name.
    pub fn policies_of(&self, vhost: &str, kind: PolicyKind) -> impl Iterator<Item = (&str, &Policy)> {
        let from = (vhost.to_owned(), kind, String::new());
        let mine = self.policies.range(from..).take_while(move |((of, found, _), _)| of == vhost && *found == kind);
        mine.map(|((_, _, name), policy)| (name.as_str(), policy))
    }

    /// A parameter's JSON. The empty virtual host has the global ones.
    #[must_use]
    pub fn parameter(&self, vhost: &str, component: &str, name: &str) -> Option<&str> {
        let key = (vhost.to_owned(), component.to_owned(), name.to_owned());
        self.parameters.get(&key).map(String::as_str)
    }
}

/// The accounts of a node.
#[derive(Debug)]
pub struct Accounts {
    state: RwLock<State>,
    /// Counts changes: what was derived from another number may be wrong.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    directory: Arc<Directory>,
    last_offset: Offset,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { state: RwLock::new(Rank::Accounts, State::default()), version: AtomicU64::new(0) }
    }
}

impl Accounts {
    /// Everything as it is now. Later changes are not seen through it, so nobody keeps it for long.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.state.read().directory)
    }

    /// As `directory`, with the newest record that changed it: what an answer depends on.
    #[must_use]
    pub fn directory_and_offset(&self) -> (Arc<Directory>, Offset) {
        let state = self.state.read();
        (Arc::clone(&state.directory), state.last_offset)
    }

    /// Grows with every change, so that what was derived (compiled patterns, parsed rules) can be kept until then.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Makes changes, in one record. Says which: an answer may leave once it is committed. The caller has passed the door
    /// and publishes afterwards, as for any other write.
    pub fn change(&self, journal: &Journal, changes: &[Change]) -> Offset {
        self.change_if(journal, |_| changes.to_vec())
    }

    /// As `change`, with the changes that `decide` makes of the state that they are applied to. None: no record, and the
    /// newest one that changed anything.
    pub fn change_if(&self, journal: &Journal, decide: impl FnOnce(&Directory) -> Vec<Change>) -> Offset {
        let mut state = self.state.write();
        let changes = decide(&state.directory);
        if changes.is_empty() {
            return state.last_offset;
        }
        let mut record = Vec::new();
        let directory = Arc::make_mut(&mut state.directory);
        for change in changes {
            directory.apply(&change);
            if journal.is_retaining() {
                Effect::Account(Box::new(change)).encode(Partition::ACCOUNTS, &mut record);
            }
        }
        state.last_offset = journal.append(&record);
        self.version.fetch_add(1, Ordering::Release);
        state.last_offset
    }

    /// Applies a change out of a record that another master made, or of the disk.
    pub fn apply(&self, offset: Offset, change: &Change) {
        let mut state = self.state.write();
        Arc::make_mut(&mut state.directory).apply(change);
        state.last_offset = offset;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The newest record that changed them.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.state.read().last_offset
    }

    /// Appends the image, and says its cut: `end()`, asked for under the lock.
    pub fn image(&self, end: impl FnOnce(Offset) -> Offset, out: &mut Vec<u8>) -> Offset {
        let state = self.state.read();
        state.directory.each_change(&mut |change| change.encode(out));
        end(state.last_offset)
    }

    /// Loads an image in place of what is there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load_image(&self, cut: Offset, image: &[u8]) -> Result<(), wire::Error> {
        let mut directory = Directory::nothing();
        let mut reader = Reader::new(image);
        while !reader.is_empty() {
            let tag = reader.byte()?;
            directory.apply(&Change::decode_body(tag, &mut reader)?);
        }
        *self.state.write() = State { directory: Arc::new(directory), last_offset: cut };
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Forgets everything: a full sync begins.
    pub fn reset(&self) {
        *self.state.write() = State::default();
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl Directory {
    /// The one way in which it changes. What belonged to a user or a virtual host goes with it.
    fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::SetUser(user) => _ = self.users.insert(user.name.clone(), user),
            Change::DeleteUser { name } => {
                self.users.remove(&name);
                self.permissions.retain(|(user, _), _| *user != name);
                self.topic_permissions.retain(|(user, ..), _| *user != name);
            }
            Change::SetVhost { name, vhost } => _ = self.vhosts.insert(name, vhost),
            Change::DeleteVhost { name } => {
                self.vhosts.remove(&name);
                self.permissions.retain(|(_, vhost), _| *vhost != name);
                self.topic_permissions.retain(|(_, vhost, _), _| *vhost != name);
                self.parameters.retain(|(vhost, ..), _| *vhost != name);
                self.policies.retain(|(vhost, ..), _| *vhost != name);
            }
            Change::SetPermissions { user, vhost, permissions } => {
                self.permissions.insert((user, vhost), permissions);
            }
            Change::ClearPermissions { user, vhost } => _ = self.permissions.remove(&(user, vhost)),
            Change::SetTopicPermissions { user, vhost, exchange, permissions } => {
                self.topic_permissions.insert((user, vhost, exchange), permissions);
            }
            Change::ClearTopicPermissions { user, vhost, exchange } => {
                self.topic_permissions.remove(&(user, vhost, exchange));
            }
            Change::SetParameter { vhost, component, name, value } => {
                self.parameters.insert((vhost, component, name), value);
            }
            Change::ClearParameter { vhost, component, name } => {
                self.parameters.remove(&(vhost, component, name));
            }
            Change::SetPolicy { vhost, kind, name, policy } => _ = self.policies.insert((vhost, kind, name), policy),
            Change::ClearPolicy { vhost, kind, name } => _ = self.policies.remove(&(vhost, kind, name)),
        }
    }

    /// The changes that make this out of nothing.
    fn each_change(&self, visit: &mut dyn FnMut(Change)) {
        self.users.values().for_each(|user| visit(Change::SetUser(user.clone())));
        for (name, vhost) in self.vhosts.clone() {
            visit(Change::SetVhost { name, vhost });
        }
        for ((user, vhost), permissions) in self.permissions.clone() {
            visit(Change::SetPermissions { user, vhost, permissions });
        }
        for ((user, vhost, exchange), permissions) in self.topic_permissions.clone() {
            visit(Change::SetTopicPermissions { user, vhost, exchange, permissions });
        }
        for ((vhost, component, name), value) in self.parameters.clone() {
            visit(Change::SetParameter { vhost, component, name, value });
        }
        for ((vhost, kind, name), policy) in self.policies.clone() {
            visit(Change::SetPolicy { vhost, kind, name, policy });
        }
    }
}
