//! A request to a replica is asked of the master, so that any node's port will do.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header, request};
use bytes::Bytes;
use tercet_edge::dial::Dialer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::answer::Error;
use super::limits;
use super::shared::Http;

/// Says who asked. One that carries it is never passed on again.
const FORWARDED: &str = "x-tercet-forwarded";

/// What of a request the master needs.
const PASSED: [HeaderName; 5] =
    [header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT, header::ORIGIN, header::HOST];

/// Asks the master, and passes its answer on.
pub(super) async fn to_master(
    http: &Http,
    peer: SocketAddr,
    parts: &request::Parts,
    body: Bytes,
) -> Result<Response<Body>, Error> {
    let unavailable = |reason: &str| Error::Unavailable(reason.to_owned());
    if parts.headers.contains_key(FORWARDED) {
        return Err(unavailable("two nodes take each other for the master"));
    }
    let master = http.node.other_master().and_then(|master| master.http);
    let master = master.filter(|master| master.port != 0).ok_or_else(|| unavailable("there is no master now"))?;
    let port = u16::try_from(master.port).map_err(|_| unavailable("the master has no port of this kind"))?;
    // Under TLS where the plain port is closed, here and there.
    let carrier = http.node.carrier(http.node.config.http_port);
    let asked = timeout(limits::FORWARD_WAIT, ask(&carrier, (&master.host, port), peer, parts, &body));
    match asked.await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(Error::Unavailable(format!("the master does not answer: {error}"))),
        Err(_) => Err(unavailable("the master does not answer")),
    }
}

async fn ask(
    carrier: &Dialer,
    master: (&str, u16),
    peer: SocketAddr,
    parts: &request::Parts,
    body: &Bytes,
) -> std::io::Result<Response<Body>> {
    let mut stream = timeout(crate::limits::CONNECT_TIMEOUT, carrier.socket(master.0, master.1)).await??;
    let mut head = Vec::with_capacity(512);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    head.extend_from_slice(format!("{} {path} HTTP/1.1\r\n", parts.method).as_bytes());
    let mut put = |name: &str, value: &[u8]| {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    for name in &PASSED {
        if let Some(value) = parts.headers.get(name) {
            put(name.as_str(), value.as_bytes());
        }
    }
    if !parts.headers.contains_key(header::HOST) {
        put("host", b"tercet");
    }
    if let Some(value) = parts.headers.get(super::auth::PAGE_HEADER) {
        put(super::auth::PAGE_HEADER, value.as_bytes());
    }
    if let Some(value) = parts.headers.get("x-reason") {
        put("x-reason", value.as_bytes());
    }
    put(FORWARDED, peer.ip().to_string().as_bytes());
    put("connection", b"close");
    put("content-length", body.len().to_string().as_bytes());
    head.extend_from_slice(b"\r\n");
    stream.write_all(&head).await?;
    stream.write_all(body).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let most = limits::FORWARD_BYTES as u64;
    (&mut stream).take(most).read_to_end(&mut answer).await?;
    parse(&answer).ok_or_else(|| std::io::Error::other("no HTTP answer"))
}

/// An answer that is whole, because its connection has been closed.
fn parse(answer: &[u8]) -> Option<Response<Body>> {
    let end = memchr::memmem::find(answer.get(..answer.len().min(limits::FORWARD_HEAD_BYTES))?, b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_bytes(status.as_bytes()).ok()?;
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let (name, value) = (HeaderName::from_bytes(name.as_bytes()).ok()?, value.trim());
        if name == header::CONTENT_LENGTH {
            length = Some(value.parse::<usize>().ok()?);
        } else if matches!(
            name,
            header::CONTENT_TYPE
                | header::LOCATION
                | header::WWW_AUTHENTICATE
                | header::ALLOW
                | header::CONTENT_DISPOSITION
        ) {
            response.headers_mut().insert(name, HeaderValue::from_str(value).ok()?);
        } else if name == header::TRANSFER_ENCODING {
            // Our own server knows the length of everything that it answers.
            return None;
        }
    }
    let body = answer.get(end + 4..)?;
    let is_whole = length.is_none_or(|length| length == body.len());
    if !is_whole {
        return None;
    }
    *response.body_mut() = Body::from(body.to_vec());
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_passed_on_whole_or_not_at_all() {
        let text = b"HTTP/1.1 201 Created\r\nlocation: q/~\r\nserver: x\r\ncontent-length: 2\r\n\r\nok";
        let response = parse(text).unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers().get("location").unwrap(), "q/~");
        assert!(response.headers().get("server").is_none());
        assert!(parse(&text[..text.len() - 1]).is_none(), "cut off");
        assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").is_none());
        assert!(parse(b"garbage").is_none());
    }
}
