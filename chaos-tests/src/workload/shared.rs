//! Workload: several clients on the same register, counter and set, so that what one sees depends on the others.
//!
//! Each register is used for a few hundred operations (reads, writes, compare-and-sets), then the next one is begun: the
//! search for an order of them stays short.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::Rng;
use tercet_proto::resp::Value;
use tokio::time::sleep;

use super::session::{Outcome, Session};
use super::{PACE, Stop, wait_to_retry};
use crate::check::acknowledged::{self, Elements, Violation};
use crate::check::counter::{self, Counter, Increment};
use crate::check::linearizable::{self, Action, Held, Operation, Verdict};
use crate::sys::Moment;

/// A register with so many operations is full.
const MOST_OPERATIONS: usize = 400;

/// What all clients of one round did.
#[derive(Debug, Clone)]
pub struct Book {
    all: Arc<Mutex<Shared>>,
    /// Every value that is written is written once.
    next_value: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    registers: Vec<Vec<Operation>>,
    counter: Counter,
    set: Elements,
}

/// What the counter and the set are to be asked for.
#[derive(Debug, Clone)]
pub struct Names {
    pub counter: String,
    pub set: String,
}

impl Book {
    #[must_use]
    pub fn new(round: usize) -> Self {
        let name = format!("shared:{round}");
        let counter = Counter { name: format!("{name}:counter"), ..Counter::default() };
        let set = Elements { name: format!("{name}:set"), ..Elements::default() };
        let all = Shared { registers: vec![Vec::new()], counter, set, name };
        Self { all: Arc::new(Mutex::new(all)), next_value: Arc::default() }
    }

    #[must_use]
    pub fn names(&self) -> Names {
        let shared = self.lock();
        Names { counter: shared.counter.name.clone(), set: shared.set.name.clone() }
    }

    /// What is found at the end, against what the clients know.
    #[must_use]
    pub fn judge(&self, counter: Option<u64>, set: &[String]) -> Vec<Violation> {
        let shared = self.lock();
        let mut violations = counter::judge(&shared.counter, counter);
        violations.extend(acknowledged::members(&shared.set, set));
        violations
    }

    /// Registers are judged by what their clients saw.
    #[must_use]
    pub fn judge_registers(&self) -> Vec<Violation> {
        let (name, registers) = {
            let shared = self.lock();
            (shared.name.clone(), shared.registers.clone())
        };
        let mut violations = Vec::new();
        for (number, history) in registers.iter().enumerate() {
            let place = format!("{name}:register:{number}");
            violations.extend(linearizable::stale_reads(history).into_iter().map(|read| Violation::Stale {
                place: place.clone(),
                what: format!("{:?} was overwritten before it was read", read.action),
            }));
            match linearizable::check(history) {
                Verdict::Linearizable => {}
                Verdict::NotLinearizable { placed, of, stuck } => {
                    let what = format!("{placed} of {of} operations can be ordered, then not {stuck}");
                    violations.push(Violation::NotLinearizable { place, what });
                }
                Verdict::Undecided => {
                    violations.push(Violation::Undecided { place, what: format!("{} operations", history.len()) });
                }
            }
        }
        violations
    }

    /// How many operations on registers were judged.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.lock().registers.iter().map(Vec::len).sum()
    }

    /// The register in use: its place and its name.
    fn register(&self) -> (usize, String) {
        let mut shared = self.lock();
        if shared.registers.last().is_none_or(|operations| operations.len() >= MOST_OPERATIONS) {
            shared.registers.push(Vec::new());
        }
        let place = shared.registers.len() - 1;
        (place, format!("{}:register:{place}", shared.name))
    }

    fn note(&self, place: usize, operation: Operation) {
        self.lock().registers[place].push(operation);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.all.lock().expect("nobody panics while holding the book")
    }
}

/// Does what chance says until it is stopped; `client` names its elements of the set.
pub async fn run(client: String, mut session: Session, book: Book, stop: Stop) {
    let mut number = 0_u64;
    while !stop.is_asked() {
        number += 1;
        let dice = rand::rng().random_range(0..6);
        let is_well = match dice {
            0 => read(&mut session, &book).await,
            1 => write(&mut session, &book).await,
            2 | 3 => swap(&mut session, &book).await,
            4 => increment(&mut session, &book).await,
            _ => add(&mut session, &book, format!("{client}-{number}")).await,
        };
        if is_well {
            sleep(PACE).await;
        } else {
            wait_to_retry().await;
        }
    }
}

