//! Values of a hundred megabytes and more: a SET and an EXEC of several, under the load of others, and then the master is
//! killed; sometimes while one more SET is under way. What was acknowledged is on the next master, whole, and what was
//! not is there as a whole or not at all.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tercet_proto::resp::Value;
use tokio::time::{Instant, sleep};

use super::{Error, Struck, Wound};
use crate::client::resp::Connection;
use crate::cluster::{Cluster, Member};
use crate::sys::Moment;

/// Key and size of the value that is SET.
const SINGLE: (&str, usize) = ("large:single", 112 << 20);
/// Keys of the transaction, and the size of the value of each.
const TRANSACTION: ([&str; 3], usize) = (["large:1", "large:2", "large:3"], 40 << 20);
/// Far above what is promised, so that a slow one is measured and not cut off.
const LIMIT: Duration = Duration::from_secs(30);
/// In this part of the rounds the master is killed while a SET is under way, so long after its beginning.
const UNDER_WAY: f64 = 0.4;
const UNDER_WAY_MS: std::ops::Range<u64> = 20..400;

/// What the next master has to hold.
#[derive(Debug)]
pub struct Written {
    node: usize,
    /// Bytes of which the single value may be made.
    single: Vec<u8>,
    transaction: u8,
}

pub(super) async fn strike(cluster: &mut Cluster, master: usize, random: &mut StdRng) -> Result<Struck, Error> {
    let at = Moment::now();
    let [first, second, transaction] = random.random::<[u8; 3]>();
    let mut connection = open(cluster, master).await?;
    expect_ok(connection.command(&[b"SET", SINGLE.0.as_bytes(), &vec![first; SINGLE.1]]).await)?;
    expect_ok(connection.command(&["MULTI"]).await)?;
    for key in TRANSACTION.0 {
        let queued = connection.command(&[b"SET", key.as_bytes(), &vec![transaction; TRANSACTION.1]]).await;
        if !matches!(&queued, Ok(Value::Simple(_))) {
            return Err(Error::Broken(format!("a large SET in MULTI: {}", brief(&queued))));
        }
    }
    match connection.command(&["EXEC"]).await {
        Ok(Value::Array(replies)) if replies.len() == TRANSACTION.0.len() => {}
        other => return Err(Error::Broken(format!("EXEC of large values: {}", brief(&other)))),
    }
    match cluster.status().await.master() {
        Ok(now) if now == master => {}
        other => return Err(Error::Broken(format!("large values have moved the mastership: {other:?}"))),
    }
    let mut single = vec![first];
    if random.random_bool(UNDER_WAY) {
        single.push(second);
        let under_way = tokio::spawn(async move {
            let value = vec![second; SINGLE.1];
            connection.command(&[b"SET", SINGLE.0.as_bytes(), &value]).await.map(|reply| (reply, Moment::now()))
        });
        sleep(Duration::from_millis(random.random_range(UNDER_WAY_MS))).await;
        cluster.kill(Member::Node(master))?;
        let outcome = under_way.await.map_err(|error| Error::Broken(error.to_string()))?;
        if let Ok((Value::Simple(_), _)) = outcome {
            single.remove(0);
        }
    } else {
        cluster.kill(Member::Node(master))?;
    }
    let written = Written { node: master, single, transaction };
    Ok(Struck { at, killed: Some(master), wound: Wound::LargeValue(written) })
}

impl Written {
    /// Looks for the values on the new master, takes them away, and starts the killed node again.
    pub(super) async fn look(self, cluster: &mut Cluster) -> Result<(), Error> {
        let master = cluster.status().await.master().map_err(Error::NoAnswer)?;
        let mut connection = open(cluster, master).await?;
        let candidates = self.single.iter().copied();
        expect_one_of(&mut connection, SINGLE.0, SINGLE.1, candidates).await?;
        for key in TRANSACTION.0 {
            expect_one_of(&mut connection, key, TRANSACTION.1, [self.transaction]).await?;
        }
        let began = Instant::now();
        for key in TRANSACTION.0.iter().chain([&SINGLE.0]) {
            match connection.command(&["UNLINK", key]).await {
                Ok(Value::Integer(1)) => {}
                other => return Err(Error::Broken(format!("UNLINK of a large value: {}", brief(&other)))),
            }
        }
        if began.elapsed() > LIMIT {
            return Err(Error::Broken(format!("taking the values away took {:?}", began.elapsed())));
        }
        Ok(cluster.launch(Member::Node(self.node))?)
    }
}

async fn open(cluster: &Cluster, node: usize) -> Result<Connection, Error> {
    let no_answer = |error: crate::client::resp::Error| Error::NoAnswer(format!("{}: {error}", Member::Node(node)));
    let mut connection = Connection::open(cluster.resp_address(node), LIMIT).await.map_err(no_answer)?;
    connection.authenticate(cluster.password()).await.map_err(no_answer)?;
    Ok(connection)
}

type Reply = Result<Value, crate::client::resp::Error>;

fn expect_ok(reply: Reply) -> Result<(), Error> {
    match reply {
        Ok(Value::Simple(text)) if text == "OK" => Ok(()),
        other => Err(Error::Broken(format!("a large SET: {}", brief(&other)))),
    }
}

/// The value is `size` times one of the bytes.
async fn expect_one_of(
    connection: &mut Connection,
    key: &str,
    size: usize,
    bytes: impl IntoIterator<Item = u8>,
) -> Result<(), Error> {
    let reply = connection.command(&["GET", key]).await;
    let is_whole =
        |value: &[u8]| value.len() == size && bytes.into_iter().any(|byte| value.iter().all(|found| *found == byte));
    match &reply {
        Ok(Value::Bulk(value)) if is_whole(value) => Ok(()),
        _ => Err(Error::Broken(format!("{key} is lost or not whole: {}", brief(&reply)))),
    }
}

/// A reply without its hundred megabytes.
fn brief(reply: &Reply) -> String {
    match reply {
        Ok(Value::Bulk(bytes)) => format!("{} bytes, the first are {:?}", bytes.len(), &bytes[..bytes.len().min(8)]),
        other => format!("{other:?}"),
    }
}
