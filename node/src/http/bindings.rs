//! /api/bindings

use serde_json::{Value, json};
use tercet_proto::amqp::{FieldTable, ShortString};

use super::answer::{Answer, Error, Outcome};
use super::broker::{self, NOBODY, batch};
use super::json::{of_table, to_table};
use super::listing;
use super::request::{Request, encoded, short};
use crate::broker::{BindTo, BoundKind, ListedBinding};
use crate::permission::Right;

/// GET /api/bindings
pub(super) fn list(request: &Request) -> Outcome {
    answer(request, |binding| request.sees(&binding.vhost))
}

/// GET /api/bindings/:vhost
pub(super) fn list_in(request: &Request) -> Outcome {
    let vhost = request.vhost(0)?;
    answer(request, |binding| binding.vhost == vhost)
}

/// GET /api/exchanges/:vhost/:name/bindings/source
pub(super) fn of_source(request: &Request) -> Outcome {
    let exchange = super::exchanges::find(request)?;
    answer(request, |binding| binding.vhost == exchange.vhost && binding.source == exchange.name)
}

/// GET /api/exchanges/:vhost/:name/bindings/destination
pub(super) fn to_exchange(request: &Request) -> Outcome {
    let exchange = super::exchanges::find(request)?;
    answer(request, |binding| {
        binding.vhost == exchange.vhost && binding.to == BoundKind::Exchange && binding.destination == exchange.name
    })
}

/// GET /api/queues/:vhost/:name/bindings
pub(super) fn to_queue(request: &Request) -> Outcome {
    let (vhost, name) = (request.vhost(0)?, request.name(1)?);
    broker::queue(request, &vhost, &name)?;
    answer(request, |binding| binding.vhost == vhost && binding.to == BoundKind::Queue && binding.destination == name)
}

fn answer(request: &Request, is_wanted: impl Fn(&ListedBinding) -> bool) -> Outcome {
    let all = request.node().engine.broker.bindings();
    listing::list(request, all.iter().filter(|binding| is_wanted(binding)).map(described).collect())
}

fn described(binding: &ListedBinding) -> Value {
    json!({
        "source": binding.source.as_str(),
        "vhost": binding.vhost.as_str(),
        "destination": binding.destination.as_str(),
        "destination_type": if binding.to == BoundKind::Queue { "queue" } else { "exchange" },
        "routing_key": binding.key.as_str(),
        "arguments": of_table(&binding.arguments),
        "properties_key": properties_key(&binding.key, &binding.arguments),
    })
}

/// One binding among those between two ends: `~` for one without key and arguments, the key, or the key and a hash of
/// the arguments.
fn properties_key(key: &ShortString, arguments: &FieldTable) -> String {
    if key.is_empty() && arguments.is_empty() {
        return "~".to_owned();
    }
    let key = encoded(key);
    if arguments.is_empty() {
        return key;
    }
    let mut bytes = Vec::new();
    arguments.encode(&mut bytes);
    format!("{key}~{:016x}", xxhash_rust::xxh3::xxh3_64(&bytes))
}

/// Between what the path speaks of: `:vhost/e/:source/q or e/:destination`.
struct Ends {
    vhost: ShortString,
    source: ShortString,
    destination: ShortString,
    to: BoundKind,
}

impl Ends {
    fn of(request: &Request) -> Result<Self, Error> {
        let vhost = request.vhost(0)?;
        let source = request.exchange(1)?;
        let destination = short(request.capture(3))?;
        let to = match request.capture(2) {
            "q" => BoundKind::Queue,
            "e" => BoundKind::Exchange,
            _ => return Err(Error::NotFound),
        };
        let engine = &request.node().engine;
        let is_exchange = |name: &ShortString| {
            engine.broker.exchanges().iter().any(|exchange| exchange.vhost == vhost && exchange.name == *name)
        };
        let is_there = match to {
            BoundKind::Queue => engine.broker.find_queue(&vhost, &destination).is_some(),
            BoundKind::Exchange => is_exchange(&destination),
        };
        if !is_there || !is_exchange(&source) {
            return Err(Error::NotFound);
        }
        Ok(Self { vhost, source, destination, to })
    }

