//! RESP2, RESP3 and inline commands: what a client sends (`Decoder`), what a server answers (`Encoder`), and a small
//! client-side reader (`Value`) for tests and for programs that are clients themselves.

mod decode;
mod double;
mod encode;
mod value;

pub use decode::{Args, Decoder, Limits, ProtocolError};
pub use double::{DoubleText, format_double};
pub use encode::{Encoder, REPLY_BYTES, Version, forget_shared, share_with, take_shared, was_cut};
pub use value::{Value, ValueError};
