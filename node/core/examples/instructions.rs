//! One kind of command, many times, without a network: for counting instructions of the key space.
//!
//! ```text
//! valgrind --tool=callgrind target/release/examples/instructions NAME TIMES
//! ```
//!
//! The difference between two runs, divided by that of their times, is what one command costs.

use std::borrow::Cow;

use tercet_core::effect::{End, Expiry, KeyChange};
use tercet_core::engine::{Engine, Locked, Transaction};
use tercet_core::ids::UnixMillis;
use tercet_core::keyspace::value::ValueRef;

const KEY: &[u8] = b"key:000000000001";
const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

fn apply(engine: &Engine, record: &mut Vec<u8>, change: &KeyChange<'_>) -> usize {
    let locked = Locked::keys(&engine.keyspace, std::iter::once(KEY));
    let mut transaction = Transaction::new(engine, locked, record, 0, NOW);
    let applied = transaction.apply(KEY, change).expect("the key holds the type");
    transaction.finish();
    applied.count
}

/// Bytes of the items that LRANGE would answer with.
fn range(engine: &Engine, out: &mut Vec<u8>, items: usize) -> usize {
    let locked = Locked::keys(&engine.keyspace, std::iter::once(KEY));
    let index = engine.keyspace.shard_of(KEY);
    let Some(ValueRef::List(list)) =
        locked.shard(index).and_then(|shard| shard.database(0).find(KEY)).map(|entry| entry.value())
    else {
        return 0;
    };
    out.clear();
    let mut reply = tercet_proto::resp::Encoder::new(out, tercet_proto::resp::Version::Resp2);
    for item in list.range(0..items) {
        reply.bulk(&item);
    }
    out.len()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let times: usize = arguments.next().and_then(|times| times.parse().ok()).unwrap_or(1000);
    let (engine, mut record) = (Engine::default(), Vec::new());
    let item = |number: usize| format!("item:{number:08}").into_bytes();
    let member = |number: usize| format!("member:{number:04}").into_bytes();
    let push = |end, item: &[u8], record: &mut Vec<u8>| {
        let values = [item];
        apply(&engine, record, &KeyChange::ListPush { end, values: Cow::Borrowed(&values) })
    };
    let hset = |field: usize, value: usize, record: &mut Vec<u8>| {
        let (field, value) = (format!("field:{field:04}"), format!("value:{value:06}"));
        let pairs = [field.as_bytes(), value.as_bytes()];
        apply(&engine, record, &KeyChange::HashSet { pairs: Cow::Borrowed(&pairs) })
    };
    let sadd = |member: &[u8], record: &mut Vec<u8>| {
        let members = [member];
        apply(&engine, record, &KeyChange::SetAdd { members: Cow::Borrowed(&members) })
    };
    let zadd = |score: f64, member: &[u8], record: &mut Vec<u8>| {
        let pairs = [(score, member)];
        apply(&engine, record, &KeyChange::SortedAdd { pairs: Cow::Borrowed(&pairs) })
    };
    let mut total = 0;
    let count = name.rsplit('-').next().and_then(|count| count.parse().ok()).unwrap_or(10);
    match name.split('-').next().unwrap_or_default() {
        "lpush" => {
            (0..count).for_each(|number| _ = push(End::Back, &item(number), &mut record));
            for number in 0..times {
                total += push(End::Front, &item(number), &mut record);
                total += apply(&engine, &mut record, &KeyChange::ListPop { end: End::Back, count: 1 });
            }
        }
        "lrange" => {
            (0..count).for_each(|number| _ = push(End::Back, &item(number), &mut record));
            let mut out = Vec::new();
            (0..times).for_each(|_| total += range(&engine, &mut out, count));
        }
        "hset" => {
            (0..count).for_each(|number| _ = hset(number, number, &mut record));
            (0..times).for_each(|number| total += hset(number % count, number, &mut record));
        }
        "sadd" => {
            (0..count).for_each(|number| _ = sadd(&member(number), &mut record));
            for number in 0..times {
                total += sadd(&member(number * 7919 % (2 * count)), &mut record);
            }
        }
        "sadd1" => {
            for number in 0..times {
                total += sadd(&member(number % count), &mut record);
            }
        }
        "integers" => {
            (0..count).for_each(|number| _ = sadd(number.to_string().as_bytes(), &mut record));
            for number in 0..times {
                let text = (count + number % 10).to_string();
                total += sadd(text.as_bytes(), &mut record);
                let members = [text.as_bytes()];
                total += apply(&engine, &mut record, &KeyChange::SetRemove { members: Cow::Borrowed(&members) });
            }
        }
        "zadd" => {
            (0..count).for_each(|number| _ = zadd(number as f64, &member(number), &mut record));
            for number in 0..times {
                total += zadd((number * 7919 % 1000) as f64, &member(number % count), &mut record);
            }
        }
        "set" => {
            let value = vec![b'v'; count];
            for _ in 0..times {
                total += apply(&engine, &mut record, &KeyChange::SetString { value: &value, expiry: Expiry::Never });
            }
        }
        other => panic!("no such kind: {other}"),
    }
    println!("{name} {times} {total}");
}
