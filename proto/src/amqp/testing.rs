//! Random values for the tests of this codec. `TERCET_SEED` replays a run; the seed is printed when a test fails.

use bytes::Bytes;

use super::{FieldTable, FieldValue, ShortBytes, ShortString};

/// xorshift64*: enough for tests, and the same everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn from_environment() -> Self {
        let now = || {
            let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            time.as_nanos() as u64
        };
        let seed = std::env::var("TERCET_SEED").map_or_else(|_| now(), |text| text.parse().unwrap());
        println!("TERCET_SEED={seed}");
        Self(seed | 1)
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.number() >> 33) as usize % bound
    }

    /// Edge values as often as others.
    pub(super) fn edge(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => u64::MAX,
            2 => 1,
            _ => self.number(),
        }
    }

    pub(super) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.number() as u8).collect()
    }

    pub(super) fn text(&mut self) -> String {
        let length = [0, 1, 7, 127][self.below(4)];
        (0..length).map(|_| ['a', '.', '#', 'ä', '\0'][self.below(5)]).collect()
    }

    pub(super) fn value(&mut self, depth: usize) -> FieldValue {
        let number = self.edge();
        match self.below(if depth < 4 { 17 } else { 15 }) {
            0 => FieldValue::Bool(number & 1 == 1),
            1 => FieldValue::I8(number as i8),
            2 => FieldValue::U8(number as u8),
            3 => FieldValue::I16(number as i16),
            4 => FieldValue::U16(number as u16),
            5 => FieldValue::I32(number as i32),
            6 => FieldValue::U32(number as u32),
            7 => FieldValue::I64(number as i64),
            // From integers: NaN would not equal itself.
            8 => FieldValue::F32(number as f32),
            9 => FieldValue::F64(number as f64),
            10 => FieldValue::Decimal { scale: number as u8, value: number as u32 },
            11 => FieldValue::LongString(self.bytes(300).into()),
            12 => FieldValue::Timestamp(number),
            13 => FieldValue::Void,
            14 => FieldValue::Bytes(self.bytes(300).into()),
            15 => FieldValue::Array((0..self.below(4)).map(|_| self.value(depth + 1)).collect()),
            _ => FieldValue::Table(self.table(depth + 1)),
        }
    }

    pub(super) fn table(&mut self, depth: usize) -> FieldTable {
        (0..self.below(5)).map(|_| (ShortBytes::counted(&self.bytes(255)), self.value(depth))).collect()
    }
}

/// A random value of a type that fields have.
pub(super) trait Arbitrary {
    fn arbitrary(random: &mut Random) -> Self;
}

macro_rules! arbitrary {
    ($($type:ty: |$random:ident| $value:expr;)*) => { $(
        impl Arbitrary for $type {
            fn arbitrary($random: &mut Random) -> Self {
                $value
            }
        }
    )* };
}

arbitrary! {
    bool: |random| random.below(2) == 1;
    u8: |random| random.edge() as u8;
    u16: |random| random.edge() as u16;
    u32: |random| random.edge() as u32;
    u64: |random| random.edge();
    ShortString: |random| ShortString::truncated(&random.text());
    ShortBytes: |random| ShortBytes::counted(&random.bytes(255));
    Bytes: |random| random.bytes(1000).into();
    FieldTable: |random| random.table(0);
}

impl<T: Arbitrary> Arbitrary for Option<T> {
    fn arbitrary(random: &mut Random) -> Self {
        (random.below(2) == 1).then(|| T::arbitrary(random))
    }
}
