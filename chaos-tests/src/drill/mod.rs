//! A drill: rounds of load, fault, failover, restart and check, on a cluster of real processes.
//!
//! ```text
//! whole cluster -> load -> fault -> a client can write again -> restart -> whole again -> load off -> read everything back
//! ```
//!
//! Every wait has a limit, and a fault that did not happen is a failure of the drill.

pub mod readback;
pub mod report;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::check::acknowledged::{Elements, Violation};
use crate::check::rejoin;
use crate::check::unavailable::{self, Gap};
use crate::cluster::{self, Cluster, Family, Member};
use crate::nemesis::kill::{self, Killed};
use crate::workload::amqp::{self, Brokers};
use crate::workload::register::{self, Kind};
use crate::workload::session::{Session, SharedLedger};
use crate::workload::{Stop, append, probe};
use report::Report;

/// First start: binaries are loaded, databases made, Raft's first election held.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Far above what is promised, so that a slow failover is measured and not cut off.
const FAILOVER_LIMIT: Duration = Duration::from_secs(20);
/// A full copy of everything that the drill has written so far.
const REJOIN_LIMIT: Duration = Duration::from_secs(60);
/// Load before the fault, drawn for each round.
const WARM_UP_MS: std::ops::Range<u64> = 400..1400;
/// Load on the new master before the round is judged.
const COOL_DOWN: Duration = Duration::from_millis(300);
/// Workers end at their next write, or after the waits of one that hangs.
const STOP_LIMIT: Duration = Duration::from_secs(30);

const SETTERS: usize = 4;
const COUNTERS: usize = 2;
const APPENDERS: usize = 4;

