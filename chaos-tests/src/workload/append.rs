//! Workload: several writers append to one list at a time, and go on to the next list when it is long enough to read.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::sleep;

use super::session::{Outcome, Session};
use super::{PACE, Stop, wait_to_retry};
use crate::check::acknowledged::Elements;

/// A list of this length is read back in one piece.
const LONGEST: usize = 500;

/// The lists of one round, the one in use last.
#[derive(Debug, Clone)]
pub struct Book {
    lists: Arc<Mutex<Vec<Elements>>>,
    name: String,
}

impl Book {
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { lists: Arc::default(), name: name.to_owned() }
    }

    #[must_use]
    pub fn lists(&self) -> Vec<Elements> {
        self.lock().clone()
    }

    /// The list to append to, by its place in the book.
    fn current(&self) -> (usize, String) {
        let mut lists = self.lock();
        if lists.last().is_none_or(|list| list.acknowledged.len() + list.unknown.len() >= LONGEST) {
            let name = format!("{}:{}", self.name, lists.len());
            lists.push(Elements { name, ..Elements::default() });
        }
        (lists.len() - 1, lists[lists.len() - 1].name.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Elements>> {
        self.lists.lock().expect("nobody panics while holding the book")
    }
}

/// Appends until it is stopped; `writer` names the elements.
pub async fn run(writer: String, mut session: Session, book: Book, stop: Stop) {
    let mut number = 0_u64;
    while !stop.is_asked() {
        number += 1;
        let element = format!("{writer}-{number}");
        let (place, list) = book.current();
        match session.write(&["RPUSH", &list, &element]).await {
            Outcome::Acknowledged { .. } => book.lock()[place].acknowledged.push(element),
            Outcome::Unknown => {
                book.lock()[place].unknown.push(element);
                wait_to_retry().await;
            }
            Outcome::Refused => wait_to_retry().await,
        }
        sleep(PACE).await;
    }
}
