//! A drill: rounds of load, fault, mending and check, on a cluster of real processes.
//!
//! ```text
//! whole cluster -> load -> fault -> what its row promises -> mending -> whole again -> load off -> read everything back
//! ```
//!
//! Every wait has a limit, and a fault that did not happen is a failure of the drill.

mod error;
mod load;
pub mod readback;
pub mod report;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

pub use self::error::Error;
use self::error::START_LIMIT;
use self::load::{Books, Load};
use self::report::{Memory, Report, Seen};
use crate::check::rejoin;
use crate::check::unavailable;
use crate::cluster::health::Status;
use crate::cluster::network::Network;
use crate::cluster::{self, Clocks, Cluster, Disks, Family, Member, NODES, Walls};
use crate::nemesis::{self, Ending, Fault, Struck};
use crate::sys::Moment;
use crate::workload::session::Tenures;

/// Far above what is promised, so that a slow failover is measured and not cut off.
const FAILOVER_LIMIT: Duration = Duration::from_secs(20);
/// A full copy of everything that the drill has written so far.
const REJOIN_LIMIT: Duration = Duration::from_secs(60);
/// Load before the fault, drawn for each round.
const WARM_UP_MS: std::ops::Range<u64> = 400..1400;
/// How long a fault lasts that the cluster is to outlive without a new master, or with one that comes when it likes.
const LASTING: Duration = Duration::from_millis(2500);
/// How long a fault lasts whose end alone helps.
const OUTAGE: Duration = Duration::from_millis(700);
/// The queue holds what so many rounds have published: enough to have gone through every fault, and no more, so that a
/// restart in the two hundredth round reads what one in the twentieth does.
const EMPTIED_EVERY: usize = 20;
/// Files and connections that a node may have open: few enough to be taken by a storm.
const NODE_DESCRIPTORS: u64 = 4096;
/// Clients from one address: a storm takes a part of the places.
const FROM_ONE_ADDRESS: usize = 1000;
/// A node whose memory goes above this has broken its promise.
const MOST_MEMORY: u64 = 2 << 30;
/// Where publishers are blocked: what a node would choose in a container with as much memory.
const WATERMARK: u64 = MOST_MEMORY / 100 * 40;
/// Load on a cluster that is whole again before the round is judged.
const COOL_DOWN: Duration = Duration::from_millis(300);

#[derive(Debug, Clone)]
pub struct Plan {
    pub rounds: usize,
    /// Taken in turn.
    pub faults: Vec<Fault>,
    pub seed: u64,
    pub password: Option<String>,
    pub family: Family,
    pub network: Option<Arc<Network>>,
    pub disks: Disks,
    pub clocks: Clocks,
    pub walls: Walls,
}

/// A drill under way.
pub struct Drill {
    pub cluster: Cluster,
    plan: Plan,
    random: StdRng,
    books: Books,
    pub report: Report,
}

