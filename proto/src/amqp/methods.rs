//! The table of methods, complete and closed: one row a method. The enum, decoding, encoding, names and ids all come from it.
//!
//! ```text
//! class u16 | method u16 | fields
//! ```
//!
//! Rows and their numbers are append-only; a test holds them. Source: the 0-9-1 specification and the extensions of
//! RabbitMQ (connection.blocked, unblocked and update-secret, exchange.bind and unbind, basic.nack, confirm.select).

use bytes::Bytes;

use super::field::{Field, FieldReader, FieldWriter};
use super::wire::Cursor;
use super::{Error, FieldTable, ShortString};

/// Whether the peer answers before it may send the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchrony {
    /// A request that its `-ok` answers (unless its `no_wait` is set).
    Request,
    /// The answer to a request.
    Reply,
    /// Nothing answers it.
    Asynchronous,
}

/// Whether a content header and a body follow the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Absent,
    Follows,
}

/// The row of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodInfo {
    pub class_id: u16,
    pub method_id: u16,
    /// As in the specification: `basic.publish`.
    pub name: &'static str,
    pub synchrony: Synchrony,
    pub content: Content,
}

macro_rules! methods {
    ($(
        $variant:ident $class:literal $method:literal $name:literal $synchrony:ident $content:ident
        $([$($reserved:ty),*])? { $($field:ident: $type:ty),* } $([$($trailing:ty),*])?;
    )*) => {
        /// A method with its fields. Reserved fields (such as the ticket) are read, ignored, and written as zero or empty.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Method { $($variant { $($field: $type),* },)* }

        /// Every method, in the order of the specification.
        pub const METHODS: &[MethodInfo] = &[$(MethodInfo {
            class_id: $class,
            method_id: $method,
            name: $name,
            synchrony: Synchrony::$synchrony,
            content: Content::$content,
        },)*];

        impl Method {
            /// Reads the payload of a method frame. Short and long strings share it, tables are copied.
            ///
            /// # Errors
            /// The connection is to be closed with the error's reply code; `Method::ids` tells for which method.
            pub fn decode(payload: &Bytes) -> Result<Self, Error> {
                let mut cursor = Cursor { rest: payload };
                let (Some(class_id), Some(method_id)) = (cursor.u16(), cursor.u16()) else {
                    return Err(Error::MethodTooShort(payload.len()));
                };
                match (class_id, method_id) {
                    $(($class, $method) => {
                        let reader = &mut FieldReader::new(payload, cursor, $name);
                        $($(<$reserved as Field>::read(reader)?;)*)?
                        $(let $field = <$type as Field>::read(reader)?;)*
                        $($(<$trailing as Field>::read(reader)?;)*)?
                        reader.finish()?;
                        Ok(Self::$variant { $($field),* })
                    })*
                    _ => Err(Error::UnknownMethod { class_id, method_id }),
                }
            }

            /// Appends the payload of a method frame.
            pub fn encode(&self, out: &mut Vec<u8>) {
                let info = self.info();
                out.extend_from_slice(&info.class_id.to_be_bytes());
                out.extend_from_slice(&info.method_id.to_be_bytes());
                let mut writer = FieldWriter::new(out);
                match self {
                    $(Self::$variant { $($field),* } => {
                        $($(<$reserved>::default().write(&mut writer);)*)?
                        $($field.write(&mut writer);)*
                        $($(<$trailing>::default().write(&mut writer);)*)?
                    })*
                }
            }

            #[must_use]
            pub fn info(&self) -> &'static MethodInfo {
                match self {
                    $(Self::$variant { .. } => const {
                        &MethodInfo {
                            class_id: $class,
                            method_id: $method,
                            name: $name,
                            synchrony: Synchrony::$synchrony,
                            content: Content::$content,
                        }
                    },)*
                }
            }
        }

        /// One method of every row with random fields.
        #[cfg(test)]
        fn arbitrary(random: &mut super::testing::Random) -> Vec<Method> {
            use super::testing::Arbitrary;
            vec![$(Method::$variant { $($field: <$type>::arbitrary(random)),* },)*]
        }
    };
}

