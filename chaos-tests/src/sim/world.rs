//! The scheduler: one event after the other, and the invariants after each.

use std::rc::Rc;

use tercet_sentinel::state::{Address, ClusterState, Member, SentinelMember};

use super::client::Client;
use super::clock::{MS, Nanos};
use super::context::{Context, Event, trace};
use super::fault::{Act, End};
use super::invariant::liveness;
use super::known::Known;
use super::message::{Host, Message};
use super::mutation::Mutation;
use super::network::Envelope;
use super::node::Node;
use super::random::Random;
use super::sentinel::Sentinel;
use super::swarm::{Keeping, Swarm};
use super::{CLUSTER, Outcome};

/// Between two looks whether all is well again.
const LOOK: Nanos = 20 * MS;

#[derive(Debug)]
pub(super) struct World {
    context: Context,
    nodes: Vec<Node>,
    sentinels: Vec<Sentinel>,
    clients: Vec<Client>,
    look_at: Nanos,
}

impl World {
    pub(super) fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut random = Random::new(seed);
        let swarm = Swarm::draw(&mut random, mutation);
        let known = founding_state(&swarm);
        let mut context = Context::new(swarm, random, mutation);
        let nodes = (0..context.swarm.nodes).map(Node::new).collect();
        let sentinel = |index| Sentinel::new(context.sentinel(index), index, Rc::clone(&known));
        let sentinels = (0..context.swarm.sentinels).map(sentinel).collect();
        let clients = (0..context.swarm.clients).map(|index| Client::new(context.client(index))).collect();
        let mut world = Self {
            nodes,
            sentinels,
            clients,
            look_at: 0,
            context: {
                let trouble = context.swarm.trouble;
                context.at(trouble, Event::Heal);
                context
            },
        };
        let World { context, nodes, sentinels, clients, .. } = &mut world;
        sentinels.iter_mut().for_each(|sentinel| sentinel.start(context));
        nodes.iter_mut().for_each(|node| node.start(context));
        clients.iter_mut().for_each(|client| client.rest(context));
        // The first master has some time.
        context.after(500 * MS, Event::Fault);
        world
    }

    pub(super) fn trace(&mut self) {
        self.context.is_traced = true;
        println!("{:#?}", self.context.swarm);
    }

    pub(super) fn run(mut self) -> Outcome {
        while self.context.invariants.violation.is_none() {
            let Some(event) = self.context.next_event() else { break };
            self.context.coverage.steps += 1;
            self.step(event);
            self.look_at_what_was_agreed();
            if self.context.is_healed && self.context.now >= self.look_at && self.is_over() {
                break;
            }
        }
        let Context { invariants, mut coverage, hash, now, mutation, swarm, .. } = self.context;
        coverage.voided_writes += invariants.voided_writes;
        coverage.mixed_disks += u64::from(swarm.keeping.iter().any(|keeping| *keeping != swarm.keeping[0]));
        let may_void = swarm.keeping.iter().any(|keeping| *keeping != Keeping::Always) || coverage.wiped_disks > 0;
        assert!(may_void || coverage.voided_writes == 0 || mutation.is_some(), "nothing can have been lost");
        Outcome { violation: invariants.violation, coverage, hash, ended_ms: now / MS }
    }

    fn step(&mut self, event: Event) {
        let nodes = self.context.swarm.nodes;
        match event {
            Event::Deliver(envelope) => self.deliver(envelope),
            Event::Closed { host, life, stream } => {
                if !self.lives(host, life) {
                    return;
                }
                if let Some(until) = self.stands_still_until(host) {
                    return self.context.at(until, Event::Closed { host, life, stream });
                }
                self.context.note(host as u64);
                if host < nodes {
                    self.nodes[host].closed(&mut self.context, stream);
                } else if host < self.context.client(0) {
                    self.sentinels[host - nodes].closed(&mut self.context, stream);
                }
                self.check(host);
            }
            Event::Tick { host, life } => {
                if !self.lives(host, life) {
                    return;
                }
                if let Some(until) = self.stands_still_until(host) {
                    return self.context.at(until, Event::Tick { host, life });
                }
                self.context.note(host as u64);
                if host < nodes {
                    self.nodes[host].tick(&mut self.context);
                } else if host < self.context.client(0) {
                    self.sentinels[host - nodes].tick(&mut self.context);
                } else {
                    let at = host - self.context.client(0);
                    self.clients[at].tick(&mut self.context);
                }
                self.check(host);
            }
            Event::Restart(host) => self.restart(host),
            Event::Fault => self.fault(),
            Event::Heal => self.heal(),
        }
    }

    /// What comes to a process that stands still waits.
    fn stands_still_until(&self, host: Host) -> Option<Nanos> {
        Some(self.context.machines[host].paused_until).filter(|until| *until > self.context.now)
    }

    fn lives(&self, host: Host, life: u32) -> bool {
        let machine = &self.context.machines[host];
        machine.is_up && machine.life == life
    }

    fn deliver(&mut self, envelope: Envelope) {
        let Envelope { from, to, .. } = envelope;
        if let Message::Probe { id } = envelope.message {
            return self.probe(from, to, id);
        }
        if let Some((stream, number)) = envelope.stream {
            let known = &self.context.network.streams[stream];
            if known.is_broken {
                return;
            }
            let life = known.lives[known.side(to)];
            if !self.lives(to, life) {
                return self.context.break_stream(stream);
            }
            let cut_until = self.context.network.cut_until(from, to);
            if cut_until > self.context.now {
                return self.context.at(cut_until + MS, Event::Deliver(envelope));
            }
            if let Some(until) = self.stands_still_until(to) {
                return self.context.at(until, Event::Deliver(envelope));
            }
            if !self.context.network.is_next(stream, from, number) {
                return self.context.after(MS / 5, Event::Deliver(envelope));
            }
            self.context.network.arrived(stream, from, number);
        } else if !self.context.machines[to].is_up {
            return;
        } else if let Some(until) = self.stands_still_until(to) {
            return self.context.at(until, Event::Deliver(envelope));
        }
        self.context.note((to as u64) << 8 | from as u64);
        let (nodes, clients) = (self.context.swarm.nodes, self.context.client(0));
        if to < nodes {
            self.nodes[to].deliver(&mut self.context, envelope);
        } else if to < clients {
            self.sentinels[to - nodes].deliver(&mut self.context, envelope);
        } else {
            self.clients[to - clients].receive(&mut self.context, &envelope.message);
        }
        self.check(to);
    }

    /// The kernel answers a connection, as long as the machine runs.
    fn probe(&mut self, from: Host, to: Host, id: u64) {
        let machine = &self.context.machines[to];
        let stands_still = machine.is_frozen && machine.paused_until > self.context.now;
        if !machine.is_dark && !stands_still {
            let accepted = machine.is_up;
            self.context.call(to, from, Message::Probed { id, accepted });
        }
    }

    /// Leases may only begin to overlap where a node has just done something.
    fn check(&mut self, host: Host) {
        if host >= self.context.swarm.nodes {
            return;
        }
        let mut executing = Vec::new();
        for node in &self.nodes {
            let epoch = node.process.as_ref().and_then(|process| process.executes(&self.context));
            executing.extend(epoch.map(|epoch| (node.host, epoch)));
        }
        self.context.invariants.executing(&executing);
    }

    fn fault(&mut self) {
        if self.context.is_healed {
            return;
        }
        let calm = self.context.swarm.calm;
        let wait = self.context.random.between(calm / 4, calm * 7 / 4);
        self.context.after(wait, Event::Fault);
        let at = self.context.random.index(self.context.swarm.faults.len());
        for act in self.context.swarm.faults[at].strike(&mut self.context) {
            match act {
                Act::Stop { host, end, back_after } => self.stop(host, end, back_after),
                Act::HandOver(host) => {
                    let client = self.context.client(0);
                    self.context.call(client, host, Message::OrderHandOver { forwarded: false });
                }
                Act::StepDown(host) => {
                    self.sentinels[host - self.context.swarm.nodes].step_down(&self.context);
                }
            }
        }
        self.void_what_is_lost();
    }

    fn stop(&mut self, host: Host, end: End, back_after: Nanos) {
        let machine = &mut self.context.machines[host];
        if !machine.is_up {
            return;
        }
        machine.is_up = false;
        machine.is_dark = end == End::PowerCut;
        machine.paused_until = 0;
        machine.is_frozen = false;
        match end {
            End::Killed => self.context.coverage.crashes += 1,
            End::PowerCut => self.context.coverage.power_cuts += 1,
            End::Wiped => self.context.coverage.wiped_disks += 1,
        }
        self.context.break_streams_of(host);
        match host.checked_sub(self.context.swarm.nodes) {
            None => self.nodes[host].end(&mut self.context, end),
            Some(sentinel) => self.sentinels[sentinel].end(),
        }
        self.context.after(back_after, Event::Restart(host));
    }

    fn restart(&mut self, host: Host) {
        let machine = &mut self.context.machines[host];
        if machine.is_up {
            return;
        }
        machine.life += 1;
        (machine.is_up, machine.is_dark) = (true, false);
        match host.checked_sub(self.context.swarm.nodes) {
            None => self.nodes[host].start(&mut self.context),
            Some(sentinel) => self.sentinels[sentinel].start(&mut self.context),
        }
    }

    /// See `invariant::acknowledged_kept`: is there a copy left that counts, by the state in force, and by those that the
    /// sentinels may be about to agree on?
    fn void_what_is_lost(&mut self) {
        let keeping = &self.context.swarm.keeping;
        let copies: Vec<_> = self.nodes.iter().map(|node| node.copy_that_counts(keeping[node.host])).collect();
        let newest = self.newest_state();
        // What a sentinel that lags is yet to apply was agreed on, and superseded.
        let applied = self.sentinels.iter().map(|sentinel| sentinel.disk().applied()).max().unwrap_or(0);
        let mut states = vec![(None, newest)];
        for sentinel in &self.sentinels {
            let to_come = sentinel.disk().states_to_come().into_iter().filter(|((index, _), _)| *index > applied);
            states.extend(to_come.map(|(entry, known)| (Some(entry), known)));
        }
        for (entry, known) in states.into_iter().filter(|(_, known)| known.state.epoch > 0) {
            let counts = |node: &Node| {
                let is_witness = node.process.as_ref().is_some_and(|process| {
                    let incarnation = &process.identity.incarnation;
                    known.state.witnesses.iter().any(|member| member.incarnation == *incarnation)
                });
                is_witness || known.state.isr.iter().any(|member| member.name == node.name)
            };
            let that_count = self.nodes.iter().zip(&copies).filter(|(node, _)| counts(node));
            self.context.invariants.only_copies(known.state.epoch, entry, that_count.map(|(_, log)| log.as_slice()));
        }
    }

    /// Of those that count by an entry none may be left when it is agreed on: who was fenced for a promotion, or who stays
    /// in the ISR as a master proposed it that is gone meanwhile.
    fn look_at_what_was_agreed(&mut self) {
        for isr in std::mem::take(&mut self.context.agreed) {
            let lives = |node: &Node, incarnation: &str| {
                node.process.as_ref().is_some_and(|process| process.identity.incarnation == incarnation)
            };
            let is_left = isr.iter().any(|member| self.nodes.iter().any(|node| lives(node, &member.incarnation)));
            if !is_left {
                let named = self.nodes.iter().filter(|node| isr.iter().any(|member| member.name == node.name));
                let copies: Vec<_> =
                    named.map(|node| node.copy_that_counts(self.context.swarm.keeping[node.host])).collect();
                let epoch = self.newest_state().state.epoch;
                self.context.invariants.only_copies(epoch, None, copies.iter().map(Vec::as_slice));
            }
        }
    }

    /// The newest state that anybody has applied.
    fn newest_state(&self) -> Rc<Known> {
        let newest = self.sentinels.iter().max_by_key(|sentinel| sentinel.disk().applied());
        newest.map(|sentinel| Rc::clone(&sentinel.disk().known)).unwrap_or_default()
    }

    /// All links are whole, nobody stands still, everybody comes back.
    fn heal(&mut self) {
        trace!(self.context, "HEALED");
        self.context.is_healed = true;
        self.context.healed_id = self.context.new_call();
        self.context.network.heal();
        for host in 0..self.context.machines.len() {
            self.context.machines[host].paused_until = 0;
            if !self.context.machines[host].is_up {
                self.restart(host);
            }
        }
        self.look_at = self.context.now;
    }

    fn is_over(&mut self) -> bool {
        self.look_at = self.context.now + LOOK;
        let processes: Vec<String> = self
            .nodes
            .iter()
            .filter_map(|node| node.process.as_ref().map(|process| process.identity.incarnation.clone()))
            .collect();
        let newest = self.newest_state();
        let is_well = liveness::is_well(&newest.state, &processes, self.context.has_acknowledged);
        if !is_well && self.context.now > self.context.swarm.trouble + liveness::WITHIN {
            let context = &self.context;
            let processes = self.nodes.iter().filter_map(|node| Some(node.process.as_ref()?.describe(context)));
            let text = format!(
                "{} ms after everything was healed: acknowledged {}, ISR {:?}\n{}",
                liveness::WITHIN / MS,
                context.has_acknowledged,
                newest.state.isr,
                processes.collect::<String>(),
            );
            self.context.invariants.late(text);
        }
        is_well
    }
}

/// The founders have named the cluster and know its nodes.
fn founding_state(swarm: &Swarm) -> Rc<Known> {
    let address = |host: String| Address { host, port: 7379 };
    let member = |node| {
        let name = format!("n{node}");
        Member { peer: address(name.clone()), name, ..Member::default() }
    };
    let sentinel = |index: usize| {
        let name = format!("s{index}");
        SentinelMember { raft_id: index as u64, sentinel_id: name.clone(), peer: address(name.clone()), name }
    };
    Known::new(ClusterState {
        cluster_id: CLUSTER.into(),
        min_isr: swarm.min_isr,
        members: (0..swarm.nodes).map(member).collect(),
        sentinels: (0..swarm.sentinels).map(sentinel).collect(),
        log_index: 1,
        ..ClusterState::default()
    })
}
