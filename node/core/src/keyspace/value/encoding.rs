//! What would Redis 7.2 answer to OBJECT ENCODING? Derived from the contents: what is kept here has another form, but
//! tools and tests read these names.

use super::integer::parse_integer;
use super::set::Kept;
use super::{HashRef, ListRef, SetRef, SortedSetRef, ValueRef};

/// The sizes at which Redis changes to an encoding for large values, under the names of its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `list-max-listpack-size`: a number of items, or, below zero, 4, 8, 16, 32 or 64 KB.
    pub list_max_listpack_size: i64,
    pub hash_max_listpack_entries: usize,
    pub hash_max_listpack_value: usize,
    pub set_max_intset_entries: usize,
    pub set_max_listpack_entries: usize,
    pub set_max_listpack_value: usize,
    pub zset_max_listpack_entries: usize,
    pub zset_max_listpack_value: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            list_max_listpack_size: -2,
            hash_max_listpack_entries: 128,
            hash_max_listpack_value: 64,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
        }
    }
}

/// The longest string that Redis allocates together with its object.
const EMBSTR_MAX: usize = 44;

impl ValueRef<'_> {
    pub fn encoding_name(self, limits: &Limits) -> &'static str {
        match self {
            ValueRef::Integer(_) => "int",
            ValueRef::String(text) if text.len() <= EMBSTR_MAX => "embstr",
            ValueRef::String(_) => "raw",
            ValueRef::List(list) => list_encoding(list, limits),
            ValueRef::Hash(hash) => match hash_encoding(hash, limits) {
                "listpack" if hash.is_timed() => "listpackex",
                name => name,
            },
            ValueRef::Set(set) => set_encoding(set, limits),
            ValueRef::SortedSet(set) => sorted_set_encoding(set, limits),
            ValueRef::Stream(_) => "stream",
        }
    }
}

