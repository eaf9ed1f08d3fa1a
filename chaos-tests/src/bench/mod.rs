//! The bench: our node beside redis-server, in turn, in one run, on one machine.
//!
//! On two cores the load generator takes one of them, so requests a second say as much about the generator as about the
//! server. CPU time of the server process a request is the honest figure; both are printed.

pub mod measure;
pub mod plan;
pub mod server;
pub mod table;
