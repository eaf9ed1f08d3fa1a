//! A partition as bytes, for a full sync.
//!
//! ```text
//! image of a shard = entry ...      see `keyspace::entry_image`
//! ```
//!
//! An image is taken under its partition's lock only, with the end of the journal as its cut: every record that changed
//! the partition was appended under the same lock, so the image holds exactly the effects of the records up to the cut.

use crate::engine::Engine;
use crate::ids::{Offset, Partition, PartitionKind};
use crate::keyspace::entry_image::{self, put_entry, take_entry};
use crate::limits;
use crate::wire::Reader;

/// An image that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the image of partition {partition} cannot be read: {error}")]
    Image { partition: u32, error: entry_image::Error },
    #[error("the image of partition {partition} does not fit: {what}")]
    State { partition: u32, what: String },
}

/// Appends the image of a partition and says its cut.
pub fn take(engine: &Engine, partition: Partition, out: &mut Vec<u8>) -> Offset {
    let index = match partition.kind() {
        PartitionKind::Shard(index) => index,
        PartitionKind::Accounts => return engine.accounts.image(|_| engine.journal.end(), out),
        PartitionKind::Topology | PartitionKind::Queue(_) => {
            return engine.broker.image(partition, || engine.journal.end(), out);
        }
    };
    let shard = engine.keyspace.lock(index);
    let mut scratch = Vec::new();
    for (database, table) in shard.databases() {
        table.iter_values().for_each(|entry| put_entry(database, entry, &mut scratch, out));
    }
    engine.journal.end()
}

/// Puts an image in the place of a partition. `rest` is called after every `LOAD_SLICE_BYTES` of it.
///
/// # Errors
/// The image cannot be read.
pub fn load(
    engine: &Engine,
    partition: Partition,
    cut: Offset,
    image: &[u8],
    mut rest: impl FnMut(),
) -> Result<(), Error> {
    let wrong = |what: String| Error::State { partition: partition.0, what };
    let index = match partition.kind() {
        PartitionKind::Shard(index) => index,
        PartitionKind::Accounts => {
            return engine.accounts.load_image(cut, image).map_err(|error| wrong(error.to_string()));
        }
        PartitionKind::Topology | PartitionKind::Queue(_) => {
            return engine.broker.load_image(partition, cut, image).map_err(|error| wrong(error.to_string()));
        }
    };
    if index >= engine.keyspace.len() {
        return Err(wrong("no such shard".to_owned()));
    }
    let broken = |error| Error::Image { partition: partition.0, error };
    let mut shard = engine.keyspace.lock(index);
    shard.reset();
    let mut reader = Reader::new(image);
    let mut next_rest = image.len().saturating_sub(limits::LOAD_SLICE_BYTES);
    while !reader.is_empty() {
        let entry = take_entry(&mut reader).map_err(broken)?;
        shard.load(&entry).map_err(broken)?;
        if reader.remaining() < next_rest {
            rest();
            next_rest = reader.remaining().saturating_sub(limits::LOAD_SLICE_BYTES);
        }
    }
    shard.changed_at(cut);
    Ok(())
}

/// Forgets everything that is replicated.
pub fn reset(engine: &Engine) {
    for index in 0..engine.keyspace.len() {
        engine.keyspace.lock(index).reset();
    }
    engine.broker.reset();
    engine.accounts.reset();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{Expiry, KeyChange};
    use crate::engine::{Locked, Transaction};
    use crate::ids::UnixMillis;

    #[test]
    fn a_shard_reads_back_as_it_was() {
        let (here, there) = (Engine::default(), Engine::default());
        let mut record = Vec::new();
        let mut change = |database: u8, key: &[u8], change: KeyChange<'_>| {
            let locked = Locked::keys(&here.keyspace, std::iter::once(key));
            let mut transaction = Transaction::new(&here, locked, &mut record, database, UnixMillis(1));
            transaction.apply(key, &change).unwrap();
            transaction.finish();
        };
        for number in 0..500 {
            let key = format!("key:{number}");
            let expiry = if number % 3 == 0 { Expiry::At(UnixMillis(1_000_000 + number)) } else { Expiry::Never };
            change(number as u8 % 3, key.as_bytes(), KeyChange::SetString { value: b"some value", expiry });
        }
        let fields: [&[u8]; 4] = [b"field", b"1", b"other", b"2"];
        change(0, b"hash", KeyChange::HashSet { pairs: (&fields[..]).into() });

        let mut loaded = 0;
        for index in 0..here.keyspace.len() {
            let mut image = Vec::new();
            let cut = take(&here, Partition::shard(index), &mut image);
            assert_eq!(cut, here.journal.end());
            load(&there, Partition::shard(index), cut, &image, || {}).unwrap();
            // One after the other: both have the rank of their number.
            let entries = |engine: &Engine| {
                let shard = engine.keyspace.lock(index);
                let all = shard.databases().flat_map(|(number, keys)| keys.iter().map(move |entry| (number, entry)));
                let all = all.map(|(number, e)| ((number, e.key().to_vec()), (e.value().to_owned(), e.expire_at())));
                all.collect::<std::collections::HashMap<_, _>>()
            };
            let all = entries(&here);
            assert!(all == entries(&there), "shard {index} differs");
            loaded += all.len();
        }
        assert_eq!(loaded, 501);
        for database in 0..3 {
            assert_eq!(here.keyspace.count(database), there.keyspace.count(database));
            assert_eq!(here.keyspace.count_expiring(database), there.keyspace.count_expiring(database));
        }
    }

    #[test]
    fn a_broken_image_is_an_error() {
        let engine = Engine::default();
        assert!(load(&engine, Partition::shard(0), Offset(1), &[0, 200], || {}).is_err());
        assert!(load(&engine, Partition::shard(9999), Offset(1), &[], || {}).is_err());
    }
}
