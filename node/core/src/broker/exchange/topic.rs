//! Topic: routing keys are words between dots; in a binding `*` stands for one word and `#` for any number of them.
//!
//! ```text
//! bindings a.*, a.#      root -a-> o -*-> [first]
//!                                   '-#-> [second]
//! ```

use std::collections::{HashMap, HashSet};

use tercet_proto::amqp::ShortString;

use super::Destination;

#[derive(Debug, Default)]
pub(super) struct Topic {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    words: HashMap<Box<[u8]>, Node>,
    /// `*`
    any_word: Option<Box<Node>>,
    /// `#`
    any_words: Option<Box<Node>>,
    destinations: Vec<Destination>,
}

impl Topic {
    pub(super) fn insert(&mut self, pattern: &ShortString, destination: Destination) {
        let node = words(pattern.as_bytes()).fold(&mut self.root, |node, word| match word {
            b"*" => node.any_word.get_or_insert_default(),
            b"#" => node.any_words.get_or_insert_default(),
            word => node.words.entry(word.into()).or_default(),
        });
        node.destinations.push(destination);
    }

    pub(super) fn remove(&mut self, pattern: &ShortString, destination: &Destination) {
        self.root.remove(&words(pattern.as_bytes()).collect::<Vec<_>>(), destination);
    }

    /// Visits every destination whose pattern fits. It may come several times. Takes at most as many steps as the key has
    /// words, times the nodes of the trie, whatever the patterns are.
    pub(super) fn route<'a>(&'a self, key: &[u8], visit: &mut dyn FnMut(&'a Destination)) {
        let mut walk = Walk::default();
        let mut here: Nodes<'a> = smallvec::smallvec![&self.root];
        here.iter().for_each(|node| walk.enter_any(node, visit));
        for word in words(key) {
            let mut next = Nodes::new();
            for node in here.iter().chain(&walk.behind_any) {
                next.extend(node.words.get(word));
                next.extend(node.any_word.as_deref());
            }
            here = next;
            here.iter().for_each(|node| walk.enter_any(node, visit));
        }
        for node in here.iter().chain(&walk.behind_any) {
            node.destinations.iter().for_each(&mut *visit);
        }
    }
}

type Nodes<'a> = smallvec::SmallVec<[&'a Node; 8]>;

/// The nodes behind a `#` that a walk has met. The `#` may take every word that follows, so they stay.
#[derive(Debug, Default)]
struct Walk<'a> {
    behind_any: Nodes<'a>,
    /// The same and the leaves, by address: each is met once.
    met: HashSet<*const Node>,
}

impl<'a> Walk<'a> {
    /// Goes behind the `#` of a node, and behind those that follow at once.
    fn enter_any(&mut self, mut node: &'a Node, visit: &mut dyn FnMut(&'a Destination)) {
        while let Some(behind) = node.any_words.as_deref() {
            // Only behind another `#` can a node be met again.
            let is_met_once = self.behind_any.is_empty() && behind.is_leaf();
            if !is_met_once && !self.met.insert(std::ptr::from_ref(behind)) {
                return;
            }
            if behind.is_leaf() {
                // The common case `a.#`: it takes all that follows.
                behind.destinations.iter().for_each(&mut *visit);
            } else {
                self.behind_any.push(behind);
            }
            node = behind;
        }
    }
}

impl Node {
    fn is_leaf(&self) -> bool {
        self.words.is_empty() && self.any_word.is_none() && self.any_words.is_none()
    }

    /// Takes the destination out, and the nodes that are empty then.
    fn remove(&mut self, pattern: &[&[u8]], destination: &Destination) {
        let Some((first, rest)) = pattern.split_first() else {
            super::remove_one(&mut self.destinations, destination);
            return;
        };
        let empty = |node: &Self| node.is_leaf() && node.destinations.is_empty();
        match *first {
            b"*" | b"#" => {
                let slot = if *first == b"*" { &mut self.any_word } else { &mut self.any_words };
                if let Some(node) = slot {
                    node.remove(rest, destination);
                    if empty(node) {
                        *slot = None;
                    }
                }
            }
            word => {
                if let Some(node) = self.words.get_mut(word) {
                    node.remove(rest, destination);
                    if empty(node) {
                        self.words.remove(word);
                    }
                }
            }
        }
    }
}

