//! Requests to a management API: of the node on this machine for the commands of an operator, and of a RabbitMQ for an
//! import.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tercet_edge::socket::Socket;
use tercet_edge::tls::Tls;
use tercet_edge::tls::outside::Outside;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::accounts::INITIAL_AMQP_USER;
use crate::config::Config;

/// How long an answer may take: definitions of a large broker are many.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read.
const MOST_BYTES: u64 = 64 << 20;

/// An API, and as whom it is asked.
#[derive(Debug)]
pub(crate) struct Api {
    runtime: Runtime,
    /// None: plain connections.
    tls: Option<Outside>,
    host: String,
    port: u16,
    login: String,
}

impl Api {
    /// The node with these settings, as `guest` with the password of the settings: under TLS where the plain port is closed,
    /// by the host that its certificate names.
    pub(crate) fn of_node(config: &Config) -> Result<Self, String> {
        let password = if config.requirepass.is_empty() { INITIAL_AMQP_USER } else { &config.requirepass };
        let host = if config.bind.is_unspecified() { [127, 0, 0, 1].into() } else { config.bind };
        let files = config.tls_files().filter(|_| config.http_port == 0 && config.http_tls_port != 0);
        let Some(files) = files else {
            return Self::at(&host.to_string(), config.http_port, None, INITIAL_AMQP_USER, password);
        };
        let tls = Tls::load(files).and_then(|tls| Outside::of(&tls)).map_err(|error| error.to_string())?;
        Self::at(&config.announced_host(), config.http_tls_port, Some(tls), INITIAL_AMQP_USER, password)
    }

    pub(crate) fn at(host: &str, port: u16, tls: Option<Outside>, user: &str, password: &str) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
        let login = STANDARD.encode(format!("{user}:{password}"));
        Ok(Self { runtime, tls, host: host.to_owned(), port, login })
    }

    /// The answer to GET below `/api/`.
    pub(crate) fn get(&self, path: &str) -> Result<Value, String> {
        self.ask("GET", path, None)
    }

    /// Sends JSON with `method`; null where the answer has no body.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        self.ask(method, path, Some(body.to_string()))
    }

    fn ask(&self, method: &str, path: &str, body: Option<String>) -> Result<Value, String> {
        let (host, port, body) = (&self.host, self.port, body.unwrap_or_default());
        let request = format!(
            "{method} /api/{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Basic {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.login,
            body.len(),
        );
        let ask = async {
            let mut stream = match &self.tls {
                None => Socket::plain(TcpStream::connect((host.as_str(), port)).await?, None)?,
                Some(tls) => tls.connect(host, port).await?,
            };
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await?;
            let mut answer = Vec::new();
            match stream.take(MOST_BYTES).read_to_end(&mut answer).await {
                // A server may end TLS without saying so; whether the answer is whole is seen as it is parsed.
                Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
                _ => std::io::Result::Ok(answer),
            }
        };
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, ask).await });
        let answer = answer.map_err(|_| format!("nobody answers {method} {path} on {host}:{port}"))?;
        let answer = answer.map_err(|error| format!("no management API answers on {host}:{port}: {error}"))?;
        parse(&answer).map_err(|reason| format!("{host}:{port} answers to {method} {path}: {reason}"))
    }
}

fn parse(answer: &[u8]) -> Result<Value, String> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n").ok_or("what is no HTTP")?;
    let (head, body) = (String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase(), &answer[end + 4..]);
    let body = if head.contains("transfer-encoding: chunked") { whole(body) } else { body.to_vec() };
    let value = || serde_json::from_slice::<Value>(&body).map_err(|_| "what is no JSON".to_owned());
    match head.split(' ').nth(1).unwrap_or_default() {
        "200" => value(),
        "201" | "204" => Ok(Value::Null),
        "401" => Err("wrong user or password, or the user may not do this (--requirepass says guest's)".to_owned()),
        status => {
            let reason = value().ok().and_then(|value| value["reason"].as_str().map(str::to_owned));
            Err(reason.map_or_else(|| status.to_owned(), |reason| format!("{status}, {reason}")))
        }
    }
}

/// A body that came in chunks.
fn whole(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
        let from = end + 2;
        match size.and_then(|size| Some((size, rest.get(from..from.checked_add(size)?)?))) {
            Some((size, chunk)) if size > 0 => {
                body.extend_from_slice(chunk);
                rest = rest.get(from + size + 2..).unwrap_or_default();
            }
            _ => break,
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_its_json_or_what_is_wrong() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\na: b\r\n\r\n[1]"), Ok(json!([1])));
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n"), Ok(Value::Null));
        assert!(parse(b"HTTP/1.1 401 Unauthorized\r\n\r\n{}").unwrap_err().contains("--requirepass"));
        assert_eq!(parse(b"HTTP/1.1 400 x\r\n\r\n{\"reason\":\"so\"}"), Err("400, so".to_owned()));
        assert_eq!(parse(b"-ERR x\r\n"), Err("what is no HTTP".to_owned()));
    }

    #[test]
    fn chunks_are_one_body() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n";
        assert_eq!(parse(answer), Ok(json!([1, 2])));
        assert!(parse(&answer[..answer.len() - 12]).is_err(), "cut off");
    }
}
