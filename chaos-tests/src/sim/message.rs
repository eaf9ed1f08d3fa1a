//! What processes say to each other: the messages of `proto/`, without what no rule looks at.

use std::rc::Rc;

use tercet_node::ids::Offset;
use tercet_node::journal::{Block, Span};
use tercet_node::replication::commit::Held;
use tercet_node::replication::isr::Proposal;
use tercet_node::replication::resume::Standing;
use tercet_sentinel::plan::Seen;

use super::known::Known;
use super::raft;

/// A process's place: nodes first, then sentinels, then clients.
pub(super) type Host = usize;

/// One request that is answered by itself.
pub(super) type CallId = u64;

/// Keys of the state: few, so that writes meet reads.
pub(super) const KEYS: usize = 6;

/// Partitions of the state: of each there is an image.
pub(super) const PARTITIONS: usize = 2;

pub(super) fn partition_of(key: u8) -> usize {
    usize::from(key) % PARTITIONS
}

/// The newest write of each key: its offset and id; zero: none.
pub(super) type Values = [(u64, u64); KEYS];

/// A record as its journal has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) epoch: u64,
    pub(super) id: u64,
    pub(super) key: u8,
}

impl Record {
    /// The empty record by which a master voids what an earlier one may have left unfinished. Here it is a write of nobody's.
    pub(super) fn void(epoch: u64) -> Self {
        Self { epoch, id: u64::MAX - epoch, key: 0 }
    }
}

/// The records of a block, as the simulation writes them.
pub(super) fn records_of(block: &Block) -> impl Iterator<Item = (u64, Record)> + '_ {
    block.iter().map(|(offset, bytes)| {
        let record = match bytes {
            [_, id @ .., key] => {
                let id = u64::from_le_bytes(id.try_into().expect("a record holds its id"));
                Record { epoch: block.epoch.0, id, key: *key }
            }
            _ => Record::void(block.epoch.0),
        };
        (offset.0, record)
    })
}

/// What an Observe stream says.
#[derive(Debug, Clone)]
pub(super) struct Status {
    pub(super) seen: Seen,
    pub(super) is_master: bool,
    pub(super) is_replica: bool,
    pub(super) epoch: u64,
}

/// A replica's first message.
#[derive(Debug, Clone)]
pub(super) struct Hello {
    pub(super) epoch: u64,
    pub(super) incarnation: String,
    pub(super) history: Vec<Span>,
    pub(super) end: Offset,
    pub(super) standing: Standing,
    /// Partitions that a full sync has brought, and the youngest of their cuts.
    pub(super) partial: Option<([bool; PARTITIONS], u64)>,
    pub(super) disk: tercet_node::replication::commit::Disk,
}

/// A replication stream, both ways.
#[derive(Debug, Clone)]
pub(super) enum Replication {
    Hello(Box<Hello>),
    Ack(Held),
    Continue {
        offset: Offset,
        history: Vec<Span>,
    },
    /// `log`: for the invariants alone, the records before `offset`.
    Full {
        offset: Offset,
        history: Vec<Span>,
        log: Rc<Vec<Record>>,
    },
    GoOn {
        history: Vec<Span>,
    },
    Block {
        block: Block,
        commit: Offset,
    },
    Commit(Offset),
    Image {
        partition: usize,
        cut: u64,
        values: Values,
    },
    SyncEnd(Offset),
}

#[derive(Debug, Clone)]
pub(super) enum Message {
    // On streams.
    Renew {
        epoch: u64,
        sequence: u64,
        deaf_ns: u64,
        resign: bool,
        incarnation: String,
    },
    Grant {
        epoch: u64,
        sequence: u64,
        granted: bool,
    },
    Watch,
    State(Rc<Known>),
    Observe,
    Status(Box<Status>),
    Replication(Replication),
    // Calls.
    Fence {
        id: CallId,
        epoch: u64,
    },
    Fenced {
        id: CallId,
        accepted: bool,
        loading: bool,
        complete: bool,
        incarnation: String,
        position: (u64, u64),
    },
    Promote {
        id: CallId,
        known: Rc<Known>,
    },
    Promoted {
        id: CallId,
        accepted: bool,
    },
    PrepareHandover {
        id: CallId,
        epoch: u64,
        target: Host,
    },
    Prepared {
        id: CallId,
        accepted: bool,
    },
    ChangeIsr {
        id: CallId,
        node: Host,
        proposal: Rc<Proposal>,
        forwarded: bool,
    },
    IsrChanged {
        id: CallId,
        known: Rc<Known>,
    },
    Suspend {
        id: CallId,
        epoch: u64,
        unfit: bool,
    },
    Suspended {
        id: CallId,
        age_ms: Option<u64>,
    },
    Probe {
        id: CallId,
    },
    Probed {
        id: CallId,
        accepted: bool,
    },
    /// `SENTINEL FAILOVER`.
    OrderHandOver {
        forwarded: bool,
    },
    Raft(Rc<raft::Message>),
    // Clients.
    Write {
        id: u64,
        key: u8,
    },
    /// `asked`: for the invariants, the newest acknowledged write of the key as the question was asked.
    Read {
        id: u64,
        key: u8,
        asked: u64,
    },
    /// Executed, and acknowledged: the offset that it has, or that was read.
    Done {
        id: u64,
    },
    /// Not executed: ask another node.
    Elsewhere {
        id: u64,
    },
    /// The connection closes without an answer.
    NoAnswer {
        id: u64,
    },
}

/// Whose connection this is; for both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamKind {
    Lease,
    Watch,
    Observe,
    Replicate,
}
