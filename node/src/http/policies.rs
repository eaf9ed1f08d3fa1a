//! /api/policies and /api/operator-policies, and which of them a queue has.

use regex::Regex;
use serde_json::{Map, Value, json};
use tercet_proto::amqp::FieldTable;

use super::answer::{Answer, Error, Outcome};
use super::json::{of_table, to_table};
use super::listing;
use super::request::{Object, Request};
use crate::accounts::{Change, Policy, PolicyKind};
use crate::permission::compile;

fn described(vhost: &str, name: &str, policy: &Policy) -> Value {
    json!({
        "vhost": vhost,
        "name": name,
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "definition": definition(policy),
        "priority": policy.priority,
    })
}

pub(super) fn definition(policy: &Policy) -> Value {
    FieldTable::decode(&policy.definition).map_or_else(|_| json!({}), |table| of_table(&table))
}

pub(super) fn rows(request: &Request, kind: PolicyKind, is_wanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let all = request.directory.policies.iter();
    let wanted = all.filter(|((vhost, of, _), _)| *of == kind && is_wanted(vhost));
    wanted.map(|((vhost, _, name), policy)| described(vhost, name, policy)).collect()
}

/// GET /api/policies
pub(super) fn list(request: &Request) -> Outcome {
    listing::list(request, rows(request, PolicyKind::User, |vhost| request.sees(vhost)))
}

/// GET /api/operator-policies
pub(super) fn list_operator(request: &Request) -> Outcome {
    listing::list(request, rows(request, PolicyKind::Operator, |vhost| request.sees(vhost)))
}

/// GET /api/policies/:vhost
pub(super) fn list_in(request: &Request) -> Outcome {
    let wanted = request.vhost(0)?;
    listing::list(request, rows(request, PolicyKind::User, |vhost| *vhost == *wanted))
}

/// GET /api/operator-policies/:vhost
pub(super) fn list_operator_in(request: &Request) -> Outcome {
    let wanted = request.vhost(0)?;
    listing::list(request, rows(request, PolicyKind::Operator, |vhost| *vhost == *wanted))
}

pub(super) fn show(request: &Request) -> Outcome {
    show_of(request, PolicyKind::User)
}

pub(super) fn show_operator(request: &Request) -> Outcome {
    show_of(request, PolicyKind::Operator)
}

pub(super) fn put(request: &Request) -> Outcome {
    put_of(request, PolicyKind::User)
}

pub(super) fn put_operator(request: &Request) -> Outcome {
    put_of(request, PolicyKind::Operator)
}

pub(super) fn delete(request: &Request) -> Outcome {
    delete_of(request, PolicyKind::User)
}

pub(super) fn delete_operator(request: &Request) -> Outcome {
    delete_of(request, PolicyKind::Operator)
}

fn key(request: &Request, kind: PolicyKind) -> Result<(String, PolicyKind, String), Error> {
    Ok((request.vhost(0)?.to_string(), kind, request.capture(1).to_owned()))
}

fn show_of(request: &Request, kind: PolicyKind) -> Outcome {
    let key = key(request, kind)?;
    let policy = request.directory.policies.get(&key).ok_or(Error::NotFound)?;
    listing::one(request, described(&key.0, &key.2, policy))
}

fn put_of(request: &Request, kind: PolicyKind) -> Outcome {
    let key = key(request, kind)?;
    let policy = from_fields(&request.object()?)?;
    let is_new = !request.directory.policies.contains_key(&key);
    let (vhost, kind, name) = key;
    let engine = &request.node().engine;
    let change = Change::SetPolicy { vhost, kind, name, policy };
    Ok(Answer::created_or_done(is_new).after(engine.accounts.change(&engine.journal, &[change])))
}

fn delete_of(request: &Request, kind: PolicyKind) -> Outcome {
    let key = key(request, kind)?;
    request.directory.policies.get(&key).ok_or(Error::NotFound)?;
    let (vhost, kind, name) = key;
    let engine = &request.node().engine;
    let change = Change::ClearPolicy { vhost, kind, name };
    Ok(Answer::done().after(engine.accounts.change(&engine.journal, &[change])))
}

const APPLY_TO: [&str; 6] = ["all", "queues", "exchanges", "classic_queues", "quorum_queues", "streams"];

/// # Errors
/// A field is missing or not what it has to be.
pub(super) fn from_fields(fields: &Object) -> Result<Policy, Error> {
    fields.require(&["pattern", "definition"])?;
    let pattern = fields.text("pattern")?.unwrap_or_default();
    compile(&pattern).map_err(|error| Error::bad(format!("invalid_regexp: {error}")))?;
    let apply_to = fields.text("apply-to")?.unwrap_or_else(|| "all".to_owned());
    if !APPLY_TO.contains(&apply_to.as_str()) {
        return Err(Error::bad(format!("Validation failed\n\napply-to '{apply_to}' is unknown")));
    }
    let object = fields.object("definition")?;
    if object.is_empty() {
        return Err(Error::bad("Validation failed\n\nno policy provided"));
    }
    let mut definition = Vec::new();
    to_table(&object)?.encode(&mut definition);
    Ok(Policy { pattern, apply_to, priority: fields.number("priority")?.unwrap_or(0), definition })
}

/// The policies of now, ready to be matched.
#[derive(Debug)]
pub(super) struct Effective {
    policies: Vec<Matcher>,
}

#[derive(Debug)]
struct Matcher {
    vhost: String,
    kind: PolicyKind,
    pattern: Regex,
    priority: i64,
    matched: Matched,
}

/// A policy that a queue has.
#[derive(Debug)]
pub(super) struct Matched {
    pub(super) name: String,
    definition: Value,
}

impl Effective {
    pub(super) fn new(request: &Request) -> Self {
        let matcher = |((vhost, kind, name), policy): (&(String, PolicyKind, String), &Policy)| {
            let pattern = compile(&policy.pattern).ok()?;
            if policy.apply_to == "exchanges" {
                return None;
            }
            let matched = Matched { name: name.clone(), definition: definition(policy) };
            Some(Matcher { vhost: vhost.clone(), kind: *kind, pattern, priority: policy.priority, matched })
        };
        Self { policies: request.directory.policies.iter().filter_map(matcher).collect() }
    }

    pub(super) fn of_queue(&self, vhost: &str, name: &str) -> Option<&Matched> {
        self.best(PolicyKind::User, vhost, name)
    }

    pub(super) fn operator_of_queue(&self, vhost: &str, name: &str) -> Option<&Matched> {
        self.best(PolicyKind::Operator, vhost, name)
    }

    fn best(&self, kind: PolicyKind, vhost: &str, name: &str) -> Option<&Matched> {
        let fitting = self.policies.iter().filter(|policy| policy.kind == kind && policy.vhost == vhost);
        let fitting = fitting.filter(|policy| policy.pattern.is_match(name));
        fitting.max_by_key(|policy| policy.priority).map(|policy| &policy.matched)
    }
}

/// What a queue has of both. Of a number that both have the smaller one counts.
pub(super) fn merged(policy: Option<&Matched>, operator: Option<&Matched>) -> Value {
    let object = |matched: Option<&Matched>| match matched.map(|matched| &matched.definition) {
        Some(Value::Object(object)) => object.clone(),
        _ => Map::new(),
    };
    let mut all = object(policy);
    for (key, value) in object(operator) {
        let smaller = match (all.get(&key).and_then(Value::as_i64), value.as_i64()) {
            (Some(mine), Some(theirs)) => json!(mine.min(theirs)),
            _ => value,
        };
        all.insert(key, smaller);
    }
    Value::Object(all)
}
