//! Definitions: everything that is declared, as one file. One that RabbitMQ has exported is imported here, and the other
//! way round. An import adds and changes, and removes nothing.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tercet_proto::amqp::ShortString;

use super::answer::{Answer, Error, Outcome};
use super::broker::{self, NOBODY, batch};
use super::json::{of_table, to_table};
use super::request::{Object, Request, short};
use super::vhosts::{metadata, words};
use super::{overview, parameters, permissions, policies, users};
use crate::accounts::{Change, DEFAULT_VHOST, Directory, PolicyKind, Vhost};
use crate::broker::{BindTo, BoundKind, ExchangeDeclaration, ExchangeKind, Queue, QueueDeclaration};
use crate::vhost_rules;

/// GET /api/definitions
pub(super) fn export(request: &Request) -> Outcome {
    let directory = &request.directory;
    let mut file = head(request);
    file["users"] = directory.users.values().map(users::described).collect();
    file["vhosts"] = directory.vhosts.iter().map(|(name, vhost)| described_vhost(directory, name, vhost)).collect();
    file["permissions"] = directory
        .permissions
        .iter()
        .map(|((user, vhost), of)| {
            json!({ "user": user, "vhost": vhost, "configure": of.configure, "write": of.write, "read": of.read })
        })
        .collect();
    file["topic_permissions"] = directory
        .topic_permissions
        .iter()
        .map(|((user, vhost, exchange), of)| {
            json!({ "user": user, "vhost": vhost, "exchange": exchange, "write": of.write, "read": of.read })
        })
        .collect();
    file["global_parameters"] = Value::Array(parameters::rows(request, |vhost, _| vhost.is_empty()));
    content(request, &mut file, None);
    Ok(Answer::download(file, "rabbit_definitions.json".to_owned()))
}

/// GET /api/definitions/:vhost
pub(super) fn export_vhost(request: &Request) -> Outcome {
    let vhost = request.vhost(0)?;
    let mut file = head(request);
    file["metadata"] = request.directory.vhosts.get(vhost.as_str()).map_or(Value::Null, metadata);
    content(request, &mut file, Some(&vhost));
    Ok(Answer::download(file, "rabbit_vhost_definitions.json".to_owned()))
}

fn head(request: &Request) -> Value {
    json!({
        "rabbit_version": overview::RABBITMQ_VERSION,
        "rabbitmq_version": overview::RABBITMQ_VERSION,
        "product_name": "Tercet",
        "product_version": env!("CARGO_PKG_VERSION"),
        "rabbitmq_definition_format": if request.captures.is_empty() { "cluster" } else { "single_virtual_host" },
    })
}

fn described_vhost(directory: &Directory, name: &str, vhost: &Vhost) -> Value {
    // RabbitMQ writes no limits as a list, and some as an object.
    let limits = directory.parameter(name, vhost_rules::PARAMETER.0, vhost_rules::PARAMETER.1);
    let limits = limits.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_else(|| json!([]));
    json!({
        "name": name, "description": vhost.description, "tags": vhost.tags, "metadata": metadata(vhost), "limits": limits,
    })
}

/// What lies in virtual hosts. Of one alone, nothing says which: it may be imported into another.
fn content(request: &Request, file: &mut Value, only: Option<&ShortString>) {
    let is_wanted = |vhost: &str| only.is_none_or(|only| **only == *vhost);
    let rows_of = |mut rows: Vec<Value>| {
        if only.is_some() {
            rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| _ = row.remove("vhost"));
        }
        Value::Array(rows)
    };
    let broker = &request.node().engine.broker;
    file["parameters"] = rows_of(parameters::rows(request, |vhost, _| !vhost.is_empty() && is_wanted(vhost)));
    file["policies"] = rows_of(policies::rows(request, PolicyKind::User, is_wanted));
    file["queues"] =
        rows_of(broker.queues().iter().filter(|queue| is_wanted(&queue.vhost)).filter_map(described_queue).collect());
    let own = |name: &str| !name.is_empty() && !name.starts_with("amq.");
    let exchanges = broker.exchanges();
    let exported = exchanges
        .iter()
        .filter(|exchange| is_wanted(&exchange.vhost) && own(&exchange.name) && !exchange.declaration.internal);
    let described = |exchange: &crate::broker::ListedExchange| {
        let ExchangeDeclaration { kind, durable, auto_delete, internal, arguments } = &exchange.declaration;
        json!({
            "name": exchange.name.as_str(), "vhost": exchange.vhost.as_str(), "type": kind.name(), "durable": durable,
            "auto_delete": auto_delete, "internal": internal, "arguments": of_table(arguments),
        })
    };
    file["exchanges"] = rows_of(exported.map(described).collect());
    let bindings = broker.bindings();
    let exported = bindings.iter().filter(|binding| is_wanted(&binding.vhost) && !binding.source.is_empty());
    let is_shared = |binding: &&crate::broker::ListedBinding| {
        binding.to == BoundKind::Exchange
            || broker
                .find_queue(&binding.vhost, &binding.destination)
                .is_some_and(|queue| queue.declaration.owner.is_none())
    };
    let described = |binding: &crate::broker::ListedBinding| {
        json!({
            "source": binding.source.as_str(), "vhost": binding.vhost.as_str(),
            "destination": binding.destination.as_str(),
            "destination_type": if binding.to == BoundKind::Queue { "queue" } else { "exchange" },
            "routing_key": binding.key.as_str(), "arguments": of_table(&binding.arguments),
        })
    };
    file["bindings"] = rows_of(exported.filter(is_shared).map(described).collect());
}

