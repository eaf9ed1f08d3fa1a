//! x-recent-history: what is bound to such an exchange gets what went through it last.

use std::sync::Arc;

use tercet_proto::amqp::{Properties, ShortString};

use super::Broker;
use super::batch::Batch;
use super::declare::{BindTo, Name};
use super::message::{Draft, Message};
use super::publish::Route;
use super::queue::Queue;

impl Broker {
    /// The queue in which an exchange remembers what went through it, if it does.
    pub(super) fn history(&self, exchange: Name<'_>) -> Option<Arc<Queue>> {
        let topology = self.topology.read();
        let queue = topology.exchange(exchange.vhost, exchange.name.as_bytes())?.queue.clone();
        queue.filter(|queue| queue.is_history())
    }

    /// Puts what an exchange remembers into what was bound to it, the oldest first.
    pub(super) fn recall(&self, batch: &mut Batch<'_>, history: &Arc<Queue>, vhost: &ShortString, to: BindTo<'_>) {
        let remembered: Vec<Arc<Message>> = history.lock().messages.ready_messages().collect();
        for message in remembered {
            let content = message.content();
            let properties = Properties::from_raw(content.properties.to_vec().into()).unwrap_or_default();
            let route = match to {
                BindTo::Queue(name) => Ok(Route::to(self.find_queue(vhost, name))),
                BindTo::Exchange(name) => {
                    let key = ShortString::from_utf8(content.routing_key.to_vec().into()).unwrap_or_default();
                    self.route_dead(vhost, name, &key, &properties)
                }
            };
            let Ok(route) = route else { return };
            let (exchange, key) = (content.exchange, content.routing_key);
            let mut draft = Draft::noted(exchange, key, &properties, content.extras, content.body.len());
            draft.push(content.body);
            // Nobody waits for it: one that nothing takes is gone.
            _ = self.enqueue(batch, &route, draft);
        }
    }
}
