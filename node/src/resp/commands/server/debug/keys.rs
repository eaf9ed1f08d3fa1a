//! DEBUG commands about keys and tables.

use std::fmt::Write as _;

use tercet_proto::resp::Encoder;

use crate::effect::{Expiry, KeyChange};
use crate::engine::{Locked, Transaction, View};
use crate::keyspace::value::{ListRef, ValueRef, image};
use crate::keyspace::{Keyspace, rdb};
use crate::limits;
use crate::resp::commands::number;
use crate::resp::error::Error;
use crate::resp::session::Session;
use crate::resp::table::{Args, Outcome};

/// Keys that DEBUG POPULATE makes at most.
const POPULATED_MAX: i64 = 10_000_000;
/// Bytes of each of their values at most.
const POPULATED_BYTES_MAX: i64 = 1 << 20;
/// What a serialized value has around what Redis counts: its type, the version and the checksum.
const FRAME_BYTES: usize = 11;

pub(super) fn object(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let entry = view.peek(args[2]).ok_or(Error::NoSuchKey)?;
    let limits = view.keyspace().thresholds().sizes().limits;
    let access = view.keyspace().access();
    let encoding = if entry.is_changed_text() { "raw" } else { entry.value().encoding_name(&limits) };
    let serialized = rdb::dump(entry.value(), &limits).len().saturating_sub(FRAME_BYTES);
    let address = std::ptr::from_ref(entry.key()).cast::<u8>() as usize;
    let idle = access.idle_seconds(entry);
    let mut text = format!(
        "Value at:{address:#x} refcount:1 encoding:{encoding} serializedlength:{serialized} \
         lru:{} lru_seconds_idle:{idle}",
        (view.now().0 / 1000).saturating_sub(idle) & 0xff_ffff,
    );
    if encoding == "quicklist"
        && let ValueRef::List(list) = entry.value()
    {
        let (nodes, bytes) = nodes(list, limits.list_max_listpack_size);
        // Writing to a String cannot fail.
        _ = write!(
            text,
            " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:0 ql_uncompressed_size:{bytes}",
            list.len() as f64 / nodes as f64,
            limits.list_max_listpack_size,
        );
    }
    out.simple(&text);
    Ok(())
}

/// The nodes that Redis would need for a list, and their bytes.
fn nodes(list: ListRef<'_>, most: i64) -> (usize, usize) {
    let (items_max, bytes_max) = match usize::try_from(most) {
        Ok(items) => (items.max(1), 8192),
        Err(_) => (usize::MAX, 2048 << most.unsigned_abs().min(5)),
    };
    let (mut nodes, mut items, mut bytes, mut total) = (1, 0, 0, 0);
    for item in list.iter() {
        let more = item.len() + 2;
        if items > 0 && (items == items_max || bytes + more > bytes_max) {
            (nodes, items, bytes) = (nodes + 1, 0, 0);
        }
        (items, bytes, total) = (items + 1, bytes + more, total + more);
    }
    (nodes, total)
}

pub(super) fn sds_length(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let entry = view.peek(args[2]).ok_or(Error::NoSuchKey)?;
    let ValueRef::String(text) = entry.value() else { return Err(Error::text("ERR Not an sds encoded string.")) };
    let (key, value) = (entry.key().len(), text.len());
    out.simple(&format!(
        "key_sds_len:{key}, key_sds_avail:0, key_zmalloc: {key}, \
         val_sds_len:{value}, val_sds_avail:0, val_zmalloc: {value}"
    ));
    Ok(())
}

/// Puts every value into its bytes and reads it back, in its place: what Redis reaches by saving and loading. Nothing
/// changes by it, so nothing is replicated.
pub(super) fn reload(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let keyspace = &session.node.engine.keyspace;
    (0..keyspace.len()).for_each(|index| reload_shard(keyspace, index));
    out.ok();
    Ok(())
}

fn reload_shard(keyspace: &Keyspace, index: usize) {
    let mut shard = keyspace.lock(index);
    let keys = |keys: &crate::keyspace::Database| keys.iter().map(|entry| entry.key().to_vec()).collect::<Vec<_>>();
    let all: Vec<_> = shard.databases().map(|(database, held)| (database, keys(held))).collect();
    let mut bytes = Vec::new();
    for (database, keys) in all {
        for key in keys {
            bytes.clear();
            let Some(entry) = shard.database(database).find(&key) else { continue };
            image::encode(entry.value(), &mut bytes);
            let change = KeyChange::Restore { image: &bytes, expiry: Expiry::Keep };
            if shard.apply_key(database, &key, &change).is_err() {
                debug_assert!(false, "a whole value goes into the place of any");
            }
        }
    }
}

pub(super) fn populate(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let count = number::integer(args[2])?;
    let size = args.get(4).map_or(Ok(0), |text| number::integer(text))?;
    if args.len() > 5 || !(0..=POPULATED_MAX).contains(&count) || !(0..=POPULATED_BYTES_MAX).contains(&size) {
        return Err(Error::text("ERR value is out of range, must be positive"));
    }
    let prefix = args.get(3).copied().unwrap_or(b"key");
    let node = std::sync::Arc::clone(&session.node);
    let (keyspace, mut record) = (&node.engine.keyspace, Vec::new());
    for number in 0..count {
        let key = [prefix, format!(":{number}").as_bytes()].concat();
        let mut value = format!("value:{number}").into_bytes();
        if size > 0 {
            value.resize(size as usize, 0);
        }
        let index = keyspace.shard_of(&key);
        let locked = Locked::One(index, keyspace.lock(index));
        let mut transaction = Transaction::new(&node.engine, locked, &mut record, session.database, session.now);
        let slot = transaction.open(&key);
        if slot.value().is_none() {
            slot.apply(&KeyChange::SetString { value: &value, expiry: Expiry::Never })?;
        }
        let offset = transaction.finish();
        session.depend_on(offset);
    }
    out.ok();
    Ok(())
}

pub(super) fn table(_: &mut Session, view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let index = number::integer(args[2])?;
    let index = u8::try_from(index).ok().filter(|index| *index < limits::DATABASES);
    let index = index.ok_or(Error::text("ERR Out of range database"))?;
    let (mut keys, mut expiring) = (0, 0);
    view.each_shard(|shard| {
        keys += shard.database(index).len();
        expiring += shard.database(index).expiring();
    });
    out.verbatim("txt", &format!("[Dictionary HT]\n{}[Expires HT]\n{}", described(keys), described(expiring)));
    Ok(())
}

pub(super) fn table_of_key(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let entry = view.peek(args[2]).ok_or(Error::NoSuchKey)?;
    let limits = view.keyspace().thresholds().sizes().limits;
    let elements = match entry.value() {
        ValueRef::Hash(hash) => hash.len(),
        ValueRef::Set(set) => set.len(),
        ValueRef::SortedSet(set) => set.len(),
        _ => 0,
    };
    if !matches!(entry.value().encoding_name(&limits), "hashtable" | "skiplist") {
        return Err(Error::text("ERR The value stored at the specified key is not represented using an hash table"));
    }
    out.verbatim("txt", &described(elements));
    Ok(())
}

fn described(elements: usize) -> String {
    if elements == 0 {
        return "No stats available for empty dictionaries\n".into();
    }
    format!(
        "Hash table 0 stats (main hash table):\n table size: {}\n number of elements: {elements}\n",
        elements.next_power_of_two()
    )
}
