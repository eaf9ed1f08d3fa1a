//! A connection: reads what the socket has, executes every command in it, writes the replies once.
//!
//! The replies of a batch leave together, when the commit offset has reached what they depend on. A batch is executed
//! under one permit of the node's authority, so a role never changes within it.

use std::net::SocketAddr;

use tercet_proto::resp::{Decoder, Encoder, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::session::Session;
use crate::clients::{Protocol, Registration};
use crate::clock;
use crate::ids::Offset;
use crate::limits;
use crate::node::Shared;
use crate::role::Verdict;

/// Serves one client until it leaves or breaks the protocol.
///
/// # Errors
/// The socket failed; there is nobody to tell.
pub async fn serve(node: Shared, stream: TcpStream, registration: Registration) -> std::io::Result<()> {
    let session = Session::new(node, registration.client.clone());
    let mut connection = Connection {
        stream,
        session,
        decoder: Decoder::default(),
        input: Vec::new(),
        output: Vec::new(),
        limits: Limits::default(),
    };
    connection.run().await
}

struct Connection {
    stream: TcpStream,
    session: Session,
    decoder: Decoder,
    input: Vec<u8>,
    output: Vec<u8>,
    limits: Limits,
}

/// What is left to do after a batch.
enum Batch {
    /// Everything whole has been executed.
    Drained,
    /// Replies have to leave first.
    Full,
    /// Nothing may be executed now.
    Wait,
}

impl Connection {
    async fn run(&mut self) -> std::io::Result<()> {
        loop {
            let wanted = self.decoder.wanted().saturating_sub(self.input.len()).max(limits::READ_BYTES);
            self.input.reserve(wanted);
            let count = self.stream.read_buf(&mut self.input).await?;
            if count == 0 {
                return Ok(());
            }
            if self.input.len() > limits::QUERY_BUFFER_BYTES {
                tracing::warn!(
                    client = self.session.client.id,
                    "query buffer is over its limit, closing the connection"
                );
                return Ok(());
            }
            if !self.answer().await? {
                return Ok(());
            }
            self.shrink();
        }
    }

    /// Executes what the input holds and sends the replies. False: the connection is to be closed.
    async fn answer(&mut self) -> std::io::Result<bool> {
        loop {
            let term = self.session.node.gate.term();
            let (batch, depends_on) = self.execute();
            if !self.output.is_empty() {
                self.session.node.publish();
                if depends_on > self.session.node.gate.commit()
                    && self.session.node.gate.wait(depends_on, term).await.is_err()
                {
                    // The fate of a write is unknown: no answer, and no more commands.
                    return Ok(false);
                }
                self.stream.write_all(&self.output).await?;
                self.output.clear();
            }
            if self.session.is_closing {
                self.stream.shutdown().await?;
                return Ok(false);
            }
            match batch {
                Batch::Drained => return Ok(true),
                Batch::Full => {}
                Batch::Wait => {
                    if !self.wait_for_authority().await {
                        return Ok(false);
                    }
                }
            }
        }
    }

    fn execute(&mut self) -> (Batch, Offset) {
        let Self { session, decoder, input, output, limits, .. } = self;
        let node = std::sync::Arc::clone(&session.node);
        let permit = node.authority.enter(clock::boot_now());
        session.now = clock::unix_now();
        let mut position = 0;
        let batch = loop {
            *limits = if session.is_authenticated { Limits::default() } else { Limits::default().unauthenticated() };
            match decoder.decode(&input[position..], limits) {
                Ok(None) => break Batch::Drained,
                Ok(Some(used)) => {
                    let args: smallvec::SmallVec<[&[u8]; 16]> = decoder.args().slices(&input[position..]).collect();
                    if permit.verdict == Verdict::Wait && !args.is_empty() && !works_without_master(args[0]) {
                        break Batch::Wait;
                    }
                    position += used;
                    if !args.is_empty() {
                        session.execute(&args, permit.verdict, output);
                    }
                }
                Err(error) => {
                    Encoder::new(output, session.version).error(&error.to_string());
                    tracing::info!(client = session.client.id, address = %session.client.address, %error, "protocol error");
                    session.is_closing = true;
                }
            }
            if session.is_closing {
                break Batch::Drained;
            }
            if output.len() >= limits::REPLY_BATCH_BYTES {
                break Batch::Full;
            }
        };
        drop(permit);
        input.drain(..position);
        (batch, session.end_batch())
    }

    /// False: the node is no longer the one that this client should talk to, or it took too long.
    async fn wait_for_authority(&mut self) -> bool {
        let node = &self.session.node;
        let mut changes = node.authority.subscribe();
        let wait = async {
            loop {
                if node.authority.enter(clock::boot_now()).verdict != Verdict::Wait {
                    return;
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limits::AUTHORITY_WAIT, wait).await.is_ok()
    }

    /// Gives back what a large request or reply needed.
    fn shrink(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.capacity() > 8 * limits::READ_BYTES && buffer.len() < limits::READ_BYTES {
                buffer.shrink_to(limits::READ_BYTES);
            }
        }
    }
}

/// Commands that are answered while nobody knows who is master, so that probes and clients can ask.
fn works_without_master(name: &[u8]) -> bool {
    super::table::find(name).is_some_and(|row| row.has(super::table::flag::LOADING))
}

/// Accepts RESP clients until the listener fails, and spreads them over the I/O threads.
///
/// # Errors
/// The listener is broken.
pub async fn accept(
    node: Shared,
    listener: tokio::net::TcpListener,
    threads: Vec<tokio::runtime::Handle>,
) -> std::io::Result<()> {
    for turn in 0usize.. {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Out of descriptors, or the client was gone already: the next one may do better.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = admit(&node, stream, address, &threads[turn % threads.len()]).await {
            tracing::debug!(%address, %error, "client was gone before it was served");
        }
    }
    Ok(())
}

async fn admit(
    node: &Shared,
    mut stream: TcpStream,
    address: SocketAddr,
    thread: &tokio::runtime::Handle,
) -> std::io::Result<()> {
    use std::sync::atomic::Ordering::Relaxed;
    node.stats.connections.fetch_add(1, Relaxed);
    if node.clients.len() >= node.config.maxclients {
        node.stats.rejected_connections.fetch_add(1, Relaxed);
        return stream.write_all(b"-ERR max number of clients reached\r\n").await;
    }
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let stream = stream.into_std()?;
    let registration = Registration::new(std::sync::Arc::clone(node), Protocol::Resp, address, local);
    let client = registration.client.clone();
    let node = std::sync::Arc::clone(node);
    let task = thread.spawn(async move {
        // Registered with the reactor of the thread that serves it.
        let served = match TcpStream::from_std(stream) {
            Ok(stream) => serve(node, stream, registration).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::debug!(%error, "client's connection failed");
        }
    });
    client.served_by(task.abort_handle());
    Ok(())
}
