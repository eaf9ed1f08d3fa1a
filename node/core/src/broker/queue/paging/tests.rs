//! Messages leave and come back while everything else goes on; the definition is a map by id.

use std::collections::{BTreeMap, HashMap};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tercet_proto::amqp::BasicProperties;

use super::*;
use crate::budget::Budget;

struct Model {
    messages: Messages,
    shelf: Arc<Shelf>,
    kept: HashMap<u64, Vec<u8>>,
    budget: Arc<Budget>,
    /// Id -> whether somebody has it.
    expected: BTreeMap<u64, bool>,
    next: u64,
    random: StdRng,
}

fn message(number: u64, is_persistent: bool) -> Arc<Message> {
    let delivery_mode = Some(if is_persistent { 2 } else { 1 });
    let properties = BasicProperties { delivery_mode, ..BasicProperties::default() }.encode();
    let body = format!("{number:0>width$}", width = (number % 90) as usize);
    let mut draft = Draft::new(b"", b"q", &properties, body.len());
    draft.push(body.as_bytes());
    Arc::new(draft.finish(Offset(number), 1))
}

impl Model {
    fn new(seed: u64) -> Self {
        let budget = Arc::<Budget>::default();
        let mut messages = Messages::default();
        messages.join(&budget);
        let (shelf, kept, expected) = (Arc::default(), HashMap::new(), BTreeMap::new());
        Self { messages, shelf, kept, budget, expected, next: 1, random: StdRng::seed_from_u64(seed) }
    }

    /// Queues grow and shrink in turn.
    fn step(&mut self, round: usize) {
        let what = self.random.random_range(0..14);
        match if round % 4_000 < 2_000 && (4..8).contains(&what) && self.random.random_range(0..5) > 0 {
            0
        } else {
            what
        } {
            0..4 => {
                let is_persistent = self.random.random_range(0..8) > 0;
                let is_inserted = is_persistent && self.random.random_range(0..4) == 0;
                if is_inserted {
                    self.messages.insert(self.next, message(self.next, true), 0);
                } else {
                    assert_eq!(self.messages.push(message(self.next, is_persistent), 0), self.next);
                }
                self.expected.insert(self.next, false);
                self.next += 1;
            }
            4..8 => {
                if self.messages.awaits_run() {
                    assert!(self.messages.take().is_none());
                    assert!(self.messages.must_ask() || self.messages.runs.is_wanted);
                    self.bring();
                }
                let next = self.expected.iter().find(|(_, taken)| !**taken).map(|(id, _)| *id);
                let taken = self.messages.take();
                assert_eq!(taken.as_ref().map(|taken| taken.id), next);
                if let Some(taken) = taken {
                    assert!(taken.message.offset().0 >= taken.id, "what it depends on is kept");
                    let was = message(taken.id, taken.message.persistence() == Persistence::Persistent);
                    assert_eq!(taken.message.content(), was.content());
                    self.expected.insert(taken.id, true);
                }
            }
            8 => {
                let id = self.some_id();
                let expected = self.expected.get(&id) == Some(&true);
                assert_eq!(self.messages.give_back(id, Delivered::Maybe), expected);
                if expected {
                    self.expected.insert(id, false);
                }
            }
            9..11 => {
                let id = self.some_id();
                assert_eq!(self.messages.remove(id).is_some(), self.expected.remove(&id).is_some(), "{id}");
            }
            11 => self.leave(),
            12 => self.bring(),
            _ => {
                // A stream's run whose readers have gone on.
                self.messages.leave_again(&|_, _| false);
            }
        }
    }

    fn some_id(&mut self) -> u64 {
        self.random.random_range(self.next.saturating_sub(400)..self.next + 2)
    }

    fn leave(&mut self) {
        let (keep_bytes, most) = (self.random.random_range(0..500), self.random.random_range(1..60));
        let mut picks: Vec<Pick> = Vec::new();
        for _ in 0..self.random.random_range(1..4) {
            let after = picks.last().map_or(0, Pick::last);
            picks.extend(self.messages.pick(after, keep_bytes, most));
        }
        if self.random.random_range(0..3) == 0 {
            (0..5).for_each(|_| self.without_leaving());
        }
        for pick in picks {
            let ticket = self.shelf.ticket();
            self.kept.insert(ticket.number(), pick.encode());
            self.messages.leave(&pick, ticket);
        }
    }

