//! Every wire format of Tercet, and no behaviour: the messages between processes (gRPC), the RESP codec and the
//! AMQP 0-9-1 codec with its method table.

pub mod amqp;
pub mod grpc;
pub mod resp;
