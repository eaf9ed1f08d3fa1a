//! The load of a drill: who writes what in a round, and the books of all rounds.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::error::{Error, START_LIMIT};
use super::readback::{self, Written};
use crate::check::acknowledged::{Elements, Violation};
use crate::cluster::{self, Cluster, Family};
use crate::sys::Moment;
use crate::workload::amqp::{self, Brokers};
use crate::workload::register::{self, Kind};
use crate::workload::session::{Session, SharedLedger, Tenures};
use crate::workload::{Stop, append, bank, escrow, probe, shared, takers};

const SETTERS: usize = 3;
const COUNTERS: usize = 2;
const APPENDERS: usize = 3;
const SHARERS: usize = 4;
const TELLERS: usize = 2;

/// Workers end at their next write, or after the waits of one that hangs.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// What was written, round after round.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub ledger: SharedLedger,
    pub messages: amqp::Book,
    keys: register::Book,
    rounds: Vec<Round>,
}

#[derive(Debug)]
struct Round {
    /// Where its keys begin in the book of keys.
    first_key: usize,
    lists: append::Book,
    shared: shared::Book,
    takers: takers::Book,
    bank: String,
    /// Nothing, where there are no queues.
    escrow: Option<String>,
}

/// Workers at work.
pub(super) struct Load {
    stop: Stop,
    workers: Vec<JoinHandle<()>>,
    pub probe: probe::Book,
    confirmed_before: usize,
    has_broker: bool,
}

impl Books {
    /// Starts the workers of the next round.
    pub(super) fn start_load(&mut self, cluster: &Cluster, tenures: Tenures) -> Load {
        let round = self.rounds.len() + 1;
        let lists = append::Book::new(&format!("append:{round}"));
        let shared = shared::Book::new(round);
        let takers = takers::Book::new(round);
        let bank = format!("bank:{round}");
        let session = || Session::new(cluster.discovery(), self.ledger.clone(), tenures);
        let (stop, probe) = (Stop::default(), probe::Book::default());
        let mut workers = vec![tokio::spawn(probe::run(session(), probe.clone(), stop.clone()))];
        for (kind, name, count) in [(Kind::Set, "register", SETTERS), (Kind::Increment, "counter", COUNTERS)] {
            for worker in 0..count {
                let name = format!("{name}:{round}:{worker}");
                workers.push(tokio::spawn(register::run(kind, name, session(), self.keys.clone(), stop.clone())));
            }
        }
        for worker in 0..APPENDERS {
            let writer = format!("r{round}w{worker}");
            workers.push(tokio::spawn(append::run(writer, session(), lists.clone(), stop.clone())));
        }
        for worker in 0..SHARERS {
            let client = format!("r{round}c{worker}");
            workers.push(tokio::spawn(shared::run(client, session(), shared.clone(), stop.clone())));
        }
        for (worker, part) in takers::PARTS.into_iter().enumerate() {
            let client = format!("r{round}t{worker}");
            workers.push(tokio::spawn(takers::run(part, client, session(), takers.clone(), stop.clone())));
        }
        for _ in 0..TELLERS {
            workers.push(tokio::spawn(bank::run(bank.clone(), session(), stop.clone())));
        }
        let has_broker = cluster.family() == Family::Tercet;
        let escrow = has_broker.then(|| format!("escrow:{round}"));
        for _ in 0..TELLERS {
            if let Some(escrow) = &escrow {
                workers.push(tokio::spawn(escrow::run(escrow.clone(), session(), stop.clone())));
            }
        }
        let confirmed_before = self.messages.confirmed();
        if has_broker {
            // Another address in each round, so that a replica's port carries messages too.
            let mut brokers = brokers(cluster);
            brokers.addresses.rotate_left(round % cluster::NODES);
            let publisher = format!("r{round}p");
            workers.push(tokio::spawn(amqp::publish(publisher, brokers, self.messages.clone(), stop.clone())));
        }
        let first_key = self.keys.lock().expect("nobody panics while holding the book").len();
        self.rounds.push(Round { first_key, lists, shared, takers, bank, escrow });
        Load { stop, workers, probe, confirmed_before, has_broker }
    }

