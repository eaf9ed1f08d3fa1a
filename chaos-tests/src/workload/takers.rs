//! Workload: clients that wait. Elements are put into a list, and taken with BLPOP or moved with BLMOVE; entries are added to a
//! stream, and read and settled by a group.

use std::sync::{Arc, Mutex, MutexGuard};

use tercet_proto::resp::Value;
use tokio::time::sleep;

use super::session::{Outcome, Session};
use super::{PACE, Stop, wait_to_retry};
use crate::check::acknowledged::Violation;
use crate::check::given::{Found, Group, Id, Line};

/// Seconds, and milliseconds, for which a taker waits: shorter than an outage, so that both ends of a wait are met.
const WAIT_S: &str = "0.2";
const WAIT_MS: &str = "200";

/// Does nothing where the group is there.
const OPEN: &str = "redis.pcall('XGROUP', 'CREATE', KEYS[1], 'readers', '0', 'MKSTREAM') return 1";

/// What the clients of one round did.
#[derive(Debug, Clone)]
pub struct Book(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    line: Line,
    group: Group,
    is_open: bool,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Puts,
    Takes,
    Moves,
    Adds,
    Reads,
}

/// The workers of a round.
pub const PARTS: [Part; 7] = [Part::Puts, Part::Takes, Part::Takes, Part::Moves, Part::Adds, Part::Reads, Part::Reads];

impl Book {
    #[must_use]
    pub fn new(round: usize) -> Self {
        let line = Line { name: format!("line:{round}"), ..Line::default() };
        let group = Group { name: format!("stream:{round}"), ..Group::default() };
        Self(Arc::new(Mutex::new(Taken { line, group, is_open: false })))
    }

    /// Commands whose replies `judge` is given.
    #[must_use]
    pub fn questions(&self) -> Vec<Vec<String>> {
        let taken = self.lock();
        let (line, stream) = (&taken.line.name, &taken.group.name);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut questions: Vec<Vec<String>> =
            vec![words(&["LRANGE", line, "0", "-1"]), words(&["LRANGE", &moved(line), "0", "-1"])];
        // Nobody has opened it: its round was over before.
        if taken.is_open {
            questions.push(words(&["XRANGE", stream, "-", "+"]));
            questions.push(words(&["XPENDING", stream, "readers", "-", "+", "1000000"]));
            questions.push(words(&["XINFO", "GROUPS", stream]));
        }
        questions
    }

    /// # Errors
    /// A reply is not one to those questions.
    pub fn judge(&self, replies: &[Value]) -> Result<Vec<Violation>, Value> {
        let taken = self.lock();
        let odd = || Value::Array(replies.to_vec());
        let [line, moved, rest @ ..] = replies else { return Err(odd()) };
        let mut left = texts(line).ok_or_else(odd)?;
        left.extend(texts(moved).ok_or_else(odd)?);
        let mut violations = taken.line.judge(&left);
        if let [entries, pending, groups] = rest {
            let found = Found {
                entries: ids(entries).ok_or_else(odd)?,
                pending: ids(pending).ok_or_else(odd)?,
                last_delivered: last_delivered(groups).ok_or_else(odd)?,
            };
            violations.extend(taken.group.judge(&found));
        }
        Ok(violations)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().expect("nobody panics while holding the book")
    }
}

fn moved(line: &str) -> String {
    format!("{line}:moved")
}

fn texts(reply: &Value) -> Option<Vec<String>> {
    let Value::Array(values) = reply else { return None };
    values.iter().map(|value| Some(value.as_text()?.into_owned())).collect()
}

fn id(value: &Value) -> Option<Id> {
    let text = value.as_text()?;
    let (ms, number) = text.split_once('-')?;
    Some((ms.parse().ok()?, number.parse().ok()?))
}

/// The first element of each: of XRANGE and XPENDING it is the id.
fn ids(reply: &Value) -> Option<Vec<Id>> {
    let Value::Array(values) = reply else { return None };
    let first = |value: &Value| if let Value::Array(parts) = value { id(parts.first()?) } else { None };
    values.iter().map(first).collect()
}

fn last_delivered(groups: &Value) -> Option<Id> {
    let Value::Array(groups) = groups else { return None };
    match groups.first()? {
        Value::Array(facts) => {
            let at = facts.iter().position(|fact| fact.as_text().is_some_and(|text| text == "last-delivered-id"))?;
            id(facts.get(at + 1)?)
        }
        Value::Map(facts) => facts
            .iter()
            .find(|(name, _)| name.as_text().is_some_and(|text| text == "last-delivered-id"))
            .and_then(|(_, value)| id(value)),
        _ => None,
    }
}

/// The one entry that XREADGROUP gives.
fn entry(reply: &Value) -> Option<Id> {
    let Value::Array(streams) = reply else { return None };
    let Value::Array(stream) = streams.first()? else { return None };
    ids(stream.get(1)?)?.first().copied()
}

