//! Who asks: HTTP Basic over the accounts. No cookie is ever set, so a page of another site has nothing to ride on; one
//! that makes the browser send what it remembers of a login dialog is recognised by what the browser says of it.

use axum::http::{HeaderMap, Method, header, request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answer::Answer;
use super::answer::{Error, Outcome};
use super::request::Request;
use super::shared::Http;
use crate::accounts::{Origin, Tag, User};

/// The page sends it, and asks for the password itself: the browser's own dialog would remember it.
pub(super) const PAGE_HEADER: &str = "x-tercet-page";

/// The user of a request, who has `tag`.
pub(super) fn user(http: &Http, headers: &HeaderMap, origin: Origin, tag: Tag) -> Result<User, Error> {
    let (name, password) = credentials(headers).ok_or(Error::Login)?;
    let directory = http.node.engine.accounts.directory();
    let setting = http.node.requirepass();
    let checked = directory.check_password(setting.as_ref(), &name, &password, origin);
    http.attempts.count(&name, checked.is_ok());
    let user = checked.map_err(|refused| {
        tracing::info!(user = %String::from_utf8_lossy(&name), %refused, "HTTP login refused");
        Error::Login
    })?;
    if user.is(tag) {
        return Ok(user.clone());
    }
    Err(Error::NotAllowed(match tag {
        Tag::Management => "Not management user",
        Tag::PolicyMaker => "Not policymaker user",
        Tag::Monitoring => "Not monitor user",
        Tag::Administrator => "Not administrator user",
    }))
}

fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some((decoded.get(..colon)?.to_vec(), decoded.get(colon + 1..)?.to_vec()))
}

/// Refuses what a page of another site makes the browser send. Tools send neither header.
pub(super) fn check_same_site(parts: &request::Parts) -> Result<(), Error> {
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let text = |name| parts.headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site")
        && !matches!(site, "same-origin" | "none")
    {
        return Err(Error::OtherSite);
    }
    if let Some(origin) = text("origin") {
        let host = origin.split_once("://").map(|(_, host)| host);
        if host.is_none() || host != text("host") {
            return Err(Error::OtherSite);
        }
    }
    Ok(())
}

/// GET /api/whoami
pub(super) fn whoami(request: &Request) -> Outcome {
    let mut body = json!({ "name": request.user.name, "tags": request.user.tags });
    if let Value::Object(map) = &mut body {
        map.insert("is_internal_user".to_owned(), Value::Bool(true));
    }
    Ok(Answer::json(body))
}

/// GET /api/auth: how the page logs in, for whoever asks.
pub(super) fn settings(_: &Request) -> Outcome {
    Ok(Answer::json(json!({ "enable_uaa": false, "oauth_enabled": false, "uaa_client_id": "", "uaa_location": "" })))
}

/// GET /api/auth/attempts/:node and …/source
pub(super) fn attempts(request: &Request) -> Outcome {
    if request.capture(0) != super::json::node_name(request.node()) {
        return Err(Error::NotFound);
    }
    let counts = request.http.attempts.counts.lock().clone();
    let of = |protocol: &str, failed: u64, succeeded: u64| {
        json!({
            "protocol": protocol,
            "auth_attempts": failed + succeeded,
            "auth_attempts_failed": failed,
            "auth_attempts_succeeded": succeeded,
        })
    };
    let list = match request.captures.get(1) {
        None => vec![of("http", counts.failed, counts.succeeded)],
        Some(_) => counts
            .by_user
            .iter()
            .map(|(user, failed)| {
                let mut row = of("http", *failed, 0);
                row["username"] = json!(user);
                row
            })
            .collect(),
    };
    Ok(Answer::json(Value::Array(list)))
}

/// GET /api/auth/hash_password/:password
pub(super) fn hash_password(request: &Request) -> Outcome {
    let hash = crate::accounts::SaltedHash::new(request.capture(0).as_bytes(), rand::random());
    Ok(Answer::json(json!({ "ok": STANDARD.encode(hash.bytes) })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: Method, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = axum::http::Request::builder().method(method).uri("/api/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let refused = |headers: &[(&str, &str)]| check_same_site(&parts(Method::POST, headers)).is_err();
        assert!(!refused(&[("host", "a:15672")]), "a tool");
        assert!(!refused(&[("host", "a:15672"), ("origin", "http://a:15672"), ("sec-fetch-site", "same-origin")]));
        assert!(refused(&[("host", "a:15672"), ("origin", "http://evil")]));
        assert!(refused(&[("host", "a:15672"), ("origin", "null")]));
        assert!(refused(&[("host", "a:15672"), ("sec-fetch-site", "cross-site")]));
        assert!(check_same_site(&parts(Method::GET, &[("origin", "http://evil")])).is_ok());
    }

    #[test]
    fn basic_credentials_may_have_colons_in_the_password() {
        let with = |value: &str| credentials(&parts(Method::GET, &[("authorization", value)]).headers);
        let encoded = STANDARD.encode("anna:a:b");
        assert_eq!(with(&format!("Basic {encoded}")), Some((b"anna".to_vec(), b"a:b".to_vec())));
        assert_eq!(with(&format!("bAsIc {encoded}")), Some((b"anna".to_vec(), b"a:b".to_vec())));
        assert_eq!(with(&format!("Bearer {encoded}")), None);
        assert_eq!(with("Basic !!"), None);
    }
}
