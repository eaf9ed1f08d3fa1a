//! Reads back everything that a drill has written and judges it.

use std::time::Duration;

use tercet_proto::resp::Value;
use tokio::time::Instant;

use crate::check::acknowledged::{self, Elements, Key, Violation};
use crate::client::discovery::{Master, Sentinels};
use crate::client::resp;
use crate::workload::wait_to_retry;

/// The cluster was whole a moment ago.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading back: no master within {CONNECT_LIMIT:?}: {0}")]
    NoMaster(crate::client::discovery::Error),
    #[error("reading back: {0}")]
    Resp(#[from] resp::Error),
}

/// # Errors
/// The master cannot be read.
pub async fn judge(sentinels: &mut Sentinels, keys: &[Key], lists: &[Elements]) -> Result<Vec<Violation>, Error> {
    let mut master = connect(sentinels).await?;
    let commands: Vec<_> = keys.iter().map(|key| vec!["GET", key.name.as_str()]).collect();
    let replies = master.connection.pipeline(&commands).await?;
    let mut violations = Vec::new();
    for (key, reply) in keys.iter().zip(replies) {
        violations.extend(acknowledged::key(key, number(reply)?));
    }
    let commands: Vec<_> = lists.iter().map(|list| vec!["LRANGE", list.name.as_str(), "0", "-1"]).collect();
    let replies = master.connection.pipeline(&commands).await?;
    for (list, reply) in lists.iter().zip(replies) {
        let Value::Array(found) = reply else { return Err(resp::Error::Unexpected(reply).into()) };
        let found: Vec<_> = found.iter().filter_map(|value| Some(value.as_text()?.into_owned())).collect();
        violations.extend(acknowledged::elements(list, &found));
    }
    Ok(violations)
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
