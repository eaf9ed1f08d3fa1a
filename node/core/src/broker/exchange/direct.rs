//! Direct: a message goes where its routing key is bound, byte for byte.

use std::collections::HashMap;

use tercet_proto::amqp::ShortString;

use super::Destination;

#[derive(Debug, Default)]
pub(super) struct Direct {
    by_key: HashMap<ShortString, Vec<Destination>>,
}

impl Direct {
    pub(super) fn insert(&mut self, key: &ShortString, destination: Destination) {
        self.by_key.entry(key.clone()).or_default().push(destination);
    }

    pub(super) fn remove(&mut self, key: &ShortString, destination: &Destination) {
        if let Some(destinations) = self.by_key.get_mut(key.as_bytes()) {
            super::remove_one(destinations, destination);
            if destinations.is_empty() {
                self.by_key.remove(key.as_bytes());
            }
        }
    }

    pub(super) fn route<'a>(&'a self, key: &[u8], visit: &mut dyn FnMut(&'a Destination)) {
        self.by_key.get(key).into_iter().flatten().for_each(visit);
    }
}
