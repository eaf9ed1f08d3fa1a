//! Writes a value in the form in which Redis 7.0 would keep it.

use super::write::{put_bytes, put_length, put_string};
use super::{kind, stream, ziplist};
use crate::keyspace::listpack::{Element, Listpack};
use crate::keyspace::value::{Limits, ListRef, ValueRef, parse_integer};

/// Bytes of a listpack in a list: Redis's `list-max-listpack-size` of -2.
const NODE_BYTES: usize = 8192;
/// A node of a list that is a listpack.
const PACKED: u64 = 2;
/// A node of a list that is one large element.
const PLAIN: u64 = 1;
/// From here on an element is a node of its own.
const PLAIN_BYTES: usize = 1 << 30;

pub(super) fn value(value: ValueRef<'_>, limits: &Limits, out: &mut Vec<u8>) {
    let is_packed = matches!(value.encoding_name(limits), "listpack" | "intset");
    match value {
        ValueRef::Integer(number) => {
            out.push(kind::STRING);
            put_string(itoa::Buffer::new().format(number).as_bytes(), out);
        }
        ValueRef::String(text) => {
            out.push(kind::STRING);
            put_string(text, out);
        }
        ValueRef::List(list) => {
            out.push(kind::LIST_QUICKLIST_2);
            put_list(list, out);
        }
        ValueRef::Hash(hash) if hash.is_timed() => {
            // Deadlines are told from the earliest one on; 0 is none.
            let earliest = hash.iter().filter_map(|(field, _)| hash.deadline(field)).min().map_or(0, |at| at.0);
            out.push(kind::TIMED_HASH);
            out.extend_from_slice(&earliest.to_le_bytes());
            put_length(hash.len() as u64, out);
            for (field, value) in hash.iter() {
                put_length(hash.deadline(field).map_or(0, |at| at.0 - earliest + 1), out);
                put_string(field, out);
                put_string(value, out);
            }
        }
        ValueRef::Hash(hash) if is_packed => {
            let mut pack = Listpack::default();
            for (field, value) in hash.iter() {
                pack.push_text(field);
                pack.push_text(value);
            }
            put_pack(kind::HASH_LISTPACK, &pack, out);
        }
        ValueRef::Hash(hash) => {
            out.push(kind::HASH);
            put_length(hash.len() as u64, out);
            for (field, value) in hash.iter() {
                put_string(field, out);
                put_string(value, out);
            }
        }
        ValueRef::Set(set) if value.encoding_name(limits) == "intset" => {
            let mut numbers: Vec<i64> = set.iter().filter_map(|member| parse_integer(&member)).collect();
            numbers.sort_unstable();
            let mut packed = Vec::new();
            ziplist::put_intset(&numbers, &mut packed);
            out.push(kind::SET_INTSET);
            put_bytes(&packed, out);
        }
        ValueRef::Set(set) => {
            // Packed sets came with Redis 7.2: 7.0 could not read them.
            out.push(kind::SET);
            put_length(set.len() as u64, out);
            set.iter().for_each(|member| put_string(&member, out));
        }
        ValueRef::SortedSet(set) if is_packed => {
            let mut pack = Listpack::default();
            for (member, score) in set.iter() {
                pack.push_text(member);
                pack.push_text(score_text(score).as_bytes());
            }
            put_pack(kind::ZSET_LISTPACK, &pack, out);
        }
        ValueRef::SortedSet(set) => {
            out.push(kind::ZSET_2);
            put_length(set.len() as u64, out);
            for (member, score) in set.iter() {
                put_string(member, out);
                out.extend_from_slice(&score.to_le_bytes());
            }
        }
        ValueRef::Stream(content) => {
            out.push(kind::STREAM_2);
            stream::encode(content, out);
        }
    }
}

/// A score as `strtod` reads it.
fn score_text(score: f64) -> String {
    if score == score.trunc() && score.abs() < 1e15 { format!("{score:.0}") } else { format!("{score:?}") }
}

fn put_list(list: ListRef<'_>, out: &mut Vec<u8>) {
    let (mut nodes, mut content, mut pack) = (0u64, Vec::new(), Listpack::default());
    let mut end_node = |pack: &mut Listpack, content: &mut Vec<u8>| {
        let pack = std::mem::take(pack);
        if pack != Listpack::default() {
            nodes += 1;
            put_length(PACKED, content);
            put_bytes(pack.as_bytes(), content);
        }
        nodes
    };
    let mut plain = 0;
    for item in list.iter() {
        let item: &[u8] = item.as_ref();
        if item.len() >= PLAIN_BYTES {
            end_node(&mut pack, &mut content);
            plain += 1;
            put_length(PLAIN, &mut content);
            put_bytes(item, &mut content);
            continue;
        }
        if pack.size() + item.len() + 11 > NODE_BYTES {
            end_node(&mut pack, &mut content);
        }
        pack.push(Element::of(item));
    }
    let nodes = end_node(&mut pack, &mut content) + plain;
    put_length(nodes, out);
    out.extend_from_slice(&content);
}

fn put_pack(kind: u8, pack: &Listpack, out: &mut Vec<u8>) {
    out.push(kind);
    put_bytes(pack.as_bytes(), out);
}
