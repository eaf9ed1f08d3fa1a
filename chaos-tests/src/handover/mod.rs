//! Planned hand-overs of a real cluster under load, one after the other: no client may meet an error, and how long does
//! one wait?

pub mod pauses;
mod traffic;

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::pauses::{Pauses, Record};
use crate::client::resp::{Connection, Error as RespError};
use crate::cluster::{Cluster, Error as ClusterError, Member, NODES, Options, SERVICE};

/// What is done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `SENTINEL FAILOVER`.
    Failover,
    /// SIGTERM of the master, then it is started again.
    Restart,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub rounds: usize,
    pub way: Way,
    /// Clients that know one address and no second attempt.
    pub plain: usize,
    /// Clients that listen to the sentinels for the master's address, without a second attempt either.
    pub aware: usize,
    pub password: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("the sentinel could not be asked: {0}")]
    Sentinel(#[from] RespError),
    #[error("hand-over {round}: the sentinel answers {reply}")]
    Refused { round: usize, reply: String },
    #[error("hand-over {round}: {node} is still master")]
    NothingHappened { round: usize, node: Member },
    #[error("a client's task ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// What happened.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How long each order took until it was answered, in milliseconds.
    pub orders: Vec<f64>,
    pub pauses: Pauses,
    pub answers: usize,
    pub errors: Vec<String>,
}

/// How long the cluster may take to be whole again.
const WHOLE: Duration = Duration::from_secs(30);
/// Undisturbed traffic before each hand-over.
const REST: Duration = Duration::from_millis(150);
/// From the order until the last client is surely served again.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// Runs the plan on a cluster of its own.
///
/// # Errors
/// A hand-over did not happen. Errors of clients are in the outcome.
pub async fn run(plan: &Plan) -> Result<Outcome, (Error, Option<std::path::PathBuf>)> {
    let options = Options { password: plan.password.clone(), ..Options::default() };
    let mut cluster = Cluster::start(options).map_err(|error| (error.into(), None))?;
    match Box::pin(hand_over_often(plan, &mut cluster)).await {
        Ok(outcome) if outcome.errors.is_empty() => Ok(outcome),
        Ok(outcome) => {
            eprintln!("logs stay in {}", cluster.keep_folder().display());
            Ok(outcome)
        }
        Err(error) => Err((error, Some(cluster.keep_folder()))),
    }
}

async fn hand_over_often(plan: &Plan, cluster: &mut Cluster) -> Result<Outcome, Error> {
    let mut master = cluster.wait_until_whole(WHOLE).await?;
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    for index in 0..plan.plain {
        let client = traffic::Client::plain(index, cluster.resp_address(master), plan.password.clone());
        clients.spawn(client.run(stopped.clone()));
    }
    let news = traffic::listen(cluster.sentinel_address(0), cluster.resp_address(master));
    for index in 0..plan.aware {
        let client = traffic::Client::aware(plan.plain + index, news.clone(), plan.password.clone());
        clients.spawn(client.run(stopped.clone()));
    }
    let mut outcome = Outcome::default();
    let mut windows = Vec::new();
    for round in 0..plan.rounds {
        sleep(REST).await;
        let began = Instant::now();
        match plan.way {
            Way::Failover => order(cluster, round).await?,
            Way::Restart => {
                let ended = tokio::task::block_in_place(|| cluster.stop(Member::Node(master)))?;
                if ended == crate::process::Ended::Killed {
                    outcome.errors.push(format!("round {round}: {} had to be killed", Member::Node(master)));
                }
            }
        }
        outcome.orders.push(began.elapsed().as_secs_f64() * 1e3);
        sleep(AFTERWARDS).await;
        windows.push((began, Instant::now()));
        if plan.way == Way::Restart {
            cluster.launch(Member::Node(master))?;
        }
        let now = cluster.wait_until_whole(WHOLE).await?;
        if now == master {
            return Err(Error::NothingHappened { round, node: Member::Node(master) });
        }
        master = now;
    }
    sleep(REST).await;
    stop.send_replace(true);
    while let Some(record) = clients.join_next().await {
        let Record { answers, errors } = record?;
        outcome.pauses.add(&answers, &windows);
        outcome.answers += answers.len();
        outcome.errors.extend(errors);
    }
    Ok(outcome)
}

async fn order(cluster: &Cluster, round: usize) -> Result<(), Error> {
    let sentinel = cluster.sentinel_address(round % NODES);
    let mut connection = Connection::open(sentinel, Duration::from_secs(5)).await?;
    let reply = connection.command(&["SENTINEL", "FAILOVER", SERVICE]).await?;
    if reply == tercet_proto::resp::Value::Simple("OK".to_owned()) {
        Ok(())
    } else {
        Err(Error::Refused { round, reply: format!("{reply:?}") })
    }
}
