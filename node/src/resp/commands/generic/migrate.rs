//! MIGRATE: keys go to another Redis, or another node.
//!
//! ```text
//! dump (shard held) --RESTORE--> target --+OK--> delete, if the key is still what was sent
//! ```
//!
//! Nothing waits but the client that asks: its connection talks to the target, and a shard is held only to read a key and
//! to delete it. What was changed meanwhile is sent again; a key that never holds still stays here, and the client is told.

use std::sync::Arc;
use std::time::Duration;

use tercet_proto::resp::{Encoder, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::keyspace::database;
use super::number;
use crate::clock;
use crate::effect::KeyChange;
use crate::engine::{Locked, Transaction};
use crate::ids::Offset;
use crate::journal::Due;
use crate::keyspace::rdb;
use crate::node::Shared;
use crate::resp::error::Error;
use crate::resp::session::Session;
use crate::resp::table::{Args, Outcome};
use crate::resp::waiting::{Answer, Mail, Wait};
use crate::role::Verdict;

/// How often a key is sent that changes while it is on its way.
const ATTEMPTS: usize = 3;
/// Keys, and about as many bytes, that are sent before their replies are read.
const BATCH_KEYS: usize = 64;
const BATCH_BYTES: usize = 1 << 20;
/// What Redis waits where the timeout says nothing.
const TIMEOUT_MS: u64 = 1000;
/// A target that answers more than this to a command is none.
const REPLY_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
struct Job {
    node: Shared,
    client: u64,
    database: u8,
    address: String,
    keys: Vec<Vec<u8>>,
    target: i64,
    patience: Duration,
    copies: bool,
    replaces: bool,
    auth: Option<Vec<Vec<u8>>>,
}

/// Why keys stay here, as the client reads it.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn io(what: &str) -> Self {
        Self(format!("IOERR error or timeout {what}"))
    }
}

/// What a key was when it was sent.
struct Sent {
    key: Vec<u8>,
    version: u32,
}

pub(super) fn migrate(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let job = parse(session, args)?;
    if session.denies_blocking() {
        return Err(Error::text("ERR MIGRATE is not allowed where nothing may wait"));
    }
    session.may_change()?;
    let under = session.node.gate.term();
    let version = out.version();
    session.wait = Some(Wait::new(Mail::Now, async move {
        let (outcome, depends_on) = job.run().await;
        let mut reply = Vec::new();
        let mut out = Encoder::new(&mut reply, version);
        match outcome {
            Ok(true) => out.ok(),
            Ok(false) => out.simple("NOKEY"),
            Err(Failure(text)) => out.error(&text),
        }
        Answer::new(reply, Due::write(depends_on), under)
    }));
    Ok(())
}

