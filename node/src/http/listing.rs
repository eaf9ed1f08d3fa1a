//! What lists have in common: filters, order, columns and pages, as RabbitMQ has them.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::answer::{Answer, Error, Outcome};
use super::limits;
use super::request::Request;

/// Answers with a list as the query asks for it.
pub(super) fn list(request: &Request, mut items: Vec<Value>) -> Outcome {
    let total = items.len();
    let page = number(request, "page")?;
    filter(request, &mut items)?;
    if let Some(by) = request.query("sort").filter(|by| !by.is_empty()) {
        items.sort_by(|one, other| compare(field(one, by), field(other, by)));
        if request.query("sort_reverse") == Some("true") {
            items.reverse();
        }
    }
    let body = match page {
        None => Value::Array(items.into_iter().map(|item| columns(request, item)).collect()),
        Some(page) => {
            let size = number(request, "page_size")?.unwrap_or(100);
            if page == 0 || size == 0 || size > limits::PAGE_SIZE {
                return Err(Error::bad(format!(
                    "page_size: 1 to {}, page: 1 or more; the query says page {page} of {size}",
                    limits::PAGE_SIZE
                )));
            }
            let filtered = items.len();
            let pages = filtered.div_ceil(size).max(1);
            if page > pages {
                return Err(Error::bad(format!("page_out_of_range: page {page} of {pages}, size {size}")));
            }
            let shown = items.into_iter().skip((page - 1) * size).take(size);
            let shown: Vec<_> = shown.map(|item| columns(request, item)).collect();
            json!({
                "filtered_count": filtered,
                "item_count": shown.len(),
                "items": shown,
                "page": page,
                "page_count": pages,
                "page_size": size,
                "total_count": total,
            })
        }
    };
    Ok(Answer::json(body))
}

/// Answers with one thing.
pub(super) fn one(request: &Request, item: Value) -> Outcome {
    Ok(Answer::json(columns(request, item)))
}

fn number(request: &Request, name: &str) -> Result<Option<usize>, Error> {
    let parse = |text: &str| text.parse().map_err(|_| Error::bad(format!("{name} is no number: {text:?}")));
    request.query(name).filter(|text| !text.is_empty()).map(parse).transpose()
}

fn filter(request: &Request, items: &mut Vec<Value>) -> Result<(), Error> {
    let Some(name) = request.query("name").filter(|name| !name.is_empty()) else { return Ok(()) };
    let of = |item: &Value| item.get("name").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    if request.query("use_regex") == Some("true") {
        let pattern = regex::RegexBuilder::new(name).size_limit(limits::PATTERN_BYTES).case_insensitive(true).build();
        let pattern = pattern.map_err(|error| Error::bad(format!("invalid_regexp: {error}")))?;
        items.retain(|item| pattern.is_match(&of(item)));
    } else {
        let name = name.to_lowercase();
        items.retain(|item| of(item).contains(&name));
    }
    Ok(())
}

/// A field, perhaps within others: `message_stats.publish_details.rate`.
fn field<'v>(item: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(item, |value, part| value.get(part))
}

/// What is not there comes first, then numbers, then text.
fn compare(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    let rank = |value: Option<&Value>| match value {
        None | Some(Value::Null) => 0,
        Some(Value::Bool(_)) => 1,
        Some(Value::Number(_)) => 2,
        Some(Value::String(_)) => 3,
        Some(Value::Array(_) | Value::Object(_)) => 4,
    };
    match (one, other) {
        (Some(Value::Number(one)), Some(Value::Number(other))) => {
            let (one, other) = (one.as_f64().unwrap_or(0.0), other.as_f64().unwrap_or(0.0));
            one.total_cmp(&other)
        }
        (Some(Value::String(one)), Some(Value::String(other))) => one.cmp(other),
        (Some(Value::Bool(one)), Some(Value::Bool(other))) => one.cmp(other),
        _ => rank(one).cmp(&rank(other)),
    }
}

/// The fields that the query names, or all.
fn columns(request: &Request, item: Value) -> Value {
    let Some(columns) = request.query("columns").filter(|columns| !columns.is_empty()) else { return item };
    let mut picked = Map::new();
    for path in columns.split(',') {
        if let Some(value) = field(&item, path) {
            put(&mut picked, path, value.clone());
        }
    }
    Value::Object(picked)
}

fn put(into: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => _ = into.insert(path.to_owned(), value),
        Some((first, rest)) => {
            let inner = into.entry(first.to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_compared_and_picked_within_others() {
        let item = json!({ "name": "q", "message_stats": { "publish_details": { "rate": 2.5 } }, "x": 1 });
        assert_eq!(field(&item, "message_stats.publish_details.rate"), Some(&json!(2.5)));
        assert_eq!(field(&item, "message_stats.nothing.rate"), None);
        assert_eq!(compare(None, Some(&json!(0))), Ordering::Less);
        assert_eq!(compare(Some(&json!(10)), Some(&json!(9.5))), Ordering::Greater);
        assert_eq!(compare(Some(&json!("a")), Some(&json!("b"))), Ordering::Less);
        let mut picked = Map::new();
        put(&mut picked, "a.b", json!(1));
        put(&mut picked, "a.c", json!(2));
        assert_eq!(Value::Object(picked), json!({ "a": { "b": 1, "c": 2 } }));
    }
}
