//! A client: one command at a time, at the node that it takes for the master; what is not answered in time is unknown.

use super::clock::{MS, Nanos};
use super::context::{Context, Event};
use super::message::{Host, KEYS, Message};

/// How long it waits for an answer.
const PATIENCE: Nanos = 700 * MS;

#[derive(Debug)]
pub(super) struct Client {
    host: Host,
    /// The command under way.
    waits_for: Option<u64>,
    is_write: bool,
    guess: Host,
    /// What is scheduled for another time is out of date.
    act_at: Nanos,
}

impl Client {
    pub(super) fn new(host: Host) -> Self {
        Self { host, waits_for: None, is_write: false, guess: 0, act_at: 0 }
    }

    pub(super) fn rest(&mut self, context: &mut Context) {
        let [least, most] = context.swarm.think;
        let wait = context.random.between(least, most);
        self.act_in(context, wait);
    }

    fn act_in(&mut self, context: &mut Context, wait: Nanos) {
        self.act_at = context.now + wait;
        context.after(wait, Event::Tick { host: self.host, life: 1 });
    }

    pub(super) fn tick(&mut self, context: &mut Context) {
        if context.now != self.act_at {
            return;
        }
        if self.waits_for.take().is_some() {
            context.coverage.unknown_writes += u64::from(self.is_write);
            self.guess = context.random.index(context.swarm.nodes);
        }
        let id = context.new_call();
        let key = context.random.index(KEYS);
        self.is_write = context.random.chance(650);
        let message = if self.is_write {
            Message::Write { id, key: key as u8 }
        } else {
            Message::Read { id, key: key as u8, asked: context.invariants.asked()[key] }
        };
        self.waits_for = Some(id);
        context.call(self.host, self.guess, message);
        self.act_in(context, PATIENCE);
    }

    pub(super) fn receive(&mut self, context: &mut Context, message: &Message) {
        let (id, is_done) = match message {
            Message::Done { id } => (*id, true),
            Message::Elsewhere { id } | Message::NoAnswer { id } => (*id, false),
            _ => unreachable!("nobody says this to a client: {message:?}"),
        };
        if self.waits_for != Some(id) {
            return;
        }
        self.waits_for = None;
        if !is_done {
            self.guess = (self.guess + 1) % context.swarm.nodes;
        }
        self.rest(context);
    }
}
