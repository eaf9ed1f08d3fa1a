//! A small honest Raft for the sentinels: terms, durable votes and log, majority commit, application later, leaders that do
//! not know yet that they are none. Its members never change.
//!
//! Production runs openraft. What is of interest here is what the sentinels do with it: entries that are appended and not
//! committed, states that are old, answers that never come.

use std::rc::Rc;

use tercet_sentinel::raft::FenceEpoch;
use tercet_sentinel::state::{Answer, Command};

use super::clock::{MS, Nanos};
use super::known::Known;
use super::random::Random;

/// As production has them.
const HEARTBEAT: Nanos = 40 * MS;
const ELECTION: [Nanos; 2] = [120 * MS, 180 * MS];

/// Most entries in one message.
const BATCH: usize = 16;

/// Index and term: what tells entries apart.
pub(super) type EntryId = (u64, u64);

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) term: u64,
    /// None: what a new leader appends to commit what is there.
    pub(super) command: Option<Command>,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) from: usize,
    pub(super) term: u64,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    Vote { last: (u64, u64) },
    Voted { granted: bool },
    Append { before: (u64, u64), entries: Vec<Entry>, commit: u64 },
    Appended { is_taken: bool, matched: u64 },
}

/// What is synced before it is answered for.
#[derive(Debug, Clone)]
pub(super) struct Durable {
    term: u64,
    voted_for: Option<usize>,
    log: Vec<Entry>,
    applied: u64,
    pub(super) known: Rc<Known>,
}

impl Durable {
    /// Everybody has applied the same beginning.
    pub(super) fn founded(known: Rc<Known>) -> Self {
        Self { term: 0, voted_for: None, log: vec![Entry { term: 0, command: None }], applied: 1, known }
    }

    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// The states that the log would make of the one that is applied, each with the entry that makes it.
    pub(super) fn states_to_come(&self) -> Vec<(EntryId, Rc<Known>)> {
        let mut states = Vec::new();
        let mut state = self.known.state.clone();
        for (index, entry) in (1..).zip(&self.log).skip(self.applied as usize) {
            if let Some(command) = &entry.command {
                state.apply(command, index);
                states.push(((index, entry.term), Known::new(state.clone())));
            }
        }
        states
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Follower,
    Candidate,
    Leader,
}

/// What has become of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) answer: Answer,
    pub(super) command: Option<Command>,
}

/// One member. Times are its own boot clock's.
#[derive(Debug)]
pub(super) struct Raft {
    me: usize,
    pub(super) durable: Durable,
    role: Role,
    leader: Option<usize>,
    votes: Vec<bool>,
    next: Vec<u64>,
    matched: Vec<u64>,
    commit: u64,
    election_at: Nanos,
    heard_leader: Nanos,
    heartbeat_at: Nanos,
    apply_at: Nanos,
    pub(super) fence: FenceEpoch,
    pub(super) out: Vec<(usize, Rc<Message>)>,
}

impl Raft {
    pub(super) fn new(me: usize, count: usize, durable: Durable, now: Nanos, random: &mut Random) -> Self {
        let fence = FenceEpoch::default();
        for (at, entry) in durable.log.iter().enumerate().skip(durable.applied as usize) {
            if let Some(command) = &entry.command {
                fence.appended(at as u64 + 1, command);
            }
        }
        Self {
            me,
            commit: durable.applied,
            durable,
            role: Role::Follower,
            leader: None,
            votes: vec![false; count],
            next: vec![1; count],
            matched: vec![0; count],
            election_at: now + random.between(ELECTION[0], ELECTION[1]),
            heard_leader: 0,
            heartbeat_at: 0,
            apply_at: 0,
            fence,
            out: Vec::new(),
        }
    }

    pub(super) fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    pub(super) fn leader(&self) -> Option<usize> {
        self.leader
    }

    fn last(&self) -> (u64, u64) {
        (self.durable.log.last().map_or(0, |entry| entry.term), self.durable.log.len() as u64)
    }

    fn majority(&self) -> usize {
        self.votes.len() / 2 + 1
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let me = self.me;
        (0..self.votes.len()).filter(move |&other| other != me)
    }

