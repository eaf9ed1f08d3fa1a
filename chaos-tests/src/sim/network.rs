//! The network between the processes.
//!
//! A *stream* is what TCP gives: in order, once, and it breaks. What is lost on it is sent again, later; a break is seen at
//! once, late, or so late that only the protocols' own silences help. A *call* may be lost, overtaken and doubled.
//! Links are cut one way at a time.

use super::clock::{MS, Nanos};
use super::message::{Host, Message, StreamKind};
use super::random::Random;

/// TCP sends again after so long, and then twice as long.
const RETRANSMIT: [Nanos; 2] = [200 * MS, 600 * MS];

/// A break that is seen late, and one that only the keepalive of the transport finds.
const LATE: [Nanos; 2] = [50 * MS, 1500 * MS];
const BY_KEEPALIVE: [Nanos; 2] = [4000 * MS, 6000 * MS];

pub(super) type StreamId = usize;

/// One message under way.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    pub(super) from: Host,
    pub(super) to: Host,
    /// The stream, and the message's place in its direction.
    pub(super) stream: Option<(StreamId, u64)>,
    pub(super) message: Message,
}

#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) kind: StreamKind,
    /// Who opened it, and who was called.
    pub(super) ends: [Host; 2],
    /// The lives of the processes at its ends.
    pub(super) lives: [u32; 2],
    pub(super) is_broken: bool,
    sent: [u64; 2],
    arrived: [u64; 2],
    last: [Nanos; 2],
}

impl Stream {
    pub(super) fn side(&self, host: Host) -> usize {
        usize::from(self.ends[0] != host)
    }

    pub(super) fn peer(&self, host: Host) -> Host {
        self.ends[1 - self.side(host)]
    }
}

#[derive(Debug)]
pub(super) struct Network {
    hosts: usize,
    /// Until when each link is cut, by from and to.
    cut_until: Vec<Nanos>,
    pub(super) streams: Vec<Stream>,
    delay: [Nanos; 2],
    loss: u64,
    duplication: u64,
}

/// When a stream's message arrives, or that it ends the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives(Nanos),
    Breaks,
}

impl Network {
    pub(super) fn new(hosts: usize, delay: [Nanos; 2], loss: u64, duplication: u64) -> Self {
        Self { hosts, cut_until: vec![0; hosts * hosts], streams: Vec::new(), delay, loss, duplication }
    }

    pub(super) fn cut(&mut self, from: Host, to: Host, until: Nanos) {
        let link = &mut self.cut_until[from * self.hosts + to];
        *link = (*link).max(until);
    }

    pub(super) fn heal(&mut self) {
        self.cut_until.fill(0);
        (self.loss, self.duplication) = (0, 0);
    }

    pub(super) fn cut_until(&self, from: Host, to: Host) -> Nanos {
        self.cut_until[from * self.hosts + to]
    }

    pub(super) fn delay(&self, random: &mut Random) -> Nanos {
        let [least, most] = self.delay;
        // Most messages are fast.
        let most = if random.chance(900) { least + (most - least) / 4 } else { most };
        random.between(least, most)
    }

    pub(super) fn open(&mut self, kind: StreamKind, ends: [Host; 2], lives: [u32; 2]) -> StreamId {
        let stream = Stream { kind, ends, lives, is_broken: false, sent: [0; 2], arrived: [0; 2], last: [0; 2] };
        self.streams.push(stream);
        self.streams.len() - 1
    }

    /// Sends on a stream; the message's number in its direction, and its fate.
    pub(super) fn send(&mut self, id: StreamId, from: Host, now: Nanos, random: &mut Random) -> (u64, Fate) {
        let to = self.streams[id].peer(from);
        let mut at = now + self.delay(random);
        let cut_until = self.cut_until(from, to);
        if cut_until > now {
            if random.chance(100) {
                return (0, Fate::Breaks);
            }
            at = cut_until + random.between(0, RETRANSMIT[1]);
        } else if random.chance(self.loss) {
            if random.chance(200) {
                return (0, Fate::Breaks);
            }
            at += random.between(RETRANSMIT[0], RETRANSMIT[1]);
        }
        let side = self.streams[id].side(from);
        let stream = &mut self.streams[id];
        stream.sent[side] += 1;
        at = at.max(stream.last[side]);
        stream.last[side] = at;
        (stream.sent[side], Fate::Arrives(at))
    }

    /// Whether a message of a stream is the next of its direction; if not, it waits for those before it.
    pub(super) fn is_next(&self, id: StreamId, from: Host, number: u64) -> bool {
        let stream = &self.streams[id];
        stream.arrived[stream.side(from)] + 1 == number
    }

    pub(super) fn arrived(&mut self, id: StreamId, from: Host, number: u64) {
        let side = self.streams[id].side(from);
        self.streams[id].arrived[side] = number;
    }

    /// When a call arrives: never, once or twice.
    pub(super) fn call(&self, from: Host, to: Host, now: Nanos, random: &mut Random) -> Vec<Nanos> {
        let cut_until = self.cut_until(from, to);
        let mut at = now + self.delay(random);
        if cut_until > now {
            if random.chance(500) {
                return Vec::new();
            }
            at = cut_until + random.between(0, RETRANSMIT[1]);
        } else if random.chance(self.loss) {
            return Vec::new();
        }
        if random.chance(self.duplication) {
            return vec![at, at + random.between(0, RETRANSMIT[0])];
        }
        vec![at]
    }

    /// After how long a side sees that its stream is broken.
    pub(super) fn notice(&self, seen_by: Host, from: Host, now: Nanos, random: &mut Random) -> Nanos {
        let spread = match random.below(10) {
            0..=5 => [self.delay[0], self.delay[1]],
            6..=8 => LATE,
            _ => BY_KEEPALIVE,
        };
        let wait = random.between(spread[0], spread[1]);
        // A cut link carries no news.
        if self.cut_until(from, seen_by) > now && wait < BY_KEEPALIVE[0] {
            return self.cut_until(from, seen_by) - now + wait;
        }
        wait
    }
}
