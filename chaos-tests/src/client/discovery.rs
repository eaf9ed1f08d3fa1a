//! How a good client finds the master: asks the sentinels, connects, and believes ROLE.

use std::net::SocketAddr;
use std::time::Duration;

use tercet_proto::resp::Value;

use super::resp::{Connection, Error as RespError, SOCKET_TIMEOUT};

/// A sentinel answers from memory; one that does not within this is passed over.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(100);

/// The sentinels of one service, the one that answered last in front.
#[derive(Debug, Clone)]
pub struct Sentinels {
    addresses: Vec<SocketAddr>,
    service: String,
    password: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no sentinel names a master")]
    NoMaster,
    #[error("{address} is {role}, not master")]
    NotMaster { address: SocketAddr, role: String },
    #[error("{0}")]
    Resp(#[from] RespError),
}

/// A connection to a node that said that it is master, and which mastership that was.
#[derive(Debug)]
pub struct Master {
    pub connection: Connection,
    pub tenure: Tenure,
}

/// One mastership of one process. A process that is master twice has two of them if it tells its epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenure {
    pub address: SocketAddr,
    pub run_id: String,
    pub epoch: Option<u64>,
}

impl Sentinels {
    #[must_use]
    pub fn new(addresses: Vec<SocketAddr>, service: &str, password: Option<String>) -> Self {
        Self { addresses, service: service.to_owned(), password }
    }

    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The master's address in the view of the first sentinel that knows one.
    ///
    /// # Errors
    /// None does.
    pub async fn resolve(&mut self) -> Result<SocketAddr, Error> {
        for index in 0..self.addresses.len() {
            if let Ok(Some(address)) = self.ask(self.addresses[index]).await {
                self.addresses.swap(0, index);
                return Ok(address);
            }
        }
        Err(Error::NoMaster)
    }

    /// What one sentinel says.
    ///
    /// # Errors
    /// It does not answer, or not in the protocol's way.
    pub async fn ask(&self, sentinel: SocketAddr) -> Result<Option<SocketAddr>, RespError> {
        let mut connection = Connection::open(sentinel, SENTINEL_TIMEOUT).await?;
        match connection.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.service]).await? {
            Value::Null => Ok(None),
            Value::Array(parts) => {
                let words: Vec<_> = parts.iter().filter_map(Value::as_text).collect();
                let address = words.join(":").parse();
                address.map(Some).map_err(|_| RespError::Unexpected(Value::Array(parts)))
            }
            other => Err(RespError::Unexpected(other)),
        }
    }

    /// Connects to the master. After a failure the next attempt begins at another sentinel, so that one that is behind
    /// does not hold us up.
    ///
    /// # Errors
    /// There is none at the moment.
    pub async fn connect(&mut self) -> Result<Master, Error> {
        let result = self.try_connect().await;
        if result.is_err() {
            self.addresses.rotate_left(1);
        }
        result
    }

    async fn try_connect(&mut self) -> Result<Master, Error> {
        let address = self.resolve().await?;
        let mut connection = Connection::open(address, SOCKET_TIMEOUT).await?;
        connection.authenticate(self.password.as_deref()).await?;
        let role = match connection.command(&["ROLE"]).await? {
            Value::Array(parts) => {
                parts.first().and_then(Value::as_text).map_or(String::new(), |role| role.into_owned())
            }
            other => return Err(RespError::Unexpected(other).into()),
        };
        if role != "master" {
            return Err(Error::NotMaster { address, role });
        }
        let server = connection.info("server").await?;
        let replication = connection.info("replication").await?;
        let tenure = Tenure {
            address,
            run_id: server.field("run_id").unwrap_or_default().to_owned(),
            epoch: replication.number("tercet_epoch"),
        };
        Ok(Master { connection, tenure })
    }
}
