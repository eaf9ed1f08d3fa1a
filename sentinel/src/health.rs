//! `tercet-sentinel healthcheck`: does the sentinel with these settings answer on its own port?

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use tercet_edge::{dial::Dialer, tls::Tls};
use tercet_proto::resp::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::Config;

/// The whole check; an orchestrator's own timeout is longer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Connects to the RESP port and pings.
///
/// # Errors
/// What did not answer, in one line.
pub async fn check(config: &Config) -> Result<(), String> {
    match ask(config, &[&["PING"]]).await?.into_iter().find(|reply| matches!(reply, Value::Error(_))) {
        None => Ok(()),
        Some(error) => Err(format!("answered {error:?}")),
    }
}

/// Asks the sentinel on its own port: under TLS where the plain one is closed, by the host that its certificate names. The
/// replies, one for each command.
///
/// # Errors
/// What did not answer, in one line.
pub(crate) async fn ask(config: &Config, commands: &[&[&str]]) -> Result<Vec<Value>, String> {
    let host = match config.bind {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let files = config.tls.clone().filter(|_| config.resp_port == 0 && config.resp_tls_port != 0);
    let (host, port, tls) = match files {
        None => (host.to_string(), config.resp_port, None),
        Some(files) => {
            let tls = Tls::load(files).map_err(|error| error.to_string())?;
            (config.announce_host.clone(), config.resp_tls_port, Some(tls))
        }
    };
    let dialer = Dialer { token: None, tls };
    let asked = exchange(&dialer, &host, port, config.password.as_deref(), commands);
    match tokio::time::timeout(TIMEOUT, asked).await {
        Ok(result) => result.map_err(|error| format!("{host}:{port}: {error}")),
        Err(_) => Err(format!("{host}:{port}: no answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn exchange(
    dialer: &Dialer,
    host: &str,
    port: u16,
    password: Option<&str>,
    commands: &[&[&str]],
) -> Result<Vec<Value>, String> {
    let mut stream = dialer.socket(host, port).await.map_err(|error| error.to_string())?;
    let mut request = password.map(|password| Value::command(&["AUTH", password])).unwrap_or_default();
    let logins = usize::from(!request.is_empty());
    let expected = logins + commands.len();
    commands.iter().for_each(|command| request.extend(Value::command(command)));
    stream.write_all(&request).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
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
    let answers = replies.split_off(logins);
    match replies.pop() {
        Some(Value::Error(error)) => Err(format!("{error}: say the sentinel's password with --requirepass")),
        _ => Ok(answers),
    }
}
