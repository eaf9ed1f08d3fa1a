//! Commands that wait for a key: what they say when they find nothing, and how they are executed again when there may be
//! something.
//!
//! ```text
//! command --Error::Blocked--> call: a ticket in the shards --> the connection waits
//! another's transaction makes the key ready --serve--> executed again, within that transaction --> reply --> connection
//! ```

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tercet_proto::resp::{Encoder, Value, Version};
use tokio::time::Instant;

use super::block::{Block, Timeout, Unit};
use super::error::Error;
use super::row::Row;
use super::session::Home;
use super::table::{self, Handler};
use super::waiting::{Answer, Mail, Wait};
use crate::clients::Client;
use crate::engine::{Served, Transaction, Waiter};
use crate::ids::Offset;
use crate::journal::Due;
use crate::keyspace::Ticket;
use crate::node::{Node, Shared};
use crate::role::Role;

/// A client's command that waits.
#[derive(Debug)]
pub(crate) struct Blocked {
    pub(crate) ticket: Arc<Ticket>,
    row: &'static Row,
    args: Vec<Vec<u8>>,
    version: Version,
    timeout: Timeout,
    deadline: Option<Instant>,
    state: Mutex<State>,
    /// Its connection.
    waker: AtomicWaker,
}

#[derive(Debug)]
enum State {
    Waits,
    /// On a replica something has changed.
    Again,
    /// Its reply, and the record that the reply depends on, once that is known.
    Served(Vec<u8>, Option<Offset>),
    /// Nobody is to serve it any more.
    Over,
}

/// A command begins to wait.
pub(crate) fn start(node: &Node, database: u8, row: &'static Row, version: Version, block: Block) -> Arc<Blocked> {
    Arc::new(Blocked::new(node.engine.waiting.next_id(), database, row, version, block))
}

/// Leaves the lines of waiters, however waiting ends: also when the connection is closed meanwhile.
struct Leaves {
    node: Shared,
    blocked: Arc<Blocked>,
}

impl Drop for Leaves {
    fn drop(&mut self) {
        self.blocked.give_up();
        if !self.node.engine.try_leave(&self.blocked.ticket) {
            // A script may hold the key for seconds, and this thread serves clients.
            let (node, blocked) = (Arc::clone(&self.node), Arc::clone(&self.blocked));
            self.node.scripts.run(Box::new(move || node.engine.leave(&blocked.ticket)));
        }
    }
}

