//! Workload: transfers between a key and a queue. A coin is in the purse or a message in the queue; to give one is a MULTI,
//! to take one is a script, and to look is to read both at once.

use rand::Rng;
use tercet_proto::resp::Value;
use tokio::time::sleep;

use super::session::{Outcome, Session};
use super::{PACE, Stop, wait_to_retry};
use crate::check::sum::{self, OPENING};

const TAKE: &str =
    "if redis.call('MQ.GET', ARGV[1], 'NOACK') then return redis.call('INCRBY', KEYS[1], 1) end return 0";

/// What is in the beginning: an account's opening for the purse and one for the queue, both in the purse.
const COINS: i64 = 2 * OPENING;

/// The key and the queue.
#[must_use]
pub fn names(escrow: &str) -> [String; 2] {
    ["purse", "queue"].map(|kind| format!("{escrow}:{kind}"))
}

/// Opens purse and queue, once, and moves coins until it is stopped.
pub async fn run(escrow: String, mut session: Session, stop: Stop) {
    let [purse, queue] = names(&escrow);
    while !open(&purse, &queue, &mut session).await {
        if stop.is_asked() {
            return;
        }
        wait_to_retry().await;
    }
    while !stop.is_asked() {
        let step = rand::rng().random_range(0..3);
        let is_well = match step {
            0 => give(&purse, &queue, &mut session).await,
            1 => take(&purse, &queue, &mut session).await,
            _ => look(&escrow, &mut session).await,
        };
        if is_well {
            sleep(PACE).await;
        } else {
            wait_to_retry().await;
        }
    }
}

/// Does nothing to one that is open. The queue comes first: who finds the purse finds both.
async fn open(purse: &str, queue: &str, session: &mut Session) -> bool {
    let coins = COINS.to_string();
    let declared = session.write(&["MQ.DECLARE", queue]).await;
    matches!(declared, Outcome::Acknowledged { .. })
        && matches!(session.write(&["SET", purse, &coins, "NX"]).await, Outcome::Acknowledged { .. })
}

async fn give(purse: &str, queue: &str, session: &mut Session) -> bool {
    let commands = [vec!["DECRBY", purse, "1"], vec!["MQ.PUBLISH", "", queue, "coin", "PERSISTENT"]];
    matches!(session.transaction(&commands).await, Outcome::Acknowledged { .. })
}

async fn take(purse: &str, queue: &str, session: &mut Session) -> bool {
    matches!(session.write(&["EVAL", TAKE, "1", purse, queue]).await, Outcome::Acknowledged { .. })
}

async fn look(escrow: &str, session: &mut Session) -> bool {
    let [purse, queue] = names(escrow);
    let commands = [vec!["MULTI"], vec!["GET", &purse], vec!["MQ.LEN", &queue], vec!["EXEC"]];
    let Outcome::Acknowledged { reply, .. } = session.read(&commands).await else { return false };
    if let Some(violation) = sum::judge(escrow, &balances(&reply)) {
        session.ledger().lock().violations.push(violation);
    }
    true
}

/// What is in the purse and in the queue: the answers to GET and MQ.LEN. Anything else is in neither.
#[must_use]
pub fn balances(reply: &Value) -> Vec<Option<i64>> {
    let Value::Array(values) = reply else { return vec![None; 2] };
    let number = |value: &Value| match value {
        Value::Integer(number) => Some(*number),
        other => other.as_text()?.parse().ok(),
    };
    values.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coin_that_is_in_neither_or_in_both_is_seen() {
        let reply = |purse: &'static [u8], queue| Value::Array(vec![Value::Bulk(purse.into()), Value::Integer(queue)]);
        assert_eq!(sum::judge("escrow", &balances(&reply(b"150", 50))), None);
        for (purse, queue) in [(&b"149"[..], 50), (b"150", 51)] {
            assert!(sum::judge("escrow", &balances(&reply(purse, queue))).is_some());
        }
        assert!(sum::judge("escrow", &balances(&Value::Null)).is_some(), "no answer is no sum");
    }
}
