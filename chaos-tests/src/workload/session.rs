//! A client that writes through the sentinels and takes down what became of every write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tercet_proto::resp::Value;

use crate::check::acknowledged::Violation;
use crate::check::masters::History;
use crate::client::discovery::{Master, Sentinels};
use crate::sys::Moment;

/// What became of a write.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Acknowledged {
        reply: Value,
        sent: Moment,
        replied: Moment,
    },
    /// It was not executed, for certain.
    Refused,
    Unknown,
}

/// Errors that a server gives instead of executing a command.
const REFUSALS: [&str; 8] =
    ["READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN", "NOAUTH", "MISCONF"];
/// Different error texts that are kept for the report.
const MOST_ERRORS: usize = 50;

/// What all workers of a drill saw together.
#[derive(Debug, Default)]
pub struct Ledger {
    pub masters: History,
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    pub reads: u64,
    /// Violations that showed under load, e.g. a read of something older than what was acknowledged.
    pub violations: Vec<Violation>,
    /// Errors that clients met, of whatever kind.
    pub failures: u64,
    /// Error texts and how often they came.
    pub errors: BTreeMap<String, u64>,
}

/// A handle on the ledger.
#[derive(Debug, Clone, Default)]
pub struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().expect("nobody panics while holding the ledger")
    }

    fn error(&self, text: String) {
        let mut ledger = self.lock();
        ledger.failures += 1;
        if ledger.errors.len() < MOST_ERRORS || ledger.errors.contains_key(&text) {
            *ledger.errors.entry(text).or_default() += 1;
        }
    }
}

/// Does a connection tell which mastership answered on it?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenures {
    /// It ends with the mastership that it was made to.
    Told,
    /// Its node may carry it to the next master, and nobody sees it.
    Hidden,
}

#[derive(Debug)]
pub struct Session {
    sentinels: Sentinels,
    master: Option<Master>,
    ledger: SharedLedger,
    tenures: Tenures,
}

impl Session {
    #[must_use]
    pub fn new(sentinels: Sentinels, ledger: SharedLedger, tenures: Tenures) -> Self {
        Self { sentinels, master: None, ledger, tenures }
    }

    #[must_use]
    pub fn ledger(&self) -> &SharedLedger {
        &self.ledger
    }

    /// Executes one write on whoever is master. `Refused` also if nobody was: then nothing was sent.
    pub async fn write<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Outcome {
        let outcome = self.attempt(&[words(command)]).await;
        self.note_write(&outcome);
        outcome
    }

    /// Executes commands as one transaction on whoever is master; acknowledged with the reply of EXEC, which is null if
    /// something that the connection watches was touched.
    pub async fn transaction(&mut self, commands: &[Vec<&str>]) -> Outcome {
        let mut all = vec![vec!["MULTI"]];
        all.extend(commands.iter().cloned());
        all.push(vec!["EXEC"]);
        let all: Vec<_> = all.iter().map(|command| words(command)).collect();
        let outcome = self.attempt(&all).await;
        self.note_write(&outcome);
        outcome
    }

    /// Executes commands that change nothing; acknowledged with the reply of the last.
    pub async fn read(&mut self, commands: &[Vec<&str>]) -> Outcome {
        let all: Vec<_> = commands.iter().map(|command| words(command)).collect();
        let outcome = self.attempt(&all).await;
        if matches!(outcome, Outcome::Acknowledged { .. }) {
            self.ledger.lock().reads += 1;
        }
        outcome
    }

    fn note_write(&self, outcome: &Outcome) {
        let mut ledger = self.ledger.lock();
        match outcome {
            Outcome::Acknowledged { sent, replied, .. } => {
                ledger.acknowledged += 1;
                if let (Some(master), Tenures::Told) = (&self.master, self.tenures) {
                    ledger.masters.record(&master.tenure, *sent, *replied);
                }
            }
            Outcome::Refused => ledger.refused += 1,
            Outcome::Unknown => ledger.unknown += 1,
        }
    }

    /// Reads a number that only the caller writes; `None` if the read failed.
    pub async fn read_number(&mut self, key: &str) -> Option<Option<u64>> {
        let Outcome::Acknowledged { reply, .. } = self.read(&[vec!["GET", key]]).await else { return None };
        Some(reply.as_text().and_then(|text| text.parse().ok()))
    }

    /// Sends all at once. An error reply to any of them ends the connection: a transaction is then aborted as a whole.
    async fn attempt(&mut self, commands: &[Vec<Vec<u8>>]) -> Outcome {
        let master = match &mut self.master {
            Some(master) => master,
            none => match self.sentinels.connect().await {
                Ok(master) => none.insert(master),
                Err(error) => {
                    self.ledger.error(format!("connecting: {error}"));
                    return Outcome::Refused;
                }
            },
        };
        let sent = Moment::now();
        let replies = match master.connection.pipeline(commands).await {
            Ok(replies) => replies,
            Err(error) => {
                self.ledger.error(format!("writing: {error}"));
                self.master = None;
                return Outcome::Unknown;
            }
        };
        let refused =
            replies.iter().find_map(|reply| if let Value::Error(text) = reply { Some(text.clone()) } else { None });
        if let Some(text) = refused {
            let is_refusal = REFUSALS.iter().any(|code| text.starts_with(code));
            self.ledger.error(text);
            self.master = None;
            return if is_refusal { Outcome::Refused } else { Outcome::Unknown };
        }
        let reply = replies.into_iter().next_back().unwrap_or(Value::Null);
        Outcome::Acknowledged { reply, sent, replied: Moment::now() }
    }
}

fn words<A: AsRef<[u8]>>(command: &[A]) -> Vec<Vec<u8>> {
    command.iter().map(|word| word.as_ref().to_vec()).collect()
}
