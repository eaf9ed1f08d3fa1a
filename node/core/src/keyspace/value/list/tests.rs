//! Lists against a vector: small ones, chains of nodes, and the way between them.

use super::*;
use crate::keyspace::value::testing::Seeded;
use rand::Rng;

/// Items of many lengths, numbers among them; most of them come again.
fn item(rng: &mut impl Rng, longest: usize) -> Vec<u8> {
    match rng.random_range(0..6) {
        0 => (rng.random::<i64>() >> rng.random_range(40..64)).to_string().into_bytes(),
        1 => vec![b'x'; rng.random_range(0..=longest)],
        _ => format!("item:{}", rng.random_range(0..20)).into_bytes(),
    }
}

fn check(list: &List, model: &[Vec<u8>]) {
    match &list.form {
        Form::Large(chain) => chain.check(),
        Form::Small(node) => assert!(node.bytes() <= SMALL_BYTES_MAX),
    }
    let read = list.view();
    assert_eq!(read.len(), model.len());
    assert!(read.iter().map(|item| item.to_vec()).eq(model.iter().cloned()));
    assert!(read.iter().rev().map(|item| item.to_vec()).eq(model.iter().rev().cloned()));
    let packed = list.clone().into_packed();
    assert_eq!(packed.is_ok(), matches!(list.form, Form::Small(_)));
    if let Ok(bytes) = packed {
        assert!(ListRef::packed(&bytes) == read);
        assert!(List::from_packed(bytes) == *list);
    }
}

fn remove_matching(model: &mut Vec<Vec<u8>>, item: &[u8], limit: usize, end: End) -> usize {
    for count in 0..limit {
        let mut places = (0..model.len()).filter(|i| model[*i] == item);
        let place = if end == End::Front { places.next() } else { places.next_back() };
        let Some(place) = place else { return count };
        model.remove(place);
    }
    limit
}

#[test]
fn random_operations_agree_with_a_vec() {
    let mut most = 0;
    for (round, seed) in Seeded::seeds(24).into_iter().enumerate() {
        let mut rng = seed.rng();
        let longest = [8, 300, 3_000, 9_000][round % 4];
        let (mut list, mut model) = (List::new(), Vec::<Vec<u8>>::new());
        for step in 0..1_500 {
            let item = item(&mut rng, longest);
            let index = rng.random_range(0..=model.len());
            let other = rng.random_range(0..=model.len() + 3);
            let end = if rng.random() { End::Front } else { End::Back };
            let grows = step / 500 % 2 == 0;
            match rng.random_range(0..if grows { 24 } else { 16 }) {
                0..=2 | 16.. => {
                    list.push(end, &item);
                    model.insert(if end == End::Front { 0 } else { model.len() }, item);
                }
                3..=6 => {
                    assert_eq!(list.pop(end), !model.is_empty());
                    match end {
                        End::Front if !model.is_empty() => _ = model.remove(0),
                        _ => _ = model.pop(),
                    }
                }
                7 | 8 => {
                    list.insert_at(index, &item);
                    model.insert(index, item);
                }
                9 => {
                    assert_eq!(list.remove_at(index), index < model.len());
                    if index < model.len() {
                        model.remove(index);
                    }
                }
                10 | 11 => {
                    assert_eq!(list.set(index, &item), index < model.len());
                    if let Some(place) = model.get_mut(index) {
                        *place = item;
                    }
                }
                12 if rng.random_ratio(1, 20) => {
                    list.remove_range(index..other);
                    let end = other.min(model.len());
                    model.drain(index.min(end)..end);
                }
                13 if rng.random_ratio(1, 40) => {
                    list.trim(index..other);
                    let end = other.min(model.len());
                    model = model[index.min(end)..end].to_vec();
                }
                _ => {
                    let limit = rng.random_range(0..4);
                    let removed = list.remove_matching(&item, limit, end);
                    assert_eq!(removed, remove_matching(&mut model, &item, limit, end), "{seed:?}");
                }
            }
            check(&list, &model);
            most = most.max(model.len());
            let found: Vec<Vec<u8>> = list.view().range(index..other).map(|item| item.to_vec()).collect();
            assert_eq!(found, model[index.min(model.len())..other.clamp(index.min(model.len()), model.len())]);
            assert_eq!(list.view().get(index).map(|item| item.to_vec()), model.get(index).cloned());
            // From both ends in turn.
            let (mut items, mut left) = (list.view().range(index..other), found.len());
            let mut expected = found.iter();
            while left > 0 {
                let front = rng.random();
                let one = if front { items.next() } else { items.next_back() };
                let known = if front { expected.next() } else { expected.next_back() };
                assert_eq!(one.map(|item| item.to_vec()), known.cloned());
                left -= 1;
            }
            assert!(items.next().is_none() && items.next_back().is_none());
        }
    }
    // A round may stay short by chance.
    assert!(most > 60, "{most} items at the most");
}

#[test]
fn a_queue_of_any_length_stays_compact() {
    for length in [1usize, 20, 60, 300, 3_000] {
        for (into, out) in [(End::Front, End::Back), (End::Back, End::Front)] {
            let mut list = List::new();
            let item = |number: usize| format!("item:{number:08}").into_bytes();
            (0..length).for_each(|number| list.push(into, &item(number)));
            for number in length..length + 5_000 {
                list.push(into, &item(number));
                let oldest = list.view().get(if out == End::Front { 0 } else { length }).map(|item| item.to_vec());
                assert_eq!(oldest, Some(item(number - length)));
                assert!(list.pop(out));
            }
            let bytes = list.view().heap_bytes();
            assert!(bytes <= length * 18 + 10_000, "{bytes} bytes for {length} items");
        }
    }
}

#[test]
fn a_thousand_items_take_little_more_than_their_text() {
    let list: List = (0..1_000).map(|number| ShortBytes::from(format!("item:{number:08}").into_bytes())).collect();
    assert!(list.view().heap_bytes() <= 15_900, "{} bytes", list.view().heap_bytes());
    let numbers: List = (1_000_000..1_001_000).map(ShortBytes::from).collect();
    assert!(numbers.view().heap_bytes() <= 5_900, "{} bytes", numbers.view().heap_bytes());
}

#[test]
fn a_drained_list_gives_its_memory_back() {
    let mut list: List = (0..100_000).map(ShortBytes::from).collect();
    while list.len() > 10 {
        list.pop(End::Front);
    }
    assert!(list.clone().into_packed().is_ok_and(|bytes| bytes.len() < 100));
    assert_eq!(list.view().get(0), Some(Text::lent(b"99990")));
    let mut list: List = (0..100_000).map(ShortBytes::from).collect();
    list.remove_range(10..99_990);
    assert!(list.view().heap_bytes() < 10_000, "{} bytes", list.view().heap_bytes());
}
