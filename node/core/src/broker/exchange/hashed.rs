//! x-consistent-hash, x-modulus-hash and x-random: each message goes to one of the destinations.
//!
//! ```text
//! consistent hash: a binding's key is its weight; it has so many points on a ring, and a message goes to the next one
//! modulus hash:    hash of the routing key, modulo the number of bindings
//! random:          any
//! ```

use std::collections::BTreeMap;

use tercet_proto::amqp::{FieldTable, ShortString, TableView};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::Destination;
use crate::broker::limits;

#[derive(Debug, Default)]
pub(super) struct OneOf {
    bindings: Vec<(ShortString, Destination)>,
    /// Of a consistent hash: point -> which binding.
    ring: BTreeMap<u64, usize>,
}

/// What of a message is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HashOf {
    RoutingKey,
    Header(String),
}

impl HashOf {
    /// `hash-header` of an exchange of consistent hashing. Other properties than headers are not hashed here.
    pub(super) fn of(arguments: &FieldTable) -> Self {
        match arguments.get("hash-header").and_then(|name| name.as_str()) {
            Some(name) if !name.is_empty() => Self::Header(name.to_owned()),
            _ => Self::RoutingKey,
        }
    }
}

impl OneOf {
    pub(super) fn insert(&mut self, key: &ShortString, destination: Destination) {
        self.bindings.push((key.clone(), destination));
        self.make_ring();
    }

    pub(super) fn remove(&mut self, key: &ShortString, destination: &Destination) {
        if let Some(at) = self.bindings.iter().position(|(k, d)| k == key && d == destination) {
            self.bindings.remove(at);
            self.make_ring();
        }
    }

    /// Points follow from the destination alone, so that most messages keep their way when another binding comes.
    fn make_ring(&mut self) {
        self.ring.clear();
        for (index, (key, destination)) in self.bindings.iter().enumerate() {
            let weight = weight(key).unwrap_or(1);
            let name = match destination {
                Destination::Queue(queue) => queue.name.as_bytes(),
                Destination::Exchange(name) => name.as_bytes(),
            };
            for point in 0..u64::from(weight) * limits::POINTS_A_WEIGHT {
                self.ring.insert(xxh3_64_with_seed(name, point), index);
            }
        }
    }

    pub(super) fn route_consistently<'a>(
        &'a self,
        of: &HashOf,
        key: &[u8],
        headers: Option<TableView<'_>>,
        visit: &mut dyn FnMut(&'a Destination),
    ) {
        let hash = match of {
            HashOf::RoutingKey => xxh3_64(key),
            HashOf::Header(name) => {
                let headers = headers.map(TableView::to_table).unwrap_or_default();
                let Some(value) = headers.get(name) else { return };
                xxh3_64(value.as_bytes().map_or_else(|| format!("{value:?}").into_bytes(), |b| b.to_vec()).as_slice())
            }
        };
        let next = self.ring.range(hash..).next().or_else(|| self.ring.iter().next());
        if let Some((_, index)) = next {
            visit(&self.bindings[*index].1);
        }
    }

    pub(super) fn route_by_modulus<'a>(&'a self, key: &[u8], visit: &mut dyn FnMut(&'a Destination)) {
        if let Some(index) = (xxh3_64(key) as usize).checked_rem(self.bindings.len()) {
            visit(&self.bindings[index].1);
        }
    }

    pub(super) fn route_at_random<'a>(&'a self, visit: &mut dyn FnMut(&'a Destination)) {
        if let Some(index) = rand::random::<u32>().checked_rem(self.bindings.len() as u32) {
            visit(&self.bindings[index as usize].1);
        }
    }
}

fn weight(key: &ShortString) -> Option<u32> {
    key.as_str().parse().ok().filter(|weight| (1..=limits::WEIGHT_MOST).contains(weight))
}

/// What is wrong with the key of a binding of a consistent hash, if anything.
pub(super) fn wrong_weight(key: &ShortString) -> Option<String> {
    weight(key)
        .is_none()
        .then(|| format!("The binding key must be an integer between 1 and {}, got '{key}'", limits::WEIGHT_MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ShortString {
        ShortString::try_from(text).unwrap()
    }

    fn routed(one_of: &OneOf, key: &str) -> Vec<Destination> {
        let mut found = Vec::new();
        one_of.route_consistently(&HashOf::RoutingKey, key.as_bytes(), None, &mut |to| found.push(to.clone()));
        found
    }

    #[test]
    fn a_key_keeps_its_way_and_weights_are_kept_about() {
        let mut one_of = OneOf::default();
        for (to, weight) in [("a", "1"), ("b", "1"), ("c", "2")] {
            one_of.insert(&name(weight), Destination::Exchange(name(to)));
        }
        let ways: Vec<_> = (0..4_000).map(|number| routed(&one_of, &format!("key-{number}"))).collect();
        assert!(ways.iter().all(|way| way.len() == 1));
        let count = |to: &str| ways.iter().filter(|way| way[0] == Destination::Exchange(name(to))).count();
        let [a, b, c] = ["a", "b", "c"].map(count);
        assert!(a > 500 && b > 500 && c > 1_200, "{a} {b} {c}");
        one_of.insert(&name("1"), Destination::Exchange(name("d")));
        let moved = (0..4_000).filter(|number| routed(&one_of, &format!("key-{number}")) != ways[*number]).count();
        assert!(moved < 1_600, "{moved} of 4000 moved for a fifth of the weight");
        for to in ["a", "b", "c", "d"] {
            for weight in ["1", "2"] {
                one_of.remove(&name(weight), &Destination::Exchange(name(to)));
            }
        }
        assert!(routed(&one_of, "key").is_empty());
    }

    #[test]
    fn one_destination_is_chosen_by_modulus_and_at_random() {
        let mut one_of = OneOf::default();
        for to in ["a", "b", "c"] {
            one_of.insert(&name(""), Destination::Exchange(name(to)));
        }
        let mut seen = std::collections::HashSet::new();
        for number in 0..200 {
            let mut found = Vec::new();
            one_of.route_by_modulus(format!("{number}").as_bytes(), &mut |to| found.push(to.clone()));
            one_of.route_at_random(&mut |to| found.push(to.clone()));
            assert_eq!(found.len(), 2);
            seen.insert(format!("{:?}", found[1]));
        }
        assert_eq!(seen.len(), 3);
        assert!(wrong_weight(&name("0")).is_some() && wrong_weight(&name("x")).is_some());
        assert_eq!(wrong_weight(&name("10")), None);
    }
}
