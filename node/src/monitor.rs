//! MONITOR: clients that are shown every command.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::clients::Client;
use crate::config::special::OutputLimits;

/// Who is shown every command.
#[derive(Debug, Default)]
pub struct Monitors {
    count: AtomicUsize,
    clients: RwLock<Vec<Arc<Client>>>,
}

impl Monitors {
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn add(&self, client: &Arc<Client>) {
        let mut clients = self.clients.write();
        if !clients.iter().any(|other| other.id == client.id) {
            clients.push(Arc::clone(client));
            self.count.store(clients.len(), Ordering::Relaxed);
        }
    }

    pub(crate) fn remove(&self, client: &Client) {
        let mut clients = self.clients.write();
        clients.retain(|other| other.id != client.id);
        self.count.store(clients.len(), Ordering::Relaxed);
    }

    /// Shows one command: `from` is where it came from.
    pub(crate) fn show<'a>(
        &self,
        database: u8,
        from: &str,
        args: impl Iterator<Item = &'a [u8]>,
        limits: &OutputLimits,
    ) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let head = format!("+{}.{:06} [{database} {from}]", now.as_secs(), now.subsec_micros());
        let mut line = head.into_bytes();
        for arg in args {
            line.extend_from_slice(b" \"");
            quote(arg, &mut line);
            line.push(b'"');
        }
        line.extend_from_slice(b"\r\n");
        let line = Bytes::from(line);
        self.clients.read().iter().for_each(|client| client.post(line.clone(), limits));
    }
}

/// As Redis's `sdscatrepr`.
fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => {
                let [high, low] = [byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)]);
                out.extend_from_slice(&[b'\\', b'x', high, low]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_shown_escaped() {
        let mut out = Vec::new();
        quote(b"a\"\\\n\x07\xff\0z", &mut out);
        assert_eq!(out, b"a\\\"\\\\\\n\\a\\xff\\x00z");
    }
}
