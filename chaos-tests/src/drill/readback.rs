//! Reads back everything that a drill has written and judges it.

use std::time::Duration;

use tercet_proto::resp::Value;
use tokio::time::Instant;

use crate::check::acknowledged::{self, Elements, Key, Violation};
use crate::check::sum;
use crate::client::discovery::{Master, Sentinels};
use crate::client::resp;
use crate::workload::{bank, escrow, shared, takers, wait_to_retry};

/// The cluster was whole a moment ago.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading back: no master within {CONNECT_LIMIT:?}: {0}")]
    NoMaster(crate::client::discovery::Error),
    #[error("reading back: {0}")]
    Resp(#[from] resp::Error),
}

/// What was written by the rounds that are read back.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    pub keys: &'a [Key],
    pub lists: &'a [Elements],
    pub shared: &'a [&'a shared::Book],
    pub takers: &'a [&'a takers::Book],
    pub banks: &'a [&'a str],
    pub escrows: &'a [&'a str],
}

/// # Errors
/// The master cannot be read.
pub async fn judge(sentinels: &mut Sentinels, written: &Written<'_>) -> Result<Vec<Violation>, Error> {
    let mut master = connect(sentinels).await?;
    let commands: Vec<_> = written.keys.iter().map(|key| vec!["GET", key.name.as_str()]).collect();
    let replies = master.connection.pipeline(&commands).await?;
    let mut violations = Vec::new();
    for (key, reply) in written.keys.iter().zip(replies) {
        violations.extend(acknowledged::key(key, number(reply)?));
    }
    let commands: Vec<_> = written.lists.iter().map(|list| vec!["LRANGE", list.name.as_str(), "0", "-1"]).collect();
    let replies = master.connection.pipeline(&commands).await?;
    for (list, reply) in written.lists.iter().zip(replies) {
        violations.extend(acknowledged::elements(list, &words(reply)?));
    }
    for book in written.shared {
        let names = book.names();
        let commands = [vec!["GET", names.counter.as_str()], vec!["SMEMBERS", names.set.as_str()]];
        let mut replies = master.connection.pipeline(&commands).await?.into_iter();
        let (count, members) = (replies.next().unwrap_or(Value::Null), replies.next().unwrap_or(Value::Null));
        violations.extend(book.judge(number(count)?, &words(members)?));
    }
    for book in written.takers {
        let replies = master.connection.pipeline(&book.questions()).await?;
        violations.extend(book.judge(&replies).map_err(resp::Error::Unexpected)?);
    }
    for name in written.banks {
        let accounts = bank::accounts(name);
        let command: Vec<_> = std::iter::once("MGET").chain(accounts.iter().map(String::as_str)).collect();
        let balances = bank::balances(&master.connection.command(&command).await?);
        // Nobody opened it: its round was over before.
        if balances.iter().any(Option::is_some) {
            violations.extend(sum::judge(name, &balances));
        }
    }
    for name in written.escrows {
        let [purse, queue] = escrow::names(name);
        let commands = [vec!["GET", purse.as_str()], vec!["MQ.LEN", queue.as_str()]];
        let balances = escrow::balances(&Value::Array(master.connection.pipeline(&commands).await?));
        // As above: the queue was opened before the purse.
        if balances.first().is_some_and(Option::is_some) {
            violations.extend(sum::judge(name, &balances));
        }
    }
    Ok(violations)
}

fn words(reply: Value) -> Result<Vec<String>, Error> {
    match reply {
        Value::Array(found) => Ok(found.iter().filter_map(|value| Some(value.as_text()?.into_owned())).collect()),
        other => Err(resp::Error::Unexpected(other).into()),
    }
}

fn number(reply: Value) -> Result<Option<u64>, Error> {
    let text = match &reply {
        Value::Null => return Ok(None),
        Value::Bulk(_) => reply.as_text(),
        _ => None,
    };
    match text.and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(resp::Error::Unexpected(reply).into()),
    }
}

async fn connect(sentinels: &mut Sentinels) -> Result<Master, Error> {
    let deadline = Instant::now() + CONNECT_LIMIT;
    loop {
        match sentinels.connect().await {
            Ok(master) => return Ok(master),
            Err(error) if Instant::now() > deadline => return Err(Error::NoMaster(error)),
            Err(_) => wait_to_retry().await,
        }
    }
}
