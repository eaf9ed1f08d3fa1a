//! How one of our processes calls another: over TLS where there is TLS, with a proof where there is a token.

use std::future::Future;
use std::io::Result;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;
use tracing::warn;

use crate::guard::Trusted;
use crate::seldom::SeldomByKind;
use crate::socket::Socket;
use crate::tls::{self, Alpn, Tls};
use crate::token::Token;

/// What a process calls others with. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    pub token: Option<Token>,
    /// None: plain connections.
    pub tls: Option<Arc<Tls>>,
}

impl Dialer {
    /// # Errors
    /// The endpoint cannot be reached.
    pub async fn connect(&self, endpoint: &Endpoint) -> std::result::Result<Trusted, tonic::transport::Error> {
        let channel = match &self.tls {
            None => endpoint.connect().await?,
            Some(tls) => endpoint.connect_with_connector(Connector(Arc::clone(tls))).await?,
        };
        Ok(self.trusting(channel))
    }

    /// Connects at the first call, and again after every failure.
    #[must_use]
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> Trusted {
        self.trusting(match &self.tls {
            None => endpoint.connect_lazy(),
            Some(tls) => endpoint.connect_with_connector_lazy(Connector(Arc::clone(tls))),
        })
    }

    fn trusting(&self, channel: Channel) -> Trusted {
        Trusted::new(channel, self.token.clone())
    }

    /// A connection of another protocol.
    ///
    /// # Errors
    /// Nobody is there, or the handshake fails.
    pub async fn socket(&self, host: &str, port: u16) -> Result<Socket> {
        connect(self.tls.as_deref(), host, port, Alpn::Unnamed).await
    }
}

async fn connect(tls: Option<&Tls>, host: &str, port: u16, alpn: Alpn) -> Result<Socket> {
    let stream = TcpStream::connect((host, port)).await?;
    // An error only means that small packets wait a little.
    _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return Socket::plain(stream, None) };
    match tls.connect(stream, host, alpn).await {
        Ok(stream) => Socket::tls(stream.into(), None),
        Err(error) => {
            static FAILED: SeldomByKind = SeldomByKind::new();
            let reason = tls::explain(&error);
            if let Some(left_out) = FAILED.due((host, port, &reason)) {
                warn!(host, port, reason, left_out, "a TLS handshake has failed");
            }
            Err(error)
        }
    }
}

#[derive(Debug, Clone)]
struct Connector(Arc<Tls>);

impl Service<Uri> for Connector {
    type Response = TokioIo<Socket>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = Arc::clone(&self.0);
        Box::pin(async move {
            let missing = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
            let host = uri.host().ok_or_else(missing)?.trim_start_matches('[').trim_end_matches(']');
            let port = uri.port_u16().ok_or_else(missing)?;
            Ok(TokioIo::new(connect(Some(&tls), host, port, Alpn::Peer).await?))
        })
    }
}
