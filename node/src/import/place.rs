//! Where one side of an import is, and how it is reached.

use std::net::TcpStream;
use std::time::Duration;

use tercet_edge::tls::Tls;
use tercet_edge::tls::outside::{Files, Outside, Stream};

use super::error::Error;
use crate::config::Config;

/// A server that says nothing for so long is given up. A broker that is short of memory makes publishers wait.
const SILENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    /// None: a plain connection.
    pub(super) tls: Option<Outside>,
}

impl Place {
    /// A source at this port.
    pub(super) fn of_source(host: &str, port: u16, files: Option<&Files>) -> Result<Self, Error> {
        Ok(Self { host: host.to_owned(), port, tls: files.map(Outside::load).transpose()? })
    }

    /// The node with these settings: under TLS where the plain port is closed, by the host that its certificate names.
    pub(super) fn of_node(config: &Config, plain: u16, secured: u16) -> Result<Self, Error> {
        if let Some(files) = config.tls_files().filter(|_| plain == 0 && secured != 0) {
            let tls = Outside::of(&*Tls::load(files)?)?;
            return Ok(Self { host: config.announced_host(), port: secured, tls: Some(tls) });
        }
        let host = if config.bind.is_unspecified() { [127, 0, 0, 1].into() } else { config.bind };
        Ok(Self { host: host.to_string(), port: plain, tls: None })
    }

    pub(super) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    pub(super) fn open(&self) -> Result<Stream, Error> {
        let opened = (|| {
            let stream = TcpStream::connect((self.host.as_str(), self.port))?;
            stream.set_read_timeout(Some(SILENCE))?;
            stream.set_write_timeout(Some(SILENCE))?;
            stream.set_nodelay(true)?;
            match &self.tls {
                None => Ok(Stream::Plain(stream)),
                Some(tls) => tls.connect_blocking(stream, &self.host),
            }
        })();
        opened.map_err(|error| Error::Connection { address: self.address(), error })
    }
}
