//! What a process may use: the time, chance, the network, and the invariants that look on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tercet_node::clock::BootNanos;
use tercet_sentinel::clock::Moment;
use tercet_sentinel::state::IsrMember;

use super::clock::{Clock, Nanos};
use super::coverage::Coverage;
use super::invariant::Invariants;
use super::message::{CallId, Host, Message, StreamKind};
use super::mutation::Mutation;
use super::network::{Envelope, Fate, Network, StreamId};
use super::random::Random;
use super::swarm::Swarm;

/// What is to happen.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Deliver(Envelope),
    /// One side of a stream sees that it is broken.
    Closed {
        host: Host,
        life: u32,
        stream: StreamId,
    },
    Tick {
        host: Host,
        life: u32,
    },
    Restart(Host),
    Fault,
    Heal,
}

/// What is to happen, by time; of two at one time the one that was scheduled first.
#[derive(Debug, Default)]
struct Queue {
    /// Time, order, place in `events`.
    times: BinaryHeap<Reverse<(Nanos, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    order: u64,
}

impl Queue {
    fn push(&mut self, at: Nanos, event: Event) {
        let place = self.free.pop().unwrap_or(self.events.len());
        if place == self.events.len() {
            self.events.push(Some(event));
        } else {
            self.events[place] = Some(event);
        }
        self.order += 1;
        self.times.push(Reverse((at, self.order, place)));
    }

    fn pop(&mut self) -> Option<(Nanos, Event)> {
        let Reverse((at, _, place)) = self.times.pop()?;
        self.free.push(place);
        Some((at, self.events[place].take()?))
    }
}

/// One machine and its one process.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) clock: Clock,
    /// Counts its processes.
    pub(super) life: u32,
    pub(super) is_up: bool,
    /// The machine itself is down: nobody refuses a connection.
    pub(super) is_dark: bool,
    pub(super) paused_until: Nanos,
    /// The whole machine stands still: its kernel answers nothing either.
    pub(super) is_frozen: bool,
}

#[derive(Debug)]
pub(super) struct Context {
    pub(super) now: Nanos,
    queue: Queue,
    calls: CallId,
    pub(super) machines: Vec<Machine>,
    pub(super) network: Network,
    pub(super) random: Random,
    pub(super) swarm: Swarm,
    pub(super) mutation: Option<Mutation>,
    pub(super) invariants: Invariants,
    pub(super) coverage: Coverage,
    pub(super) is_traced: bool,
    pub(super) hash: u64,
    pub(super) is_healed: bool,
    /// Who may lead by promotions and changes of the ISR that have just been agreed on; and the entry of the newest of all.
    pub(super) agreed: Vec<Vec<IsrMember>>,
    pub(super) newest_agreed: u64,
    /// Commands from here on were asked for when everything was healed; and one of them was acknowledged.
    pub(super) healed_id: CallId,
    pub(super) has_acknowledged: bool,
}

/// Prints what happens, if this run is traced.
macro_rules! trace {
    ($context:expr, $($text:tt)*) => {
        if $context.is_traced {
            let (ms, us) = ($context.now / 1_000_000, $context.now / 1000 % 1000);
            println!("{ms:>6}.{us:03} {}", format_args!($($text)*));
        }
    };
}
pub(super) use trace;

impl Context {
    pub(super) fn new(swarm: Swarm, mut random: Random, mutation: Option<Mutation>) -> Self {
        let hosts = swarm.nodes + swarm.sentinels + swarm.clients;
        let machine = |random: &mut Random| Machine {
            clock: Clock::new(random),
            life: 1,
            is_up: true,
            is_dark: false,
            paused_until: 0,
            is_frozen: false,
        };
        let machines = (0..hosts).map(|_| machine(&mut random)).collect();
        let network = Network::new(hosts, swarm.delay, swarm.loss, swarm.duplication);
        Self {
            now: 0,
            queue: Queue::default(),
            calls: 0,
            machines,
            network,
            random,
            swarm,
            mutation,
            invariants: Invariants::default(),
            coverage: Coverage::default(),
            is_traced: false,
            hash: 0xcbf2_9ce4_8422_2325,
            is_healed: false,
            agreed: Vec::new(),
            newest_agreed: 0,
            healed_id: 0,
            has_acknowledged: false,
        }
    }

