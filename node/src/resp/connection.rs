//! A connection: reads what the socket has, executes every command in it, writes what may leave.
//!
//! ```text
//!            .--> input --turn--> output --gate--> socket
//! socket ----'                      ^
//! other clients --> mail -----------'
//! ```
//!
//! The replies of a turn stand behind a mark in the output: they leave when the commit offset has reached what they depend
//! on, and meanwhile the next turn is executed. A turn is executed under one permit of the node's authority, so a role never
//! changes within it, and it ends after a while so that the thread's other clients have theirs.
//!
//! Input is read while the output is stuck, so that a client may write all that it has to say before it reads. It is
//! not executed then: what waits is the requests, which are shorter than their replies.
//!
//! ```text
//! turn --> another node is master --> carry (frame.rs) --> the session comes back --> turn ...
//! ```

mod batch;
mod carry;
mod give_back;
mod input;
mod turn;

use std::future::{Future, pending, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tercet_edge::socket::Socket;
use tercet_proto::resp::{Decoder, Encoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use self::input::Input;
use self::turn::{Command, Turn};
use super::session::{Home, Place, Replies, Session, open};
use super::waiting::{Answer, Counted, Mail, Wait, Waits};
use crate::clients::{Client, Registration, call};
use crate::clock;
use crate::journal::Due;
use crate::leaving::{Leave, is_idle};
use crate::limits;
use crate::node::{Node, Shared};
use crate::output::{Deposed, Output};
use crate::role::{Authority, Role, Verdict};

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
        input: Input::default(),
        output: Output::default(),
        ahead: Vec::new(),
        is_large: false,
        blocked: None,
        held_since: None,
        is_ended: false,
        accounted: 0,
        moved: 0,
    };
    connection.run().await
}

struct Connection {
    stream: Socket,
    session: Session,
    decoder: Decoder,
    input: Input,
    output: Output,
    /// Decoded and not executed yet.
    ahead: Vec<Command>,
    /// A command of this turn had very many arguments: what they took is not kept.
    is_large: bool,
    /// What the last command waits for.
    blocked: Option<(Wait, Counted)>,
    /// Since when nothing may be executed.
    held_since: Option<Instant>,
    /// The client has nothing more to say.
    is_ended: bool,
    /// What `account` has said last.
    accounted: usize,
    /// Bytes that were read and written since the thread's other clients had their turn.
    moved: usize,
}

impl Drop for Connection {
    /// Also when the task is cancelled.
    fn drop(&mut self) {
        self.account(0, 0);
    }
}

