//! Rules of Redis's ACL: what a user may do with which commands, keys and channels.
//!
//! ```text
//! account (replicated: rules as text) --definition.rs--> Definition --prepare.rs--> Rights --> Session::call
//!          ^-- ACL SETUSER changes a Definition, and writes its rules
//! ```

mod command_rules;
mod definition;
mod log;
mod prepare;
mod rights;

pub(crate) use command_rules::{CATEGORIES, categories_of};
pub(crate) use definition::{Definition, Refusal, Selector, joined};
pub(crate) use log::{Context, Entry, Log};
pub(crate) use rights::{Denied, Rights};

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::accounts::Accounts;

/// By name; `None`: there is no such user.
type Prepared = HashMap<String, Option<Arc<Rights>>>;

/// The rights of users, made ready once for each state of the accounts, and the log of what was refused.
#[derive(Debug, Default)]
pub struct Acl {
    /// Of this version of the accounts.
    prepared: Mutex<(u64, Prepared)>,
    pub(crate) log: Log,
}

impl Acl {
    /// The rights of a user. `None`: there is no such user.
    pub(crate) fn rights(&self, accounts: &Accounts, name: &str) -> Option<Arc<Rights>> {
        // Asked before the accounts are looked at: a change in between makes this old, and it is made again.
        let version = accounts.version();
        let mut prepared = self.prepared.lock();
        if prepared.0 != version {
            *prepared = (version, HashMap::new());
        }
        if let Some(rights) = prepared.1.get(name) {
            return rights.clone();
        }
        let directory = accounts.directory();
        let user = directory.users.get(name).filter(|user| !user.rules.is_empty());
        let rights = user.map(|user| Arc::new(Rights::new(name, &Definition::of(user))));
        prepared.1.insert(name.to_owned(), rights.clone());
        rights
    }
}