/// The empty key has no word at all: `#` fits it and `*` does not, as in RabbitMQ.
fn words(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    key.split(|byte| *byte == b'.').take(if key.is_empty() { 0 } else { usize::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ShortString {
        ShortString::try_from(text).unwrap()
    }

    fn matches(pattern: &str, key: &str) -> bool {
        let mut topic = Topic::default();
        topic.insert(&name(pattern), Destination::Exchange(name("x")));
        let mut found = false;
        topic.route(key.as_bytes(), &mut |_| found = true);
        found
    }

    #[test]
    fn patterns_match_as_rabbitmq_matches_them() {
        let table = [
            ("a.b.c", "a.b.c", true),
            ("a.b.c", "a.b", false),
            ("a.b", "a.b.c", false),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.c", false),
            ("a.*.c", "a..c", true),
            ("*", "a", true),
            ("*", "a.b", false),
            ("*", "", false),
            ("#", "", true),
            ("#", "a", true),
            ("#", "a.b.c", true),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("a.#", "b", false),
            ("#.c", "c", true),
            ("#.c", "a.b.c", true),
            ("#.c", "a.b", false),
            ("a.#.c", "a.c", true),
            ("a.#.c", "a.b.b.c", true),
            ("a.#.c", "a.b.b", false),
            ("*.#", "", false),
            ("*.#", "a", true),
            ("#.*", "a.b", true),
            ("#.*", "", false),
            ("#.#", "", true),
            ("#.*.#", "a", true),
            ("#.*.#", "", false),
            ("*.*", "a", false),
            ("", "", true),
            ("", "a", false),
            ("a*", "ab", false),
            ("a*", "a*", true),
        ];
        for (pattern, key, expected) in table {
            assert_eq!(matches(pattern, key), expected, "pattern {pattern:?}, key {key:?}");
        }
    }

    #[test]
    fn many_signs_for_any_words_cost_no_more_than_words_times_nodes() {
        let mut topic = Topic::default();
        let pattern = ["#.a"; 16].join(".");
        topic.insert(&name(&pattern), Destination::Exchange(name("to")));
        for number in 0..100 {
            topic.insert(&name(&format!("#.a.#.b{number}.#.#.*.#")), Destination::Exchange(name("other")));
        }
        let mut found = 0;
        // By trying every way this takes longer than the universe has existed.
        topic.route(["a"; 60].join(".").as_bytes(), &mut |_| found += 1);
        topic.route(format!("{}.c", ["a"; 60].join(".")).as_bytes(), &mut |_| found += 100);
        assert_eq!(found, 1);
    }

    /// Straight from the definition, without a trie.
    fn model(pattern: &[&[u8]], key: &[&[u8]]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&b"#", rest)), _) => model(rest, key) || !key.is_empty() && model(pattern, &key[1..]),
            (Some((&b"*", rest)), Some((_, words))) => model(rest, words),
            (Some((first, rest)), Some((word, words))) => first == word && model(rest, words),
            _ => false,
        }
    }

    #[test]
    fn trie_agrees_with_the_definition() {
        use rand::{Rng as _, SeedableRng as _};
        let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random::<u64>);
        println!("SEED={seed}");
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let mut draw = |from: &[&str], most: usize| {
            let count = random.random_range(0..=most);
            (0..count).map(|_| from[random.random_range(0..from.len())]).collect::<Vec<_>>().join(".")
        };
        let mut topic = Topic::default();
        let mut patterns = Vec::new();
        for round in 0..3_000 {
            if round % 3 != 2 || patterns.is_empty() {
                let pattern = draw(&["a", "b", "*", "#"], 4);
                let destination = Destination::Exchange(name(&format!("{round}")));
                topic.insert(&name(&pattern), destination.clone());
                patterns.push((pattern, destination));
            } else {
                let (pattern, destination) = patterns.swap_remove(round % patterns.len());
                topic.remove(&name(&pattern), &destination);
            }
            let key = draw(&["a", "b", "c"], 5);
            let mut found = Vec::new();
            topic.route(key.as_bytes(), &mut |destination| found.push(destination.clone()));
            let fits = |pattern: &str| {
                model(&words(pattern.as_bytes()).collect::<Vec<_>>(), &words(key.as_bytes()).collect::<Vec<_>>())
            };
            for (pattern, destination) in &patterns {
                assert_eq!(found.contains(destination), fits(pattern), "pattern {pattern:?}, key {key:?}");
            }
        }
        for (pattern, destination) in patterns {
            topic.remove(&name(&pattern), &destination);
        }
        assert!(topic.root.is_leaf(), "nothing is left behind");
    }
}
