//! Copying the journal from a master to its replicas.
//!
//! ```text
//! master                                             replica
//! journal --Sender (blocks, images, commit)--> stream --Link--> journal --Applier--> engine
//! gate <--Tracker <-- acknowledgements <--------------- as soon as a block is appended
//! ```
//!
//! A replica acknowledges what it has appended and applies what is committed, so a tail that was never acknowledged can
//! be cut off. `resume` decides where a replica goes on, `isr` who counts, `commit` what that makes committed.

pub mod apply;
pub mod commit;
pub mod image;
pub mod isr;
pub mod load;
pub(crate) mod master;
pub(crate) mod replica;
pub mod resume;

use tercet_proto::grpc::peer::v1::EpochStart;

use crate::ids::{Epoch, Offset};
use crate::journal::Span;

fn to_wire(history: &[Span]) -> Vec<EpochStart> {
    history.iter().map(|span| EpochStart { epoch: span.epoch.0, start_offset: span.start.0 }).collect()
}

fn from_wire(history: &[EpochStart]) -> Vec<Span> {
    history.iter().map(|span| Span { epoch: Epoch(span.epoch), start: Offset(span.start_offset) }).collect()
}
