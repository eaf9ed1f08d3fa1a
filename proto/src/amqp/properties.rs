//! Content headers, and the properties of a message: kept as they came, read on demand, edited and written anew.
//!
//! ```text
//! class u16 | weight u16 = 0 | body size u64 | flags u16 | the properties whose flag is set, highest flag first
//! ```
//!
//! `Properties` holds flags and fields as one run of bytes, which a broker stores and forwards unchanged.

use bytes::Bytes;

use super::table_view::TableView;
use super::wire::{Cursor, put_short};
use super::{Error, FieldTable, ShortBytes};

/// The only class whose methods carry content.
pub const BASIC_CLASS: u16 = 60;

/// delivery_mode of a message that is to survive a restart.
const PERSISTENT: u8 = 2;

/// Properties without a flag set.
const NONE: &[u8] = &[0, 0];

/// The payload of a header frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentHeader {
    pub class_id: u16,
    pub body_size: u64,
    pub properties: Properties,
}

impl ContentHeader {
    /// Reads the payload of a header frame, and checks the properties wholly; they share its bytes.
    ///
    /// # Errors
    /// The connection is to be closed with the error's reply code.
    pub fn decode(payload: &Bytes) -> Result<Self, Error> {
        let mut cursor = Cursor { rest: payload };
        let (Some(class_id), Some(weight), Some(body_size)) = (cursor.u16(), cursor.u16(), cursor.u64()) else {
            return Err(Error::HeaderTooShort(payload.len()));
        };
        if weight != 0 {
            return Err(Error::HeaderWeight(weight));
        }
        let properties = Properties::from_raw(payload.slice_ref(cursor.rest))?;
        Ok(Self { class_id, body_size, properties })
    }
}

/// How a property lies in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ShortString,
    Table,
    Octet,
    Timestamp,
}

/// How a property is read from a buffer, and how its owned form is made and written. Both sides of one row of the table.
trait Property: Sized {
    const KIND: Kind;
    /// As it is lent by `Properties`.
    type View<'a>;

