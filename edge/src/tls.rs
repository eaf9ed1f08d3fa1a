//! TLS: certificates from files, read again on demand, and what went wrong in words.

use std::io::Error as IoError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub mod outside;

/// Whether who connects has to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificates {
    /// It is not asked for.
    Unasked,
    /// One that is shown has to be good.
    Optional,
    Required,
}

/// What is spoken under TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// A protocol that TLS has no name for: RESP, AMQP.
    Unnamed,
    Http1,
    Http2,
    /// HTTP/2 between our own processes.
    Peer,
}

/// Where the certificates are.
#[derive(Debug, Clone)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Who signs certificates that we trust.
    pub authority: Option<PathBuf>,
    pub clients: Certificates,
    pub peers: Certificates,
}

/// Why there is no TLS. One line each: what, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {reason}; give a file in PEM format", path.display())]
    File { path: PathBuf, reason: String },
    #[error("{}: no certificate is in it", .0.display())]
    Empty(PathBuf),
    #[error("{}: the certificate has expired on {on}; renew it", path.display())]
    Expired { path: PathBuf, on: String },
    #[error("{} and {} do not fit each other: {reason}", certificate.display(), key.display())]
    Pair { certificate: PathBuf, key: PathBuf, reason: String },
    #[error("{}: {reason}", path.display())]
    Authority { path: PathBuf, reason: String },
    #[error("certificates of clients cannot be checked without --tls-ca-file")]
    NoAuthority,
}

/// The certificates of a process, as they were read last.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    loaded: RwLock<Arc<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    unnamed: Arc<ServerConfig>,
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
    peer: Arc<ServerConfig>,
    client: Option<Arc<ClientConfig>>,
}

impl Tls {
    /// # Errors
    /// A file cannot be read or used.
    pub fn load(files: Files) -> Result<Arc<Self>, Error> {
        let loaded = RwLock::new(Arc::new(Loaded::read(&files)?));
        Ok(Arc::new(Self { files, loaded }))
    }

    /// Reads the files again. Connections that are open stay as they are.
    ///
    /// # Errors
    /// A file cannot be read or used; what was read before stays.
    pub fn reload(&self) -> Result<(), Error> {
        let loaded = Arc::new(Loaded::read(&self.files)?);
        *self.loaded.write() = loaded;
        Ok(())
    }

    /// # Errors
    /// The handshake fails; see `explain`.
    pub async fn accept(&self, stream: TcpStream, alpn: Alpn) -> Result<server::TlsStream<TcpStream>, IoError> {
        let config = {
            let loaded = self.loaded.read();
            Arc::clone(match alpn {
                Alpn::Unnamed => &loaded.unnamed,
                Alpn::Http1 => &loaded.http1,
                Alpn::Http2 => &loaded.http2,
                Alpn::Peer => &loaded.peer,
            })
        };
        TlsAcceptor::from(config).accept(stream).await
    }

    /// Connects as one of our own processes to another one, called `host`.
    ///
    /// # Errors
    /// The handshake fails; see `explain`.
    pub async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        alpn: Alpn,
    ) -> Result<client::TlsStream<TcpStream>, IoError> {
        let config = self.loaded.read().client.clone();
        let config = config.ok_or_else(|| IoError::other(Error::NoAuthority))?;
        let name = ServerName::try_from(host.to_owned()).map_err(IoError::other)?;
        let protocols: Vec<Vec<u8>> = match alpn {
            Alpn::Unnamed => Vec::new(),
            Alpn::Http1 => vec![b"http/1.1".to_vec()],
            Alpn::Http2 | Alpn::Peer => vec![b"h2".to_vec()],
        };
        TlsConnector::from(config).with_alpn(protocols).connect(name, stream).await
    }
}

