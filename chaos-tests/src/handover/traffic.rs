//! The clients: each counts a key of its own up, one request after the other, and looks at every answer. A count that was
//! done twice or not at all is an error, as is whatever is not an answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tercet_proto::resp::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::pauses::Record;
use crate::client::resp::{Connection, Error};

/// Between two requests, so that sixteen clients and their cluster fit on a small machine.
const PACE: Duration = Duration::from_millis(1);
/// An answer that takes longer has not come.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) struct Client {
    key: String,
    master: watch::Receiver<SocketAddr>,
    password: Option<String>,
}

impl Client {
    /// Knows one address for ever.
    pub(super) fn plain(index: usize, master: SocketAddr, password: Option<String>) -> Self {
        Self { key: format!("count:{index}"), master: watch::channel(master).1, password }
    }

    /// Goes to another master, between two requests, when the sentinels say so.
    pub(super) fn aware(index: usize, master: watch::Receiver<SocketAddr>, password: Option<String>) -> Self {
        Self { key: format!("count:{index}"), master, password }
    }

    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) -> Record {
        let mut record = Record::default();
        let mut count = 0;
        while !*stop.borrow() {
            if let Err(error) = self.serve(&mut count, &mut record, &stop).await {
                record.errors.push(format!("{} after {} answers: {error}", self.key, record.answers.len()));
                if record.errors.len() >= 10 {
                    break;
                }
                // The fate of a request is unknown: the next answer tells where the count stands.
                count = -1;
                sleep(PACE).await;
            }
        }
        record
    }

    /// One connection, until the master moves or something goes wrong.
    async fn serve(&mut self, count: &mut i64, record: &mut Record, stop: &watch::Receiver<bool>) -> Result<(), Error> {
        let address = *self.master.borrow_and_update();
        let mut connection = Connection::open(address, LIMIT).await?;
        connection.authenticate(self.password.as_deref()).await?;
        while !*stop.borrow() && !self.master.has_changed().unwrap_or(false) {
            for (command, step) in [("INCR", 1), ("GET", 0)] {
                let number = match connection.command(&[command, &self.key]).await? {
                    Value::Integer(number) => number,
                    Value::Bulk(bytes) => std::str::from_utf8(&bytes).ok().and_then(|t| t.parse().ok()).unwrap_or(-1),
                    other => return Err(Error::Unexpected(other)),
                };
                if *count >= 0 && number != *count + step {
                    return Err(Error::Unexpected(Value::Integer(number)));
                }
                *count = number;
                record.answers.push(Instant::now());
                sleep(PACE).await;
            }
        }
        Ok(())
    }
}

/// The master's address, as a sentinel publishes it.
pub(super) fn listen(sentinel: SocketAddr, master: SocketAddr) -> watch::Receiver<SocketAddr> {
    let (tell, told) = watch::channel(master);
    tokio::spawn(async move {
        while !tell.is_closed() {
            // A sentinel that closes is asked again; no sentinel ends in this drill.
            _ = subscribe(sentinel, &tell).await;
            sleep(Duration::from_millis(50)).await;
        }
    });
    told
}

async fn subscribe(sentinel: SocketAddr, tell: &watch::Sender<SocketAddr>) -> Result<(), Error> {
    let mut stream = TcpStream::connect(sentinel).await?;
    stream.write_all(&Value::command(&["SUBSCRIBE", "+switch-master"])).await?;
    let mut received = Vec::new();
    loop {
        while let Some((message, used)) = Value::decode(&received)? {
            received.drain(..used);
            let Value::Array(parts) = message else { continue };
            let text = parts.get(2).and_then(Value::as_text).unwrap_or_default().into_owned();
            // "name old-host old-port host port"
            if let [_, _, _, host, port] = text.split(' ').collect::<Vec<_>>()[..]
                && let Ok(address) = format!("{host}:{port}").parse()
            {
                tell.send_replace(address);
            }
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Err(Error::Closed);
        }
    }
}