    /// Waits until writes are answered and messages confirmed.
    pub(super) async fn wait_for(&self, load: &Load) -> Result<(), Error> {
        let deadline = Instant::now() + START_LIMIT;
        while load.probe.last().is_none() || (load.has_broker && self.messages.confirmed() == load.confirmed_before) {
            if Instant::now() > deadline {
                return Err(Error::NoLoad { errors: self.last_errors() });
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until a write that was sent after `moment` is answered.
    pub(super) async fn wait_for_write(&self, load: &Load, moment: Moment, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        while load.probe.last().is_none_or(|last| last.sent <= moment) {
            if Instant::now() > deadline {
                return Err(Error::NoWrite { limit, errors: self.last_errors() });
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Reads back what the last `rounds` wrote, and judges it.
    pub(super) async fn read_back(&self, cluster: &Cluster, rounds: usize) -> Result<Vec<Violation>, Error> {
        let first = self.rounds.len().saturating_sub(rounds);
        let Some(oldest) = self.rounds.get(first) else { return Ok(Vec::new()) };
        let keys = self.keys.lock().expect("nobody panics while holding the book")[oldest.first_key..].to_vec();
        let rounds = &self.rounds[first..];
        let lists: Vec<Elements> = rounds.iter().flat_map(|round| round.lists.lists()).collect();
        let shared: Vec<_> = rounds.iter().map(|round| &round.shared).collect();
        let banks: Vec<_> = rounds.iter().map(|round| round.bank.as_str()).collect();
        let escrows: Vec<_> = rounds.iter().filter_map(|round| round.escrow.as_deref()).collect();
        let takers: Vec<_> = rounds.iter().map(|round| &round.takers).collect();
        let written =
            Written { keys: &keys, lists: &lists, shared: &shared, takers: &takers, banks: &banks, escrows: &escrows };
        let mut found = readback::judge(&mut cluster.discovery(), &written).await?;
        if cluster.family() == Family::Tercet {
            found.extend(self.missing_messages(cluster).await?);
        }
        Ok(found)
    }

    /// Judges the registers of the last round by what their clients saw; says how many operations that were.
    pub(super) fn judge_registers(&self) -> (usize, Vec<Violation>) {
        self.rounds.last().map_or((0, Vec::new()), |round| (round.shared.operations(), round.shared.judge_registers()))
    }

    /// Without emptying the queue: fewer messages than were confirmed.
    async fn missing_messages(&self, cluster: &Cluster) -> Result<Option<Violation>, Error> {
        let confirmed = self.messages.confirmed();
        let ready = amqp::count(&brokers(cluster)).await?;
        let drained = self.messages.drained().len();
        if drained + ready >= confirmed {
            return Ok(None);
        }
        let what = format!("{ready} messages are ready and {drained} were taken out, {confirmed} were confirmed");
        Ok(Some(Violation::Lost { place: self.messages.elements().name, what }))
    }

    fn last_errors(&self) -> String {
        let ledger = self.ledger.lock();
        let amqp = self.messages.errors();
        format!("{:?}, amqp {:?}", ledger.errors, amqp.last())
    }
}

impl Load {
    /// Index of the first confirmation of this round.
    pub(super) fn first_confirmation(&self) -> usize {
        self.confirmed_before
    }

    pub(super) async fn end(&mut self) -> Result<(), Error> {
        self.stop.ask();
        let all = futures::future::join_all(self.workers.drain(..));
        let ended = tokio::time::timeout(STOP_LIMIT, all).await.map_err(|_| Error::StuckWorker(STOP_LIMIT))?;
        assert!(ended.iter().all(Result::is_ok), "a worker panicked");
        Ok(())
    }
}

/// Every node's broker.
pub(super) fn brokers(cluster: &Cluster) -> Brokers {
    Brokers {
        addresses: (0..cluster::NODES).map(|node| cluster.amqp_address(node)).collect(),
        password: cluster.password().unwrap_or("guest").to_owned(),
    }
}