    fn say(&mut self, to: usize, body: Body) {
        self.out.push((to, Rc::new(Message { from: self.me, term: self.durable.term, body })));
    }

    /// The regular look. True: an election was won... or begun; for the count of them, `is_leader` tells.
    pub(super) fn tick(&mut self, now: Nanos, random: &mut Random) {
        if self.role == Role::Leader {
            if now >= self.heartbeat_at {
                self.replicate(now);
            }
        } else if now >= self.election_at {
            self.stand(now, random);
        }
    }

    fn stand(&mut self, now: Nanos, random: &mut Random) {
        (self.role, self.leader) = (Role::Candidate, None);
        self.durable.term += 1;
        self.durable.voted_for = Some(self.me);
        self.votes.fill(false);
        self.votes[self.me] = true;
        self.election_at = now + random.between(ELECTION[0], ELECTION[1]);
        let last = self.last();
        for other in self.others() {
            self.say(other, Body::Vote { last });
        }
    }

    /// Gives up leading, as an operator may order.
    pub(super) fn step_down(&mut self, now: Nanos) {
        if self.role == Role::Leader {
            (self.role, self.leader) = (Role::Follower, None);
            self.election_at = now + 2 * ELECTION[1];
        }
    }

    fn replicate(&mut self, now: Nanos) {
        self.heartbeat_at = now + HEARTBEAT;
        for other in self.others() {
            self.send_entries(other);
        }
    }

    fn send_entries(&mut self, to: usize) {
        let from = self.next[to] as usize - 1;
        let before = (from.checked_sub(1).map_or(0, |at| self.durable.log[at].term), from as u64);
        let to_index = self.durable.log.len().min(from + BATCH);
        let entries = self.durable.log[from..to_index].to_vec();
        self.say(to, Body::Append { before, entries, commit: self.commit });
    }

    pub(super) fn propose(&mut self, command: Command, now: Nanos) -> Option<(u64, u64)> {
        if self.role != Role::Leader {
            return None;
        }
        self.append(Entry { term: self.durable.term, command: Some(command) });
        self.matched[self.me] = self.durable.log.len() as u64;
        self.replicate(now);
        self.count(now);
        Some((self.durable.log.len() as u64, self.durable.term))
    }

    fn append(&mut self, entry: Entry) {
        if let Some(command) = &entry.command {
            self.fence.appended(self.durable.log.len() as u64 + 1, command);
        }
        self.durable.log.push(entry);
    }

    pub(super) fn receive(&mut self, message: &Message, now: Nanos, random: &mut Random) {
        // As openraft: who hears a leader does not vote.
        let has_leader = self.role == Role::Leader || now < self.heard_leader + ELECTION[1];
        if matches!(message.body, Body::Vote { .. }) && has_leader && message.term > self.durable.term {
            return;
        }
        if message.term > self.durable.term {
            (self.durable.term, self.durable.voted_for) = (message.term, None);
            if self.role == Role::Leader {
                self.election_at = now + random.between(ELECTION[0], ELECTION[1]);
            }
            (self.role, self.leader) = (Role::Follower, None);
        }
        match &message.body {
            Body::Vote { last } => {
                let is_free = self.durable.voted_for.is_none_or(|voted| voted == message.from);
                let granted = message.term == self.durable.term && is_free && *last >= self.last();
                if granted {
                    self.durable.voted_for = Some(message.from);
                    self.election_at = now + random.between(ELECTION[0], ELECTION[1]);
                }
                self.say(message.from, Body::Voted { granted });
            }
            Body::Voted { granted } => {
                if *granted && message.term == self.durable.term && self.role == Role::Candidate {
                    self.votes[message.from] = true;
                    if self.votes.iter().filter(|vote| **vote).count() >= self.majority() {
                        self.lead(now);
                    }
                }
            }
            Body::Append { before, entries, commit } => self.take(message, *before, entries, *commit, now, random),
            Body::Appended { is_taken, matched } => {
                if self.role != Role::Leader || message.term != self.durable.term {
                    return;
                }
                let from = message.from;
                if *is_taken {
                    self.matched[from] = self.matched[from].max(*matched);
                    self.next[from] = self.matched[from] + 1;
                    if self.next[from] <= self.durable.log.len() as u64 {
                        self.send_entries(from);
                    }
                    self.count(now);
                } else if self.next[from] > self.matched[from] + 1 {
                    self.next[from] = (self.next[from] - 1).min(matched + 1).max(1);
                    self.send_entries(from);
                }
            }
        }
    }