impl Drill {
    /// Starts the cluster.
    ///
    /// # Errors
    /// A process does not start.
    pub fn start(plan: Plan) -> Result<Self, Error> {
        let options = cluster::Options {
            password: plan.password.clone(),
            family: plan.family,
            network: plan.network.clone(),
            disks: plan.disks,
            clocks: plan.clocks,
            walls: plan.walls,
            descriptors: Some(NODE_DESCRIPTORS),
            node_args: match plan.family {
                Family::Tercet => vec![
                    format!("--memory-high-watermark={WATERMARK}"),
                    format!("--maxclients-per-address={FROM_ONE_ADDRESS}"),
                ],
                Family::Redis => Vec::new(),
            },
        };
        Ok(Self {
            cluster: Cluster::start(options)?,
            random: StdRng::seed_from_u64(plan.seed),
            books: Books::default(),
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
        let has_broker = self.cluster.family() == Family::Tercet;
        for round in 1..=self.plan.rounds {
            let fault = self.plan.faults[(round - 1) % self.plan.faults.len()];
            self.round(round, fault).await?;
            if has_broker && round % EMPTIED_EVERY == 0 {
                self.books.messages.empty(&load::brokers(&self.cluster)).await?;
            }
        }
        let found = self.books.read_back(&self.cluster, self.plan.rounds).await?;
        self.report.judge(found);
        if has_broker {
            self.books.messages.empty(&load::brokers(&self.cluster)).await?;
        }
        self.report.judge_messages(&self.books.messages.elements(), &self.books.messages.drained());
        Ok(())
    }

    async fn round(&mut self, round: usize, fault: Fault) -> Result<(), Error> {
        let master = self.cluster.wait_until_whole(REJOIN_LIMIT).await?;
        let before = self.cluster.status().await;
        let warm_up = Duration::from_millis(self.random.random_range(WARM_UP_MS));
        let tenures = if fault.carries_clients() { Tenures::Hidden } else { Tenures::Told };
        let mut load = self.books.start_load(&self.cluster, tenures);
        self.books.wait_for(&load).await?;
        sleep(warm_up).await;

        let failures_before = self.books.ledger.lock().failures;
        let struck = nemesis::strike(fault, &mut self.cluster, master, &mut self.random).await?;
        let at = struck.at;
        let killed = struck.killed;
        self.outlast(fault, master, struck, &load).await?;
        let since_mending = Instant::now();
        let new_master = self.wait_until_back(master, killed, &before).await?;
        let back_after = since_mending.elapsed();
        if fault.row().ending == Ending::SameMaster && new_master != master {
            let (before, after) = (Member::Node(master), Member::Node(new_master));
            return Err(Error::Moved { fault, before, after });
        }
        sleep(COOL_DOWN).await;
        load.end().await?;
        let failures = self.books.ledger.lock().failures - failures_before;

        let gap = unavailable::longest(&load.probe.successes(), at);
        let confirmations = self.books.messages.confirmations_from(load.first_confirmation());
        let amqp_gap = unavailable::longest(&confirmations, at);
        self.report.round(fault, Seen { gap, amqp_gap, failures });
        let found = self.judge().await?;
        let ms = |gap: Option<unavailable::Gap>| {
            gap.map_or("not back".to_owned(), |gap| format!("{} ms", gap.between_successes.as_millis()))
        };
        println!(
            "round {round}: {fault}, {} -> {}, longest pause {}, amqp {}, {failures} errors, whole {} ms after mending, {found} violations",
            Member::Node(master),
            Member::Node(new_master),
            ms(gap),
            ms(amqp_gap),
            back_after.as_millis(),
        );
        Ok(())
    }

    /// Waits for what the fault's row says, and mends it.
    async fn outlast(&mut self, fault: Fault, master: usize, struck: Struck, load: &Load) -> Result<(), Error> {
        match fault.row().ending {
            Ending::NewMaster => {
                let has_moved = |status: &Status| {
                    let is_master = |node: &usize| {
                        *node != master && status.nodes[*node].as_ref().is_some_and(|view| view.role == "master")
                    };
                    (0..NODES).find(is_master).ok_or_else(|| format!("no node but {} is master", Member::Node(master)))
                };
                self.cluster.wait_until(FAILOVER_LIMIT, has_moved).await?;
                self.books.wait_for_write(load, Moment::now(), FAILOVER_LIMIT).await?;
                struck.mend(&mut self.cluster).await?;
            }
            Ending::SameMaster | Ending::AnyMaster => {
                sleep(LASTING).await;
                self.books.wait_for_write(load, Moment::now(), FAILOVER_LIMIT).await?;
                struck.mend(&mut self.cluster).await?;
            }
            Ending::AfterMend => {
                sleep(OUTAGE).await;
                struck.mend(&mut self.cluster).await?;
                self.books.wait_for_write(load, Moment::now(), REJOIN_LIMIT).await?;
            }
        }
        Ok(())
    }

    /// Waits until the cluster is whole, and whoever was killed is part of it as a new incarnation.
    async fn wait_until_back(&mut self, master: usize, killed: Option<usize>, before: &Status) -> Result<usize, Error> {
        let Some(killed) = killed else { return Ok(self.cluster.wait_until_whole(REJOIN_LIMIT).await?) };
        let old_run_id = before.nodes[killed].clone().unwrap_or_default().run_id;
        let condition = |status: &Status| rejoin::rejoined(status, master, &old_run_id);
        Ok(self.cluster.wait_until(REJOIN_LIMIT, condition).await?)
    }

    /// What this round and the one before it wrote, and what its clients saw; says how many violations there are.
    async fn judge(&mut self) -> Result<usize, Error> {
        let mut found = self.books.read_back(&self.cluster, 2).await?;
        let (operations, on_registers) = self.books.judge_registers();
        self.report.operations += operations as u64;
        found.extend(on_registers);
        let count = found.len();
        self.report.judge(found);
        Ok(count)
    }

    fn sum_up(&mut self) {
        let mut ledger = self.books.ledger.lock();
        self.report.acknowledged = ledger.acknowledged;
        self.report.unknown = ledger.unknown;
        self.report.refused = ledger.refused;
        self.report.reads = ledger.reads;
        self.report.masterships = ledger.masters.masterships();
        self.report.overlaps = ledger.masters.overlaps();
        self.report.errors = std::mem::take(&mut ledger.errors);
        for error in self.books.messages.errors() {
            let text = format!("amqp {}", error.split_once(": ").map_or("", |(_, text)| text));
            *self.report.errors.entry(text).or_default() += 1;
        }
        self.report.rejected = self.books.messages.rejected();
        self.report.memory = Memory { peak: self.cluster.peak_memory(), most: MOST_MEMORY };
        self.report.judge(std::mem::take(&mut ledger.violations));
    }
}
