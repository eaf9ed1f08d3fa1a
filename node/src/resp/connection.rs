//! A connection: reads what the socket has, executes every command in it, writes the replies once.
//!
//! The replies of a batch leave together, when the commit offset has reached what they depend on. A batch is executed
//! under one permit of the node's authority, so a role never changes within it.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;

use tercet_proto::resp::{Args, Decoder, Encoder, Limits, ProtocolError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::session::Session;
use super::table::{Keys, Row, flag};
use crate::clients::{Protocol, Registration};
use crate::clock;
use crate::ids::Offset;
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

/// A decoded command.
#[derive(Debug, Default)]
struct Command {
    args: Args,
    row: Option<&'static Row>,
    /// Where it lies in the input; the ranges of `args` count from `start`.
    start: usize,
    end: usize,
    /// Shard and hash of its key, if that was asked for.
    fetched: Option<(usize, u64)>,
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

    fn execute(&mut self) -> (Batch, Offset) {
        let node = std::sync::Arc::clone(&self.session.node);
        let now = clock::boot_now();
        let permit = node.authority.enter(now);
        self.session.now = clock::unix_now();
        let mut position = 0;
        let batch = loop {
            let (decoded, error) = self.look_ahead(position);
            if decoded == 0 && error.is_none() {
                break Batch::Drained;
            }
            self.fetch(decoded);
            let (executed, stop) = self.execute_decoded(decoded, permit.verdict);
            position = self.ahead[..executed].last().map_or(position, |command| command.end);
            if executed < decoded || stop.is_some() {
                // What was decoded and not executed is decoded again.
                self.decoder.restart();
                break stop.unwrap_or(Batch::Drained);
            }
            if let Some(error) = error {
                let session = &mut self.session;
                Encoder::new(&mut self.output, session.version).error(&error.to_string());
                tracing::info!(client = session.client.id, address = %session.client.address, %error, "protocol error");
                session.is_closing = true;
                break Batch::Drained;
            }
        };
        drop(permit);
        self.input.drain(..position);
        (batch, self.session.end_batch(now, position, self.output.len()))
    }

    /// Decodes the next commands behind `position` into `ahead`; says how many, and what is wrong behind them.
    fn look_ahead(&mut self, mut position: usize) -> (usize, Option<ProtocolError>) {
        let Self { session, decoder, input, ahead, .. } = self;
        // AUTH changes what a client may announce: one command at a time until then.
        let (limits, most) = if session.is_authenticated {
            (Limits::default(), limits::LOOK_AHEAD)
        } else {
            (Limits::default().unauthenticated(), 1)
        };
        let mut decoded = 0;
        while decoded < most {
            match decoder.decode(&input[position..], &limits) {
                Ok(None) => break,
                Err(error) => return (decoded, Some(error)),
                Ok(Some(used)) => {
                    if decoded == ahead.len() {
                        ahead.push(Command::default());
                    }
                    let command = &mut ahead[decoded];
                    command.args = decoder.take_args(std::mem::take(&mut command.args));
                    command.start = position;
                    position += used;
                    command.end = position;
                    command.row =
                        command.args.slices(&input[command.start..]).next().and_then(|name| session.row(name));
                    decoded += 1;
                }
            }
        }
        (decoded, None)
    }

    /// Asks the memory for what the decoded commands will look up: first the cells of the index, then the entries.
    fn fetch(&mut self, decoded: usize) {
        if decoded < 2 {
            return;
        }
        let Self { session, input, ahead, .. } = self;
        let keyspace = &session.node.engine.keyspace;
        for command in &mut ahead[..decoded] {
            command.fetched = None;
            if command.row.is_some_and(|row| row.keys == Keys::ONE)
                && let Some(key) = command.args.slices(&input[command.start..]).nth(1)
            {
                let shard = keyspace.shard_of(key);
                let hash = keyspace.lock(shard).database(session.database).prefetch_index(key);
                command.fetched = Some((shard, hash));
            }
        }
        for command in &ahead[..decoded] {
            if let Some((shard, hash)) = command.fetched {
                keyspace.lock(shard).database(session.database).prefetch_entry(hash);
            }
        }
    }

    /// Executes decoded commands until one has to wait; says how many were executed, and why no more.
    fn execute_decoded(&mut self, decoded: usize, verdict: Verdict) -> (usize, Option<Batch>) {
        let Self { session, input, ahead, output, .. } = self;
        for (index, command) in ahead[..decoded].iter().enumerate() {
            let args: smallvec::SmallVec<[&[u8]; 16]> = command.args.slices(&input[command.start..]).collect();
            if args.is_empty() {
                continue;
            }
            if verdict == Verdict::Wait && !command.row.is_some_and(|row| row.has(flag::LOADING)) {
                return (index, Some(Batch::Wait));
            }
            session.execute(command.row, &args, verdict, output);
            if session.is_closing {
                return (index + 1, Some(Batch::Drained));
            }
            if output.len() >= limits::REPLY_BATCH_BYTES {
                return (index + 1, Some(Batch::Full));
            }
        }
        (decoded, None)
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