    /// What happens between the pick and the end of the write.
    fn without_leaving(&mut self) {
        let id = self.some_id();
        assert_eq!(self.messages.remove(id).is_some(), self.expected.remove(&id).is_some());
        if let Some(taken) = self.messages.take() {
            self.expected.insert(taken.id, true);
        }
    }

    fn bring(&mut self) {
        let Some((first, number, offset)) = self.messages.wanted() else { return };
        let brought = decode(&self.kept[&number], offset).unwrap();
        self.messages.bring(first, number, brought);
    }

    fn check(&self) {
        let taken = self.expected.values().filter(|taken| **taken).count();
        assert_eq!((self.messages.ready(), self.messages.taken()), (self.expected.len() - taken, taken));
        assert_eq!(self.messages.live().count() + self.messages.out().0, self.expected.len());
    }
}

#[test]
fn messages_that_leave_and_return_agree_with_a_map() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("SEED={seed}");
    let mut model = Model::new(seed);
    let mut most_out = 0;
    for round in 0..60_000 {
        model.step(round);
        if round % 50 == 0 {
            model.check();
        }
        most_out = most_out.max(model.messages.out().0);
        if model.expected.len() > 1_500 {
            let oldest: Vec<u64> = model.expected.keys().take(700).copied().collect();
            for id in oldest {
                model.expected.remove(&id);
                model.messages.remove(id).unwrap();
            }
        }
    }
    assert!(most_out > 100, "{most_out}");
    // All of it goes, and nothing counts any more.
    model.messages.give_all_back();
    let (_, out) = model.messages.drop_out();
    let rest: Vec<u64> = model.messages.ready_ids();
    assert_eq!(rest.len() + out, model.expected.len());
    rest.into_iter().for_each(|id| _ = model.messages.remove(id).unwrap());
    assert_eq!((model.messages.ready(), model.messages.bytes(), model.messages.ready_body_bytes()), (0, 0, 0));
    assert_eq!((model.messages.held(), model.budget.total()), (0, 0));
    assert_eq!(model.messages.run_numbers(), [], "a run goes with its last message");
}

#[test]
fn a_message_that_is_not_in_memory_costs_less_than_a_byte() {
    let mut messages = Messages::default();
    messages.join(&Arc::default());
    let shelf = Arc::<Shelf>::default();
    let count = 10 * limits::RUN_MESSAGES as u64;
    (1..=count).for_each(|number| _ = messages.push(message(number, true), 0));
    let before = messages.held();
    while let Some(pick) = messages.pick(0, 0, limits::RUN_MESSAGES) {
        messages.leave(&pick, shelf.ticket());
    }
    assert_eq!(messages.out().0 as u64, count);
    println!("{} bytes of {before}", messages.held());
    assert!((messages.held() as u64) < count, "{} of {before}", messages.held());
}

#[test]
fn what_came_back_often_is_told_again_behind_a_restart() {
    let shelf = Arc::<Shelf>::default();
    let mut messages = Messages::default();
    (1..=10).for_each(|number| _ = messages.push(message(number, true), 0));
    let pick = messages.pick(0, 0, 10).unwrap();
    let (ticket, bytes) = (shelf.ticket(), pick.encode());
    let number = ticket.number();
    messages.leave(&pick, ticket);
    let mut rows = Vec::new();
    messages.runs_of_rows(&mut |effect| put_effect(effect, &mut rows));

    let mut loaded = Messages::default();
    loaded.load_run(&shelf, &take_effect(&mut Reader::new(&rows)).unwrap()).unwrap();
    loaded.set_returns(4, 3);
    assert_eq!((loaded.ready(), loaded.bytes(), loaded.next_id()), (10, messages.bytes(), 11));
    assert_eq!(loaded.returned().collect::<Vec<_>>(), [(4, 3)]);
    let (first, wanted, offset) = loaded.wanted().unwrap();
    assert_eq!(wanted, number);
    loaded.bring(first, wanted, decode(&bytes, offset).unwrap());
    let returns: Vec<u32> = std::iter::from_fn(|| loaded.take()).map(|taken| taken.returns).collect();
    assert_eq!(returns, [0, 0, 0, 3, 0, 0, 0, 0, 0, 0]);
}