async fn read(session: &mut Session, book: &Book) -> bool {
    let (place, name) = book.register();
    let Outcome::Acknowledged { reply, sent, replied } = session.read(&[vec!["GET", &name]]).await else {
        return false;
    };
    book.note(place, Operation { action: Action::Read(held(&reply)), sent, replied: Some(replied) });
    true
}

async fn write(session: &mut Session, book: &Book) -> bool {
    let (place, name) = book.register();
    let value = book.next_value.fetch_add(1, Ordering::Relaxed);
    let before = Moment::now();
    let outcome = session.write(&["SET", &name, &value.to_string()]).await;
    note_change(book, place, Action::Write(value), before, &outcome)
}

/// WATCH, then a SET in a transaction that fails if somebody was faster.
async fn swap(session: &mut Session, book: &Book) -> bool {
    let (place, name) = book.register();
    let watched = session.read(&[vec!["WATCH", &name], vec!["GET", &name]]).await;
    let Outcome::Acknowledged { reply, sent, replied } = watched else { return false };
    let from = held(&reply);
    book.note(place, Operation { action: Action::Read(from), sent, replied: Some(replied) });
    let value = book.next_value.fetch_add(1, Ordering::Relaxed);
    let before = Moment::now();
    let outcome = session.transaction(&[vec!["SET", &name, &value.to_string()]]).await;
    if matches!(outcome, Outcome::Acknowledged { reply: Value::Null, .. }) {
        return true;
    }
    note_change(book, place, Action::Swap { from, to: value }, before, &outcome)
}

/// A change that was refused did not take place, for certain.
fn note_change(book: &Book, place: usize, action: Action, before: Moment, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Acknowledged { sent, replied, .. } => {
            book.note(place, Operation { action, sent: *sent, replied: Some(*replied) });
            true
        }
        Outcome::Unknown => {
            book.note(place, Operation { action, sent: before, replied: None });
            false
        }
        Outcome::Refused => false,
    }
}

async fn increment(session: &mut Session, book: &Book) -> bool {
    let name = book.names().counter;
    match session.write(&["INCR", &name]).await {
        Outcome::Acknowledged { reply, sent, replied } => {
            let reply = if let Value::Integer(count) = reply { u64::try_from(count).unwrap_or(0) } else { 0 };
            book.lock().counter.acknowledged.push(Increment { reply, sent, replied });
            true
        }
        Outcome::Unknown => {
            book.lock().counter.unknown += 1;
            false
        }
        Outcome::Refused => false,
    }
}

async fn add(session: &mut Session, book: &Book, element: String) -> bool {
    let name = book.names().set;
    match session.write(&["SADD", &name, &element]).await {
        Outcome::Acknowledged { .. } => {
            book.lock().set.acknowledged.push(element);
            true
        }
        Outcome::Unknown => {
            book.lock().set.unknown.push(element);
            false
        }
        Outcome::Refused => false,
    }
}

fn held(reply: &Value) -> Held {
    reply.as_text().and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::at_ms(ms)
    }

    #[test]
    fn a_clean_round_is_clean_and_a_stale_read_a_lost_increment_and_a_lost_element_are_seen() {
        let book = Book::new(1);
        let write = |value, ms| Operation { action: Action::Write(value), sent: at(ms), replied: Some(at(ms + 1)) };
        let read = |value, ms| Operation { action: Action::Read(value), sent: at(ms), replied: Some(at(ms + 1)) };
        for operation in [write(1, 0), write(2, 10), read(Some(2), 20)] {
            book.note(0, operation);
        }
        book.lock().counter.acknowledged.push(Increment { reply: 1, sent: at(0), replied: at(1) });
        book.lock().set.acknowledged.push("a-1".to_owned());
        assert_eq!(book.judge_registers(), []);
        assert_eq!(book.judge(Some(1), &["a-1".to_owned()]), []);
        assert_eq!(book.judge(None, &[]).len(), 2);
        book.note(0, read(Some(1), 30));
        let found = book.judge_registers();
        assert!(matches!(found[..], [Violation::Stale { .. }, Violation::NotLinearizable { .. }]), "{found:?}");
    }

    #[test]
    fn a_full_register_is_followed_by_the_next() {
        let book = Book::new(1);
        let (place, name) = book.register();
        for number in 0..MOST_OPERATIONS as u64 {
            book.note(place, Operation { action: Action::Write(number), sent: at(0), replied: None });
        }
        assert_eq!((place, name.as_str()), (0, "shared:1:register:0"));
        assert_eq!(book.register(), (1, "shared:1:register:1".to_owned()));
    }
}