    fn lead(&mut self, now: Nanos) {
        (self.role, self.leader) = (Role::Leader, Some(self.me));
        self.next.fill(self.durable.log.len() as u64 + 1);
        self.matched.fill(0);
        self.append(Entry { term: self.durable.term, command: None });
        self.matched[self.me] = self.durable.log.len() as u64;
        self.replicate(now);
    }

    fn take(
        &mut self,
        message: &Message,
        before: (u64, u64),
        entries: &[Entry],
        commit: u64,
        now: Nanos,
        random: &mut Random,
    ) {
        if message.term < self.durable.term {
            return self.say(message.from, Body::Appended { is_taken: false, matched: 0 });
        }
        (self.role, self.leader) = (Role::Follower, Some(message.from));
        self.heard_leader = now;
        self.election_at = now + random.between(ELECTION[0], ELECTION[1]);
        let length = self.durable.log.len() as u64;
        let has_before =
            before.1 == 0 || before.1 <= length && self.durable.log[before.1 as usize - 1].term == before.0;
        if !has_before {
            return self.say(message.from, Body::Appended { is_taken: false, matched: length.min(before.1 - 1) });
        }
        for (index, entry) in (before.1..).zip(entries) {
            match self.durable.log.get(index as usize) {
                Some(known) if known.term == entry.term => continue,
                Some(_) => {
                    assert!(index >= self.commit, "an entry that is committed is cut off");
                    self.durable.log.truncate(index as usize);
                    self.fence.truncated(index + 1);
                }
                None => {}
            }
            self.append(entry.clone());
        }
        let matched = before.1 + entries.len() as u64;
        self.commit_to(commit.min(matched), now);
        self.say(message.from, Body::Appended { is_taken: true, matched });
    }

    fn count(&mut self, now: Nanos) {
        let mut matched = self.matched.clone();
        matched.sort_unstable_by(|a, b| b.cmp(a));
        let held = matched[self.majority() - 1];
        if held > self.commit && self.durable.log[held as usize - 1].term == self.durable.term {
            self.commit_to(held, now);
            // Followers learn it soon.
            self.heartbeat_at = now;
        }
    }

    fn commit_to(&mut self, commit: u64, now: Nanos) {
        if commit > self.commit {
            self.commit = commit;
            self.apply_at = now;
        }
    }

    /// Applies what is committed; now and then somewhat later. `is_checked`: commands compare before they set.
    pub(super) fn apply(&mut self, now: Nanos, random: &mut Random, is_checked: bool) -> Vec<Applied> {
        let mut all = Vec::new();
        if self.durable.applied >= self.commit || now < self.apply_at {
            return all;
        }
        if random.chance(100) {
            self.apply_at = now + random.between(1, 60) * MS;
            return all;
        }
        let mut state = self.durable.known.state.clone();
        while self.durable.applied < self.commit {
            let index = self.durable.applied + 1;
            let Entry { term, mut command } = self.durable.log[index as usize - 1].clone();
            if let (Some(Command::Promote { expect_epoch, expect_isr_version, .. }), false) = (&mut command, is_checked)
            {
                (*expect_epoch, *expect_isr_version) = (state.epoch, state.isr_version);
            }
            let answer = command.as_ref().map_or(Answer::Done, |command| state.apply(command, index));
            self.durable.applied = index;
            all.push(Applied { index, term, answer, command });
        }
        if state != self.durable.known.state {
            self.durable.known = Known::new(state);
        }
        // The state first: between the two the lease path sees the higher of both, never the lower.
        self.fence.applied(self.durable.applied);
        all
    }
}
