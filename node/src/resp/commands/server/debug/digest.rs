//! DEBUG DIGEST and DIGEST-VALUE: 40 hex digits that say whether two data sets are equal. They are those of Redis: what
//! has an order is mixed in, what has none is combined by exclusive or.

use sha1::{Digest as _, Sha1};
use tercet_proto::resp::{Encoder, format_double};

use crate::engine::View;
use crate::keyspace::Entry;
use crate::keyspace::value::ValueRef;
use crate::keyspace::value::stream::StreamId;
use crate::resp::session::Session;
use crate::resp::table::{Args, Outcome};

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Digest([u8; 20]);

impl Digest {
    /// Adds what has no order.
    fn add(&mut self, bytes: &[u8]) {
        self.0.iter_mut().zip(Sha1::digest(bytes)).for_each(|(ours, other)| *ours ^= other);
    }

    /// Adds what has its place.
    fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    fn of_all(parts: &[&[u8]]) -> Self {
        let mut digest = Self::default();
        parts.iter().for_each(|part| digest.mix(part));
        digest
    }

    fn hex(self) -> String {
        use std::fmt::Write as _;
        self.0.iter().fold(String::with_capacity(40), |mut text, byte| {
            // Writing to a String cannot fail.
            _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn add_value(&mut self, entry: Entry<'_>) {
        let mut scratch = itoa::Buffer::new();
        match entry.value() {
            value @ (ValueRef::Integer(_) | ValueRef::String(_)) => {
                self.mix(&0u32.to_be_bytes());
                self.mix(value.as_bytes(&mut scratch).unwrap_or_default());
            }
            ValueRef::List(list) => {
                self.mix(&1u32.to_be_bytes());
                list.iter().for_each(|item| self.mix(&item));
            }
            ValueRef::Set(set) => {
                self.mix(&2u32.to_be_bytes());
                set.iter().for_each(|member| self.add(&member));
            }
            ValueRef::SortedSet(set) => {
                self.mix(&3u32.to_be_bytes());
                set.iter().for_each(|(member, score)| {
                    self.add(&Self::of_all(&[member, format_double(score).as_bytes()]).0);
                });
            }
            ValueRef::Hash(hash) => {
                self.mix(&4u32.to_be_bytes());
                hash.iter().for_each(|(field, value)| self.add(&Self::of_all(&[field, value]).0));
            }
            ValueRef::Stream(stream) => {
                self.mix(&6u32.to_be_bytes());
                for item in stream.range(StreamId::MIN, StreamId::MAX) {
                    self.mix(format!("{}.{}", item.id.ms, item.id.seq).as_bytes());
                    for (field, value) in item.fields() {
                        field.with_text(|text| self.mix(text));
                        value.with_text(|text| self.mix(text));
                    }
                }
            }
        }
        if entry.expire_at().is_some() {
            self.add(b"!!expire!!");
        }
    }
}

pub(super) fn digest(_: &mut Session, view: &View<'_>, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut databases = [(Digest::default(), false); crate::limits::DATABASES as usize];
    view.each_shard(|shard| {
        for (index, keys) in shard.databases() {
            let Some((digest, is_used)) = databases.get_mut(usize::from(index)) else { continue };
            for entry in keys.iter_values().filter(|entry| !entry.is_expired(view.now())) {
                let mut key = Digest::of_all(&[entry.key()]);
                key.add_value(entry);
                digest.add(&key.0);
                *is_used = true;
            }
        }
    });
    let mut all = Digest::default();
    for (index, (digest, _)) in (0u32..).zip(databases).filter(|(_, (_, is_used))| *is_used) {
        all.mix(&index.to_be_bytes());
        all.0.iter_mut().zip(digest.0).for_each(|(ours, other)| *ours ^= other);
    }
    out.simple(&all.hex());
    Ok(())
}

pub(super) fn digest_value(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.array(args.len() - 2);
    for key in &args[2..] {
        let mut digest = Digest::default();
        if let Some(entry) = view.peek(key) {
            digest.add_value(entry);
        }
        out.bulk(digest.hex().as_bytes());
    }
    Ok(())
}
