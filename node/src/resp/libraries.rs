//! The libraries of functions of a node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::script::{Function, Library};
use crate::accounts::{Accounts, Change, Directory};

/// All libraries at one moment, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct All(BTreeMap<String, Arc<Library>>);

impl All {
    /// The function of this name, and its library.
    pub(crate) fn function(&self, name: &str) -> Option<(&Arc<Library>, &Arc<Function>)> {
        self.0.values().find_map(|library| {
            let function = library.functions.iter().find(|function| function.name.eq_ignore_ascii_case(name))?;
            Some((library, function))
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Library>> {
        self.0.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Library>> {
        self.0.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn functions(&self) -> usize {
        self.0.values().map(|library| library.functions.len()).sum()
    }

    /// Bytes of all code.
    pub(crate) fn bytes(&self) -> usize {
        self.0.values().map(|library| library.code.len()).sum()
    }

    /// A function of `library` that another library has already.
    pub(crate) fn conflict(&self, library: &Library) -> Option<String> {
        let mut functions = library.functions.iter().map(|function| &function.name);
        functions.find(|name| self.function(name).is_some_and(|(other, _)| other.name != library.name)).cloned()
    }

    pub(crate) fn insert(&mut self, library: Arc<Library>) {
        self.0.insert(library.name.clone(), library);
    }

    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }
}

/// Where the accounts keep the code of libraries: parameters of no virtual host.
const COMPONENT: &str = "functions";

/// Code may hold any bytes, and parameters are JSON.
fn to_json(code: &[u8]) -> String {
    let text: String = code.iter().map(|byte| char::from(*byte)).collect();
    serde_json::Value::String(text).to_string()
}

fn of_json(json: &str) -> Option<Vec<u8>> {
    let text: String = serde_json::from_str(json).ok()?;
    text.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect()
}

fn codes(directory: &Directory) -> impl Iterator<Item = (&String, &String)> {
    let mine =
        directory.parameters.iter().filter(|((vhost, component, _), _)| vhost.is_empty() && component == COMPONENT);
    mine.map(|((.., name), json)| (name, json))
}

impl All {
    /// What makes the libraries of a directory these.
    pub(crate) fn changes(&self, directory: &Directory) -> Vec<Change> {
        let gone = codes(directory).filter(|(name, _)| !self.0.contains_key(*name)).map(|(name, _)| {
            Change::ClearParameter { vhost: String::new(), component: COMPONENT.to_owned(), name: name.clone() }
        });
        let new = self.0.values().filter_map(|library| {
            let value = to_json(&library.code);
            let is_known = directory.parameter("", COMPONENT, &library.name) == Some(value.as_str());
            let (vhost, component, name) = (String::new(), COMPONENT.to_owned(), library.name.clone());
            (!is_known).then_some(Change::SetParameter { vhost, component, name, value })
        });
        gone.chain(new).collect()
    }
}

/// The libraries of a node, made of the code in its accounts.
#[derive(Debug, Default)]
pub struct Libraries {
    all: Mutex<(u64, Arc<All>)>,
    version: AtomicU64,
}

impl Libraries {
    pub(crate) fn of(&self, accounts: &Accounts) -> Arc<All> {
        let mut all = self.all.lock();
        let version = accounts.version();
        if all.0 == version {
            return Arc::clone(&all.1);
        }
        let directory = accounts.directory();
        let mut new = All::default();
        let mut is_other = false;
        for (name, json) in codes(&directory) {
            let Some(code) = of_json(json) else { continue };
            match all.1.get(name).filter(|known| known.code == code) {
                Some(known) => new.insert(Arc::clone(known)),
                None => match super::script::load_library(&code) {
                    Ok(library) => {
                        is_other = true;
                        new.insert(Arc::new(library));
                    }
                    // Another version of this program took it.
                    Err(reason) => tracing::warn!(library = name.as_str(), reason, "a library cannot be loaded"),
                },
            }
        }
        if is_other || new.len() != all.1.len() {
            self.version.fetch_add(1, Ordering::AcqRel);
            *all = (version, Arc::new(new));
        } else {
            all.0 = version;
        }
        Arc::clone(&all.1)
    }

    /// Grows with every change.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_any_bytes_is_kept_as_it_is() {
        let code: Vec<u8> = (0..=255).collect();
        assert_eq!(of_json(&to_json(&code)), Some(code));
    }
}
