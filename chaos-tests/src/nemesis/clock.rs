//! Somebody sets the wall clocks: a replica's, a sentinel's and the master's jump by seconds to hours, forwards and
//! backwards, and the master's runs fast or slow. Leases, silence and every wait go by another clock, so nobody may notice
//! but who asks for the time; and a key expires when the master says so, once.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::Rng;
use rand::rngs::StdRng;
use tercet_proto::resp::Value;
use tokio::time::sleep;

use super::{Error, Struck, Wound};
use crate::client::resp::Connection;
use crate::cluster::wall::{REMEMBERED_SECONDS, Skew};
use crate::cluster::{Cluster, Family, Member, NODES, SENTINELS, SERVICE};
use crate::sys::Moment;

/// A process looks at its clock anew after a second; a busy machine takes its time.
const SEEN_LIMIT: Duration = Duration::from_secs(REMEMBERED_SECONDS + 20);
const REPLY_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// Load on every state of the clocks.
const EACH: Duration = Duration::from_millis(700);
/// The clock of a busy machine's process is believed this far.
const INACCURACY_SECONDS: f64 = 0.6;
/// From seconds to hours.
const JUMP_SECONDS: std::ops::Range<i64> = 5..40_000;
/// How long a key lives that a jump over more than that makes old, and one that outlives every jump.
const LIFE_SECONDS: i64 = 600;
const LONG_LIFE_SECONDS: i64 = 1_000_000;
/// Where these keys are alone, so that DBSIZE counts them, whatever a node takes for old.
const DATABASE: &str = "15";
const RATES: [f64; 2] = [3.0, 0.25];

/// What has to be put right again, and what the nodes must not have forgotten or remembered.
#[derive(Debug)]
pub(super) struct Wrong {
    master: usize,
    members: Vec<Member>,
    keys: Keys,
}

/// One key of each fate, in a round.
#[derive(Debug)]
struct Keys {
    /// Expired before any clock jumps.
    gone: String,
    /// Made old by the jump of the master's clock.
    aged: String,
    /// Of which only the clock of a replica says that it is old.
    stays: String,
}

