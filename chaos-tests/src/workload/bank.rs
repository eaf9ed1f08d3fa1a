//! Workload: transfers between accounts, each a transaction, and reads of all accounts at once.

use rand::Rng;
use rand::seq::index;
use tercet_proto::resp::Value;
use tokio::time::sleep;

use super::session::{Outcome, Session};
use super::{PACE, Stop, wait_to_retry};
use crate::check::sum::{self, OPENING};

const ACCOUNTS: usize = 5;
/// One step in so many is a look at all accounts.
const LOOK_EVERY: u32 = 3;
const LARGEST_TRANSFER: i64 = 10;

/// The accounts of a bank.
#[must_use]
pub fn accounts(bank: &str) -> Vec<String> {
    (0..ACCOUNTS).map(|account| format!("{bank}:account:{account}")).collect()
}

/// Opens the accounts, once, and moves money until it is stopped.
pub async fn run(bank: String, mut session: Session, stop: Stop) {
    let accounts = accounts(&bank);
    while !open(&accounts, &mut session).await {
        if stop.is_asked() {
            return;
        }
        wait_to_retry().await;
    }
    while !stop.is_asked() {
        let is_look = rand::rng().random_ratio(1, LOOK_EVERY);
        let is_well =
            if is_look { look(&bank, &accounts, &mut session).await } else { transfer(&accounts, &mut session).await };
        if is_well {
            sleep(PACE).await;
        } else {
            wait_to_retry().await;
        }
    }
}

/// Does nothing to a bank that is open: it can be tried again when nobody knows what became of it.
async fn open(accounts: &[String], session: &mut Session) -> bool {
    let opening = OPENING.to_string();
    let mut command = vec!["MSETNX"];
    for account in accounts {
        command.extend([account.as_str(), opening.as_str()]);
    }
    matches!(session.write(&command).await, Outcome::Acknowledged { .. })
}

async fn transfer(accounts: &[String], session: &mut Session) -> bool {
    let (from, to, amount) = {
        let mut random = rand::rng();
        let pair = index::sample(&mut random, accounts.len(), 2);
        (pair.index(0), pair.index(1), random.random_range(1..=LARGEST_TRANSFER).to_string())
    };
    let commands = [vec!["DECRBY", &accounts[from], &amount], vec!["INCRBY", &accounts[to], &amount]];
    matches!(session.transaction(&commands).await, Outcome::Acknowledged { .. })
}

async fn look(bank: &str, accounts: &[String], session: &mut Session) -> bool {
    let mut command = vec!["MGET"];
    command.extend(accounts.iter().map(String::as_str));
    let Outcome::Acknowledged { reply, .. } = session.read(&[command]).await else { return false };
    if let Some(violation) = sum::judge(bank, &balances(&reply)) {
        session.ledger().lock().violations.push(violation);
    }
    true
}

/// What MGET answered.
#[must_use]
pub fn balances(reply: &Value) -> Vec<Option<i64>> {
    let Value::Array(values) = reply else { return Vec::new() };
    values.iter().map(|value| value.as_text()?.parse().ok()).collect()
}