    pub(super) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(super) fn at(&mut self, at: Nanos, event: Event) {
        self.queue.push(at, event);
    }

    pub(super) fn after(&mut self, wait: Nanos, event: Event) {
        self.at(self.now + wait, event);
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        let (at, event) = self.queue.pop()?;
        self.now = at;
        Some(event)
    }

    /// Folds what happens into the hash of the run.
    pub(super) fn note(&mut self, what: u64) {
        self.hash = (self.hash ^ self.now ^ what.rotate_left(40)).wrapping_mul(0x100_0000_01b3);
    }

    pub(super) fn boot(&self, host: Host) -> BootNanos {
        self.machines[host].clock.boot(self.now)
    }

    pub(super) fn moment(&self, host: Host) -> Moment {
        self.machines[host].clock.moment(self.now)
    }

    /// By what a node looks whether its lease is over.
    pub(super) fn lease_clock(&self, host: Host) -> BootNanos {
        let clock = &self.machines[host].clock;
        if self.is(Mutation::LeaseByWallClock) { clock.wall(self.now) } else { clock.boot(self.now) }
    }

    pub(super) fn sentinel(&self, index: usize) -> Host {
        self.swarm.nodes + index
    }

    pub(super) fn client(&self, index: usize) -> Host {
        self.swarm.nodes + self.swarm.sentinels + index
    }

    pub(super) fn new_call(&mut self) -> CallId {
        self.calls += 1;
        self.calls
    }

    /// A message that may be lost, overtaken or doubled. What clients say is not doubled: a command is executed once.
    pub(super) fn call(&mut self, from: Host, to: Host, message: Message) {
        let mut times = self.network.call(from, to, self.now, &mut self.random);
        if from.max(to) >= self.client(0) {
            times.truncate(1);
        }
        if let [first, again] = times[..] {
            self.at(first, Event::Deliver(Envelope { from, to, stream: None, message: message.clone() }));
            times = vec![again];
        }
        if let [at] = times[..] {
            self.at(at, Event::Deliver(Envelope { from, to, stream: None, message }));
        }
    }

    /// Opens a stream; it is there, or turns out to be broken.
    pub(super) fn open(&mut self, kind: StreamKind, from: Host, to: Host) -> StreamId {
        let lives = [self.machines[from].life, self.machines[to].life];
        self.network.open(kind, [from, to], lives)
    }

    pub(super) fn stream(&mut self, id: StreamId, from: Host, message: Message) {
        if self.network.streams[id].is_broken {
            return;
        }
        let to = self.network.streams[id].peer(from);
        match self.network.send(id, from, self.now, &mut self.random) {
            (number, Fate::Arrives(at)) => {
                self.at(at, Event::Deliver(Envelope { from, to, stream: Some((id, number)), message }));
            }
            (_, Fate::Breaks) => self.break_stream(id),
        }
    }

    /// Both sides will see it, each in its time.
    pub(super) fn break_stream(&mut self, id: StreamId) {
        let ends = self.network.streams[id].ends;
        self.close_towards(id, &ends);
    }

    /// `from` closes it, and knows.
    pub(super) fn close(&mut self, id: StreamId, from: Host) {
        let peer = self.network.streams[id].peer(from);
        self.close_towards(id, &[peer]);
    }

    fn close_towards(&mut self, id: StreamId, hosts: &[Host]) {
        if std::mem::replace(&mut self.network.streams[id].is_broken, true) {
            return;
        }
        self.coverage.broken_streams += 1;
        for &host in hosts {
            let stream = &self.network.streams[id];
            let (life, other) = (stream.lives[stream.side(host)], stream.peer(host));
            let wait = self.network.notice(host, other, self.now, &mut self.random);
            self.after(wait, Event::Closed { host, life, stream: id });
        }
    }

    /// The process at `host` is gone, and its streams with it.
    pub(super) fn break_streams_of(&mut self, host: Host) {
        for id in 0..self.network.streams.len() {
            let stream = &self.network.streams[id];
            if !stream.is_broken && stream.ends.contains(&host) {
                self.close(id, host);
            }
        }
    }
}
