use super::*;
use crate::keyspace::value::stream::{Given, Group, NodeLimits, Stream, StreamId};
use crate::keyspace::value::{End, Hash, List, Set, ShortBytes, SortedSet};

fn stream() -> Stream {
    let mut stream = Stream::default();
    for ms in 1..250 {
        let starts = stream.starts_node(10, NodeLimits::default());
        stream.add(StreamId::new(ms, ms % 3), starts, &[b"field", ms.to_string().as_bytes()]);
    }
    stream.delete(StreamId::new(9, 0));
    stream.create_group(b"group", Group::new(StreamId::new(40, 1), None));
    let group = stream.group_mut(b"group").unwrap();
    group.see(b"bob", 1_700_000_000_000, Some(1_700_000_000_000));
    group.give(b"bob", Given { id: StreamId::new(3, 0), at: 1_700_000_000_000, count: 2 });
    stream
}

fn values() -> Vec<Value> {
    let texts = |count: i64| {
        (0..count).map(|n| if n % 2 == 0 { (n * n * 37).to_string() } else { format!("text-{n}") }).collect::<Vec<_>>()
    };
    let mut values = vec![
        Value::from_bytes(b""),
        Value::from_bytes(&[0xFF; 100]),
        Value::from_bytes(&vec![b'x'; 70_000]),
        Value::Stream(Box::new(stream())),
        Value::Stream(Box::default()),
    ];
    values.extend([0, -1, 127, -32768, 65536, i64::MAX, i64::MIN].map(Value::Integer));
    for count in [1, 10, 128, 129, 2_000] {
        let (mut list, mut hash, mut set, mut sorted) = (List::new(), Hash::new(), Set::new(), SortedSet::new());
        for (place, text) in texts(count).iter().enumerate() {
            list.push(End::Back, text.as_bytes());
            hash.set(text.as_bytes(), text.repeat(3).as_bytes());
            set.insert(text.as_bytes());
            sorted.insert(text.as_bytes(), if place == 0 { f64::NEG_INFINITY } else { place as f64 / 7.0 });
        }
        let numbers: Set = (0..count).map(|n| ShortBytes::from(n * 1_000 - 50)).collect();
        values.extend([
            Value::List(Box::new(list)),
            Value::Hash(Box::new(hash)),
            Value::Set(Box::new(set)),
            Value::Set(Box::new(numbers)),
            Value::SortedSet(Box::new(sorted)),
        ]);
    }
    values
}

#[test]
fn values_survive_the_way_there_and_back() {
    for value in values() {
        let payload = dump(value.as_ref(), &Limits::default());
        let restored = restore(&payload).unwrap();
        assert!(restored == value, "{} of type {}", payload.len(), payload[0]);
    }
}

/// A payload with a footer that fits.
fn sealed(content: &[u8]) -> Vec<u8> {
    let mut payload = content.to_vec();
    payload.extend_from_slice(&VERSION.to_le_bytes());
    payload.extend_from_slice(&crc64::checksum(&payload).to_le_bytes());
    payload
}

#[test]
fn what_older_releases_wrote_is_read() {
    // A ziplist of "a", 5 and -300.
    let ziplist = [24, 0, 0, 0, 17, 0, 0, 0, 3, 0, 0, 1, b'a', 3, 0xF6, 2, 0xC0, 0xD4, 0xFE, 0xFF];
    let mut ziplist = ziplist.to_vec();
    ziplist[0] = ziplist.len() as u8;
    let mut content = vec![kind::LIST_ZIPLIST, ziplist.len() as u8];
    content.extend_from_slice(&ziplist);
    let list: List = [&b"a"[..], b"5", b"-300"].map(ShortBytes::from).into_iter().collect();
    assert_eq!(restore(&sealed(&content)), Ok(Value::List(Box::new(list))));
    // A zipmap of one pair.
    let zipmap = [1, 1, b'f', 2, 0, b'v', b'w', 0xFF];
    let mut content = vec![kind::HASH_ZIPMAP, zipmap.len() as u8];
    content.extend_from_slice(&zipmap);
    let mut hash = Hash::new();
    hash.set(b"f", b"vw");
    assert_eq!(restore(&sealed(&content)), Ok(Value::Hash(Box::new(hash))));
    // Scores that are spelled.
    let mut sorted = SortedSet::new();
    sorted.insert(b"a", 1.5);
    sorted.insert(b"b", f64::INFINITY);
    let content = [kind::ZSET, 2, 1, b'a', 3, b'1', b'.', b'5', 1, b'b', 254];
    assert_eq!(restore(&sealed(&content)), Ok(Value::SortedSet(Box::new(sorted))));
}

