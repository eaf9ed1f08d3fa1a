//! HyperLogLog: how many different elements were there, about?

mod sketch;

use tercet_proto::resp::Encoder;

use self::sketch::{Change, Corrupted, Run, Sketch};
use super::strings::put_string;
use crate::engine::{Transaction, View};
use crate::keyspace::value::ValueRef;
use crate::resp::error::Error;
use crate::resp::table::flag::{ADMIN, DENY_OOM, FAST};
use crate::resp::table::{Args, Command, Group, Keys, Outcome, read, write};

const G: Group = Group::HyperLogLog;

pub(super) const ROWS: &[Command] = &[
    write(
        "pfadd",
        -2,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Adds elements to a HyperLogLog key. Creates the key if it doesn't exist.",
        pfadd,
    ),
    write(
        "pfcount",
        -2,
        0,
        Keys::REST,
        G,
        "Returns the approximated cardinality of the set(s) observed by the HyperLogLog key(s).",
        pfcount,
    ),
    write("pfmerge", -2, DENY_OOM, Keys::REST, G, "Merges one or more HyperLogLog values into a single key.", pfmerge),
    write(
        "pfdebug",
        3,
        DENY_OOM | ADMIN,
        Keys::Range(2, 2, 1),
        G,
        "Internal commands for debugging HyperLogLog values.",
        pfdebug,
    ),
    read("pfselftest", 1, ADMIN, Keys::None, G, "An internal command for testing HyperLogLog values.", pfselftest),
];

/// `hll-sparse-max-bytes`.
fn sparse_max(transaction: &Transaction<'_>) -> usize {
    transaction.keyspace().thresholds().sizes().sparse_sketch
}

const INVALID: Error =
    Error::Other(std::borrow::Cow::Borrowed("WRONGTYPE Key is not a valid HyperLogLog string value."));

impl From<Corrupted> for Error {
    fn from(_: Corrupted) -> Self {
        Self::text("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// The bytes of a sketch.
fn bytes(value: ValueRef<'_>) -> Result<&[u8], Error> {
    match value {
        ValueRef::String(text) if sketch::is_sketch(text) => Ok(text),
        ValueRef::String(_) | ValueRef::Integer(_) => Err(INVALID),
        _ => Err(Error::WrongType),
    }
}

fn pfadd(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let sparse_max = sparse_max(transaction);
    let slot = transaction.open(args[1]);
    let elements = &args[2..];
    let (mut changed, mut sketch) = match slot.value() {
        None => (true, Sketch::new(sparse_max)),
        Some(value) => {
            let bytes = bytes(value)?;
            if elements.iter().all(|element| sketch::covers(bytes, element)) {
                out.integer(0);
                return Ok(());
            }
            (false, Sketch::from_bytes(bytes, sparse_max))
        }
    };
    for element in elements {
        changed |= sketch.add(element)? == Change::Changed;
    }
    if changed {
        sketch.forget_count();
        put_string(transaction, args[1], sketch.as_bytes(), Some("pfadd"))?;
    }
    out.integer(i64::from(changed));
    Ok(())
}

fn pfcount(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let sparse_max = sparse_max(transaction);
    let mut registers = sketch::no_registers();
    if let [_, key] = args {
        let slot = transaction.open(key);
        let Some(value) = slot.value() else {
            out.integer(0);
            transaction.miss(key);
            return Ok(());
        };
        let bytes = bytes(value)?;
        let count = match sketch::remembered_count(bytes) {
            Some(count) => count,
            None => {
                sketch::merge_into(bytes, &mut registers)?;
                let count = sketch::count(&registers);
                let mut sketch = Sketch::from_bytes(bytes, sparse_max);
                sketch.remember_count(count);
                put_string(transaction, key, sketch.as_bytes(), None)?;
                count
            }
        };
        out.integer(count as i64);
        return Ok(());
    }
    for key in &args[1..] {
        if let Some(entry) = transaction.read(key) {
            sketch::merge_into(bytes(entry.value())?, &mut registers)?;
        }
    }
    out.integer(sketch::count(&registers) as i64);
    Ok(())
}

fn pfmerge(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let sparse_max = sparse_max(transaction);
    let mut registers = sketch::no_registers();
    let mut is_dense = false;
    for key in &args[1..] {
        if let Some(entry) = transaction.read(key) {
            let bytes = bytes(entry.value())?;
            is_dense |= sketch::is_dense(bytes);
            sketch::merge_into(bytes, &mut registers)?;
        }
    }
    let slot = transaction.open(args[1]);
    let mut sketch = match slot.value() {
        None => Sketch::new(sparse_max),
        Some(value) => Sketch::from_bytes(bytes(value)?, sparse_max),
    };
    if is_dense {
        sketch.make_dense()?;
    }
    for (index, value) in registers.iter().enumerate().filter(|(_, value)| **value > 0) {
        sketch.set(index, *value)?;
    }
    sketch.forget_count();
    put_string(transaction, args[1], sketch.as_bytes(), Some("pfadd"))?;
    out.ok();
    Ok(())
}

fn pfdebug(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(args[2]);
    let Some(value) = slot.value() else { return Err(Error::text("ERR The specified key does not exist")) };
    let bytes = bytes(value)?;
    match args[1].to_ascii_lowercase().as_slice() {
        b"getreg" => {
            let mut registers = sketch::no_registers();
            sketch::merge_into(bytes, &mut registers)?;
            out.array(registers.len());
            registers.iter().for_each(|value| out.integer(i64::from(*value)));
            make_dense(transaction, args[2])?;
        }
        b"decode" => {
            if sketch::is_dense(bytes) {
                return Err(Error::text("ERR HLL encoding is not sparse"));
            }
            let run = |run: Run| match run {
                Run::Zeros(count) => format!("z:{count}"),
                Run::ManyZeros(count) => format!("Z:{count}"),
                Run::Values(value, count) => format!("v:{value},{count}"),
            };
            let runs: Vec<String> = sketch::runs(bytes).map(run).collect();
            out.bulk(runs.join(" ").as_bytes());
        }
        b"encoding" => out.simple(if sketch::is_dense(bytes) { "dense" } else { "sparse" }),
        b"todense" => {
            let changed = make_dense(transaction, args[2])? == Change::Changed;
            out.integer(i64::from(changed));
        }
        _ => {
            let name = String::from_utf8_lossy(args[1]);
            return Err(Error::text(format!("ERR Unknown PFDEBUG subcommand '{name}'")));
        }
    }
    Ok(())
}

fn make_dense(transaction: &mut Transaction<'_>, key: &[u8]) -> Result<Change, Error> {
    let sparse_max = sparse_max(transaction);
    let Some(entry) = transaction.get(key) else { return Ok(Change::None) };
    let mut sketch = Sketch::from_bytes(bytes(entry.value())?, sparse_max);
    let change = sketch.make_dense()?;
    if change == Change::Changed {
        put_string(transaction, key, sketch.as_bytes(), None)?;
    }
    Ok(change)
}

/// The tests of the sketch run when the node is built.
fn pfselftest(_: &View<'_>, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.ok();
    Ok(())
}
