//! /api/users and /api/user-limits

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answer::{Answer, Error, Outcome};
use super::listing;
use super::request::{Object, Request};
use super::vhosts::words;
use crate::accounts::{Algorithm, Change, Credentials, SaltedHash, User};

/// GET /api/users
pub(super) fn list(request: &Request) -> Outcome {
    listing::list(request, request.directory.users.values().map(described).collect())
}

/// GET /api/users/without-permissions
pub(super) fn without_permissions(request: &Request) -> Outcome {
    let directory = &request.directory;
    let has_any = |user: &User| directory.permissions.keys().any(|(name, _)| *name == user.name);
    listing::list(request, directory.users.values().filter(|user| !has_any(user)).map(described).collect())
}

/// GET /api/users/:name
pub(super) fn show(request: &Request) -> Outcome {
    let user = request.directory.users.get(request.capture(0)).ok_or(Error::NotFound)?;
    listing::one(request, described(user))
}

/// A user as RabbitMQ shows and exports it, with the rules of RESP besides.
pub(super) fn described(user: &User) -> Value {
    let salted = user.credentials.salted.as_ref();
    let rules: Vec<_> = user.rules.iter().map(|rule| String::from_utf8_lossy(rule)).collect();
    json!({
        "name": user.name,
        "password_hash": salted.map_or_else(String::new, |hash| STANDARD.encode(&hash.bytes)),
        "hashing_algorithm": salted.map_or(Algorithm::Sha256, |hash| hash.algorithm).name(),
        "tags": user.tags,
        "limits": limits_value(user),
        "redis_acl": rules.join(" "),
        "redis_passwords": user.credentials.sha256.iter().map(hex).collect::<Vec<_>>(),
        "password_of_setting": user.credentials.of_setting,
    })
}

/// The user that the fields make of the one that there was. `must_have_password` is what RabbitMQ asks for; it may be
/// empty.
///
/// # Errors
/// There is no password, or a hash that is none.
pub(super) fn from_fields(name: &str, before: Option<&User>, fields: &Object) -> Result<User, Error> {
    let mut user = before.cloned().unwrap_or_else(|| User::new(name));
    if fields.get("tags").is_none() {
        return Err(Error::bad("tags_not_present"));
    }
    user.tags = words(fields.get("tags"));
    if let Some(hash) = fields.text("password_hash")? {
        user.credentials = if hash.is_empty() { Credentials::default() } else { credentials(&hash, fields)? };
    } else if let Some(password) = fields.text("password")? {
        if password.is_empty() {
            user.credentials = Credentials::default();
        } else {
            user.set_password(password.as_bytes(), rand::random());
        }
    } else if fields.get("password_hash").is_none() && before.is_some() {
        // RabbitMQ: a user without a password in the request has none afterwards.
        user.credentials = Credentials::default();
    }
    // What only our own exports have: RabbitMQ knows neither Redis's digests nor a password of the settings.
    for digest in words(fields.get("redis_passwords")) {
        let digest = digest_of(&digest).ok_or_else(|| Error::bad("redis_passwords are SHA-256 in hex"))?;
        if !user.credentials.sha256.contains(&digest) {
            user.credentials.sha256.push(digest);
        }
    }
    user.credentials.of_setting = fields.flag("password_of_setting")?;
    if let Some(Value::Object(limits)) = fields.get("limits") {
        for (limit, value) in limits {
            set_limit_of(&mut user, limit, value)?;
        }
    }
    if let Some(rules) = fields.text("redis_acl")? {
        user.rules = rules.split_whitespace().map(|rule| rule.as_bytes().to_vec()).collect();
    }
    Ok(user)
}

fn hex(digest: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}

fn digest_of(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    bytes.try_into().ok()
}

fn credentials(hash: &str, fields: &Object) -> Result<Credentials, Error> {
    let algorithm = fields.text("hashing_algorithm")?;
    let algorithm = match algorithm.as_deref() {
        None => Algorithm::Sha256,
        Some(name) => Algorithm::from_name(name)
            .ok_or_else(|| Error::bad(format!("hashing algorithm '{name}' is not supported")))?,
    };
    let bytes = STANDARD.decode(hash).map_err(|_| Error::bad("password_hash is no base64"))?;
    let salted = SaltedHash::from_bytes(algorithm, bytes)
        .ok_or_else(|| Error::bad("password_hash has not the length that its algorithm makes"))?;
    Ok(Credentials { salted: Some(salted), ..Credentials::default() })
}

/// PUT /api/users/:name {password or password_hash, tags, hashing_algorithm}
pub(super) fn put(request: &Request) -> Outcome {
    let name = request.name(0)?;
    if name.is_empty() {
        return Err(Error::bad("a user has a name"));
    }
    let before = request.directory.users.get(name.as_str());
    let user = from_fields(&name, before, &request.object()?)?;
    let engine = &request.node().engine;
    let offset = engine.accounts.change(&engine.journal, &[Change::SetUser(user)]);
    Ok(Answer::created_or_done(before.is_none()).after(offset))
}

