//! A connection: reads what the socket has, executes every command in it, writes the replies once.
//!
//! The replies of a batch leave together, when the commit offset has reached what they depend on. A batch is executed
//! under one permit of the node's authority, so a role never changes within it.

mod batch;

use std::cell::Cell;
use std::future::Future;

use tercet_proto::resp::Decoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::batch::{Batch, Command};
use super::session::Session;
use crate::clients::Registration;
use crate::clock;
use crate::limits;
use crate::node::Shared;
use crate::role::{Role, Verdict};

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
        ahead: Vec::new(),
    };
    connection.run().await
}

struct Connection {
    stream: TcpStream,
    session: Session,
    decoder: Decoder,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Decoded and not executed yet; kept for its allocations.
    ahead: Vec<Command>,
}

impl Connection {
    async fn run(&mut self) -> std::io::Result<()> {
        loop {
            if self.read().await? == 0 {
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
            self.lend();
        }
    }

    /// Reads what the socket has. An idle client holds no buffer: it gets one when something is there to be read.
    async fn read(&mut self) -> std::io::Result<usize> {
        let Self { stream, decoder, input, .. } = self;
        std::future::poll_fn(|context| {
            std::task::ready!(stream.poll_read_ready(context))?;
            if input.capacity() == 0 {
                *input = INPUT.take();
            }
            input.reserve(decoder.wanted().saturating_sub(input.len()).max(limits::READ_BYTES));
            let reading = std::pin::pin!(stream.read_buf(input));
            reading.poll(context)
        })
        .await
    }

    /// Executes what the input holds and sends the replies. False: the connection is to be closed.
    async fn answer(&mut self) -> std::io::Result<bool> {
        if self.output.capacity() == 0 {
            self.output = OUTPUT.take();
        }
        loop {
            let term = self.session.node.gate.term();
            let (batch, depends_on) = self.execute();
            if !self.output.is_empty() {
                self.session.node.publish();
                let gate = &self.session.node.gate;
                let committed = match gate.is_committed(depends_on, term) {
                    Some(committed) => committed,
                    None => gate.wait(depends_on, term).await,
                };
                if committed.is_err() {
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

    /// False: the node is no longer the one that this client should talk to, or it took too long.
    async fn wait_for_authority(&mut self) -> bool {
        let node = &self.session.node;
        let mut changes = node.authority.subscribe();
        let had_led = matches!(changes.borrow_and_update().role, Role::Master | Role::Deposed);
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
        let is_over = tokio::time::timeout(limits::AUTHORITY_WAIT, wait).await.is_ok();
        // A command that was held for a hand-over is not answered with what a replica has to say: the client asks the
        // sentinels and sends it to the new master.
        is_over && !(had_led && node.authority.standing().role == Role::Replica)
    }

    /// Gives the buffers to the next client of this thread, as far as they are empty: they are in the cache.
    fn lend(&mut self) {
        for (buffer, spare) in [(&mut self.input, &INPUT), (&mut self.output, &OUTPUT)] {
            if buffer.is_empty() && buffer.capacity() > 0 {
                let mut buffer = std::mem::take(buffer);
                if buffer.capacity() > limits::SPARE_BUFFER_BYTES {
                    // What one large request or reply needed.
                    buffer.shrink_to(limits::READ_BYTES);
                }
                spare.set(buffer);
            }
        }
    }
}

thread_local! {
    /// Empty buffers of this thread, for whichever client reads or answers next.
    static INPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static OUTPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
