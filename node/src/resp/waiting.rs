//! WAIT, WAITAOF and SAVE: a client waits until so many copies, or the rows on disk, hold what it has written. Its connection sleeps meanwhile, and
//! nothing else does.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tercet_proto::resp::{Encoder, Version};
use tokio::time::Instant;

use crate::clients::{Client, state};
use crate::ids::Offset;
use crate::journal::Due;
use crate::node::{Node, Shared};
use crate::replication::commit::Holders;
use crate::resp::session::Brought;

/// How many copies have to hold what was written before the client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// WAIT: replicas that have received it. Negative: as Redis, nothing is waited for.
    Replicas(i64),
    /// WAITAOF: copies that have it on disk; `local` is 1 if this node's is among them.
    Durable { local: i64, replicas: usize },
    /// DEBUG SLEEP: nothing but the time.
    Time,
    /// SAVE: the checkpoint that was asked for has ended.
    Saved { request: u64 },
}

/// What a blocked client is answered in the end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Vec<u8>,
    /// Large texts of the reply that are shared: each stands before the byte with this index.
    pub(crate) texts: Vec<(usize, Bytes)>,
    /// What the reply depends on, and the mastership under which it was made.
    pub(crate) depends_on: Due,
    pub(crate) under: u64,
    /// False: the client was released by CLIENT UNBLOCK, and the reply is that of a time-out.
    pub(crate) is_over: bool,
    /// No answer: the command is executed again, here or where the master is.
    pub(crate) again: Option<Vec<u8>>,
    /// What the command has made of its session, if it ran on the thread of scripts.
    pub(crate) brought: Option<Box<Brought>>,
}

impl Answer {
    /// A reply that was made under the mastership `under`.
    pub(crate) fn new(reply: Vec<u8>, depends_on: Due, under: u64) -> Self {
        Self { reply, texts: Vec::new(), depends_on, under, is_over: true, again: None, brought: None }
    }

    /// The command is executed again.
    pub(crate) fn again(command: Vec<u8>, under: u64) -> Self {
        Self { again: Some(command), ..Self::new(Vec::new(), Due::NOTHING, under) }
    }
}

/// Resolves when a blocked client has its answer, and at once when `Client::released` tells it. Dropping it ends the wait.
pub(crate) struct Wait {
    pub(crate) answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
    pub(crate) mail: Mail,
}

/// When a client that waits is told what others send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mail {
    Now,
    /// After its answer: it is executing a command, which may publish to the client itself.
    Later,
}

impl Wait {
    pub(crate) fn new(mail: Mail, answer: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self { answer: Box::pin(answer), mail }
    }
}

impl std::fmt::Debug for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wait")
    }
}

/// A client that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    wanted: Wanted,
    /// What was so at the last look under the mastership `term`: the answer, should that end.
    seen: Holders,
    /// The client's newest write.
    offset: Offset,
    term: u64,
    deadline: Option<Instant>,
}

impl Waiting {
    /// `timeout_ms`: 0 waits for ever.
    pub(crate) fn new(wanted: Wanted, offset: Offset, term: u64, timeout_ms: u64) -> Self {
        // One that lies beyond what the clock can say is for ever.
        let deadline =
            (timeout_ms > 0).then(|| Instant::now().checked_add(Duration::from_millis(timeout_ms))).flatten();
        Self { wanted, seen: Holders::default(), offset, term, deadline }
    }

    fn look(&mut self, node: &Node) -> Holders {
        let holders = node.commit.holders(self.offset);
        if node.gate.term() == self.term {
            self.seen = holders;
        }
        self.seen
    }

    pub(crate) fn is_answered(&mut self, node: &Node) -> bool {
        let holders = self.look(node);
        match self.wanted {
            Wanted::Replicas(wanted) => holders.received as i64 >= wanted,
            Wanted::Durable { local, replicas } => self.local(node) >= local && holders.durable >= replicas,
            Wanted::Saved { request } => node.checkpoint.outcome(request).is_some(),
            Wanted::Time => false,
        }
    }

    fn local(&self, node: &Node) -> i64 {
        let durability = node.engine.journal.durability();
        i64::from(durability.promise().is_some() && durability.durable() >= self.offset)
    }

    /// What is so by now.
    pub(crate) fn answer(&mut self, node: &Node, out: &mut Encoder<'_>) {
        let holders = self.look(node);
        match self.wanted {
            Wanted::Replicas(_) => out.integer(holders.received as i64),
            Wanted::Time => out.ok(),
            Wanted::Durable { .. } => {
                out.array(2);
                out.integer(self.local(node));
                out.integer(holders.durable as i64);
            }
            Wanted::Saved { request } => match node.checkpoint.outcome(request) {
                Some(Ok(_)) => out.ok(),
                Some(Err(refusal)) => out.error(&format!("ERR {refusal}")),
                None => out.error("ERR this node was deposed before everything was saved"),
            },
        }
    }

    /// Waits, and answers as a client of this version reads it.
    pub(crate) fn answered(mut self, node: Shared, client: Arc<Client>, version: Version) -> Wait {
        Wait::new(Mail::Now, async move {
            let is_over = tokio::select! {
                () = self.over(&node) => true,
                () = client.released.notified() => false,
            };
            let mut reply = Vec::new();
            self.answer(&node, &mut Encoder::new(&mut reply, version));
            Answer { is_over, ..Answer::new(reply, Due::NOTHING, self.term) }
        })
    }

    /// Resolves once there is an answer, be it that the time is up, or that this node is master no more: then the answer
    /// is what was so until then.
    pub(crate) async fn over(&mut self, node: &Node) {
        let (deadline, term) = (self.deadline, self.term);
        let satisfied = async {
            loop {
                let (acknowledged, disk) =
                    (node.commit.acknowledged.notified(), node.engine.journal.durability().changed());
                tokio::pin!(acknowledged);
                acknowledged.as_mut().enable();
                if self.is_answered(node) {
                    return;
                }
                let saved = async {
                    match self.wanted {
                        Wanted::Saved { request } => _ = node.checkpoint.finished(request).await,
                        Wanted::Replicas(_) | Wanted::Durable { .. } | Wanted::Time => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = acknowledged => {}
                    () = disk => {}
                    () = saved => {}
                }
            }
        };
        let timeout = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = satisfied => {}
            () = timeout => {}
            // Nothing is ever committed up to there: it only tells of the end of the mastership.
            _ = node.gate.wait(Offset(u64::MAX), term) => {}
        }
    }
}

/// Counts a client that waits, as long as it lives.
#[derive(Debug)]
pub(crate) struct Waits<'n>(&'n AtomicU64);

impl<'n> Waits<'n> {
    pub(crate) fn new(counter: &'n AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a client that is blocked, for INFO and CLIENT LIST, as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted {
    node: Shared,
    client: Arc<Client>,
}

impl Counted {
    pub(crate) fn new(node: Shared, client: Arc<Client>) -> Self {
        node.stats.blocked.fetch_add(1, Ordering::Relaxed);
        // One who was released at the moment of his answer has left this behind.
        _ = client.released.notified().now_or_never();
        client.set(state::BLOCKED, true);
        Self { node, client }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.client.set(state::BLOCKED, false);
        self.node.stats.blocked.fetch_sub(1, Ordering::Relaxed);
    }
}