    /// `bytes` are those of one property of this kind, without its length.
    fn view(bytes: &[u8]) -> Self::View<'_>;
    fn from_view(view: Self::View<'_>) -> Self;
    fn write(&self, out: &mut Vec<u8>);
}

macro_rules! properties {
    ($($(#[$attribute:meta])* $name:ident $flag:literal $type:ty => $view:ty;)*) => {
        /// Flags and kinds in the order of the bytes: the highest flag first.
        const TABLE: &[(u16, Kind)] = &[$((1 << $flag, <$type as Property>::KIND),)*];

        impl Properties {
            $(
                $(#[$attribute])*
                #[must_use]
                pub fn $name(&self) -> Option<$view> {
                    self.find(1 << $flag).map(<$type as Property>::view)
                }
            )*

            /// All of them as owned values.
            #[must_use]
            pub fn to_basic(&self) -> BasicProperties {
                BasicProperties { $($name: self.$name().map(<$type as Property>::from_view),)* }
            }
        }

        /// The properties as owned values: for building and editing them.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct BasicProperties { $($(#[$attribute])* pub $name: Option<$type>,)* }

        impl BasicProperties {
            #[must_use]
            pub fn encode(&self) -> Properties {
                let mut flags = 0u16;
                let mut out = NONE.to_vec();
                $(if let Some(value) = &self.$name {
                    flags |= 1 << $flag;
                    Property::write(value, &mut out);
                })*
                out[..2].copy_from_slice(&flags.to_be_bytes());
                Properties { raw: out.into() }
            }
        }

        /// The names, the flags, and properties with random values.
        #[cfg(test)]
        const NAMES: &[(&str, u16)] = &[$((stringify!($name), $flag),)*];

        #[cfg(test)]
        fn arbitrary(random: &mut super::testing::Random) -> BasicProperties {
            use super::testing::Arbitrary;
            BasicProperties { $($name: Option::<$type>::arbitrary(random),)* }
        }
    };
}

properties! {
    content_type 15 ShortBytes => &[u8];
    content_encoding 14 ShortBytes => &[u8];
    headers 13 FieldTable => TableView<'_>;
    /// 1 transient, 2 persistent.
    delivery_mode 12 u8 => u8;
    priority 11 u8 => u8;
    correlation_id 10 ShortBytes => &[u8];
    reply_to 9 ShortBytes => &[u8];
    /// Milliseconds in decimal digits.
    expiration 8 ShortBytes => &[u8];
    message_id 7 ShortBytes => &[u8];
    /// Seconds since 1970.
    timestamp 6 u64 => u64;
    /// `type` in the specification.
    kind 5 ShortBytes => &[u8];
    user_id 4 ShortBytes => &[u8];
    app_id 3 ShortBytes => &[u8];
    cluster_id 2 ShortBytes => &[u8];
}

/// Where the headers stand among the properties.
const HEADERS: u16 = 1 << 13;

/// The two lowest flags: one is unused, one announces more flags, which no class has.
const UNKNOWN_FLAGS: u16 = 0b11;

/// Properties as they were sent; every field has been checked. A clone shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    raw: Bytes,
}

impl Default for Properties {
    fn default() -> Self {
        Self { raw: Bytes::from_static(NONE) }
    }
}

impl Properties {
    /// Checks flags and fields, as they follow the body size in a header frame.
    ///
    /// # Errors
    /// The fields do not fill the bytes, or the headers are no table: 502 SYNTAX_ERROR.
    pub fn from_raw(raw: Bytes) -> Result<Self, Error> {
        let mut cursor = Cursor { rest: &raw };
        let flags = cursor.u16().ok_or(Error::HeaderTooShort(raw.len()))?;
        if flags & UNKNOWN_FLAGS != 0 {
            return Err(Error::PropertyFlags(flags));
        }
        for (_, kind) in TABLE.iter().filter(|(flag, _)| flags & flag != 0) {
            let bytes = skip(&mut cursor, *kind).ok_or(Error::PropertyFields)?;
            if *kind == Kind::Table {
                TableView::parse(bytes)?;
            }
        }
        if cursor.rest.is_empty() { Ok(Self { raw }) } else { Err(Error::PropertyFields) }
    }

    /// Flags and fields, to be stored and forwarded. They keep the receive buffer alive.
    #[inline]
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// A copy that does not keep the receive buffer alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { raw: if self.raw[..] == *NONE { Bytes::from_static(NONE) } else { Bytes::copy_from_slice(&self.raw) } }
    }

    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.delivery_mode() == Some(PERSISTENT)
    }

    /// The same properties with other headers; all others keep their bytes. An empty table removes the headers.
    #[must_use]
    pub fn with_headers(&self, headers: &FieldTable) -> Self {
        let mut cursor = Cursor { rest: &self.raw[2..] };
        for (_, kind) in TABLE.iter().take_while(|(flag, _)| *flag > HEADERS).filter(|(flag, _)| self.has(*flag)) {
            skip(&mut cursor, *kind).expect("checked when it was made");
        }
        let before = &self.raw[2..self.raw.len() - cursor.rest.len()];
        if self.has(HEADERS) {
            skip(&mut cursor, Kind::Table).expect("checked when it was made");
        }

        let flags = if headers.is_empty() { self.flags() & !HEADERS } else { self.flags() | HEADERS };
        let mut out = flags.to_be_bytes().to_vec();
        out.extend_from_slice(before);
        if !headers.is_empty() {
            headers.encode(&mut out);
        }
        out.extend_from_slice(cursor.rest);
        Self { raw: out.into() }
    }

    fn flags(&self) -> u16 {
        u16::from_be_bytes([self.raw[0], self.raw[1]])
    }

    fn has(&self, flag: u16) -> bool {
        self.flags() & flag != 0
    }

    /// The bytes of one property, without its length.
    fn find(&self, wanted: u16) -> Option<&[u8]> {
        if !self.has(wanted) {
            return None;
        }
        let mut cursor = Cursor { rest: &self.raw[2..] };
        for (flag, kind) in TABLE.iter().filter(|(flag, _)| self.has(*flag)) {
            let bytes = skip(&mut cursor, *kind)?;
            if *flag == wanted {
                return Some(bytes);
            }
        }
        None
    }
}

fn skip<'a>(cursor: &mut Cursor<'a>, kind: Kind) -> Option<&'a [u8]> {
    match kind {
        Kind::ShortString => cursor.short(),
        Kind::Table => cursor.long(),
        Kind::Octet => cursor.take(1),
        Kind::Timestamp => cursor.take(8),
    }
}

impl Property for ShortBytes {
    const KIND: Kind = Kind::ShortString;
    type View<'a> = &'a [u8];

    fn view(bytes: &[u8]) -> &[u8] {
        bytes
    }

    fn from_view(view: &[u8]) -> Self {
        Self::counted(view)
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_short(out, self.as_bytes());
    }
}

impl Property for FieldTable {
    const KIND: Kind = Kind::Table;
    type View<'a> = TableView<'a>;

    fn view(bytes: &[u8]) -> TableView<'_> {
        TableView::checked(bytes)
    }

    fn from_view(view: TableView<'_>) -> Self {
        view.to_table()
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }
}

impl Property for u8 {
    const KIND: Kind = Kind::Octet;
    type View<'a> = Self;

    fn view(bytes: &[u8]) -> Self {
        bytes[0]
    }

    fn from_view(view: Self) -> Self {
        view
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
}

impl Property for u64 {
    const KIND: Kind = Kind::Timestamp;
    type View<'a> = Self;

    fn view(bytes: &[u8]) -> Self {
        bytes.try_into().map(Self::from_be_bytes).expect("a timestamp is skipped as eight octets")
    }

    fn from_view(view: Self) -> Self {
        view
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
