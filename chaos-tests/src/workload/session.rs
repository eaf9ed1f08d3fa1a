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
        if ledger.errors.len() < MOST_ERRORS || ledger.errors.contains_key(&text) {
            *ledger.errors.entry(text).or_default() += 1;
        }
    }
}

#[derive(Debug)]
pub struct Session {
    sentinels: Sentinels,
    master: Option<Master>,
    ledger: SharedLedger,
}

impl Session {
    #[must_use]
    pub fn new(sentinels: Sentinels, ledger: SharedLedger) -> Self {
        Self { sentinels, master: None, ledger }
    }

    #[must_use]
    pub fn ledger(&self) -> &SharedLedger {
        &self.ledger
    }

    /// Executes one write on whoever is master. `Refused` also if nobody was: then nothing was sent.
    pub async fn write<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Outcome {
        let outcome = self.attempt(command).await;
        let mut ledger = self.ledger.lock();
        match &outcome {
            Outcome::Acknowledged { sent, replied, .. } => {
                ledger.acknowledged += 1;
                if let Some(master) = &self.master {
                    ledger.masters.record(&master.tenure, *sent, *replied);
                }
            }
            Outcome::Refused => ledger.refused += 1,
            Outcome::Unknown => ledger.unknown += 1,
        }
        outcome
    }

    /// Reads a number that only the caller writes; `None` if the read failed.
    pub async fn read_number(&mut self, key: &str) -> Option<Option<u64>> {
        let Outcome::Acknowledged { reply, .. } = self.attempt(&["GET", key]).await else { return None };
        self.ledger.lock().reads += 1;
        Some(reply.as_text().and_then(|text| text.parse().ok()))
    }

    async fn attempt<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Outcome {
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
        match master.connection.command(command).await {
            Ok(Value::Error(text)) => {
                let is_refusal = REFUSALS.iter().any(|code| text.starts_with(code));
                self.ledger.error(text);
                self.master = None;
                if is_refusal { Outcome::Refused } else { Outcome::Unknown }
            }
            Ok(reply) => Outcome::Acknowledged { reply, sent, replied: Moment::now() },
            Err(error) => {
                self.ledger.error(format!("writing: {error}"));
                self.master = None;
                Outcome::Unknown
            }
        }
    }
}