/// DELETE /api/users/:name
pub(super) fn delete(request: &Request) -> Outcome {
    let name = request.capture(0).to_owned();
    if !request.directory.users.contains_key(&name) {
        return Err(Error::NotFound);
    }
    let engine = &request.node().engine;
    Ok(Answer::done().after(engine.accounts.change(&engine.journal, &[Change::DeleteUser { name }])))
}

/// POST /api/users/bulk-delete {users: [name, ...]}
pub(super) fn delete_many(request: &Request) -> Outcome {
    let fields = request.object()?;
    fields.require(&["users"])?;
    let names = words(fields.get("users"));
    let changes: Vec<_> = names.into_iter().map(|name| Change::DeleteUser { name }).collect();
    let engine = &request.node().engine;
    Ok(Answer::done().after(engine.accounts.change(&engine.journal, &changes)))
}

fn limits_value(user: &User) -> Value {
    let mut limits = json!({});
    if let Some(most) = user.limits.max_connections {
        limits["max-connections"] = json!(most);
    }
    if let Some(most) = user.limits.max_channels {
        limits["max-channels"] = json!(most);
    }
    limits
}

fn set_limit_of(user: &mut User, limit: &str, value: &Value) -> Result<(), Error> {
    let number = super::request::integer(value).ok_or_else(|| Error::bad("a limit is a whole number"))?;
    // Below zero: no limit.
    let most = u64::try_from(number).ok();
    match limit {
        "max-connections" => user.limits.max_connections = most,
        "max-channels" => user.limits.max_channels = most,
        other => return Err(Error::bad(format!("unrecognised limit '{other}'"))),
    }
    Ok(())
}

fn limits_row(user: &User) -> Value {
    json!({ "user": user.name, "value": limits_value(user) })
}

/// GET /api/user-limits
pub(super) fn limits(request: &Request) -> Outcome {
    let has_any = |user: &&User| user.limits != crate::accounts::UserLimits::default();
    listing::list(request, request.directory.users.values().filter(has_any).map(limits_row).collect())
}

/// GET /api/user-limits/:name
pub(super) fn limits_of(request: &Request) -> Outcome {
    let user = request.directory.users.get(request.capture(0)).ok_or(Error::NotFound)?;
    listing::list(request, vec![limits_row(user)])
}

/// PUT /api/user-limits/:name/:limit {value}
pub(super) fn set_limit(request: &Request) -> Outcome {
    let fields = request.object()?;
    fields.require(&["value"])?;
    let value = fields.get("value").cloned().unwrap_or_default();
    change_limit(request, &value)
}

/// DELETE /api/user-limits/:name/:limit
pub(super) fn clear_limit(request: &Request) -> Outcome {
    change_limit(request, &json!(-1))
}

fn change_limit(request: &Request, value: &Value) -> Outcome {
    let mut user = request.directory.users.get(request.capture(0)).cloned().ok_or(Error::NotFound)?;
    set_limit_of(&mut user, request.capture(1), value)?;
    let engine = &request.node().engine;
    Ok(Answer::done().after(engine.accounts.change(&engine.journal, &[Change::SetUser(user)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Object {
        Object(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_user_of_rabbitmq_logs_in_with_its_hash_and_one_with_a_password_everywhere() {
        let hash = STANDARD.encode(&SaltedHash::new(b"pw", [1, 2, 3, 4]).bytes);
        let text = json!({ "password_hash": hash, "tags": ["monitoring"] }).to_string();
        let user = from_fields("a", None, &fields(&text)).unwrap();
        assert!(user.credentials.salted.unwrap().matches(b"pw") && user.credentials.sha256.is_empty());
        let user = from_fields("a", None, &fields(r#"{"password":"pw","tags":"administrator, x"}"#)).unwrap();
        assert_eq!(user.tags, ["administrator", "x"]);
        assert!(!user.credentials.sha256.is_empty());
        assert!(from_fields("a", None, &fields(r#"{"password":"pw"}"#)).is_err(), "RabbitMQ asks for tags");
        assert!(from_fields("a", None, &fields(r#"{"password_hash":"AAAA","tags":""}"#)).is_err());
        let md5 = r#"{"password_hash":"AAAA","tags":"","hashing_algorithm":"rabbit_password_hashing_md5"}"#;
        assert!(from_fields("a", None, &fields(md5)).is_err());
    }

    #[test]
    fn an_exported_user_is_imported_as_it_was() {
        let mut redis = User::new("r");
        redis.credentials.sha256 = vec![crate::accounts::sha256(b"pw")];
        redis.rules = vec![b"on".to_vec(), b"~*".to_vec()];
        let initial = crate::accounts::Directory::default();
        for user in initial.users.values().chain([&redis]) {
            let exported = fields(&described(user).to_string());
            assert_eq!(from_fields(&user.name, None, &exported).unwrap(), *user);
        }
    }
}
