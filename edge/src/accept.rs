//! Accepts connections: how many there may be, in all and from one address, and how long a handshake may take.
//!
//! ```text
//! Door::next --> Guest --(to the thread that serves it)--> Guest::enter: TLS handshake --> Socket
//! ```

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tracing::warn;

use crate::limits;
use crate::place::{Full, Place, Places};
use crate::seldom::SeldomByKind;
use crate::socket::Socket;
use crate::tls::{Alpn, Tls};

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

/// An open port.
#[derive(Debug)]
pub struct Door {
    what: &'static str,
    listener: TcpListener,
    places: Arc<Places>,
    tls: Option<(Arc<Tls>, Alpn)>,
}

/// Somebody who has come, and may have a place.
#[derive(Debug)]
pub struct Guest {
    what: &'static str,
    pub address: SocketAddr,
    stream: std::net::TcpStream,
    place: std::result::Result<Place, Full>,
    tls: Option<(Arc<Tls>, Alpn)>,
}

/// Opens a port, within a runtime.
///
/// # Errors
/// Another process has it, or the address is not of this machine.
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM.nonblocking(),
        Some(socket2::Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Door {
    /// `what` names the port in the log.
    #[must_use]
    pub fn new(what: &'static str, listener: TcpListener, places: Arc<Places>) -> Self {
        Self { what, listener, places, tls: None }
    }

    /// The same port under TLS.
    #[must_use]
    pub fn secured(self, tls: Arc<Tls>, alpn: Alpn) -> Self {
        Self { tls: Some((tls, alpn)), ..self }
    }

    /// # Errors
    /// The system has forgotten it.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next one who comes. Failures of the system are logged and waited out.
    pub async fn next(&self) -> Guest {
        static FAILED: SeldomByKind = SeldomByKind::new();
        loop {
            let accepted = self.listener.accept().await.and_then(|(stream, address)| {
                set_up(&stream);
                Ok((stream.into_std()?, address))
            });
            match accepted {
                Ok((stream, address)) => {
                    let place = self.places.take(address.ip());
                    return Guest { what: self.what, address, stream, place, tls: self.tls.clone() };
                }
                // Out of descriptors, or the client was gone already: the next one may do better.
                Err(error) => {
                    if let Some(left_out) = FAILED.due((self.what, error.kind())) {
                        warn!(port = self.what, %error, left_out, "cannot accept a connection");
                    }
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// All who come to a door and get in, for a server that takes connections from somewhere. Handshakes run beside each other,
/// and who has said nothing after a while is closed.
#[derive(Debug)]
pub struct Sockets {
    entered: mpsc::Receiver<Socket>,
    accepting: tokio::task::AbortHandle,
    address: SocketAddr,
}

impl Door {
    /// # Errors
    /// The system has forgotten the port.
    pub fn sockets(self) -> Result<Sockets> {
        let address = self.address()?;
        let (enter, entered) = mpsc::channel(limits::ENTERED);
        let accepting = tokio::spawn(async move {
            loop {
                let guest = self.next().await;
                if guest.is_welcome().is_err() {
                    guest.turn_away(b"");
                    continue;
                }
                let enter = enter.clone();
                tokio::spawn(async move {
                    // Who fails is logged, and leaves.
                    if let Ok(socket) = guest.enter().await
                        && socket.speaks().await
                    {
                        // An error says that the server has ended.
                        _ = enter.send(socket).await;
                    }
                });
            }
        });
        Ok(Sockets { entered, accepting: accepting.abort_handle(), address })
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Stream for Sockets {
    type Item = Result<Socket>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Socket>>> {
        self.entered.poll_recv(context).map(|socket| socket.map(Ok))
    }
}

impl axum::serve::Listener for Sockets {
    type Io = Socket;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Socket, SocketAddr) {
        match self.entered.recv().await {
            Some(socket) => {
                let peer = socket.peer();
                (socket, peer)
            }
            // The runtime ends.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.address)
    }
}

/// An error only means that small packets wait a little, or that a client that vanished is found later.
fn set_up(stream: &TcpStream) {
    _ = stream.set_nodelay(true);
    let keepalive =
        socket2::TcpKeepalive::new().with_time(limits::KEEPALIVE).with_interval(limits::KEEPALIVE / 3).with_retries(3);
    _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

impl Guest {
    /// Our end of its connection.
    ///
    /// # Errors
    /// It is gone.
    pub fn local(&self) -> Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Probes the connection when it has been silent for so many seconds; never, for 0.
    pub fn keep_alive(&self, seconds: usize) {
        let socket = socket2::SockRef::from(&self.stream);
        // An error only means that a client that vanished is found later.
        _ = match u32::try_from(seconds).unwrap_or(u32::MAX) {
            0 => socket.set_keepalive(false),
            seconds => {
                let every = std::time::Duration::from_secs(seconds.into());
                let keepalive = socket2::TcpKeepalive::new().with_time(every).with_interval((every / 3).max(SECOND));
                socket.set_tcp_keepalive(&keepalive.with_retries(3))
            }
        };
    }

    /// Whether there is a place for it.
    ///
    /// # Errors
    /// Why not.
    pub fn is_welcome(&self) -> std::result::Result<(), Full> {
        self.place.as_ref().map(|_| ()).map_err(|full| *full)
    }

    /// Says `words`, if they go out at once and without TLS, and closes.
    pub fn turn_away(self, words: &[u8]) {
        static AWAY: SeldomByKind = SeldomByKind::new();
        let why = self
            .place
            .as_ref()
            .err()
            .map_or_else(|| "there are too many, or it may not come here".to_owned(), ToString::to_string);
        if let Some(left_out) = AWAY.due((self.what, &why)) {
            warn!(port = self.what, address = %self.address, why, left_out, "a connection was refused");
        }
        if self.tls.is_none() {
            use std::io::Write as _;
            // One packet into an empty send buffer: it does not wait.
            _ = (&self.stream).write(words);
        }
    }

    /// Becomes a connection of the calling thread's runtime, after the handshake of TLS if the port has it.
    ///
    /// # Errors
    /// There is no place, the client is gone, or the handshake has failed, which is logged.
    pub async fn enter(self) -> Result<Socket> {
        let place = self.place.map_err(Error::other)?;
        let stream = TcpStream::from_std(self.stream)?;
        let Some((tls, alpn)) = self.tls else { return Socket::plain(stream, Some(place)) };
        let handshake = tokio::time::timeout(limits::TLS_HANDSHAKE, tls.accept(stream, alpn)).await;
        let error = match handshake {
            Ok(Ok(stream)) => return Socket::tls(stream.into(), Some(place)),
            Ok(Err(error)) => error,
            Err(_) => Error::from(ErrorKind::TimedOut),
        };
        static FAILED: SeldomByKind = SeldomByKind::new();
        let reason = crate::tls::explain(&error);
        if let Some(left_out) = FAILED.due((self.what, &reason)) {
            warn!(port = self.what, address = %self.address, reason, left_out, "a TLS handshake has failed");
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_no_place_is_told_and_who_leaves_makes_room() {
        use tokio::io::AsyncReadExt as _;
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let door = Door::new("test", listener, Places::new(1, 1));
        let address = door.address().unwrap();
        let _first = TcpStream::connect(address).await.unwrap();
        let socket = door.next().await.enter().await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let guest = door.next().await;
        assert_eq!(guest.is_welcome(), Err(Full::InAll));
        guest.turn_away(b"full");
        let mut said = Vec::new();
        second.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"full");
        drop(socket);
        let _third = TcpStream::connect(address).await.unwrap();
        assert_eq!(door.next().await.is_welcome(), Ok(()));
    }

    #[tokio::test]
    async fn every_connection_has_keepalive() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let door = Door::new("test", listener, Places::new(1, 1));
        let _client = TcpStream::connect(door.address().unwrap()).await.unwrap();
        let socket = door.next().await.enter().await.unwrap();
        assert!(socket.with_tcp(|tcp| tcp.keepalive()).unwrap());
        assert!(socket.with_tcp(|tcp| tcp.tcp_nodelay()).unwrap());
    }
}