/// What happened.
enum Happened {
    /// Look again: bytes came, bytes may leave, somebody wants something.
    Something,
    /// The client has nothing more to say.
    End,
    /// The wait of a blocked client is over.
    Answered(Answer),
    /// Nothing could be executed for too long.
    HeldTooLong,
    /// The node stops, and this is a moment to close.
    Leaves,
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
            if self.moved > limits::MOVED_BYTES {
                self.moved = 0;
                tokio::task::yield_now().await;
            }
            self.collect();
            let turn = self.turn();
            if let Some(penalty) = self.session.penalty.take() {
                tokio::time::sleep(penalty).await;
            }
            if let Some(wait) = self.session.wait.take() {
                let counted = Counted::new(Arc::clone(&self.session.node), Arc::clone(&self.session.client));
                self.blocked = Some((wait, counted));
            }
            if turn == Turn::Deposed || self.flush()? == Err(Deposed) {
                // The fate of a write is unknown: no answer, and no more commands.
                self.output.drop_uncommitted(&self.session.node.gate);
                return self.finish().await;
            }
            self.output.rest();
            self.account(self.input.capacity(), self.output.capacity());
            if self.session.is_closing {
                return self.finish().await;
            }
            if turn != Turn::Held {
                self.held_since = None;
            }
            match turn {
                // The socket has taken what was in the way.
                Turn::Full if self.output.pending() < limits::REPLY_BATCH_BYTES => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Turn::More => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Turn::Elsewhere => {
                    if !self.send_all().await? {
                        return self.finish().await;
                    }
                    match Box::pin(self.go()).await? {
                        Moved::Back => continue,
                        Moved::Over => return Ok(()),
                    }
                }
                // Whoever has left is not waited for.
                Turn::Blocked if self.is_ended && !matches!(self.session.home, Home::Carried(_)) => return Ok(()),
                Turn::Drained if self.is_ended && self.output.pending() == 0 => return self.end().await,
                Turn::Paused if self.is_ended => return self.end().await,
                Turn::Drained | Turn::Blocked | Turn::Paused | Turn::Held | Turn::Full | Turn::Deposed => {}
            }
            match self.wait(turn).await? {
                Happened::Something => {}
                Happened::End => self.is_ended = true,
                Happened::Answered(answer) => self.answer(answer),
                Happened::HeldTooLong => return Ok(()),
                Happened::Leaves => return self.leave().await,
            }
            if self.input.len() + self.decoder.memory() > self.session.query_limit() {
                tracing::warn!(
                    client = self.session.client.id,
                    address = %self.session.client.address,
                    "query buffer is over its limit, closing the connection"
                );
                return Ok(());
            }
        }
    }

    /// The client has ended its side, and everything is answered.
    async fn end(&mut self) -> std::io::Result<()> {
        if matches!(self.session.home, Home::Carried(_)) && self.send_all().await? {
            return self.give_back(give_back::Input::Ended).await;
        }
        Ok(())
    }

    async fn go(&mut self) -> std::io::Result<Moved> {
        match self.session.home {
            Home::Carried(_) => self.give_back(give_back::Input::Open).await.map(|()| Moved::Over),
            Home::Anywhere | Home::Master | Home::Announced(..) => self.carry().await,
        }
    }

    /// Waits for whatever lets this connection go on.
    async fn wait(&mut self, turn: Turn) -> std::io::Result<Happened> {
        let held_until =
            (turn == Turn::Held).then(|| *self.held_since.get_or_insert_with(Instant::now) + limits::AUTHORITY_WAIT);
        let Self { stream, session, decoder, input, output, blocked, is_ended, moved, .. } = self;
        let (node, client, home) = (&*session.node, &*session.client, session.home);
        // As in Redis, who is held up by CLIENT PAUSE counts as blocked.
        let _counted = (turn == Turn::Paused).then(|| Waits::new(&node.stats.blocked));
        // Who is carried here is taken back by who carries.
        let is_between = !session.is_in_transaction() && !matches!(home, Home::Carried(_));
        let may_write = output.sendable(&node.gate).is_ok_and(|bytes| !bytes.is_empty());
        let marks = if may_write { None } else { output.waits_for() };
        let mut committed = pin!(async {
            match marks {
                // Whoever is deposed comes through as well: `flush` finds out.
                Some((due, term)) => _ = node.gate.wait(due, term).await,
                None => pending().await,
            }
        });
        let mut authority = pin!(async {
            match held_until {
                Some(until) => timeout(until - Instant::now(), released(home, &node.authority)).await.is_ok(),
                None if turn == Turn::Paused => {
                    node.pause.over().await;
                    true
                }
                None => pending().await,
            }
        });
        // Mail waits for room.
        let has_room = output.pending() < limits::MAIL_ROOM_BYTES;
        let calls = if has_room && takes_mail(blocked.as_ref()) { call::MAIL } else { 0 };
        // What waits to be executed is bounded for each client (`QUERY_BUFFER_BYTES`) and for all of them.
        let may_read =
            !*is_ended && (turn == Turn::Drained || node.stats.client_bytes.load(Relaxed) < limits::CLIENTS_BYTES);
        poll_fn(|context| {
            if may_write && stream.poll_write_ready(context)?.is_ready() {
                return Poll::Ready(Ok(Happened::Something));
            }
            if may_read && let Poll::Ready(count) = poll_read(stream, decoder, input, context)? {
                *moved += count;
                return Poll::Ready(Ok(if count == 0 { Happened::End } else { Happened::Something }));
            }
            if marks.is_some() && committed.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(Happened::Something));
            }
            if let Some((wait, _)) = blocked
                && let Poll::Ready(answer) = wait.answer.as_mut().poll(context)
            {
                return Poll::Ready(Ok(Happened::Answered(answer)));
            }
            if matches!(turn, Turn::Held | Turn::Paused)
                && let Poll::Ready(is_released) = authority.as_mut().poll(context)
            {
                return Poll::Ready(Ok(if is_released { Happened::Something } else { Happened::HeldTooLong }));
            }
            // Before the look at what is wanted, so that whoever comes later wakes this.
            client.reader.register(context.waker());
            if client.is_called(calls) {
                return Poll::Ready(Ok(Happened::Something));
            }
            if turn == Turn::Drained
                && input.is_empty()
                && marks.is_none()
                && !may_write
                && may_leave(node, client, is_between)
            {
                return Poll::Ready(Ok(Happened::Leaves));
            }
            Poll::Pending
        })
        .await
    }

    /// Writes what may leave and what the socket takes.
    fn flush(&mut self) -> std::io::Result<Result<(), Deposed>> {
        let Self { stream, session, output, moved, .. } = self;
        loop {
            if *moved > limits::MOVED_BYTES {
                return Ok(Ok(()));
            }
            match output.sendable(&session.node.gate) {
                Ok([]) => {
                    // Under TLS what was written may still lie in a buffer there; waiting to read sends the rest.
                    stream.is_flushed()?;
                    return Ok(Ok(()));
                }
                Ok(bytes) => match stream.try_write(bytes) {
                    Ok(count) => {
                        session.node.stats.bytes_out.fetch_add(count as u64, Relaxed);
                        session.node.stats.writes.fetch_add(1, Relaxed);
                        output.wrote(count);
                        *moved += count;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Ok(())),
                    Err(error) => return Err(error),
                },
                Err(Deposed) => return Ok(Err(Deposed)),
            }
        }
    }

    /// Sends everything that is in the output. False: some of it may never be sent.
    async fn send_all(&mut self) -> std::io::Result<bool> {
        while self.output.pending() > 0 {
            if self.moved > limits::MOVED_BYTES {
                self.moved = 0;
                tokio::task::yield_now().await;
            }
            if self.flush()? == Err(Deposed) {
                return Ok(false);
            }
            match self.output.waits_for() {
                _ if self.output.sendable(&self.session.node.gate).is_ok_and(|bytes| !bytes.is_empty()) => {
                    self.stream.writable().await?;
                }
                // Whoever is deposed comes through as well: `flush` finds out.
                Some((due, term)) => _ = self.session.node.gate.wait(due, term).await,
                None => {}
            }
        }
        self.stream.flush().await?;
        Ok(true)
    }

    /// Sends what is in the output and closes.
    async fn finish(&mut self) -> std::io::Result<()> {
        if !self.send_all().await? {
            self.output.drop_uncommitted(&self.session.node.gate);
            self.send_all().await?;
        }
        self.stream.shutdown().await
    }

    async fn read(&mut self) -> std::io::Result<usize> {
        let Self { stream, decoder, input, .. } = self;
        poll_fn(|context| poll_read(stream, decoder, input, context)).await
    }

    /// Closes our side and waits a moment for the client's end, so that it reads our last words.
    async fn leave(&mut self) -> std::io::Result<()> {
        self.stream.shutdown().await?;
        let end = async {
            while self.read().await? > 0 {
                let all = self.input.len();
                self.input.executed(all);
            }
            Ok(())
        };
        timeout(limits::CLOSING, end).await.unwrap_or(Ok(()))
    }

    /// Puts the mail into the output, as far as there is room.
    fn collect(&mut self) {
        let room = limits::MAIL_ROOM_BYTES.saturating_sub(self.output.pending());
        if room == 0 || !takes_mail(self.blocked.as_ref()) || self.session.client.take_calls(call::MAIL) == 0 {
            return;
        }
        let frame = self.begin_frame();
        let mut out = Encoder::new(self.output.buffer(), self.session.version);
        self.session.client.take_mail(room, |letter| open(letter, &mut out));
        self.end_frame(frame);
        let gate = &self.session.node.gate;
        self.output.mark(Due::NOTHING, gate.term(), gate);
    }

    /// The client that was blocked has its answer.
    fn answer(&mut self, answer: Answer) {
        self.blocked = None;
        if let Some(brought) = answer.brought {
            self.session.take_back(*brought);
        }
        if let Some(command) = &answer.again {
            self.input.put_back(command);
            self.decoder.restart();
            return;
        }
        self.session.note_answer(&answer.reply);
        if self.session.replies != Replies::On {
            return;
        }
        let frame = self.begin_frame();
        if self.session.client.take_calls(call::FAIL) != 0 && !answer.is_over {
            let mut out = Encoder::new(self.output.buffer(), self.session.version);
            out.error("UNBLOCKED client unblocked via CLIENT UNBLOCK");
        } else {
            let out = self.output.buffer();
            let start = out.len();
            out.extend_from_slice(&answer.reply);
            self.output.add_texts(answer.texts.into_iter().map(|(at, text)| (start + at, text)).collect());
        }
        self.end_frame(frame);
        self.output.mark(answer.depends_on, answer.under, &self.session.node.gate);
    }

    /// Says how much memory this connection takes, and closes it if the client reads too slowly.
    fn account(&mut self, input: usize, output: usize) {
        let (before, now) = (self.accounted, input + output);
        if before == 0 && now == 0 {
            return;
        }
        self.accounted = now;
        let (client, node) = (&self.session.client, &self.session.node);
        // Wraps around for less.
        node.stats.client_bytes.fetch_add(now.wrapping_sub(before), Relaxed);
        let sizes = &client.sizes;
        sizes.query.store(self.input.len(), Relaxed);
        sizes.query_buffer.store(input, Relaxed);
        sizes.output_buffer.store(output, Relaxed);
        sizes.output.store(self.output.pending(), Relaxed);
        if self.output.pending() > 0 {
            client.check_output(client.mail().1, node.pubsub.limits());
        }
    }
}

