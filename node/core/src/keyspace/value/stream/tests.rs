use super::*;
use crate::wire::Reader;

fn id(ms: u64) -> StreamId {
    StreamId::new(ms, 0)
}

fn stream(entries: u64) -> Stream {
    let mut stream = Stream::default();
    for ms in 1..=entries {
        let text = ms.to_string();
        let pairs: &[&[u8]] = if ms % 7 == 0 { &[b"other", b"x", b"more", b"y"] } else { &[b"field", text.as_bytes()] };
        let bytes = pairs.iter().map(|text| text.len()).sum();
        let starts = stream.starts_node(bytes, NodeLimits::default());
        stream.add(id(ms), starts, pairs);
    }
    stream
}

fn ids(stream: &Stream) -> Vec<u64> {
    stream.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id.ms).collect()
}

#[test]
fn entries_are_found_forwards_and_backwards() {
    let stream = stream(350);
    assert_eq!(stream.nodes().len(), 4);
    assert!(stream.range(id(99), id(205)).map(|entry| entry.id.ms).eq(99..=205));
    assert!(stream.range_back(id(99), id(205)).map(|entry| entry.id.ms).eq((99..=205).rev()));
    assert_eq!(stream.range(id(9), id(8)).count(), 0);
    assert_eq!(stream.range_back(id(9), id(8)).count(), 0);
    let fields: Vec<_> = stream.get(id(14)).unwrap().fields().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
    assert_eq!(fields, [(b"other".to_vec(), b"x".to_vec()), (b"more".to_vec(), b"y".to_vec())]);
    let fields: Vec<_> = stream.get(id(15)).unwrap().fields().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
    assert_eq!(fields, [(b"field".to_vec(), b"15".to_vec())]);
}

#[test]
fn deleted_entries_are_gone_and_an_empty_node_with_them() {
    let mut stream = stream(250);
    assert!(stream.delete(id(1)) && !stream.delete(id(1)) && !stream.delete(id(999)));
    assert_eq!((stream.len(), stream.summary().first_id), (249, id(2)));
    (2..=100).for_each(|ms| assert!(stream.delete(id(ms))));
    assert_eq!((stream.nodes().len(), stream.summary().first_id), (2, id(101)));
    (101..=250).for_each(|ms| assert!(stream.delete(id(ms))));
    assert_eq!((stream.len(), stream.nodes().len(), stream.summary().first_id), (0, 0, StreamId::MIN));
    assert_eq!((stream.last_id(), stream.summary().max_deleted_id), (id(250), id(250)));
}

#[test]
fn approximate_trimming_takes_whole_nodes() {
    let mut trimmed = stream(350);
    assert_eq!(trimmed.trim(Keep::Newest(120), Exactness::WholeNodes { most: 0 }), 200);
    assert_eq!(trimmed.len(), 150);
    let mut trimmed = stream(350);
    assert_eq!(trimmed.trim(Keep::Newest(120), Exactness::WholeNodes { most: 150 }), 100);
    let mut trimmed = stream(350);
    assert_eq!(trimmed.trim(Keep::From(id(201)), Exactness::WholeNodes { most: 0 }), 200);
    assert_eq!(trimmed.trim(Keep::From(id(250)), Exactness::WholeNodes { most: 0 }), 0);
}

#[test]
fn exact_trimming_leaves_what_was_asked_for() {
    for most in [0, 1, 99, 100, 101, 349, 350, 351] {
        let mut trimmed = stream(350);
        let removed = trimmed.trim(Keep::Newest(most), Exactness::Exact);
        assert_eq!(removed, 350u64.saturating_sub(most));
        assert!(ids(&trimmed).into_iter().eq(351 - most.min(350)..=350), "{most}");
    }
    let mut trimmed = stream(350);
    trimmed.delete(id(149));
    assert_eq!(trimmed.trim(Keep::From(id(151)), Exactness::Exact), 149);
    assert!(ids(&trimmed).into_iter().eq(151..=350));
    assert_eq!(trimmed.summary().first_id, id(151));
}

#[test]
fn an_image_brings_back_all_of_it() {
    let mut stream = stream(250);
    stream.delete(id(120));
    stream.create_group(b"g", Group::new(id(3), Some(3)));
    let group = stream.group_mut(b"g").unwrap();
    group.see(b"bob", 7, None);
    group.see(b"alice", 8, Some(9));
    group.give(b"bob", Given { id: id(1), at: 5, count: 1 });
    group.give(b"bob", Given { id: id(2), at: 5, count: 1 });
    group.give(b"alice", Given { id: id(2), at: 6, count: 2 });
    assert_eq!(group.consumer(b"bob").unwrap().pending().len(), 1);
    let mut image = Vec::new();
    image::encode(&stream, &mut image);
    assert_eq!(image::decode(&mut Reader::new(&image)), Ok(stream));
    for end in 0..image.len() {
        assert!(image::decode(&mut Reader::new(&image[..end])).is_err(), "cut off at {end}");
    }
}

#[test]
fn a_damaged_image_is_an_error_and_never_a_panic() {
    let mut image = Vec::new();
    image::encode(&stream(30), &mut image);
    for at in 0..image.len() {
        for bit in 0..8 {
            let mut bytes = image.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(stream) = image::decode(&mut Reader::new(&bytes)) {
                assert!(ids(&stream).len() as u64 == stream.len());
                _ = stream.last_valid_id();
            }
        }
    }
}

#[test]
fn the_lag_of_a_group_is_known_where_nothing_was_deleted() {
    let mut stream = stream(10);
    assert_eq!(stream.lag(&Group::new(StreamId::MIN, None)), Some(10));
    assert_eq!(stream.lag(&Group::new(id(10), None)), Some(0));
    assert_eq!(stream.lag(&Group::new(id(5), None)), None);
    assert_eq!(stream.lag(&Group::new(id(5), Some(5))), Some(5));
    stream.delete(id(7));
    assert_eq!(stream.lag(&Group::new(id(5), Some(5))), None);
    assert_eq!(stream.lag(&Group::new(id(8), Some(8))), Some(2));
}
