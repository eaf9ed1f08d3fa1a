//! The slow log: the newest commands that took longer than `slowlog-log-slower-than`.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Arguments of an entry, and bytes of each, as in Redis.
const MOST_ARGUMENTS: usize = 32;
const MOST_BYTES: usize = 128;

/// A command that took long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: u64,
    pub unix_seconds: u64,
    pub micros: u64,
    pub args: Vec<Vec<u8>>,
    pub address: String,
    pub client: String,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    next_id: u64,
}

/// The newest first.
#[derive(Debug, Default)]
pub struct Slowlog(Mutex<Kept>);

/// Arguments as they are shown: what is cut off is counted.
#[must_use]
pub fn shown(args: &[&[u8]]) -> Vec<Vec<u8>> {
    let cut = args.len() > MOST_ARGUMENTS;
    let whole = if cut { MOST_ARGUMENTS - 1 } else { args.len() };
    let mut all: Vec<Vec<u8>> = args
        .iter()
        .take(whole)
        .map(|arg| match arg.split_at_checked(MOST_BYTES) {
            Some((head, rest)) if !rest.is_empty() => {
                [head, format!("... ({} more bytes)", rest.len()).as_bytes()].concat()
            }
            _ => arg.to_vec(),
        })
        .collect();
    if cut {
        all.push(format!("... ({} more arguments)", args.len() - whole).into_bytes());
    }
    all
}

impl Slowlog {
    /// Notes a command, under the next number. `most` entries are kept.
    pub fn note(&self, mut entry: Entry, most: usize) {
        let mut kept = self.0.lock();
        entry.id = kept.next_id;
        kept.next_id += 1;
        kept.entries.push_front(entry);
        kept.entries.truncate(most);
    }

    #[must_use]
    pub fn newest(&self, most: usize) -> Vec<Entry> {
        self.0.lock().entries.iter().take(most).cloned().collect()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn reset(&self) {
        self.0.lock().entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_cut_and_say_how_much() {
        let long = vec![b'x'; 130];
        assert_eq!(shown(&[b"set", &long])[1], [&long[..128], b"... (2 more bytes)"].concat());
        let many: Vec<&[u8]> = vec![b"a"; 40];
        let shown = shown(&many);
        assert_eq!((shown.len(), shown[31].as_slice()), (32, &b"... (9 more arguments)"[..]));
    }
}