/// When the killed master is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restart {
    /// As a supervisor does: an empty incarnation of the master is back before anybody has noticed. Not with Redis,
    /// where it may go on as master.
    AtOnce,
    /// Once a new master serves.
    AfterFailover,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub rounds: usize,
    pub seed: u64,
    pub password: Option<String>,
    pub family: Family,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Cluster(#[from] cluster::Error),
    #[error("no client could write within {FAILOVER_LIMIT:?} after the fault; last errors: {errors}")]
    NoNewMaster { errors: String },
    #[error("the load did not start within {START_LIMIT:?}; last errors: {errors}")]
    NoLoad { errors: String },
    #[error("a worker did not end within {STOP_LIMIT:?}")]
    StuckWorker,
    #[error("{0}")]
    Readback(#[from] readback::Error),
    #[error("AMQP: {0}")]
    Amqp(#[from] crate::client::amqp::Error),
}

/// A drill under way.
pub struct Drill {
    pub cluster: Cluster,
    plan: Plan,
    random: StdRng,
    ledger: SharedLedger,
    keys: register::Book,
    lists: Vec<append::Book>,
    messages: amqp::Book,
    pub report: Report,
}

impl Drill {
    /// Starts the cluster.
    ///
    /// # Errors
    /// A process does not start.
    pub fn start(plan: Plan) -> Result<Self, Error> {
        let options = cluster::Options { password: plan.password.clone(), family: plan.family, ..Default::default() };
        Ok(Self {
            cluster: Cluster::start(options)?,
            random: StdRng::seed_from_u64(plan.seed),
            ledger: SharedLedger::default(),
            keys: register::Book::default(),
            lists: Vec::new(),
            messages: amqp::Book::default(),
            report: Report::new(plan.seed),
            plan,
        })
    }

    /// Runs every round, then empties the queue and counts.
    ///
    /// # Errors
    /// Something that a round waits for does not come. Violations are no errors: they are in the report.
    pub async fn run(&mut self) -> Result<(), Error> {
        let result = self.rounds().await;
        self.sum_up();
        result
    }

    async fn rounds(&mut self) -> Result<(), Error> {
        self.cluster.wait_until_whole(START_LIMIT).await?;
        for round in 1..=self.plan.rounds {
            self.round(round).await?;
        }
        let messages = if self.has_broker() { amqp::drain(&self.brokers()).await? } else { Vec::new() };
        self.report.judge_messages(&self.messages.elements(), &messages);
        Ok(())
    }

    async fn round(&mut self, round: usize) -> Result<(), Error> {
        let master = self.cluster.wait_until_whole(REJOIN_LIMIT).await?;
        let is_at_once = self.random.random_bool(0.25) && self.cluster.family() == Family::Tercet;
        let restart = if is_at_once { Restart::AtOnce } else { Restart::AfterFailover };
        let warm_up = Duration::from_millis(self.random.random_range(WARM_UP_MS));
        let old_run_id = self.cluster.status().await.nodes[master].clone().unwrap_or_default().run_id;

        let load = self.start_load(round);
        self.wait_for_load(&load).await?;
        sleep(warm_up).await;

        let killed = kill::kill(&mut self.cluster, master)?;
        self.report.faults += 1;
        if restart == Restart::AtOnce {
            self.cluster.launch(Member::Node(master))?;
        }
        let gap = self.wait_for_new_master(&load, &killed).await?;
        if restart == Restart::AfterFailover {
            self.cluster.launch(Member::Node(master))?;
        }
        let since_restart = Instant::now();
        let condition = |status: &cluster::health::Status| rejoin::rejoined(status, master, &old_run_id);
        let new_master = self.cluster.wait_until(REJOIN_LIMIT, condition).await?;
        let rejoined_after = since_restart.elapsed();
        sleep(COOL_DOWN).await;
        load.end().await?;

        let amqp_gap = unavailable::gap(&self.messages.confirmations(), killed.at, killed.gone);
        self.report.unavailable.push(gap);
        self.report.amqp_unavailable.extend(amqp_gap);
        let found = self.read_back().await?;
        let overlaps = self.ledger.lock().masters.overlaps().len();
        println!(
            "round {round}: {} -> {}, unavailable {} ms ({} from the kill), amqp {}, {restart:?}, rejoined {} ms later, {} acknowledged, {found} violations, {overlaps} overlaps",
            Member::Node(master),
            Member::Node(new_master),
            gap.between_successes.as_millis(),
            gap.from_fault.as_millis(),
            amqp_gap.map_or("not back".to_owned(), |gap| format!("{} ms", gap.between_successes.as_millis())),
            rejoined_after.as_millis(),
            self.ledger.lock().acknowledged,
        );
        Ok(())
    }

    fn start_load(&mut self, round: usize) -> Load {
        let stop = Stop::default();
        let probe = probe::Book::default();
        let lists = append::Book::new(&format!("append:{round}"));
        self.lists.push(lists.clone());
        let mut workers = Vec::new();
        workers.push(tokio::spawn(probe::run(self.session(), probe.clone(), stop.clone())));
        for (kind, name, count) in [(Kind::Set, "register", SETTERS), (Kind::Increment, "counter", COUNTERS)] {
            for worker in 0..count {
                let name = format!("{name}:{round}:{worker}");
                workers.push(tokio::spawn(register::run(kind, name, self.session(), self.keys.clone(), stop.clone())));
            }
        }
        for worker in 0..APPENDERS {
            workers.push(tokio::spawn(append::run(
                format!("r{round}w{worker}"),
                self.session(),
                lists.clone(),
                stop.clone(),
            )));
        }
        // Another address in each round, so that a replica's port carries messages too.
        let mut brokers = self.brokers();
        brokers.addresses.rotate_left(round % cluster::NODES);
        if self.has_broker() {
            workers.push(tokio::spawn(amqp::publish(
                format!("r{round}p"),
                brokers,
                self.messages.clone(),
                stop.clone(),
            )));
        }
        Load { stop, workers, probe }
    }

    async fn wait_for_load(&self, load: &Load) -> Result<(), Error> {
        let confirmed = self.messages.confirmations().len();
        let deadline = Instant::now() + START_LIMIT;
        while load.probe.successes().is_empty()
            || (self.has_broker() && self.messages.confirmations().len() == confirmed)
        {
            if Instant::now() > deadline {
                return Err(Error::NoLoad { errors: self.last_errors() });
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn wait_for_new_master(&mut self, load: &Load, killed: &Killed) -> Result<Gap, Error> {
        let deadline = Instant::now() + FAILOVER_LIMIT;
        loop {
            if let Some(gap) = unavailable::gap(&load.probe.successes(), killed.at, killed.gone) {
                return Ok(gap);
            }
            if Instant::now() > deadline {
                return Err(Error::NoNewMaster { errors: self.last_errors() });
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything that was ever written, against the books; says how many violations it found.
    async fn read_back(&mut self) -> Result<usize, Error> {
        let keys = self.keys.lock().expect("nobody panics while holding the book").clone();
        let lists: Vec<Elements> = self.lists.iter().flat_map(append::Book::lists).collect();
        let mut found = readback::judge(&mut self.cluster.discovery(), &keys, &lists).await?;

        if self.has_broker() {
            found.extend(self.missing_messages().await?);
        }
        let count = found.len();
        self.report.judge(found);
        Ok(count)
    }

    /// Without emptying the queue: fewer messages than were confirmed.
    async fn missing_messages(&self) -> Result<Option<Violation>, Error> {
        let messages = self.messages.elements();
        let ready = amqp::count(&self.brokers()).await?;
        if ready >= messages.acknowledged.len() {
            return Ok(None);
        }
        let what = format!("{ready} messages are ready, {} were confirmed", messages.acknowledged.len());
        Ok(Some(Violation::Lost { place: messages.name, what }))
    }

    fn has_broker(&self) -> bool {
        self.cluster.family() == Family::Tercet
    }

    fn sum_up(&mut self) {
        let mut ledger = self.ledger.lock();
        self.report.acknowledged = ledger.acknowledged;
        self.report.unknown = ledger.unknown;
        self.report.refused = ledger.refused;
        self.report.reads = ledger.reads;
        self.report.masterships = ledger.masters.masterships();
        self.report.overlaps = ledger.masters.overlaps();
        self.report.errors = std::mem::take(&mut ledger.errors);
        for error in self.messages.errors() {
            *self
                .report
                .errors
                .entry(format!("amqp {}", error.split_once(": ").map_or("", |(_, text)| text)))
                .or_default() += 1;
        }
        self.report.rejected = self.messages.rejected();
        self.report.judge(std::mem::take(&mut ledger.violations));
    }

    fn session(&self) -> Session {
        Session::new(self.cluster.discovery(), self.ledger.clone())
    }

    fn brokers(&self) -> Brokers {
        Brokers {
            addresses: (0..cluster::NODES).map(|node| self.cluster.amqp_address(node)).collect(),
            password: self.plan.password.clone().unwrap_or_else(|| "guest".to_owned()),
        }
    }

    fn last_errors(&self) -> String {
        let ledger = self.ledger.lock();
        let amqp = self.messages.errors();
        format!("{:?}, amqp {:?}", ledger.errors, amqp.last())
    }
}

struct Load {
    stop: Stop,
    workers: Vec<JoinHandle<()>>,
    probe: probe::Book,
}

impl Load {
    async fn end(self) -> Result<(), Error> {
        self.stop.ask();
        let all = futures::future::join_all(self.workers);
        let ended = tokio::time::timeout(STOP_LIMIT, all).await.map_err(|_| Error::StuckWorker)?;
        assert!(ended.iter().all(Result::is_ok), "a worker panicked");
        Ok(())
    }
}