fn parse(session: &Session, args: &Args<'_>) -> Result<Job, Error> {
    let (mut copies, mut replaces, mut auth, mut keys) = (false, false, None, vec![args[3].to_vec()]);
    let mut rest = &args[6..];
    while let [word, behind @ ..] = rest {
        rest = behind;
        match (word.to_ascii_lowercase().as_slice(), behind) {
            (b"copy", _) => copies = true,
            (b"replace", _) => replaces = true,
            (b"auth", [password, behind @ ..]) => {
                auth = Some(vec![password.to_vec()]);
                rest = behind;
            }
            (b"auth2", [user, password, behind @ ..]) => {
                auth = Some(vec![user.to_vec(), password.to_vec()]);
                rest = behind;
            }
            (b"keys", behind) => {
                if !args[3].is_empty() {
                    return Err(Error::text(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                keys = behind.iter().map(|key| key.to_vec()).collect();
                rest = &[];
            }
            _ => return Err(Error::Syntax),
        }
    }
    let wait_ms = number::integer(args[5])?;
    let target = i64::from(number::small(args[4])?);
    if u8::try_from(target).is_err() {
        database(target as i32)?;
    }
    let patience = u64::try_from(wait_ms).ok().filter(|ms| *ms > 0).unwrap_or(TIMEOUT_MS);
    let (host, port) = (String::from_utf8_lossy(args[1]), String::from_utf8_lossy(args[2]));
    Ok(Job {
        node: Arc::clone(&session.node),
        client: session.client.id,
        database: session.database,
        address: if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") },
        keys,
        target,
        patience: Duration::from_millis(patience),
        copies,
        replaces,
        auth,
    })
}

impl Job {
    /// Whether there was anything to send; and the newest record of a key that went.
    async fn run(self) -> (Result<bool, Failure>, Offset) {
        let mut newest = Offset::ZERO;
        let outcome = Arc::new(self).send_all(&mut newest).await;
        (outcome, newest)
    }

    /// What needs keys, whose shards a script may hold for seconds, and what walks over large values: nothing of it is for a
    /// thread that serves clients.
    async fn on_script_thread<T: Send + 'static>(
        self: &Arc<Self>,
        task: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (sender, receiver) = oneshot::channel();
        let job = Arc::clone(self);
        self.node.scripts.run(Box::new(move || _ = sender.send(task(&job))));
        receiver.await.map_err(|_| Failure("ERR the thread of scripts is gone".into()))
    }

    async fn send_all(self: &Arc<Self>, newest: &mut Offset) -> Result<bool, Failure> {
        let existing =
            |job: &Self| -> Vec<Vec<u8>> { job.keys.iter().filter(|key| job.exists(key)).cloned().collect() };
        let mut left = self.on_script_thread(existing).await?;
        if left.is_empty() {
            return Ok(false);
        }
        let mut target = Target::connect(&self.address, self.patience).await?;
        if let Some(auth) = &self.auth {
            let words: Vec<&[u8]> = std::iter::once(b"AUTH".as_slice()).chain(auth.iter().map(Vec::as_slice)).collect();
            target.ask(&words).await?;
        }
        target.ask(&[b"SELECT", self.target.to_string().as_bytes()]).await?;
        let mut refused = None;
        for attempt in 0..ATTEMPTS {
            let mut changed = Vec::new();
            let mut keys = left.into_iter();
            loop {
                let next = move |job: &Self| {
                    let (batch, sent) = job.batch(&mut keys, attempt > 0);
                    (batch, sent, keys)
                };
                let (batch, sent, rest) = self.on_script_thread(next).await?;
                keys = rest;
                if sent.is_empty() {
                    break;
                }
                target.write(&batch).await?;
                for item in sent {
                    match target.read().await? {
                        Value::Error(text) => _ = refused.get_or_insert(text),
                        _ if self.copies => {}
                        _ => {
                            let (outcome, key) = self.on_script_thread(|job| (job.delete(&item), item.key)).await?;
                            match outcome? {
                                Some(offset) => *newest = offset.max(*newest),
                                None => changed.push(key),
                            }
                        }
                    }
                }
            }
            left = changed;
            if left.is_empty() {
                break;
            }
        }
        match refused {
            Some(text) => Err(Failure(format!("ERR Target instance replied with error: {text}"))),
            None if !left.is_empty() => Err(Failure(format!(
                "ERR {} keys were changed again and again while they were on their way; they are still here",
                left.len()
            ))),
            None => Ok(true),
        }
    }

    fn exists(&self, key: &[u8]) -> bool {
        let keyspace = &self.node.engine.keyspace;
        let shard = keyspace.lock(keyspace.shard_of(key));
        shard.database(self.database).find(key).is_some_and(|entry| !entry.is_expired(clock::unix_now()))
    }

    /// The commands that restore the next keys.
    fn batch(&self, keys: &mut impl Iterator<Item = Vec<u8>>, replaces: bool) -> (Vec<u8>, Vec<Sent>) {
        let (mut batch, mut sent) = (Vec::new(), Vec::new());
        while sent.len() < BATCH_KEYS
            && batch.len() < BATCH_BYTES
            && let Some(key) = keys.next()
        {
            if let Some((command, version)) = self.dump(&key, replaces) {
                batch.extend_from_slice(&command);
                sent.push(Sent { key, version });
            }
        }
        (batch, sent)
    }

    /// The command that restores a key, and which version of it that is.
    fn dump(&self, key: &[u8], replaces: bool) -> Option<(Vec<u8>, u32)> {
        let keyspace = &self.node.engine.keyspace;
        let now = clock::unix_now();
        let shard = keyspace.lock(keyspace.shard_of(key));
        let entry = shard.database(self.database).find(key).filter(|entry| !entry.is_expired(now))?;
        let limits = keyspace.thresholds().sizes().limits;
        let payload = rdb::dump(entry.value(), &limits);
        let left = entry.expire_at().map_or(0, |at| at.0.saturating_sub(now.0).max(1));
        let version = entry.version();
        drop(shard);
        let left = left.to_string();
        let mut words: Vec<&[u8]> = vec![b"RESTORE", key, left.as_bytes(), &payload];
        if self.replaces || replaces {
            words.push(b"REPLACE");
        }
        Some((Value::command(&words), version))
    }

    /// Deletes a key that has arrived. Nothing: it is not any more what was sent.
    fn delete(&self, sent: &Sent) -> Result<Option<Offset>, Failure> {
        let node = &self.node;
        let permit = node.authority.enter(clock::boot_now());
        if permit.verdict != Verdict::Master {
            return Err(Failure(
                "READONLY this node is not master any more; keys that have arrived are at both".into(),
            ));
        }
        let (engine, mut record) = (&node.engine, Vec::new());
        let index = engine.keyspace.shard_of(&sent.key);
        let locked = Locked::One(index, engine.keyspace.lock(index));
        let mut transaction = Transaction::new(engine, locked, &mut record, self.database, clock::unix_now());
        let slot = transaction.open(&sent.key);
        let is_same = slot.entry().is_none_or(|entry| entry.version() == sent.version);
        if is_same {
            // Deleting cannot meet a wrong type.
            _ = slot.apply(&KeyChange::Delete);
        }
        let offset = transaction.finish();
        if is_same && node.tracking.is_used() {
            node.tracking.changed(self.client, &[&sent.key], &node.clients, &node.config.live);
        }
        drop(permit);
        node.publish();
        Ok(is_same.then_some(offset))
    }
}

/// The connection to where keys go.
struct Target {
    stream: TcpStream,
    input: Vec<u8>,
    patience: Duration,
}

impl Target {
    async fn connect(address: &str, patience: Duration) -> Result<Self, Failure> {
        let stream = match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) | Err(_) => return Err(Failure::io("connecting to the client")),
        };
        // It only makes short commands wait.
        _ = stream.set_nodelay(true);
        Ok(Self { stream, input: Vec::new(), patience })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match timeout(self.patience, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Failure::io("writing to target instance")),
        }
    }

    async fn read(&mut self) -> Result<Value, Failure> {
        let failure = || Failure::io("reading from target instance");
        loop {
            if let Some((value, length)) = Value::decode(&self.input).map_err(|_| failure())? {
                self.input.drain(..length);
                return Ok(value);
            }
            if self.input.len() > REPLY_BYTES_MAX {
                return Err(failure());
            }
            match timeout(self.patience, self.stream.read_buf(&mut self.input)).await {
                Ok(Ok(1..)) => {}
                Ok(_) | Err(_) => return Err(failure()),
            }
        }
    }

    /// One command that has to be answered without an error.
    async fn ask(&mut self, words: &[&[u8]]) -> Result<(), Failure> {
        self.write(&Value::command(words)).await?;
        match self.read().await? {
            Value::Error(text) => Err(Failure(format!("ERR Target instance replied with error: {text}"))),
            _ => Ok(()),
        }
    }
}
