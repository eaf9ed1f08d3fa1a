//! TLS from here to a server that is not of this cluster, for the commands of an operator: its certificate is signed by an
//! authority of its own, and it may ask for a certificate of ours.

use std::io::{Error as IoError, Read, Result as IoResult, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio_rustls::TlsConnector;

use super::{Error, Tls, authorities, certificates, explain, key};
use crate::socket::Socket;

/// Where Debian's ca-certificates keeps whom this machine trusts.
pub const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What such a connection is made with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Who signs the server's certificate; None: those whom this machine trusts.
    pub authority: Option<PathBuf>,
    /// What we show when the server asks: certificate and key.
    pub pair: Option<(PathBuf, PathBuf)>,
}

/// Connects to such servers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outside(Arc<ClientConfig>);

/// A blocking connection, plain or under TLS.
#[derive(Debug)]
pub enum Stream {
    Plain(std::net::TcpStream),
    Tls(Box<StreamOwned<ClientConnection, std::net::TcpStream>>),
}

impl Outside {
    /// # Errors
    /// A file cannot be read or used.
    pub fn load(files: &Files) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let path = files.authority.as_deref().unwrap_or(Path::new(SYSTEM_AUTHORITIES));
        let wrong = |reason: rustls::Error| Error::Authority { path: path.to_owned(), reason: reason.to_string() };
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(wrong)?.with_root_certificates(authorities(path)?);
        let Some((certificate, secret)) = &files.pair else {
            return Ok(Self(Arc::new(builder.with_no_client_auth())));
        };
        let pair = |reason: rustls::Error| Error::Pair {
            certificate: certificate.clone(),
            key: secret.clone(),
            reason: reason.to_string(),
        };
        Ok(Self(Arc::new(builder.with_client_auth_cert(certificates(certificate)?, key(secret)?).map_err(pair)?)))
    }

    /// Connects as this process does to others of its cluster.
    ///
    /// # Errors
    /// It has no authority to check them with.
    pub fn of(tls: &Tls) -> Result<Self, Error> {
        tls.loaded.read().client.clone().map(Self).ok_or(Error::NoAuthority)
    }

    /// Shakes hands with `host`, and blocks for as long as the timeouts of `stream` say.
    ///
    /// # Errors
    /// The handshake fails; the error says why.
    pub fn connect_blocking(&self, mut stream: std::net::TcpStream, host: &str) -> IoResult<Stream> {
        let mut session = ClientConnection::new(Arc::clone(&self.0), name(host)?).map_err(IoError::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream).map_err(|error| IoError::new(error.kind(), explain(&error)))?;
        }
        Ok(Stream::Tls(Box::new(StreamOwned::new(session, stream))))
    }

    /// # Errors
    /// Nobody is there, or the handshake fails; the error says why.
    pub async fn connect(&self, host: &str, port: u16) -> IoResult<Socket> {
        let stream = tokio::net::TcpStream::connect((host, port)).await?;
        let stream = TlsConnector::from(Arc::clone(&self.0)).connect(name(host)?, stream).await;
        Socket::tls(stream.map_err(|error| IoError::new(error.kind(), explain(&error)))?.into(), None)
    }
}

fn name(host: &str) -> IoResult<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(IoError::other)
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer).map_err(said),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes).map_err(said),
        }
    }

    fn flush(&mut self) -> IoResult<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush().map_err(said),
        }
    }
}

/// TLS 1.3 tells a client that its certificate is refused with the first read.
fn said(error: IoError) -> IoError {
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return IoError::new(error.kind(), explain(&error));
    }
    error
}
