//! `tercet-sentinel healthcheck`: does the sentinel with these settings answer on its own port?

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tercet_proto::resp::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::config::Config;

/// The whole check; an orchestrator's own timeout is longer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Connects to the RESP port and pings.
///
/// # Errors
/// What did not answer, in one line.
pub async fn check(config: &Config) -> Result<(), String> {
    let host = match config.bind {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let address = SocketAddr::new(host, config.resp_port);
    match tokio::time::timeout(TIMEOUT, ping(address, config.password.as_deref())).await {
        Ok(result) => result.map_err(|error| format!("{address}: {error}")),
        Err(_) => Err(format!("{address}: no answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn ping(address: SocketAddr, password: Option<&str>) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let mut request = password.map(|password| Value::command(&["AUTH", password])).unwrap_or_default();
    let expected = 1 + usize::from(!request.is_empty());
    request.extend(Value::command(&["PING"]));
    stream.write_all(&request).await.map_err(|error| error.to_string())?;
    let (mut buffer, mut replies, mut at) = (Vec::new(), Vec::new(), 0);
    while replies.len() < expected {
        if stream.read_buf(&mut buffer).await.map_err(|error| error.to_string())? == 0 {
            return Err("the connection was closed".into());
        }
        while let Some((value, used)) = Value::decode(&buffer[at..]).map_err(|error| error.to_string())? {
            at += used;
            replies.push(value);
        }
    }
    match replies.into_iter().find(|reply| matches!(reply, Value::Error(_))) {
        None => Ok(()),
        Some(error) => Err(format!("answered {error:?}")),
    }
}