/// Waits until the command is served, its time is over, or another node is master: then its client is carried there.
pub(crate) fn wait(node: Shared, client: Arc<Client>, blocked: Arc<Blocked>, home: Home) -> Wait {
    let under = node.gate.term();
    let leaves = Leaves { node: Arc::clone(&node), blocked: Arc::clone(&blocked) };
    Wait::new(Mail::Now, async move {
        let _leaves = leaves;
        let answer = |reply, depends_on| Answer::new(reply, depends_on, under);
        let mut standings = node.authority.subscribe();
        let lost = async {
            // The command has done nothing: another master may do it.
            if home == Home::Anywhere || standings.wait_for(|standing| standing.role != Role::Master).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let timeout = async {
            match blocked.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(lost, timeout);
        // Of what is served while its time ends, the service counts.
        let (mut is_late, mut is_lost) = (false, false);
        loop {
            tokio::select! {
                ended = blocked.ended() => return match ended {
                    Ended::Served(reply, offset) => answer(reply, blocked.due(offset)),
                    Ended::Again => Answer::again(blocked.command(), under),
                },
                () = client.released.notified() => if blocked.give_up() {
                    return Answer { is_over: false, ..answer(blocked.nothing(), Due::NOTHING) };
                },
                () = &mut timeout, if !is_late => {
                    if blocked.give_up() {
                        return answer(blocked.nothing(), Due::NOTHING);
                    }
                    is_late = true;
                }
                () = &mut lost, if !is_lost => {
                    if blocked.give_up() {
                        return Answer::again(blocked.command(), under);
                    }
                    is_lost = true;
                }
            }
        }
    })
}

/// How waiting ended.
#[derive(Debug)]
enum Ended {
    Served(Vec<u8>, Offset),
    Again,
}

impl Blocked {
    fn new(id: u64, database: u8, row: &'static Row, version: Version, block: Block) -> Self {
        let Block { timeout, keys, needs, wants, args } = block;
        // A time that lies beyond what the clock can say is for ever.
        let wait = Duration::from_millis(timeout.ms);
        let deadline = if timeout.ms > 0 { Instant::now().checked_add(wait) } else { None };
        Self {
            ticket: Arc::new(Ticket { id, database, keys, needs, wants }),
            row,
            args,
            version,
            timeout,
            deadline,
            state: Mutex::new(State::Waits),
            waker: AtomicWaker::new(),
        }
    }

    /// Resolves when it has been served.
    async fn ended(&self) -> Ended {
        std::future::poll_fn(|context| {
            self.waker.register(context.waker());
            let mut state = self.state.lock();
            let ended = match &mut *state {
                State::Served(reply, Some(offset)) => Ended::Served(std::mem::take(reply), *offset),
                State::Again => Ended::Again,
                State::Waits | State::Served(_, None) | State::Over => return std::task::Poll::Pending,
            };
            *state = State::Over;
            std::task::Poll::Ready(ended)
        })
        .await
    }

    /// Ends the waiting, unless it was served: then that counts.
    fn give_up(&self) -> bool {
        let mut state = self.state.lock();
        let is_served = matches!(&*state, State::Served(..));
        if !is_served {
            *state = State::Over;
        }
        !is_served
    }

    /// What its reply depends on that was served with this record.
    fn due(&self, offset: Offset) -> Due {
        if self.row.is_write() { Due::write(offset) } else { Due::read(offset) }
    }

    /// The reply when the time is over.
    fn nothing(&self) -> Vec<u8> {
        let mut reply = Vec::new();
        Encoder::new(&mut reply, self.version).null_array();
        reply
    }

    /// The command as it was sent, with what is left of its time: for another execution, here or elsewhere.
    fn command(&self) -> Vec<u8> {
        let mut args = self.args.clone();
        if let (Some(deadline), Some(text)) = (self.deadline, args.get_mut(self.timeout.at)) {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            *text = match self.timeout.unit {
                Unit::Seconds => format!("{:.3}", left.as_secs_f64()).into_bytes(),
                Unit::Millis => left.as_millis().to_string().into_bytes(),
            };
        }
        Value::command(&args)
    }
}

impl Waiter for Blocked {
    fn serve(&self, transaction: &mut Transaction<'_>) -> Served {
        let mut state = self.state.lock();
        if !matches!(*state, State::Waits) {
            return Served::Waits;
        }
        let args: SmallVec<[&[u8]; 8]> = self.args.iter().map(Vec::as_slice).collect();
        let mut reply = Vec::new();
        let mut out = Encoder::new(&mut reply, self.version);
        let outcome = match table::handler(self.row) {
            Handler::Write(function) => function(transaction, &args, &mut out),
            Handler::Read(function) => {
                let (hits, misses) = (Cell::new(0), Cell::new(0));
                function(&transaction.view(&hits, &misses), &args, &mut out)
            }
            _ => return Served::Waits,
        };
        match outcome {
            Ok(()) => {}
            Err(Error::Blocked(_)) => return Served::Waits,
            Err(error) => {
                reply.clear();
                Encoder::new(&mut reply, self.version).error_bytes(&error.to_bytes());
            }
        }
        *state = State::Served(reply, None);
        Served::Done
    }

    fn is_served(&self, offset: Offset) {
        if let State::Served(_, depends_on) = &mut *self.state.lock() {
            *depends_on = Some(offset);
        }
        self.waker.wake();
    }

    fn wake(&self) {
        let mut state = self.state.lock();
        if matches!(*state, State::Waits) {
            *state = State::Again;
        }
        drop(state);
        self.waker.wake();
    }
}
