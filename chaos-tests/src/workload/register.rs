//! Workload: one writer a key, SET of ever larger values or INCR, with a read now and then.

use std::sync::{Arc, Mutex};

use tercet_proto::resp::Value;
use tokio::time::sleep;

use super::session::{Outcome, Session};
use super::{PACE, Stop, wait_to_retry};
use crate::check::acknowledged::{self, Key, Violation};

/// How a register grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Set,
    Increment,
}

/// Every key that was ever written, the ones in use last.
pub type Book = Arc<Mutex<Vec<Key>>>;

/// Every so many writes the key is read back.
const READ_EVERY: u64 = 8;

/// Writes until it is stopped. A key whose last write is unknown is left for good, and the next one begun.
pub async fn run(kind: Kind, name: String, mut session: Session, book: Book, stop: Stop) {
    for generation in 0.. {
        let key = use_key(kind, format!("{name}:{generation}"), &mut session, &stop).await;
        book.lock().expect("nobody panics while holding the book").push(key);
        if stop.is_asked() {
            return;
        }
        wait_to_retry().await;
    }
}

async fn use_key(kind: Kind, name: String, session: &mut Session, stop: &Stop) -> Key {
    let mut key = Key { name, ..Key::default() };
    while !stop.is_asked() {
        let next = key.acknowledged.unwrap_or(0) + 1;
        let outcome = match kind {
            Kind::Set => session.write(&["SET", &key.name, &next.to_string()]).await,
            Kind::Increment => session.write(&["INCR", &key.name]).await,
        };
        match outcome {
            Outcome::Acknowledged { reply, .. } => {
                if let (Kind::Increment, Value::Integer(count)) = (kind, &reply)
                    && *count != next as i64
                {
                    let what = format!("INCR answered {count} after {:?} had been acknowledged", key.acknowledged);
                    session.ledger().lock().violations.push(Violation::Lost { place: key.name.clone(), what });
                }
                key.acknowledged = Some(next);
            }
            Outcome::Refused => wait_to_retry().await,
            Outcome::Unknown => {
                key.unknown = Some(next);
                return key;
            }
        }
        if next.is_multiple_of(READ_EVERY)
            && let Some(found) = session.read_number(&key.name).await
            && let Some(violation) = acknowledged::key(&key, found)
        {
            session.ledger().lock().violations.push(violation);
        }
        sleep(PACE).await;
    }
    key
}
