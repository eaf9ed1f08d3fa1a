//! The files of the page: they are in the binary.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};

/// Path, type and content.
type File = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal $kind:ident),* $(,)?) => {
        &[$((concat!("/", $name), $kind, include_bytes!(concat!("page/", $name))),)*]
    };
}

const FILES: &[File] = files! {
    "index.html" HTML,
    "style.css" CSS,
    "icon.svg" SVG,
    "app.js" JS,
    "api.js" JS,
    "dom.js" JS,
    "chart.js" JS,
    "table.js" JS,
    "overview.js" JS,
    "cluster.js" JS,
    "queues.js" JS,
    "cache.js" JS,
    "keys.js" JS,
    "streams.js" JS,
    "exchanges.js" JS,
    "connections.js" JS,
    "admin.js" JS,
};

/// A file of the page.
pub(super) fn file(path: &str, headers: &HeaderMap) -> Response<Body> {
    let path = if path == "/" { "/index.html" } else { path };
    let Some((_, kind, content)) = FILES.iter().find(|(name, ..)| *name == path) else {
        let mut response = Response::new(Body::from("Not Found"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let tag = format!("\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(content));
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = Response::new(if is_known { Body::empty() } else { Body::from(*content) });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_nobody_else_for_anything() {
        for (name, _, content) in FILES {
            let text = std::str::from_utf8(content).unwrap();
            for address in ["https://", "http://", "//cdn"] {
                let is_namespace = |line: &str| line.contains("http://www.w3.org/");
                assert!(text.lines().all(|line| !line.contains(address) || is_namespace(line)), "{name}: {address}");
            }
            assert!(!text.contains("innerHTML"), "{name}: text of users becomes no markup");
        }
    }

    #[test]
    fn every_file_that_is_imported_is_there() {
        for (name, _, content) in FILES.iter().filter(|(_, kind, _)| *kind == JS) {
            for line in std::str::from_utf8(content).unwrap().lines().filter(|line| line.starts_with("import ")) {
                let from = line.rsplit('"').nth(1).unwrap_or_default().trim_start_matches('.');
                assert!(FILES.iter().any(|(other, ..)| *other == from), "{name}: {line}");
            }
        }
    }
}
