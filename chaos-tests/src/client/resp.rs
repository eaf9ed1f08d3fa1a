//! One RESP connection, with a limit on every wait.

use std::net::SocketAddr;
use std::time::Duration;

use tercet_proto::resp::{Value, ValueError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a client library recommends for a silent host death: `facts` of every client with sentinels.
pub const SOCKET_TIMEOUT: Duration = Duration::from_millis(300);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection was closed")]
    Closed,
    #[error("{0}")]
    NotResp(#[from] ValueError),
    #[error("unexpected reply {0:?}")]
    Unexpected(Value),
}

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    limit: Duration,
}

impl Connection {
    /// # Errors
    /// Nobody accepts within `limit`, which also bounds every later wait.
    pub async fn open(address: SocketAddr, limit: Duration) -> Result<Self, Error> {
        let stream = timeout(limit, TcpStream::connect(address)).await.map_err(|_| Error::TimedOut)??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new(), limit })
    }

    /// Authenticates, if there is a password.
    ///
    /// # Errors
    /// The password is wrong, or the connection fails.
    pub async fn authenticate(&mut self, password: Option<&str>) -> Result<(), Error> {
        let Some(password) = password else { return Ok(()) };
        match self.command(&["AUTH", password]).await? {
            Value::Simple(_) => Ok(()),
            other => Err(Error::Unexpected(other)),
        }
    }

    /// Sends one command and waits for its reply; an error reply is a value.
    ///
    /// # Errors
    /// The fate of the command is unknown: no reply in time, or none that can be read.
    pub async fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Value, Error> {
        let bytes = Value::command(args);
        timeout(self.limit, async {
            self.stream.write_all(&bytes).await?;
            self.reply().await
        })
        .await
        .map_err(|_| Error::TimedOut)?
    }

    /// Sends many commands at once and collects their replies, each within the limit.
    ///
    /// # Errors
    /// As of `command`.
    pub async fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[Vec<A>]) -> Result<Vec<Value>, Error> {
        /// So many replies fit into socket buffers that nobody waits for anybody.
        const AT_ONCE: usize = 64;
        let mut replies = Vec::with_capacity(commands.len());
        for some in commands.chunks(AT_ONCE) {
            let bytes: Vec<u8> = some.iter().flat_map(|command| Value::command(command)).collect();
            timeout(self.limit, self.stream.write_all(&bytes)).await.map_err(|_| Error::TimedOut)??;
            for _ in some {
                replies.push(timeout(self.limit, self.reply()).await.map_err(|_| Error::TimedOut)??);
            }
        }
        Ok(replies)
    }

    /// INFO of one section, as lines of `field:value`.
    ///
    /// # Errors
    /// As of `command`, or the reply is no text.
    pub async fn info(&mut self, section: &str) -> Result<Info, Error> {
        match self.command(&["INFO", section]).await? {
            Value::Bulk(bytes) => Ok(Info(String::from_utf8_lossy(&bytes).into_owned())),
            other => Err(Error::Unexpected(other)),
        }
    }

    async fn reply(&mut self) -> Result<Value, Error> {
        loop {
            if let Some((value, used)) = Value::decode(&self.received)? {
                self.received.drain(..used);
                return Ok(value);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(Error::Closed);
            }
        }
    }
}

/// The text of INFO.
#[derive(Debug, Clone)]
pub struct Info(String);

impl Info {
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let info = Info("# Replication\r\nrole:slave\r\nmaster_link_status:up\r\nmaster_link:7\r\n".to_owned());
        assert_eq!(info.field("role"), Some("slave"));
        assert_eq!(info.number("master_link"), Some(7));
        assert_eq!(info.field("link"), None);
    }
}