/// One that belongs to a connection goes with it, and is not exported.
fn described_queue(queue: &Arc<Queue>) -> Option<Value> {
    let declaration = &queue.declaration;
    let is_exported = declaration.owner.is_none() && !queue.is_internal();
    is_exported.then(|| {
        json!({
            "name": queue.name.as_str(), "vhost": queue.vhost.as_str(), "durable": declaration.durable,
            "auto_delete": declaration.auto_delete, "arguments": of_table(&declaration.arguments),
        })
    })
}

/// POST /api/definitions
pub(super) fn import(request: &Request) -> Outcome {
    import_into(request, None)
}

/// POST /api/definitions/:vhost
pub(super) fn import_vhost(request: &Request) -> Outcome {
    let vhost = request.vhost(0)?.to_string();
    import_into(request, Some(&vhost))
}

fn import_into(request: &Request, vhost: Option<&str>) -> Outcome {
    let file = request.object()?;
    // Everything is read before anything is changed.
    let changes = account_changes(request, &file, vhost)?;
    let content = Content::of(&file, vhost)?;
    let engine = &request.node().engine;
    let of_accounts = engine.accounts.change(&engine.journal, &changes);
    let ((), of_broker) = batch(request, |broker, batch| content.declare(broker, batch))?;
    Ok(Answer::done().after(of_accounts).after(of_broker))
}

/// The entries of a section; none, if it is not there.
fn section(file: &Object, name: &str) -> Result<Vec<Object>, Error> {
    let entries = match file.get(name) {
        None => return Ok(Vec::new()),
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(Error::bad(format!("{name} is no list"))),
    };
    let object = |entry: &Value| match entry {
        Value::Object(object) => Ok(Object(object.clone())),
        _ => Err(Error::bad(format!("{name} holds something that is no object"))),
    };
    entries.iter().map(object).collect()
}

fn text(entry: &Object, name: &str) -> Result<String, Error> {
    entry.require(&[name])?;
    Ok(entry.text(name)?.unwrap_or_default())
}

/// The virtual host of an entry, or the one that all go into.
fn vhost_of(entry: &Object, into: Option<&str>) -> Result<String, Error> {
    match into {
        Some(vhost) => Ok(vhost.to_owned()),
        None => Ok(entry.text("vhost")?.unwrap_or_else(|| DEFAULT_VHOST.to_owned())),
    }
}

fn account_changes(request: &Request, file: &Object, into: Option<&str>) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    if into.is_none() {
        for entry in section(file, "users")? {
            let name = text(&entry, "name")?;
            let user = users::from_fields(&name, request.directory.users.get(&name), &entry)?;
            changes.push(Change::SetUser(user));
        }
        for entry in section(file, "vhosts")? {
            let name = text(&entry, "name")?;
            changes.push(Change::SetVhost { vhost: vhost_from(request, &name, &entry)?, name: name.clone() });
            // Files of RabbitMQ have them as parameters, too.
            if let Some(limits @ Value::Object(_)) = entry.get("limits") {
                let (component, parameter) = (vhost_rules::PARAMETER.0.to_owned(), vhost_rules::PARAMETER.1.to_owned());
                let value = limits.to_string();
                changes.push(Change::SetParameter { vhost: name, component, name: parameter, value });
            }
        }
        for entry in section(file, "permissions")? {
            let (user, vhost) = (text(&entry, "user")?, text(&entry, "vhost")?);
            changes.push(Change::SetPermissions { user, vhost, permissions: permissions::from_fields(&entry)? });
        }
        for entry in section(file, "topic_permissions")? {
            let (user, vhost, exchange) = (text(&entry, "user")?, text(&entry, "vhost")?, text(&entry, "exchange")?);
            let permissions = permissions::topics_from_fields(&entry)?;
            changes.push(Change::SetTopicPermissions { user, vhost, exchange, permissions });
        }
        for entry in section(file, "global_parameters")? {
            let (vhost, component, name) = (String::new(), String::new(), text(&entry, "name")?);
            let value = entry.get("value").cloned().unwrap_or_default().to_string();
            changes.push(Change::SetParameter { vhost, component, name, value });
        }
    }
    for entry in section(file, "parameters")? {
        let (vhost, component, name) = (vhost_of(&entry, into)?, text(&entry, "component")?, text(&entry, "name")?);
        let value = entry.get("value").cloned().unwrap_or_default().to_string();
        changes.push(match component.as_str() {
            "operator_policy" => operator_policy(vhost, name, &entry)?,
            _ => Change::SetParameter { vhost, component, name, value },
        });
    }
    for entry in section(file, "policies")? {
        let (vhost, name) = (vhost_of(&entry, into)?, text(&entry, "name")?);
        changes.push(Change::SetPolicy { vhost, kind: PolicyKind::User, name, policy: policies::from_fields(&entry)? });
    }
    Ok(changes)
}