#[test]
fn a_wrong_footer_is_told_from_a_wrong_value() {
    let payload = dump(Value::Integer(5).as_ref(), &Limits::default());
    for at in 0..payload.len() {
        let mut damaged = payload.clone();
        damaged[at] ^= 1;
        assert_eq!(restore(&damaged), Err(Error::Footer), "byte {at}");
    }
    assert_eq!(restore(b""), Err(Error::Footer));
    assert_eq!(restore(&sealed(b"")), Err(Error::Format));
    assert_eq!(restore(&sealed(&[kind::STRING, 1, b'a', b'b'])), Err(Error::Format));
    for empty in [kind::LIST, kind::SET, kind::HASH, kind::ZSET_2, kind::LIST_QUICKLIST_2] {
        assert_eq!(restore(&sealed(&[empty, 0])), Err(Error::Format));
    }
}

#[test]
fn damage_under_a_right_checksum_is_never_a_panic() {
    use rand::{Rng, SeedableRng};
    let mut rng = rand::rngs::SmallRng::seed_from_u64(7);
    for value in values() {
        let mut content = Vec::new();
        encode::value(value.as_ref(), &Limits::default(), &mut content);
        let rounds = if content.len() > 5_000 { 50 } else { 400 };
        for _ in 0..rounds {
            let mut damaged = content.clone();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..damaged.len());
                match rng.random_range(0..4) {
                    0 => damaged[at] = rng.random(),
                    1 => damaged[at] ^= 1 << rng.random_range(0..8),
                    2 => damaged.truncate(at.max(1)),
                    _ => damaged.insert(at, rng.random()),
                }
            }
            if let Ok(value) = restore(&sealed(&damaged)) {
                // What was let in can be used.
                _ = dump(value.as_ref(), &Limits::default());
                if let Value::Stream(stream) = value {
                    assert_eq!(stream.range(StreamId::MIN, StreamId::MAX).count() as u64, stream.len());
                }
            }
        }
    }
}

#[test]
fn fields_that_expire_travel_with_their_deadlines() {
    use crate::ids::UnixMillis;
    use crate::keyspace::value::Hash;
    for count in [3, 300] {
        let mut hash = Hash::new();
        for field in 0..count {
            let field = format!("field {field}").into_bytes();
            hash.set(&field, b"17");
            if field.len() % 2 == 0 {
                hash.set_deadline(&field, Some(UnixMillis(1_790_000_000_000 + field.len() as u64)));
            }
        }
        hash.set_deadline(b"field 1", Some(UnixMillis(1_700_000_000_000)));
        let value = Value::Hash(Box::new(hash));
        let payload = dump(value.as_ref(), &Limits::default());
        assert_eq!((payload[0], &payload[payload.len() - 10..payload.len() - 8]), (24, &[12, 0][..]));
        assert_eq!(restore(&payload), Ok(value));
    }
    // As Redis 7.4 writes a small one: the earliest time, and a listpack of fields, values and times.
    let mut pack = crate::keyspace::listpack::Listpack::default();
    for text in [&b"f"[..], b"v", b"1790000000000", b"g", b"w", b"0"] {
        pack.push_text(text);
    }
    let mut payload = vec![25];
    payload.extend(1_790_000_000_000u64.to_le_bytes());
    payload.push(pack.as_bytes().len() as u8);
    payload.extend_from_slice(pack.as_bytes());
    finish(&mut payload, NEWEST);
    let Ok(Value::Hash(hash)) = restore(&payload) else { panic!("a hash") };
    assert_eq!((hash.len(), hash.view().deadline(b"f").map(|at| at.0)), (2, Some(1_790_000_000_000)));
    assert_eq!(hash.view().deadline(b"g"), None);
}
