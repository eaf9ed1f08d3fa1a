//! Clients of our own: RESP, discovery through the sentinels, AMQP. They share no code with the servers' frontends but
//! the reply reader, so that a codec that is wrong on both ends does not go unnoticed.

pub mod amqp;
pub mod discovery;
pub mod resp;
