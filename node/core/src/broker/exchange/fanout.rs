//! Fanout: a message goes to everything that is bound.

use super::Destination;

#[derive(Debug, Default)]
pub(super) struct Fanout {
    destinations: Vec<Destination>,
}

impl Fanout {
    pub(super) fn insert(&mut self, destination: Destination) {
        self.destinations.push(destination);
    }

    pub(super) fn remove(&mut self, destination: &Destination) {
        super::remove_one(&mut self.destinations, destination);
    }

    pub(super) fn route<'a>(&'a self, visit: &mut dyn FnMut(&'a Destination)) {
        self.destinations.iter().for_each(visit);
    }
}
