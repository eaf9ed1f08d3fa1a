//! A connection: reads what the socket has, executes every command in it, writes the replies once.
//!
//! The replies of a batch leave together, when the commit offset has reached what they depend on. A batch is executed
//! under one permit of the node's authority, so a role never changes within it.
//!
//! ```text
//! read --> execute --> replies --> read ...        on the master, and on a replica for those who came to a replica
//!             '-- another node is master --> carry (frame.rs) --> the session comes back --> execute ...
//! ```

mod batch;
mod carry;
mod give_back;

use std::cell::Cell;
use std::future::Future;
use std::task::{Context, Poll};

use tercet_edge::socket::Socket;
use tercet_proto::resp::{Decoder, Encoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::batch::{Batch, Command, Depends};
use self::give_back::Input;
use super::frame;
use super::session::{Home, Place, Session};
use crate::clients::Registration;
use crate::clock;
use crate::drain::{Leave, is_idle};
use crate::limits;
use crate::node::Shared;
use crate::role::{Role, Verdict};

/// Serves one client until it leaves or breaks the protocol.
///
/// # Errors
/// The socket failed; there is nobody to tell.
pub async fn serve(node: Shared, stream: Socket, registration: Registration) -> std::io::Result<()> {
    let mut session = Session::new(node, registration.client.clone());
    if matches!(session.node.authority.standing().role, Role::Master | Role::Deposed) {
        session.home = Home::Master;
    }
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
    stream: Socket,
    session: Session,
    decoder: Decoder,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Decoded and not executed yet; kept for its allocations.
    ahead: Vec<Command>,
}

/// What came of waiting for input.
enum Read {
    Bytes,
    /// The client has nothing more to say.
    End,
    /// The node stops, and this is a moment to close.
    Leaves,
}

/// What a connection does next.
enum Next {
    Read,
    Close,
    /// Another node is master.
    Move,
}

/// What became of a client whose master is another node.
enum Moved {
    /// It is here again, perhaps with something to execute.
    Back,
    Over,
}

impl Connection {
    async fn run(&mut self) -> std::io::Result<()> {
        loop {
            match self.read_unless_leaving().await? {
                Read::Bytes => {}
                Read::End => {
                    return match self.session.home {
                        Home::Carried(_) => self.give_back(Input::Ended).await,
                        Home::Anywhere | Home::Master | Home::Announced(..) => Ok(()),
                    };
                }
                Read::Leaves => return self.leave().await,
            }
            if self.input.len() > limits::QUERY_BUFFER_BYTES {
                tracing::warn!(
                    client = self.session.client.id,
                    "query buffer is over its limit, closing the connection"
                );
                return Ok(());
            }
            loop {
                match self.answer().await? {
                    Next::Read => break,
                    Next::Close => return Ok(()),
                    Next::Move => match Box::pin(self.go()).await? {
                        Moved::Back => {}
                        Moved::Over => return Ok(()),
                    },
                }
            }
            self.lend();
        }
    }

    async fn go(&mut self) -> std::io::Result<Moved> {
        match self.session.home {
            Home::Carried(_) => self.give_back(Input::Open).await.map(|()| Moved::Over),
            Home::Anywhere | Home::Master | Home::Announced(..) => self.carry().await,
        }
    }

    /// Reads what the socket has, as long as the client is to stay.
    async fn read_unless_leaving(&mut self) -> std::io::Result<Read> {
        std::future::poll_fn(|context| {
            match self.poll_read(context)? {
                Poll::Ready(0) => return Poll::Ready(Ok(Read::End)),
                Poll::Ready(_) => return Poll::Ready(Ok(Read::Bytes)),
                Poll::Pending => {}
            }
            // Before the look at what is asked, so that whoever asks later wakes this.
            self.session.client.reader.register(context.waker());
            if self.may_leave() { Poll::Ready(Ok(Read::Leaves)) } else { Poll::Pending }
        })
        .await
    }

    async fn read(&mut self) -> std::io::Result<usize> {
        std::future::poll_fn(|context| self.poll_read(context)).await
    }

    /// Reads what the socket has. An idle client holds no buffer: it gets one when something is there to be read.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let Self { stream, decoder, input, .. } = self;
        std::task::ready!(stream.poll_read_ready(context))?;
        if input.capacity() == 0 {
            *input = INPUT.take();
        }
        input.reserve(decoder.wanted().saturating_sub(input.len()).max(limits::READ_BYTES));
        let reading = std::pin::pin!(stream.read_buf(input));
        reading.poll(context)
    }

    /// Whether this is a moment to close the connection, as the node stops. Everything whole is answered.
    fn may_leave(&self) -> bool {
        let leave = self.session.node.leaving.now();
        if leave == Leave::Stay || !self.input.is_empty() {
            return false;
        }
        // Who is carried here is taken back by who carries.
        let is_between = !self.session.is_in_transaction() && !matches!(self.session.home, Home::Carried(_));
        let last_active = self.session.client.about.lock().last_active;
        leave == Leave::AtOnce || is_between && is_idle(last_active, clock::boot_now())
    }

    /// Closes our side and waits a moment for the client's end, so that it reads our last words.
    async fn leave(&mut self) -> std::io::Result<()> {
        self.stream.shutdown().await?;
        let end = async {
            while self.read().await? > 0 {
                self.input.clear();
            }
            Ok(())
        };
        tokio::time::timeout(limits::CLOSING, end).await.unwrap_or(Ok(()))
    }

    /// Executes what the input holds and sends the replies.
    async fn answer(&mut self) -> std::io::Result<Next> {
        if self.output.capacity() == 0 {
            self.output = OUTPUT.take();
        }
        loop {
            let is_carried = matches!(self.session.home, Home::Carried(_));
            let (batch, Depends { on, under }) = self.execute();
            if let Some(penalty) = self.session.penalty.take() {
                tokio::time::sleep(penalty).await;
            }
            if !self.output.is_empty() {
                self.session.node.publish();
                let gate = &self.session.node.gate;
                let committed = match gate.is_committed(on, under) {
                    Some(committed) => committed,
                    None => gate.wait(on, under).await,
                };
                if committed.is_err() {
                    // The fate of a write is unknown: no answer, and no more commands.
                    return Ok(Next::Close);
                }
                if is_carried {
                    frame::frame_replies(&mut self.output);
                }
                self.stream.write_all(&self.output).await?;
                self.stream.flush().await?;
                self.output.clear();
            }
            if self.session.is_closing {
                self.stream.shutdown().await?;
                return Ok(Next::Close);
            }
            match batch {
                Batch::Drained => return Ok(Next::Read),
                Batch::Full => {}
                Batch::Wait => {
                    if !self.wait_for_authority().await {
                        return Ok(Next::Close);
                    }
                }
                Batch::Blocked => {
                    if self.wait_for_copies().await?.is_none() {
                        return Ok(Next::Read);
                    }
                }
                Batch::Elsewhere => return Ok(Next::Move),
            }
        }
    }

    /// Waits until commands may be executed, or another node is known to be master. False: it took too long.
    async fn wait_for_authority(&mut self) -> bool {
        let (home, authority) = (self.session.home, &self.session.node.authority);
        let mut changes = authority.subscribe();
        let wait = async {
            while home.place(&authority.enter(clock::boot_now())) == Place::Here(Verdict::Wait) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limits::AUTHORITY_WAIT, wait).await.is_ok()
    }

    /// Waits for what WAIT asked for, and answers it. None: the client has gone meanwhile.
    async fn wait_for_copies(&mut self) -> std::io::Result<Option<()>> {
        let Some(mut waiting) = self.session.waiting.take() else { return Ok(Some(())) };
        let node = std::sync::Arc::clone(&self.session.node);
        node.publish();
        {
            let over = waiting.over(&node);
            tokio::pin!(over);
            loop {
                let has_room = self.input.len() < limits::READ_BYTES;
                tokio::select! {
                    () = &mut over => break,
                    // The next commands wait; that nothing more comes is noticed.
                    count = self.read(), if has_room => if count? == 0 {
                        return Ok(None);
                    },
                }
            }
        }
        waiting.answer(&node, &mut Encoder::new(&mut self.output, self.session.version));
        Ok(Some(()))
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
