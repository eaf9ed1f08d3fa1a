//! Every wire format of Tercet, and no behaviour: the messages between processes (gRPC), the RESP codec, the
//! AMQP 0-9-1 codec with its method table, and the text of the metrics.

pub mod amqp;
pub mod grpc;
pub mod prometheus;
pub mod resp;