impl Loaded {
    fn read(files: &Files) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (chain, key) = (certificates(&files.certificate)?, key(&files.key)?);
        check_age(&files.certificate, &chain)?;
        let roots = files.authority.as_deref().map(authorities).transpose()?;
        let server = |certificates: Certificates, protocols: &[&[u8]]| -> Result<Arc<ServerConfig>, Error> {
            let builder =
                ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
            let pair = |reason: rustls::Error| Error::Pair {
                certificate: files.certificate.clone(),
                key: files.key.clone(),
                reason: reason.to_string(),
            };
            let builder = builder.map_err(pair)?;
            let builder = match client_verifier(certificates, roots.as_ref(), &provider, files)? {
                Some(verifier) => builder.with_client_cert_verifier(verifier),
                None => builder.with_no_client_auth(),
            };
            let mut config = builder.with_single_cert(chain.clone(), key.clone_key()).map_err(pair)?;
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Ok(Arc::new(config))
        };
        let client = match &roots {
            None => None,
            Some(roots) => {
                let pair = |reason: rustls::Error| Error::Pair {
                    certificate: files.certificate.clone(),
                    key: files.key.clone(),
                    reason: reason.to_string(),
                };
                let builder =
                    ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
                let builder = builder.map_err(pair)?.with_root_certificates(Arc::clone(roots));
                Some(Arc::new(builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(pair)?))
            }
        };
        Ok(Self {
            unnamed: server(files.clients, &[])?,
            http1: server(files.clients, &[b"http/1.1"])?,
            http2: server(files.clients, &[b"h2"])?,
            peer: server(files.peers, &[b"h2"])?,
            client,
        })
    }
}

fn client_verifier(
    certificates: Certificates,
    roots: Option<&Arc<RootCertStore>>,
    provider: &Arc<CryptoProvider>,
    files: &Files,
) -> Result<Option<Arc<dyn rustls::server::danger::ClientCertVerifier>>, Error> {
    if certificates == Certificates::Unasked {
        return Ok(None);
    }
    let roots = roots.ok_or(Error::NoAuthority)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    let builder = if certificates == Certificates::Optional { builder.allow_unauthenticated() } else { builder };
    let path = files.authority.clone().unwrap_or_default();
    builder.build().map(Some).map_err(|error| Error::Authority { path, reason: error.to_string() })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wrong = |error: rustls_pki_types::pem::Error| Error::File { path: path.to_owned(), reason: error.to_string() };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect();
    let found = found.map_err(wrong)?;
    if found.is_empty() { Err(Error::Empty(path.to_owned())) } else { Ok(found) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| Error::File { path: path.to_owned(), reason: error.to_string() })
}

fn authorities(path: &Path) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| Error::Authority { path: path.to_owned(), reason: error.to_string() })?;
    }
    Ok(Arc::new(roots))
}

/// A certificate that has expired is told at the start, and not to each client.
fn check_age(path: &Path, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
    for certificate in chain {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| Error::File { path: path.to_owned(), reason: error.to_string() })?;
        let end = parsed.validity().not_after;
        if end < x509_parser::time::ASN1Time::now() {
            return Err(Error::Expired { path: path.to_owned(), on: end.to_string() });
        }
    }
    Ok(())
}

/// The common name of a certificate's subject.
#[must_use]
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    Some(name)
}

/// Why a handshake failed, in words for an operator.
#[must_use]
pub fn explain(error: &IoError) -> String {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            std::io::ErrorKind::TimedOut => "it took too long".to_owned(),
            std::io::ErrorKind::UnexpectedEof => "the other side closed the connection".to_owned(),
            _ => error.to_string(),
        };
    };
    match error {
        rustls::Error::InvalidMessage(_) => "what came is not TLS: plain bytes on a TLS port?".to_owned(),
        rustls::Error::NoCertificatesPresented => "the other side has shown no certificate".to_owned(),
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the other side's certificate has expired".to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the other side's certificate is not signed by who is in --tls-ca-file".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("the other side's certificate is for another host: {error}"),
        rustls::Error::AlertReceived(AlertDescription::UnknownCA) => {
            "the other side does not trust who has signed our certificate".to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "the other side says that our certificate has expired".to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the other side asks for a certificate".to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