/// Waits until it is so, as long as a clock takes to be seen.
async fn until(what: &str, mut so: impl AsyncFnMut() -> Result<Result<(), String>, Error>) -> Result<(), Error> {
    let deadline = Instant::now() + SEEN_LIMIT;
    loop {
        match so().await? {
            Ok(()) => return Ok(()),
            Err(seen) if Instant::now() > deadline => {
                return Err(Error::DidNotHappen(format!("{what}: not within {SEEN_LIMIT:?}, but {seen}")));
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

async fn ask<A: AsRef<[u8]>>(cluster: &Cluster, node: usize, command: &[A]) -> Result<Value, Error> {
    let to_error = |error: crate::client::resp::Error| Error::NoAnswer(format!("{}: {error}", Member::Node(node)));
    let mut connection = Connection::open(cluster.resp_address(node), REPLY_LIMIT).await.map_err(to_error)?;
    connection.authenticate(cluster.password()).await.map_err(to_error)?;
    connection.command(&["SELECT", DATABASE]).await.map_err(to_error)?;
    connection.command(command).await.map_err(to_error)
}

/// How far a node's wall clock is ahead of ours, in seconds, by its own word.
async fn ahead(cluster: &Cluster, node: usize) -> Result<f64, Error> {
    let reply = ask(cluster, node, &["TIME"]).await?;
    let Value::Array(parts) = &reply else { return Err(Error::NoAnswer(format!("{reply:?} to TIME"))) };
    let part = |index: usize| parts.get(index).and_then(|value| value.as_text()?.parse::<f64>().ok());
    let theirs = part(0).zip(part(1)).map(|(seconds, micros)| seconds + micros / 1e6);
    Ok(theirs.ok_or_else(|| Error::NoAnswer(format!("{reply:?} to TIME")))? - unix_seconds())
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Sets a node's clock and waits until the node itself says so.
async fn jump(cluster: &Cluster, node: usize, seconds: i64) -> Result<(), Error> {
    cluster.set_wall_clock(Member::Node(node), Skew::ahead(seconds))?;
    until(&format!("{} is {seconds} s ahead", Member::Node(node)), async || {
        let seen = ahead(cluster, node).await?;
        let is_so = (seen - seconds as f64).abs() < SEEN_LIMIT.as_secs_f64().min(4.0);
        Ok(if is_so { Ok(()) } else { Err(format!("it is {seen:.3} s ahead")) })
    })
    .await
}

/// Lets a node's clock run at another rate and waits until the node itself shows it.
async fn run_at(cluster: &Cluster, node: usize, skew: Skew) -> Result<(), Error> {
    cluster.set_wall_clock(Member::Node(node), skew)?;
    let Skew { rate, .. } = skew;
    until(&format!("the clock of {} runs {rate} times as fast", Member::Node(node)), async || {
        let (before, began) = (ahead(cluster, node).await?, Instant::now());
        sleep(EACH).await;
        let gained = ahead(cluster, node).await? - before;
        let passed = began.elapsed().as_secs_f64();
        let is_so = (gained - (rate - 1.0) * passed).abs() < INACCURACY_SECONDS * (rate - 1.0).abs();
        Ok(if is_so { Ok(()) } else { Err(format!("it gained {gained:.3} s in {passed:.3} s")) })
    })
    .await
}

/// A sentinel has no TIME, but it dates its log, and a setting that is set anew is a line of it.
async fn jump_sentinel(cluster: &Cluster, sentinel: usize, seconds: i64) -> Result<(), Error> {
    let member = Member::Sentinel(sentinel);
    cluster.set_wall_clock(member, Skew::ahead(seconds))?;
    let to_error = |error: crate::client::resp::Error| Error::NoAnswer(format!("{member}: {error}"));
    let address = cluster.sentinel_address(sentinel);
    until(&format!("{member} is {seconds} s ahead"), async || {
        let mut connection = Connection::open(address, REPLY_LIMIT).await.map_err(to_error)?;
        let Value::Array(fields) = connection.command(&["SENTINEL", "MASTER", SERVICE]).await.map_err(to_error)? else {
            return Ok(Err("it knows no master".to_owned()));
        };
        let texts: Vec<_> = fields.iter().filter_map(Value::as_text).collect();
        let name = "down-after-milliseconds";
        let Some([_, present]) = texts.chunks_exact(2).find(|pair| pair[0] == name) else {
            return Ok(Err(format!("it has no {name}")));
        };
        let present = present.as_ref();
        connection.command(&["SENTINEL", "SET", SERVICE, name, present]).await.map_err(to_error)?;
        let newest = cluster.log_tail(member, 20)?.lines().rev().filter(|line| line.contains("+set")).find_map(date_of);
        let Some(theirs) = newest else { return Ok(Err("its log says nothing of +set".to_owned())) };
        let seen = theirs - unix_seconds();
        Ok(if (seen - seconds as f64).abs() < 4.0 { Ok(()) } else { Err(format!("it is {seen:.0} s ahead")) })
    })
    .await
}

/// Unix seconds of the first date in a line: `2026-11-26T06:57:17`, in UTC.
fn date_of(line: &str) -> Option<f64> {
    let end = line.find('T').filter(|at| *at >= 10)?;
    let digits = |from: usize, count: usize| line.get(from..from + count)?.parse::<i64>().ok();
    let (year, month, day) = (digits(end - 10, 4)?, digits(end - 5, 2)?, digits(end - 2, 2)?);
    let (hour, minute, second) = (digits(end + 1, 2)?, digits(end + 4, 2)?, digits(end + 7, 2)?);
    // Days of the Gregorian calendar, in years that begin with March, so that a leap day ends one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) as f64)
}

async fn expect(cluster: &Cluster, node: usize, key: &str, value: Option<&str>, why: &str) -> Result<(), Error> {
    let found = ask(cluster, node, &["GET", key]).await?;
    let is_so = match value {
        Some(value) => found.as_text().as_deref() == Some(value),
        None => found == Value::Null,
    };
    if is_so { Ok(()) } else { Err(Error::Broken(format!("{why}: {} has {found:?}", Member::Node(node)))) }
}

async fn set(cluster: &Cluster, master: usize, key: &str, life_ms: i64) -> Result<(), Error> {
    let reply = ask(cluster, master, &["SET", key, "v", "PX", &life_ms.to_string()]).await?;
    if reply == Value::Simple("OK".to_owned()) { Ok(()) } else { Err(Error::NoAnswer(format!("{reply:?} to SET"))) }
}

/// Waits until every node holds so many keys: a key that only seems to be gone counts.
async fn holds(cluster: &Cluster, keys: i64) -> Result<(), Error> {
    for node in 0..NODES {
        until(&format!("{} holds {keys} of the keys", Member::Node(node)), async || {
            let found = ask(cluster, node, &["DBSIZE"]).await?;
            Ok(if found == Value::Integer(keys) { Ok(()) } else { Err(format!("{found:?}")) })
        })
        .await?;
    }
    Ok(())
}

/// The jumps, one after the other; the master's clock stays wrong by hours.
pub(super) async fn skew(cluster: &Cluster, master: usize, random: &mut StdRng) -> Result<Struck, Error> {
    let replica = (master + random.random_range(1..NODES)) % NODES;
    let sentinel = random.random_range(0..SENTINELS);
    let mut hours = || random.random_range(2 * LIFE_SECONDS..JUMP_SECONDS.end);
    let (replica_ahead, master_ahead) = (hours(), hours());
    let (back, rate) = (-random.random_range(JUMP_SECONDS), RATES[random.random_range(0..RATES.len())]);
    let sentinel_jump = random.random_range(JUMP_SECONDS) * if random.random_bool(0.5) { 1 } else { -1 };
    let run = random.random::<u32>();
    let key = |fate: &str| format!("skew:{run:08x}:{fate}");
    let keys = Keys { gone: key("gone"), aged: key("aged"), stays: key("stays") };
    ask(cluster, master, &["FLUSHDB"]).await?;
    set(cluster, master, &keys.gone, 1).await?;
    set(cluster, master, &keys.aged, LIFE_SECONDS * 1000).await?;
    set(cluster, master, &keys.stays, LIFE_SECONDS * 1000).await?;
    holds(cluster, 2).await?;

    let at = Moment::now();
    jump(cluster, replica, replica_ahead).await?;
    sleep(EACH).await;
    expect(cluster, master, &keys.stays, Some("v"), "the clock of a replica jumped").await?;
    holds(cluster, 2).await?;
    jump(cluster, replica, back).await?;
    expect(cluster, replica, &keys.stays, Some("v"), "a replica dropped what only its own clock took for old").await?;
    expect(cluster, replica, &keys.gone, None, "a replica's clock jumped back").await?;
    if cluster.family() == Family::Tercet {
        jump_sentinel(cluster, sentinel, sentinel_jump).await?;
    }

    jump(cluster, master, back).await?;
    sleep(EACH).await;
    expect(cluster, master, &keys.gone, None, "the master's clock jumped back").await?;
    expect(cluster, master, &keys.stays, Some("v"), "the master's clock jumped back").await?;
    // It is to outlive the jump that follows.
    set(cluster, master, &keys.stays, LONG_LIFE_SECONDS * 1000).await?;
    run_at(cluster, master, Skew { ahead_seconds: back, rate }).await?;
    jump(cluster, master, master_ahead).await?;
    expect(cluster, master, &keys.aged, None, "the master's clock jumped over the end of a key").await?;
    holds(cluster, 1).await?;
    let members = vec![Member::Node(replica), Member::Sentinel(sentinel), Member::Node(master)];
    Ok(Struck { at, killed: None, wound: Wound::Clocks(Wrong { master, members, keys }) })
}

/// Sets the clocks right, which is one more jump back, and looks for what it must not change.
pub(super) async fn set_right(cluster: &Cluster, wrong: Wrong) -> Result<(), Error> {
    let seen = ahead(cluster, wrong.master).await?;
    if seen < LIFE_SECONDS as f64 {
        return Err(Error::DidNotHappen(format!("the master's clock was {seen:.3} s ahead at the end")));
    }
    for member in wrong.members {
        match member {
            Member::Node(node) => jump(cluster, node, 0).await?,
            Member::Sentinel(_) => cluster.set_wall_clock(member, Skew::NONE)?,
        }
    }
    for node in 0..NODES {
        expect(cluster, node, &wrong.keys.gone, None, "an expired key came back").await?;
        expect(cluster, node, &wrong.keys.aged, None, "an expired key came back").await?;
        expect(cluster, node, &wrong.keys.stays, Some("v"), "a key was lost").await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_as_the_seconds_that_it_is() {
        assert_eq!(date_of("1970-01-01T00:00:01Z"), Some(1.0));
        assert_eq!(date_of("{\"timestamp\":\"2000-02-29T12:00:00.5Z\""), Some(951_825_600.0));
        assert_eq!(date_of("2026-11-26T06:57:17.000Z INFO"), Some(1_795_676_237.0));
        assert_eq!(date_of("no date: T"), None);
    }
}
