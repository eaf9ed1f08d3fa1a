//! A connection, plain or under TLS, with one face: what a frontend does with it is the same.
//!
//! Everything takes `&self`, so reading and writing can be waited for at once. One task may wait for reading and one for
//! writing (it may be the same). What was written under TLS may lie in a buffer of ours for a while; waiting to read, to
//! write, and `flush` send it.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::BufMut;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::limits;
use crate::place::Place;
use crate::tls;

/// A connection. Dropping it closes it and gives its place away.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    peer: SocketAddr,
    local: SocketAddr,
    /// Counted among the clients for as long as this lives.
    _place: Option<Place>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<Mutex<TlsStream<TcpStream>>>),
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

impl Socket {
    /// # Errors
    /// It is not connected any more.
    pub fn plain(stream: TcpStream, place: Option<Place>) -> Result<Self> {
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        Ok(Self { stream: Stream::Plain(stream), peer, local, _place: place })
    }

    /// # Errors
    /// It is not connected any more.
    pub fn tls(stream: TlsStream<TcpStream>, place: Option<Place>) -> Result<Self> {
        let tcp = stream.get_ref().0;
        let (peer, local) = (tcp.peer_addr()?, tcp.local_addr()?);
        Ok(Self { stream: Stream::Tls(Box::new(Mutex::new(stream))), peer, local, _place: place })
    }

    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Whose certificate the other side has shown: the common name, if it is one that we trust.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => {
                let stream = stream.lock();
                let certificate = stream.get_ref().1.peer_certificates()?.first()?.clone();
                tls::common_name(&certificate)
            }
        }
    }

    /// An error only means that small packets wait a little.
    pub fn set_nodelay(&self) {
        _ = match &self.stream {
            Stream::Plain(stream) => stream.set_nodelay(true),
            Stream::Tls(stream) => stream.lock().get_ref().0.set_nodelay(true),
        };
    }

    /// What the kernel knows of the connection, to set options.
    pub fn with_tcp<T>(&self, set: impl FnOnce(socket2::SockRef<'_>) -> T) -> T {
        match &self.stream {
            Stream::Plain(stream) => set(socket2::SockRef::from(stream)),
            Stream::Tls(stream) => set(socket2::SockRef::from(stream.lock().get_ref().0)),
        }
    }

    /// Ready: a read brings something, or the end, or (rarely, under TLS) nothing yet.
    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &self.stream {
            Stream::Plain(stream) => stream.poll_read_ready(context),
            Stream::Tls(stream) => {
                let mut stream = stream.lock();
                // What waits in our buffer goes out meanwhile; an error is seen by who reads.
                _ = Pin::new(&mut *stream).poll_flush(context);
                let (tcp, session) = stream.get_ref();
                if session.wants_read() { tcp.poll_read_ready(context) } else { Poll::Ready(Ok(())) }
            }
        }
    }

    /// Ready: a write takes something, or (rarely, under TLS) nothing yet.
    pub fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &self.stream {
            Stream::Plain(stream) => stream.poll_write_ready(context),
            Stream::Tls(stream) => Pin::new(&mut *stream.lock()).poll_flush(context),
        }
    }

    /// # Errors
    /// The connection is broken.
    pub async fn readable(&self) -> Result<()> {
        std::future::poll_fn(|context| self.poll_read_ready(context)).await
    }

    /// # Errors
    /// The connection is broken.
    pub async fn writable(&self) -> Result<()> {
        std::future::poll_fn(|context| self.poll_write_ready(context)).await
    }

    /// Waits for the first bytes of a client that has to speak first. False: it does not, or not in time.
    pub async fn speaks(&self) -> bool {
        matches!(tokio::time::timeout(limits::FIRST_BYTE, self.readable()).await, Ok(Ok(())))
    }

    /// Reads what is there. 0: the other side has ended.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there. Any other: the connection is broken.
    pub fn try_read_buf(&self, buffer: &mut impl BufMut) -> Result<usize> {
        match &self.stream {
            Stream::Plain(stream) => stream.try_read_buf(buffer),
            Stream::Tls(stream) => now(|context| poll_read_buf(&mut stream.lock(), context, buffer)),
        }
    }

    /// Writes what the connection takes.
    ///
    /// # Errors
    /// `WouldBlock`: it takes nothing now. Any other: it is broken.
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        match &self.stream {
            Stream::Plain(stream) => stream.try_write(bytes),
            Stream::Tls(stream) => now(|context| Pin::new(&mut *stream.lock()).poll_write(context, bytes)),
        }
    }

    /// Whether what was written has left our own buffers; it tries to send it.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn is_flushed(&self) -> Result<bool> {
        match &self.stream {
            Stream::Plain(_) => Ok(true),
            Stream::Tls(stream) => match now(|context| Pin::new(&mut *stream.lock()).poll_flush(context)) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error),
            },
        }
    }
}

/// What a poll comes to at once.
fn now<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<Result<T>>) -> Result<T> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::from(ErrorKind::WouldBlock)),
    }
}

/// Appends to `buffer` what one read brings: no more than one record of TLS, and no more than there is room for.
fn poll_read_buf(
    stream: &mut TlsStream<TcpStream>,
    context: &mut Context<'_>,
    buffer: &mut impl BufMut,
) -> Poll<Result<usize>> {
    let chunk = buffer.chunk_mut();
    let mut bytes = [std::mem::MaybeUninit::uninit(); RECORD];
    let most = chunk.len().min(RECORD);
    let mut read = ReadBuf::uninit(&mut bytes[..most]);
    ready!(Pin::new(stream).poll_read(context, &mut read))?;
    let count = read.filled().len();
    buffer.put_slice(read.filled());
    Poll::Ready(Ok(count))
}

/// Plaintext of one record of TLS.
const RECORD: usize = 16 << 10;

impl AsyncRead for &Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        match &self.stream {
            Stream::Plain(stream) => loop {
                ready!(stream.poll_read_ready(context))?;
                match stream.try_read_buf(buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    other => return Poll::Ready(other.map(|_| ())),
                }
            },
            Stream::Tls(stream) => {
                let mut stream = stream.lock();
                _ = Pin::new(&mut *stream).poll_flush(context);
                Pin::new(&mut *stream).poll_read(context, buffer)
            }
        }
    }
}

impl AsyncWrite for &Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match &self.stream {
            Stream::Plain(stream) => loop {
                ready!(stream.poll_write_ready(context))?;
                match stream.try_write(bytes) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    other => return Poll::Ready(other),
                }
            },
            Stream::Tls(stream) => Pin::new(&mut *stream.lock()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &self.stream {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(&mut *stream.lock()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &self.stream {
            Stream::Plain(stream) => Poll::Ready(socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write)),
            Stream::Tls(stream) => Pin::new(&mut *stream.lock()).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream.get_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream.get_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream.get_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream.get_mut()).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream.get_mut()).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(_) => true,
        }
    }
}

impl Connected for Socket {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo { local_addr: Some(self.local), remote_addr: Some(self.peer) }
    }
}
