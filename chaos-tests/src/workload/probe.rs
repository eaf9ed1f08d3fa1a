//! Workload: one client that writes all the time, to see for how long it could not.

use std::sync::{Arc, Mutex};

use tokio::time::sleep;

use super::session::{Outcome, Session};
use super::{PACE, Stop, wait_to_retry};
use crate::check::unavailable::Success;

/// The probe's answered writes of one round.
#[derive(Debug, Clone, Default)]
pub struct Book(Arc<Mutex<Vec<Success>>>);

impl Book {
    #[must_use]
    pub fn successes(&self) -> Vec<Success> {
        self.0.lock().expect("nobody panics while holding the book").clone()
    }

    #[must_use]
    pub fn last(&self) -> Option<Success> {
        self.0.lock().expect("nobody panics while holding the book").last().copied()
    }

    fn record(&self, success: Success) {
        self.0.lock().expect("nobody panics while holding the book").push(success);
    }
}

pub async fn run(mut session: Session, book: Book, stop: Stop) {
    let mut number = 0_u64;
    while !stop.is_asked() {
        number += 1;
        match session.write(&["SET", "probe", &number.to_string()]).await {
            Outcome::Acknowledged { sent, replied, .. } => {
                book.record(Success { sent, replied });
                sleep(PACE).await;
            }
            Outcome::Refused | Outcome::Unknown => wait_to_retry().await,
        }
    }
}
