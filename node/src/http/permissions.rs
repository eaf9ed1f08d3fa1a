//! /api/permissions and /api/topic-permissions

use serde_json::{Value, json};

use super::answer::{Answer, Error, Outcome};
use super::listing;
use super::request::{Object, Request};
use crate::accounts::{Change, Permissions, TopicPermissions};
use crate::permission::{compile, compile_topic};

fn row((user, vhost): (&str, &str), permissions: &Permissions) -> Value {
    let Permissions { configure, write, read } = permissions;
    json!({ "user": user, "vhost": vhost, "configure": configure, "write": write, "read": read })
}

fn topic_row((user, vhost, exchange): (&str, &str, &str), permissions: &TopicPermissions) -> Value {
    let TopicPermissions { write, read } = permissions;
    json!({ "user": user, "vhost": vhost, "exchange": exchange, "write": write, "read": read })
}

fn rows(request: &Request, is_wanted: impl Fn(&str, &str) -> bool) -> Outcome {
    let all = request.directory.permissions.iter().filter(|((user, vhost), _)| is_wanted(user, vhost));
    listing::list(request, all.map(|((user, vhost), permissions)| row((user, vhost), permissions)).collect())
}

fn topic_rows(request: &Request, is_wanted: impl Fn(&str, &str) -> bool) -> Outcome {
    let all = request.directory.topic_permissions.iter().filter(|((user, vhost, _), _)| is_wanted(user, vhost));
    let rows = all.map(|((user, vhost, exchange), permissions)| topic_row((user, vhost, exchange), permissions));
    listing::list(request, rows.collect())
}

/// GET /api/permissions
pub(super) fn list(request: &Request) -> Outcome {
    rows(request, |_, _| true)
}

/// GET /api/vhosts/:vhost/permissions
pub(super) fn of_vhost(request: &Request) -> Outcome {
    let wanted = request.vhost(0)?;
    rows(request, |_, vhost| *vhost == *wanted)
}

/// GET /api/users/:user/permissions
pub(super) fn of_user(request: &Request) -> Outcome {
    let wanted = known_user(request, 0)?;
    rows(request, |user, _| user == wanted)
}

/// GET /api/topic-permissions
pub(super) fn topics(request: &Request) -> Outcome {
    topic_rows(request, |_, _| true)
}

/// GET /api/vhosts/:vhost/topic-permissions
pub(super) fn topics_of_vhost(request: &Request) -> Outcome {
    let wanted = request.vhost(0)?;
    topic_rows(request, |_, vhost| *vhost == *wanted)
}

/// GET /api/users/:user/topic-permissions
pub(super) fn topics_of_user(request: &Request) -> Outcome {
    let wanted = known_user(request, 0)?;
    topic_rows(request, |user, _| user == wanted)
}

fn known_user(request: &Request, index: usize) -> Result<&str, Error> {
    let name = request.capture(index);
    if request.directory.users.contains_key(name) { Ok(name) } else { Err(Error::NotFound) }
}

/// `:vhost/:user` of the path.
fn ends(request: &Request) -> Result<(String, String), Error> {
    Ok((known_user(request, 1)?.to_owned(), request.vhost(0)?.to_string()))
}

/// GET /api/permissions/:vhost/:user
pub(super) fn show(request: &Request) -> Outcome {
    let (user, vhost) = ends(request)?;
    let permissions = request.directory.permissions_of(&user, &vhost).ok_or(Error::NotFound)?;
    listing::one(request, row((&user, &vhost), permissions))
}

/// A field that is a regular expression.
fn pattern(fields: &Object, name: &str) -> Result<String, Error> {
    let text = fields.text(name)?.unwrap_or_default();
    match compile(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Error::bad(format!("invalid_regexp in {name}: {error}"))),
    }
}

/// # Errors
/// A field is missing, or no regular expression.
pub(super) fn from_fields(fields: &Object) -> Result<Permissions, Error> {
    fields.require(&["configure", "write", "read"])?;
    Ok(Permissions {
        configure: pattern(fields, "configure")?,
        write: pattern(fields, "write")?,
        read: pattern(fields, "read")?,
    })
}

/// # Errors
/// As `from_fields`.
pub(super) fn topics_from_fields(fields: &Object) -> Result<TopicPermissions, Error> {
    fields.require(&["exchange", "write", "read"])?;
    let pattern = |name: &str| {
        let text = fields.text(name)?.unwrap_or_default();
        match compile_topic(&text, "user", "vhost") {
            Ok(_) => Ok(text),
            Err(error) => Err(Error::bad(format!("invalid_regexp in {name}: {error}"))),
        }
    };
    Ok(TopicPermissions { write: pattern("write")?, read: pattern("read")? })
}

/// PUT /api/permissions/:vhost/:user {configure, write, read}
pub(super) fn put(request: &Request) -> Outcome {
    let (user, vhost) = ends(request)?;
    let permissions = from_fields(&request.object()?)?;
    let is_new = request.directory.permissions_of(&user, &vhost).is_none();
    change(request, is_new, Change::SetPermissions { user, vhost, permissions })
}

/// DELETE /api/permissions/:vhost/:user
pub(super) fn delete(request: &Request) -> Outcome {
    let (user, vhost) = ends(request)?;
    request.directory.permissions_of(&user, &vhost).ok_or(Error::NotFound)?;
    change(request, false, Change::ClearPermissions { user, vhost })
}

/// GET /api/topic-permissions/:vhost/:user
pub(super) fn show_topics(request: &Request) -> Outcome {
    let (wanted_user, wanted_vhost) = ends(request)?;
    topic_rows(request, |user, vhost| user == wanted_user && vhost == wanted_vhost)
}

/// PUT /api/topic-permissions/:vhost/:user {exchange, write, read}
pub(super) fn put_topic(request: &Request) -> Outcome {
    let (user, vhost) = ends(request)?;
    let fields = request.object()?;
    let permissions = topics_from_fields(&fields)?;
    let exchange = fields.text("exchange")?.unwrap_or_default();
    let key = (user.clone(), vhost.clone(), exchange.clone());
    let is_new = !request.directory.topic_permissions.contains_key(&key);
    change(request, is_new, Change::SetTopicPermissions { user, vhost, exchange, permissions })
}

/// DELETE /api/topic-permissions/:vhost/:user
pub(super) fn delete_topics(request: &Request) -> Outcome {
    let (user, vhost) = ends(request)?;
    let all = request.directory.topic_permissions.keys();
    let changes: Vec<_> = all
        .filter(|(of, within, _)| *of == user && *within == vhost)
        .map(|(user, vhost, exchange)| Change::ClearTopicPermissions {
            user: user.clone(),
            vhost: vhost.clone(),
            exchange: exchange.clone(),
        })
        .collect();
    let engine = &request.node().engine;
    Ok(Answer::done().after(engine.accounts.change(&engine.journal, &changes)))
}

/// DELETE /api/topic-permissions/:vhost/:user/:exchange
pub(super) fn delete_topic(request: &Request) -> Outcome {
    let (user, vhost) = ends(request)?;
    let exchange = request.capture(2).to_owned();
    change(request, false, Change::ClearTopicPermissions { user, vhost, exchange })
}

fn change(request: &Request, is_new: bool, change: Change) -> Outcome {
    let engine = &request.node().engine;
    Ok(Answer::created_or_done(is_new).after(engine.accounts.change(&engine.journal, &[change])))
}