    fn are_of(&self, binding: &ListedBinding) -> bool {
        binding.vhost == self.vhost
            && binding.source == self.source
            && binding.to == self.to
            && binding.destination == self.destination
    }

    /// What a binding of these ends asks for: write to the destination, read from the source.
    fn check(&self, request: &Request) -> Result<(), Error> {
        request.may(Right::Write, &self.vhost, &self.destination)?;
        request.may(Right::Read, &self.vhost, &self.source)
    }

    fn target(&self) -> BindTo<'_> {
        match self.to {
            BoundKind::Queue => BindTo::Queue(&self.destination),
            BoundKind::Exchange => BindTo::Exchange(&self.destination),
        }
    }
}

/// GET /api/bindings/:vhost/e/:source/q/:destination
pub(super) fn between(request: &Request) -> Outcome {
    let ends = Ends::of(request)?;
    answer(request, |binding| ends.are_of(binding))
}

/// The binding that the path's last part names.
fn find(request: &Request, ends: &Ends) -> Result<ListedBinding, Error> {
    let wanted = request.capture(4);
    let all = request.node().engine.broker.bindings();
    // The part was decoded once; who writes it by hand encodes it once.
    let is_named = |binding: &ListedBinding| {
        let key = properties_key(&binding.key, &binding.arguments);
        key == wanted || binding.arguments.is_empty() && !binding.key.is_empty() && *binding.key == *wanted
    };
    all.into_iter().find(|binding| ends.are_of(binding) && is_named(binding)).ok_or(Error::NotFound)
}

/// GET /api/bindings/:vhost/e/:source/q/:destination/:properties
pub(super) fn show(request: &Request) -> Outcome {
    let ends = Ends::of(request)?;
    listing::one(request, described(&find(request, &ends)?))
}

/// POST /api/bindings/:vhost/e/:source/q/:destination {routing_key, arguments}
pub(super) fn bind(request: &Request) -> Outcome {
    let ends = Ends::of(request)?;
    ends.check(request)?;
    let fields = request.object()?;
    let key = short(&fields.text("routing_key")?.unwrap_or_default())?;
    let arguments = to_table(&fields.object("arguments")?)?;
    let location = format!("{}/{}", encoded(&ends.destination), properties_key(&key, &arguments));
    let ((), offset) = batch(request, |broker, batch| {
        broker.bind(batch, NOBODY, broker::name(&ends.vhost, &ends.source), ends.target(), &key, arguments)
    })?;
    Ok(Answer::created().at(location).after(offset))
}

/// DELETE /api/bindings/:vhost/e/:source/q/:destination/:properties
pub(super) fn unbind(request: &Request) -> Outcome {
    let ends = Ends::of(request)?;
    ends.check(request)?;
    let ListedBinding { key, arguments, .. } = find(request, &ends)?;
    let ((), offset) = batch(request, |broker, batch| {
        broker.unbind(batch, NOBODY, broker::name(&ends.vhost, &ends.source), ends.target(), &key, arguments)
    })?;
    Ok(Answer::done().after(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_named_as_in_rabbitmq() {
        let key = |text: &str| ShortString::try_from(text).unwrap();
        let mut arguments = FieldTable::new();
        assert_eq!(properties_key(&key(""), &arguments), "~");
        assert_eq!(properties_key(&key("a.#"), &arguments), "a.%23");
        arguments.insert(tercet_proto::amqp::ShortBytes::try_from("x").unwrap(), true);
        assert!(properties_key(&key("a"), &arguments).starts_with("a~"));
        assert!(properties_key(&key(""), &arguments).starts_with('~'));
    }
}