/// Plays a part until it is stopped; `client` names it and its elements.
pub async fn run(part: Part, client: String, mut session: Session, book: Book, stop: Stop) {
    let (line, stream) = {
        let taken = book.lock();
        (taken.line.name.clone(), taken.group.name.clone())
    };
    let mut number = 0_u64;
    while !stop.is_asked() {
        number += 1;
        let is_well = match part {
            Part::Puts => put(&line, format!("{client}-{number}"), &mut session, &book).await,
            Part::Takes => take(&line, &mut session, &book).await,
            Part::Moves => {
                let target = moved(&line);
                // Wherever it is afterwards, it is found there.
                !matches!(
                    session.write(&["BLMOVE", &line, &target, "LEFT", "RIGHT", WAIT_S]).await,
                    Outcome::Unknown | Outcome::Refused
                )
            }
            Part::Adds => add(&stream, &mut session, &book).await,
            Part::Reads => read(&stream, &client, &mut session, &book).await,
        };
        if is_well {
            sleep(PACE).await;
        } else {
            wait_to_retry().await;
        }
    }
}

async fn put(line: &str, element: String, session: &mut Session, book: &Book) -> bool {
    match session.write(&["RPUSH", line, &element]).await {
        Outcome::Acknowledged { .. } => {
            book.lock().line.acknowledged.push(element);
            true
        }
        Outcome::Unknown => {
            book.lock().line.unknown.push(element);
            false
        }
        Outcome::Refused => false,
    }
}

async fn take(line: &str, session: &mut Session, book: &Book) -> bool {
    match session.write(&["BLPOP", line, WAIT_S]).await {
        Outcome::Acknowledged { reply, .. } => {
            if let Some(given) = texts(&reply).and_then(|mut words| words.pop()) {
                book.lock().line.given.push(given);
            }
            true
        }
        Outcome::Unknown => {
            book.lock().line.unanswered += 1;
            false
        }
        Outcome::Refused => false,
    }
}

async fn add(stream: &str, session: &mut Session, book: &Book) -> bool {
    let is_open = book.lock().is_open;
    if !is_open {
        let opened = matches!(session.write(&["EVAL", OPEN, "1", stream]).await, Outcome::Acknowledged { .. });
        book.lock().is_open = opened;
        return opened;
    }
    match session.write(&["XADD", stream, "*", "field", "value"]).await {
        Outcome::Acknowledged { reply, .. } => {
            book.lock().group.acknowledged.extend(id(&reply));
            true
        }
        Outcome::Unknown => {
            book.lock().group.unknown += 1;
            false
        }
        Outcome::Refused => false,
    }
}

async fn read(stream: &str, client: &str, session: &mut Session, book: &Book) -> bool {
    if !book.lock().is_open {
        return false;
    }
    let command = ["XREADGROUP", "GROUP", "readers", client, "COUNT", "1", "BLOCK", WAIT_MS, "STREAMS", stream, ">"];
    let Outcome::Acknowledged { reply, .. } = session.write(&command).await else { return false };
    let Some(given) = entry(&reply) else { return true };
    book.lock().group.given.push(given);
    let text = format!("{}-{}", given.0, given.1);
    let outcome = session.write(&["XACK", stream, "readers", &text]).await;
    let mut taken = book.lock();
    match outcome {
        Outcome::Acknowledged { .. } => taken.group.settled.push(given),
        Outcome::Unknown => taken.group.unsettled.push(given),
        Outcome::Refused => {}
    }
    matches!(outcome, Outcome::Acknowledged { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }

    fn array(values: &[Value]) -> Value {
        Value::Array(values.to_vec())
    }

    #[test]
    fn what_is_read_back_is_judged() {
        let book = Book::new(1);
        {
            let mut taken = book.lock();
            taken.is_open = true;
            taken.line.acknowledged = vec!["a-1".to_owned(), "a-2".to_owned()];
            taken.line.given = vec!["a-1".to_owned()];
            taken.group.acknowledged = vec![(5, 0), (5, 1)];
            taken.group.given = vec![(5, 0)];
        }
        assert_eq!(book.questions().len(), 5);
        let entry = |id: &str| array(&[bulk(id), array(&[bulk("field"), bulk("value")])]);
        let replies = |moved: &[Value], pending: &[Value]| {
            vec![
                array(&[]),
                array(moved),
                array(&[entry("5-0"), entry("5-1")]),
                array(pending),
                array(&[array(&[bulk("name"), bulk("readers"), bulk("last-delivered-id"), bulk("5-0")])]),
            ]
        };
        let pending = array(&[bulk("5-0"), bulk("client"), Value::Integer(1), Value::Integer(1)]);
        assert_eq!(book.judge(&replies(&[bulk("a-2")], std::slice::from_ref(&pending))), Ok(vec![]));
        assert_eq!(book.judge(&replies(&[], &[pending])).map(|found| found.len()), Ok(1), "a-2 is lost");
        assert_eq!(book.judge(&replies(&[bulk("a-2")], &[])).map(|found| found.len()), Ok(1), "5-0 is not pending");
        assert!(book.judge(&[Value::Null]).is_err());
    }
}