/// RabbitMQ exports these as parameters.
fn operator_policy(vhost: String, name: String, entry: &Object) -> Result<Change, Error> {
    let fields = Object(entry.object("value")?);
    Ok(Change::SetPolicy { vhost, kind: PolicyKind::Operator, name, policy: policies::from_fields(&fields)? })
}

fn vhost_from(request: &Request, name: &str, entry: &Object) -> Result<Vhost, Error> {
    let mut vhost = request.directory.vhosts.get(name).cloned().unwrap_or_default();
    let metadata: Map<String, Value> = entry.object("metadata")?;
    let within = Object(metadata);
    if let Some(description) = entry.text("description")?.or(within.text("description")?) {
        vhost.description = description;
    }
    if let Some(tags) = entry.get("tags").or(within.get("tags")) {
        vhost.tags = words(Some(tags));
    }
    if let Some(queue_type) = entry.text("default_queue_type")?.or(within.text("default_queue_type")?) {
        vhost.default_queue_type = if queue_type == "undefined" { String::new() } else { queue_type };
    }
    Ok(vhost)
}

/// What of a file is the broker's.
struct Content {
    exchanges: Vec<(ShortString, ShortString, ExchangeDeclaration)>,
    queues: Vec<(ShortString, ShortString, QueueDeclaration)>,
    bindings: Vec<Binding>,
}

struct Binding {
    vhost: ShortString,
    source: ShortString,
    destination: ShortString,
    to: BoundKind,
    key: ShortString,
    arguments: tercet_proto::amqp::FieldTable,
}

impl Content {
    fn of(file: &Object, into: Option<&str>) -> Result<Self, Error> {
        let ends = |entry: &Object| Ok::<_, Error>((short(&vhost_of(entry, into)?)?, short(&text(entry, "name")?)?));
        let mut exchanges = Vec::new();
        for entry in section(file, "exchanges")? {
            let (vhost, name) = ends(&entry)?;
            let kind = text(&entry, "type")?;
            let declaration = ExchangeDeclaration {
                kind: ExchangeKind::from_name(&kind)
                    .ok_or_else(|| Error::bad(format!("unknown exchange type '{kind}' of exchange '{name}'")))?,
                durable: entry.flag("durable")?,
                auto_delete: entry.flag("auto_delete")?,
                internal: entry.flag("internal")?,
                arguments: to_table(&entry.object("arguments")?)?,
            };
            exchanges.push((vhost, name, declaration));
        }
        let mut queues = Vec::new();
        for entry in section(file, "queues")? {
            let (vhost, name) = ends(&entry)?;
            let mut arguments = entry.object("arguments")?;
            if let Some(queue_type) = entry.text("type")?.filter(|queue_type| queue_type != "classic") {
                arguments.entry("x-queue-type".to_owned()).or_insert(Value::String(queue_type));
            }
            let declaration = QueueDeclaration {
                durable: entry.flag("durable")?,
                auto_delete: entry.flag("auto_delete")?,
                owner: None,
                arguments: to_table(&arguments)?,
            };
            queues.push((vhost, name, declaration));
        }
        let mut bindings = Vec::new();
        for entry in section(file, "bindings")? {
            bindings.push(Binding {
                vhost: short(&vhost_of(&entry, into)?)?,
                source: short(&text(&entry, "source")?)?,
                destination: short(&text(&entry, "destination")?)?,
                to: match text(&entry, "destination_type")?.as_str() {
                    "queue" => BoundKind::Queue,
                    "exchange" => BoundKind::Exchange,
                    other => return Err(Error::bad(format!("unknown destination_type '{other}'"))),
                },
                key: short(&entry.text("routing_key")?.unwrap_or_default())?,
                arguments: to_table(&entry.object("arguments")?)?,
            });
        }
        Ok(Self { exchanges, queues, bindings })
    }

    fn declare(
        self,
        broker: &crate::broker::Broker,
        batch: &mut crate::broker::Batch<'_>,
    ) -> Result<(), crate::broker::Refusal> {
        for (vhost, name, declaration) in self.exchanges {
            broker.declare_exchange(batch, broker::name(&vhost, &name), declaration)?;
        }
        for (vhost, name, declaration) in self.queues {
            broker.declare_queue(batch, NOBODY, broker::name(&vhost, &name), declaration)?;
        }
        for Binding { vhost, source, destination, to, key, arguments } in self.bindings {
            let target = match to {
                BoundKind::Queue => BindTo::Queue(&destination),
                BoundKind::Exchange => BindTo::Exchange(&destination),
            };
            broker.bind(batch, NOBODY, broker::name(&vhost, &source), target, &key, arguments)?;
        }
        Ok(())
    }
}