methods! {
    ConnectionStart 10 10 "connection.start" Request Absent
        { version_major: u8, version_minor: u8, server_properties: FieldTable, mechanisms: Bytes, locales: Bytes };
    ConnectionStartOk 10 11 "connection.start-ok" Reply Absent
        { client_properties: FieldTable, mechanism: ShortString, response: Bytes, locale: ShortString };
    ConnectionSecure 10 20 "connection.secure" Request Absent { challenge: Bytes };
    ConnectionSecureOk 10 21 "connection.secure-ok" Reply Absent { response: Bytes };
    ConnectionTune 10 30 "connection.tune" Request Absent { channel_max: u16, frame_max: u32, heartbeat: u16 };
    ConnectionTuneOk 10 31 "connection.tune-ok" Reply Absent { channel_max: u16, frame_max: u32, heartbeat: u16 };
    ConnectionOpen 10 40 "connection.open" Request Absent { virtual_host: ShortString } [ShortString, bool];
    ConnectionOpenOk 10 41 "connection.open-ok" Reply Absent {} [ShortString];
    ConnectionClose 10 50 "connection.close" Request Absent
        { reply_code: u16, reply_text: ShortString, class_id: u16, method_id: u16 };
    ConnectionCloseOk 10 51 "connection.close-ok" Reply Absent {};
    ConnectionBlocked 10 60 "connection.blocked" Asynchronous Absent { reason: ShortString };
    ConnectionUnblocked 10 61 "connection.unblocked" Asynchronous Absent {};
    ConnectionUpdateSecret 10 70 "connection.update-secret" Request Absent { new_secret: Bytes, reason: ShortString };
    ConnectionUpdateSecretOk 10 71 "connection.update-secret-ok" Reply Absent {};

    ChannelOpen 20 10 "channel.open" Request Absent {} [ShortString];
    ChannelOpenOk 20 11 "channel.open-ok" Reply Absent {} [Bytes];
    ChannelFlow 20 20 "channel.flow" Request Absent { active: bool };
    ChannelFlowOk 20 21 "channel.flow-ok" Reply Absent { active: bool };
    ChannelClose 20 40 "channel.close" Request Absent
        { reply_code: u16, reply_text: ShortString, class_id: u16, method_id: u16 };
    ChannelCloseOk 20 41 "channel.close-ok" Reply Absent {};

    AccessRequest 30 10 "access.request" Request Absent
        { realm: ShortString, exclusive: bool, passive: bool, active: bool, write: bool, read: bool };
    AccessRequestOk 30 11 "access.request-ok" Reply Absent { ticket: u16 };

    ExchangeDeclare 40 10 "exchange.declare" Request Absent [u16]
        { exchange: ShortString, kind: ShortString, passive: bool, durable: bool, auto_delete: bool, internal: bool,
          no_wait: bool, arguments: FieldTable };
    ExchangeDeclareOk 40 11 "exchange.declare-ok" Reply Absent {};
    ExchangeDelete 40 20 "exchange.delete" Request Absent [u16]
        { exchange: ShortString, if_unused: bool, no_wait: bool };
    ExchangeDeleteOk 40 21 "exchange.delete-ok" Reply Absent {};
    ExchangeBind 40 30 "exchange.bind" Request Absent [u16]
        { destination: ShortString, source: ShortString, routing_key: ShortString, no_wait: bool, arguments: FieldTable };
    ExchangeBindOk 40 31 "exchange.bind-ok" Reply Absent {};
    ExchangeUnbind 40 40 "exchange.unbind" Request Absent [u16]
        { destination: ShortString, source: ShortString, routing_key: ShortString, no_wait: bool, arguments: FieldTable };
    ExchangeUnbindOk 40 51 "exchange.unbind-ok" Reply Absent {};

    QueueDeclare 50 10 "queue.declare" Request Absent [u16]
        { queue: ShortString, passive: bool, durable: bool, exclusive: bool, auto_delete: bool, no_wait: bool,
          arguments: FieldTable };
    QueueDeclareOk 50 11 "queue.declare-ok" Reply Absent
        { queue: ShortString, message_count: u32, consumer_count: u32 };
    QueueBind 50 20 "queue.bind" Request Absent [u16]
        { queue: ShortString, exchange: ShortString, routing_key: ShortString, no_wait: bool, arguments: FieldTable };
    QueueBindOk 50 21 "queue.bind-ok" Reply Absent {};
    QueuePurge 50 30 "queue.purge" Request Absent [u16] { queue: ShortString, no_wait: bool };
    QueuePurgeOk 50 31 "queue.purge-ok" Reply Absent { message_count: u32 };
    QueueDelete 50 40 "queue.delete" Request Absent [u16]
        { queue: ShortString, if_unused: bool, if_empty: bool, no_wait: bool };
    QueueDeleteOk 50 41 "queue.delete-ok" Reply Absent { message_count: u32 };
    QueueUnbind 50 50 "queue.unbind" Request Absent [u16]
        { queue: ShortString, exchange: ShortString, routing_key: ShortString, arguments: FieldTable };
    QueueUnbindOk 50 51 "queue.unbind-ok" Reply Absent {};

    BasicQos 60 10 "basic.qos" Request Absent { prefetch_size: u32, prefetch_count: u16, global: bool };
    BasicQosOk 60 11 "basic.qos-ok" Reply Absent {};
    BasicConsume 60 20 "basic.consume" Request Absent [u16]
        { queue: ShortString, consumer_tag: ShortString, no_local: bool, no_ack: bool, exclusive: bool, no_wait: bool,
          arguments: FieldTable };
    BasicConsumeOk 60 21 "basic.consume-ok" Reply Absent { consumer_tag: ShortString };
    BasicCancel 60 30 "basic.cancel" Request Absent { consumer_tag: ShortString, no_wait: bool };
    BasicCancelOk 60 31 "basic.cancel-ok" Reply Absent { consumer_tag: ShortString };
    BasicPublish 60 40 "basic.publish" Asynchronous Follows [u16]
        { exchange: ShortString, routing_key: ShortString, mandatory: bool, immediate: bool };
    BasicReturn 60 50 "basic.return" Asynchronous Follows
        { reply_code: u16, reply_text: ShortString, exchange: ShortString, routing_key: ShortString };
    BasicDeliver 60 60 "basic.deliver" Asynchronous Follows
        { consumer_tag: ShortString, delivery_tag: u64, redelivered: bool, exchange: ShortString,
          routing_key: ShortString };
    BasicGet 60 70 "basic.get" Request Absent [u16] { queue: ShortString, no_ack: bool };
    BasicGetOk 60 71 "basic.get-ok" Reply Follows
        { delivery_tag: u64, redelivered: bool, exchange: ShortString, routing_key: ShortString, message_count: u32 };
    BasicGetEmpty 60 72 "basic.get-empty" Reply Absent {} [ShortString];
    BasicAck 60 80 "basic.ack" Asynchronous Absent { delivery_tag: u64, multiple: bool };
    BasicReject 60 90 "basic.reject" Asynchronous Absent { delivery_tag: u64, requeue: bool };
    BasicRecoverAsync 60 100 "basic.recover-async" Asynchronous Absent { requeue: bool };
    BasicRecover 60 110 "basic.recover" Request Absent { requeue: bool };
    BasicRecoverOk 60 111 "basic.recover-ok" Reply Absent {};
    BasicNack 60 120 "basic.nack" Asynchronous Absent { delivery_tag: u64, multiple: bool, requeue: bool };

    ConfirmSelect 85 10 "confirm.select" Request Absent { no_wait: bool };
    ConfirmSelectOk 85 11 "confirm.select-ok" Reply Absent {};

    TxSelect 90 10 "tx.select" Request Absent {};
    TxSelectOk 90 11 "tx.select-ok" Reply Absent {};
    TxCommit 90 20 "tx.commit" Request Absent {};
    TxCommitOk 90 21 "tx.commit-ok" Reply Absent {};
    TxRollback 90 30 "tx.rollback" Request Absent {};
    TxRollbackOk 90 31 "tx.rollback-ok" Reply Absent {};
}

impl Method {
    /// Class and method id at the start of a payload, for the close that answers one which cannot be decoded; zeros when
    /// it is too short for them.
    #[must_use]
    pub fn ids(payload: &[u8]) -> (u16, u16) {
        let mut cursor = Cursor { rest: payload };
        cursor.u16().zip(cursor.u16()).unwrap_or_default()
    }

    /// `basic.publish`
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.info().name
    }
}

#[cfg(test)]
mod tests;