/// Whether a client is told now what others send it.
fn takes_mail(blocked: Option<&(Wait, Counted)>) -> bool {
    blocked.is_none_or(|(wait, _)| wait.mail == Mail::Now)
}

/// Reads what the socket has. An idle client holds no buffer: it gets one when something is there to be read.
fn poll_read(
    stream: &mut Socket,
    decoder: &Decoder,
    input: &mut Input,
    context: &mut Context<'_>,
) -> Poll<std::io::Result<usize>> {
    ready!(stream.poll_read_ready(context))?;
    let reading = pin!(stream.read_buf(input.room(decoder.wanted())));
    reading.poll(context)
}

/// Whether this is a moment to close the connection, as the node stops. Everything whole is answered.
fn may_leave(node: &Node, client: &Client, is_between: bool) -> bool {
    match node.leaving.now() {
        Leave::Stay => false,
        Leave::AtOnce => true,
        Leave::WhenIdle => is_between && is_idle(client.about.lock().last_active, clock::boot_now()),
    }
}

/// Resolves when commands may be executed, or another node is known to be master.
async fn released(home: Home, authority: &Authority) {
    let mut changes = authority.subscribe();
    while home.place(&authority.enter(clock::boot_now())) == Place::Here(Verdict::Wait) {
        if changes.changed().await.is_err() {
            return;
        }
    }
}
