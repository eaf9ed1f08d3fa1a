//! AMQP 0-9-1 with the extensions of RabbitMQ: frames in (`Decoder`) and out (`Encoder`), the closed table of methods
//! (`Method`), content headers (`ContentHeader`, `Properties`), field tables and reply codes. No behaviour.

mod encode;
mod error;
mod field;
mod frame;
mod methods;
mod properties;
mod reply_code;
mod short;
mod table;
mod table_view;
#[cfg(test)]
mod testing;
mod wire;

pub use encode::{Delivery, Encoder};
pub use error::Error;
pub use frame::{
    Decoder, FRAME_END, FRAME_OVERHEAD, Frame, FrameKind, MIN_FRAME_MAX, Opening, PROTOCOL_HEADER, take_protocol_header,
};
pub use methods::{Content, METHODS, Method, MethodInfo, Synchrony};
pub use properties::{BASIC_CLASS, BasicProperties, ContentHeader, Properties};
pub use reply_code::{Closes, ReplyCode};
pub use short::{ShortBytes, ShortString, TooLong};
pub use table::{FieldTable, FieldValue};
pub use table_view::{ArrayView, FieldView, MAX_DEPTH, TableView};