fn list_encoding(list: ListRef<'_>, limits: &Limits) -> &'static str {
    let is_small = match usize::try_from(limits.list_max_listpack_size) {
        // By number, a listpack still ends at 8 KB.
        Ok(items) => list.len() <= items && fits_listpack(list, 8192),
        Err(_) => fits_listpack(list, 2048 << limits.list_max_listpack_size.unsigned_abs().min(5)),
    };
    if is_small { "listpack" } else { "quicklist" }
}

fn hash_encoding(hash: HashRef<'_>, limits: &Limits) -> &'static str {
    let longest = limits.hash_max_listpack_value;
    // Larger limits than ours are judged by the contents alone.
    if !hash.is_packed() && limits.hash_max_listpack_entries <= 128 && longest <= 64 {
        return "hashtable";
    }
    let is_small = hash.len() <= limits.hash_max_listpack_entries
        && hash.iter().all(|(field, value)| field.len() <= longest && value.len() <= longest);
    if is_small { "listpack" } else { "hashtable" }
}

fn set_encoding(set: SetRef<'_>, limits: &Limits) -> &'static str {
    let kept = set.kept();
    if kept == Kept::Table && limits.set_max_intset_entries <= 512 && limits.set_max_listpack_value <= 64 {
        return "hashtable";
    }
    if kept != Kept::Packed
        && set.len() <= limits.set_max_intset_entries
        && set.iter().all(|member| parse_integer(&member).is_some())
    {
        return "intset";
    }
    let is_small = set.len() <= limits.set_max_listpack_entries
        && set.iter().all(|member| member.len() <= limits.set_max_listpack_value);
    if is_small { "listpack" } else { "hashtable" }
}

fn sorted_set_encoding(set: SortedSetRef<'_>, limits: &Limits) -> &'static str {
    if !set.is_packed() && limits.zset_max_listpack_entries <= 128 && limits.zset_max_listpack_value <= 64 {
        return "skiplist";
    }
    let is_small = set.len() <= limits.zset_max_listpack_entries
        && set.iter().all(|(member, _)| member.len() <= limits.zset_max_listpack_value);
    if is_small { "listpack" } else { "skiplist" }
}

/// Whether the list as a listpack would take up to `max` bytes.
fn fits_listpack(list: ListRef<'_>, max: usize) -> bool {
    // Six bytes of header and one that ends it.
    let mut size = 7;
    list.iter().all(|item| {
        size += listpack_entry(&item);
        size <= max
    })
}

/// Bytes of a listpack's entry: encoding, contents and the length once more for the way back.
fn listpack_entry(item: &[u8]) -> usize {
    let contents = match parse_integer(item) {
        Some(0..=127) => 1,
        Some(-4096..=4095) => 2,
        Some(-0x8000..=0x7fff) => 3,
        Some(-0x80_0000..=0x7f_ffff) => 4,
        Some(-0x8000_0000..=0x7fff_ffff) => 5,
        Some(_) => 9,
        None => match item.len() {
            0..=63 => 1 + item.len(),
            64..=4095 => 2 + item.len(),
            _ => 5 + item.len(),
        },
    };
    let back = match contents {
        0..=127 => 1,
        128..=16382 => 2,
        16383..=2097150 => 3,
        2097151..=268435454 => 4,
        _ => 5,
    };
    contents + back
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::{End, Hash, List, ShortBytes, SortedSet, Value};

    fn name(value: Value) -> &'static str {
        value.as_ref().encoding_name(&Limits::default())
    }

    fn list(items: usize, item: &[u8]) -> Value {
        let mut list = List::new();
        (0..items).for_each(|_| list.push(End::Back, item));
        Value::List(Box::new(list))
    }

    fn set(items: impl IntoIterator<Item = ShortBytes>) -> Value {
        Value::Set(Box::new(items.into_iter().collect()))
    }

    #[test]
    fn strings() {
        assert_eq!(name(Value::from_bytes(b"12")), "int");
        assert_eq!(name(Value::from_bytes(&[b'x'; 44])), "embstr");
        assert_eq!(name(Value::from_bytes(&[b'x'; 45])), "raw");
    }

    #[test]
    fn lists_change_at_8_kb() {
        // 7 + 818 * 10 = 8187, 7 + 819 * 10 = 8197.
        assert_eq!(name(list(818, b"abcdefgh")), "listpack");
        assert_eq!(name(list(819, b"abcdefgh")), "quicklist");
        assert_eq!(name(list(4092, b"1")), "listpack");
        assert_eq!(name(list(4093, b"1")), "quicklist");
        assert_eq!(name(list(1, &[b'x'; 8178])), "listpack");
        assert_eq!(name(list(1, &[b'x'; 8179])), "quicklist");
        let by_number = Limits { list_max_listpack_size: 3, ..Limits::default() };
        assert_eq!(list(3, b"a").as_ref().encoding_name(&by_number), "listpack");
        assert_eq!(list(4, b"a").as_ref().encoding_name(&by_number), "quicklist");
    }

    #[test]
    fn sets_change_by_kind_number_and_length() {
        assert_eq!(name(set((0..512).map(ShortBytes::from))), "intset");
        assert_eq!(name(set((0..513).map(ShortBytes::from))), "hashtable");
        assert_eq!(name(set((0..127).map(ShortBytes::from).chain([ShortBytes::from(b"a")]))), "listpack");
        assert_eq!(name(set((0..128).map(ShortBytes::from).chain([ShortBytes::from(b"a")]))), "hashtable");
        assert_eq!(name(set([ShortBytes::from([b'x'; 64].as_slice())])), "listpack");
        assert_eq!(name(set([ShortBytes::from([b'x'; 65].as_slice())])), "hashtable");
    }

    #[test]
    fn hashes_and_sorted_sets_change_at_128_entries_and_64_bytes() {
        for (entries, length, small) in [(128, 64, true), (129, 1, false), (1, 65, false)] {
            let (mut hash, mut sorted) = (Hash::new(), SortedSet::new());
            for entry in 0..entries {
                let member = format!("{entry:0length$}");
                hash.set(&ShortBytes::from(entry), member.as_bytes());
                sorted.insert(member.as_bytes(), entry as f64);
            }
            assert_eq!(name(Value::Hash(Box::new(hash))), if small { "listpack" } else { "hashtable" });
            assert_eq!(name(Value::SortedSet(Box::new(sorted))), if small { "listpack" } else { "skiplist" });
        }
    }
}
