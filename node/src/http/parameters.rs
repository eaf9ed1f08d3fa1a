//! /api/parameters, /api/global-parameters and /api/vhost-limits. Policies and limits are parameters in RabbitMQ, too;
//! limits are kept as such here, policies by themselves.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Error, Outcome};
use super::listing;
use super::request::{Object, Request, integer};
use crate::accounts::Change;
use crate::vhost_rules::PARAMETER as LIMITS;

fn row((vhost, component, name): (&str, &str, &str), json: &str) -> Value {
    let value: Value = serde_json::from_str(json).unwrap_or_default();
    if vhost.is_empty() {
        json!({ "name": name, "value": value })
    } else {
        json!({ "vhost": vhost, "component": component, "name": name, "value": value })
    }
}

pub(super) fn rows(request: &Request, is_wanted: impl Fn(&str, &str) -> bool) -> Vec<Value> {
    let all = request.directory.parameters.iter();
    let wanted = all.filter(|((vhost, component, _), _)| is_wanted(vhost, component));
    wanted.map(|((vhost, component, name), json)| row((vhost, component, name), json)).collect()
}

/// GET /api/parameters
pub(super) fn list(request: &Request) -> Outcome {
    listing::list(request, rows(request, |vhost, _| !vhost.is_empty() && request.sees(vhost)))
}

/// GET /api/parameters/:component
pub(super) fn of_component(request: &Request) -> Outcome {
    let wanted = request.capture(0);
    let rows = rows(request, |vhost, component| !vhost.is_empty() && component == wanted && request.sees(vhost));
    listing::list(request, rows)
}

/// GET /api/parameters/:component/:vhost
pub(super) fn of_component_in(request: &Request) -> Outcome {
    let (wanted, within) = (request.capture(0), request.vhost(1)?);
    listing::list(request, rows(request, |vhost, component| component == wanted && *vhost == *within))
}

/// `:component/:vhost/:name` of the path, in the order of the keys.
fn key(request: &Request) -> Result<(String, String, String), Error> {
    Ok((request.vhost(1)?.to_string(), request.capture(0).to_owned(), request.capture(2).to_owned()))
}

/// GET /api/parameters/:component/:vhost/:name
pub(super) fn show(request: &Request) -> Outcome {
    show_key(request, &key(request)?)
}

fn show_key(request: &Request, key: &(String, String, String)) -> Outcome {
    let json = request.directory.parameters.get(key).ok_or(Error::NotFound)?;
    listing::one(request, row((&key.0, &key.1, &key.2), json))
}

/// PUT /api/parameters/:component/:vhost/:name {value}
pub(super) fn put(request: &Request) -> Outcome {
    let key = key(request)?;
    let value = value(&request.object()?)?;
    set(request, key, &value)
}

fn value(fields: &Object) -> Result<Value, Error> {
    fields.require(&["value"])?;
    Ok(fields.get("value").cloned().unwrap_or_default())
}

fn set(request: &Request, key: (String, String, String), value: &Value) -> Outcome {
    let is_new = !request.directory.parameters.contains_key(&key);
    let (vhost, component, name) = key;
    let change = Change::SetParameter { vhost, component, name, value: value.to_string() };
    let engine = &request.node().engine;
    Ok(Answer::created_or_done(is_new).after(engine.accounts.change(&engine.journal, &[change])))
}

/// DELETE /api/parameters/:component/:vhost/:name
pub(super) fn delete(request: &Request) -> Outcome {
    clear(request, key(request)?)
}

fn clear(request: &Request, key: (String, String, String)) -> Outcome {
    request.directory.parameters.get(&key).ok_or(Error::NotFound)?;
    let (vhost, component, name) = key;
    let engine = &request.node().engine;
    let change = Change::ClearParameter { vhost, component, name };
    Ok(Answer::done().after(engine.accounts.change(&engine.journal, &[change])))
}

fn global(request: &Request) -> (String, String, String) {
    (String::new(), String::new(), request.capture(0).to_owned())
}

/// GET /api/global-parameters
pub(super) fn list_global(request: &Request) -> Outcome {
    listing::list(request, rows(request, |vhost, _| vhost.is_empty()))
}

/// GET /api/global-parameters/:name
pub(super) fn show_global(request: &Request) -> Outcome {
    show_key(request, &global(request))
}

/// PUT /api/global-parameters/:name {value}
pub(super) fn put_global(request: &Request) -> Outcome {
    let value = value(&request.object()?)?;
    set(request, global(request), &value)
}

/// DELETE /api/global-parameters/:name
pub(super) fn delete_global(request: &Request) -> Outcome {
    clear(request, global(request))
}

/// GET /api/vhost-limits
pub(super) fn vhost_limits(request: &Request) -> Outcome {
    limits_rows(request, |vhost| request.sees(vhost))
}

/// GET /api/vhost-limits/:vhost
pub(super) fn vhost_limits_of(request: &Request) -> Outcome {
    let wanted = request.vhost(0)?;
    limits_rows(request, |vhost| *vhost == *wanted)
}

fn limits_rows(request: &Request, is_wanted: impl Fn(&str) -> bool) -> Outcome {
    let rows = rows(request, |vhost, component| component == LIMITS.0 && is_wanted(vhost));
    let row = |row: Value| json!({ "vhost": row["vhost"], "value": row["value"] });
    listing::list(request, rows.into_iter().map(row).collect())
}

const LIMIT_NAMES: [&str; 2] = ["max-connections", "max-queues"];

fn limits_of(request: &Request, vhost: &str) -> Map<String, Value> {
    let json = request.directory.parameter(vhost, LIMITS.0, LIMITS.1).unwrap_or("{}");
    serde_json::from_str(json).unwrap_or_default()
}

fn limits_key(vhost: &str) -> (String, String, String) {
    (vhost.to_owned(), LIMITS.0.to_owned(), LIMITS.1.to_owned())
}

/// PUT /api/vhost-limits/:vhost/:name {value}
pub(super) fn set_vhost_limit(request: &Request) -> Outcome {
    let (vhost, name) = (request.vhost(0)?, request.capture(1));
    if !LIMIT_NAMES.contains(&name) {
        return Err(Error::bad(format!("Unrecognised limit: {name}")));
    }
    let value = value(&request.object()?)?;
    let number = integer(&value).ok_or_else(|| Error::bad("a limit is a whole number"))?;
    let mut limits = limits_of(request, &vhost);
    limits.insert(name.to_owned(), Value::from(number));
    set(request, limits_key(&vhost), &Value::Object(limits))?;
    let offset = request.node().engine.accounts.last_offset();
    Ok(Answer::done().after(offset))
}

/// DELETE /api/vhost-limits/:vhost/:name
pub(super) fn clear_vhost_limit(request: &Request) -> Outcome {
    let vhost = request.vhost(0)?;
    let mut limits = limits_of(request, &vhost);
    limits.remove(request.capture(1)).ok_or(Error::NotFound)?;
    if limits.is_empty() {
        clear(request, limits_key(&vhost))
    } else {
        set(request, limits_key(&vhost), &Value::Object(limits))
    }
}
