//! The connected clients: for CLIENT LIST and KILL, to send them what others have to say, and to close them when the
//! mastership ends.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tercet_proto::amqp::FieldTable;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::accounts::Origin;
use crate::clock::{self, BootNanos};
use crate::config::special::{OutputClass, OutputLimit, OutputLimits};
use crate::limits;

/// Which frontend a client came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Resp,
    Amqp,
    /// Carried to the master, byte by byte.
    Carried,
}

/// Why a connection's task is called, as bits.
pub(crate) mod call {
    /// There is mail.
    pub(crate) const MAIL: u32 = 1;
    /// CLIENT UNBLOCK ERROR: what it waits for is answered with an error.
    pub(crate) const FAIL: u32 = 2;
}

/// What a client is and does, as bits.
pub(crate) mod state {
    /// It has subscribed to something.
    pub(crate) const PUBSUB: u32 = 1;
    pub(crate) const MONITOR: u32 = 2;
    pub(crate) const MULTI: u32 = 4;
    pub(crate) const BLOCKED: u32 = 8;
    pub(crate) const TRACKING: u32 = 16;
    pub(crate) const TRACKING_BROADCAST: u32 = 32;
    /// Its invalidations went to a client that is gone.
    pub(crate) const TRACKING_BROKEN: u32 = 64;
    pub(crate) const NO_EVICT: u32 = 128;
    pub(crate) const NO_TOUCH: u32 = 256;
}

/// The reply buffer that Redis gives to each client.
const FIXED_BUFFER_BYTES: usize = 16 << 10;

/// What is known of one client.
#[derive(Debug)]
pub struct Client {
    pub id: u64,
    pub protocol: Protocol,
    pub address: SocketAddr,
    pub local: SocketAddr,
    pub since: BootNanos,
    /// What CLIENT SETNAME, SETINFO and SELECT said, and the last command.
    pub about: Mutex<About>,
    /// What an AMQP client agreed on, once its connection is open.
    pub amqp: Mutex<Option<AmqpAbout>>,
    /// How much memory its connection takes.
    pub sizes: Sizes,
    task: Mutex<Option<AbortHandle>>,
    /// Its connection waits for something to do.
    pub(crate) reader: AtomicWaker,
    /// CLIENT UNBLOCK: told to whatever it waits for.
    pub(crate) released: Notify,
    calls: AtomicU32,
    states: AtomicU32,
    mail: Mutex<Mail>,
}

#[derive(Debug, Default, Clone)]
pub struct About {
    pub name: String,
    pub library: String,
    pub library_version: String,
    pub database: u8,
    pub resp: u8,
    pub user: String,
    pub last_command: &'static str,
    pub last_active: BootNanos,
}

/// What an AMQP connection agreed on, and its channels: for management.
#[derive(Debug, Default, Clone)]
pub struct AmqpAbout {
    pub user: String,
    pub vhost: String,
    pub mechanism: String,
    pub properties: FieldTable,
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat: u16,
    pub(crate) channels: Vec<Weak<ChannelGauges>>,
}

impl AmqpAbout {
    /// A channel is open for as long as its gauges live.
    pub fn opened(&mut self, channel: &Arc<ChannelGauges>) {
        self.channels.retain(|known| known.strong_count() > 0);
        self.channels.push(Arc::downgrade(channel));
    }

    #[must_use]
    pub fn channels(&self) -> Vec<Arc<ChannelGauges>> {
        self.channels.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Numbers of one channel. Relaxed: they are for people.
#[derive(Debug, Default)]
pub struct ChannelGauges {
    pub number: u16,
    pub unacknowledged: AtomicU32,
    pub consumers: AtomicU32,
    pub prefetch: AtomicU16,
    pub confirms: AtomicBool,
    pub is_transactional: AtomicBool,
}

/// What a connection says of its memory, in bytes. Relaxed: for people and for limits.
#[derive(Debug, Default)]
pub struct Sizes {
    /// Input that was not executed, and the buffer that it lies in.
    pub query: AtomicUsize,
    pub query_buffer: AtomicUsize,
    /// Output that was not sent, and its buffer.
    pub output: AtomicUsize,
    pub output_buffer: AtomicUsize,
    /// Arguments of the command under way, and of those that are queued; how many those are (-1: no transaction).
    pub arguments: AtomicUsize,
    pub multi: AtomicUsize,
    pub queued: AtomicI64,
    pub watched: AtomicUsize,
    pub channels: AtomicUsize,
    pub patterns: AtomicUsize,
    pub shard_channels: AtomicUsize,
    /// The client to which its invalidations go: 0 itself.
    pub redirect: AtomicU64,
}

/// What others have to say to a client, in the order in which they said it. A letter is one reply as RESP3 has it; one that
/// begins as a push is an array to a client that speaks RESP2.
#[derive(Debug, Default)]
struct Mail {
    letters: VecDeque<Bytes>,
    bytes: usize,
    /// Since when the client's unread output is over the soft limit.
    over_since: Option<BootNanos>,
}

/// The classes that Redis tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Normal,
    PubSub,
}

impl Client {
    #[must_use]
    pub fn class(&self) -> Class {
        if self.is(state::PUBSUB) { Class::PubSub } else { Class::Normal }
    }

    /// A line of CLIENT LIST.
    #[must_use]
    pub fn describe(&self) -> String {
        use std::fmt::Write as _;
        let now = clock::boot_now();
        let about = self.about.lock().clone();
        let number = |cell: &AtomicUsize| cell.load(Ordering::Relaxed);
        let sizes = &self.sizes;
        let (letters, mail) = self.mail();
        let (query, query_buffer) = (number(&sizes.query), number(&sizes.query_buffer));
        let (output, output_buffer) = (number(&sizes.output), number(&sizes.output_buffer));
        // Redis has a fixed buffer, and a list behind it.
        let fixed = output.min(FIXED_BUFFER_BYTES);
        let listed = letters + usize::from(output > fixed);
        let unread = output - fixed + mail;
        let (arguments, multi) = (number(&sizes.arguments), number(&sizes.multi));
        let total = self.memory();
        let mut line = format!("id={} addr={} laddr={} fd=-1 name={}", self.id, self.address, self.local, about.name);
        // Writing to a String cannot fail.
        _ = write!(
            line,
            " age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={}",
            now.millis_since(self.since) / 1000,
            now.millis_since(about.last_active) / 1000,
            self.flags(),
            about.database,
            number(&sizes.channels),
            number(&sizes.patterns),
            number(&sizes.shard_channels),
            sizes.queued.load(Ordering::Relaxed),
        );
        _ = write!(
            line,
            " qbuf={query} qbuf-free={} argv-mem={arguments} multi-mem={multi} rbs={output_buffer} rbp={output} obl={fixed} \
             oll={listed} omem={unread} tot-mem={total} events={}",
            query_buffer.saturating_sub(query),
            if output + mail > 0 { "rw" } else { "r" },
        );
        let redirect = sizes.redirect.load(Ordering::Relaxed) as i64;
        _ = write!(
            line,
            " cmd={} user={} redir={} resp={} lib-name={} lib-ver={}",
            if about.last_command.is_empty() { "NULL" } else { about.last_command },
            about.user,
            if self.is(state::TRACKING) { redirect } else { -1 },
            about.resp,
            about.library,
            about.library_version,
        );
        line
    }

    /// Bytes of memory that it takes, its buffers and what others have sent it.
    #[must_use]
    pub fn memory(&self) -> usize {
        let number = |cell: &AtomicUsize| cell.load(Ordering::Relaxed);
        let sizes = &self.sizes;
        let query = number(&sizes.query_buffer).max(number(&sizes.query));
        let output = number(&sizes.output_buffer).max(number(&sizes.output));
        query + output + self.mail().1 + number(&sizes.arguments) + number(&sizes.multi) + size_of::<Self>()
    }

    /// The letters of CLIENT LIST.
    fn flags(&self) -> String {
        const LETTERS: [(u32, char); 9] = [
            (state::MONITOR, 'O'),
            (state::PUBSUB, 'P'),
            (state::MULTI, 'x'),
            (state::BLOCKED, 'b'),
            (state::TRACKING, 't'),
            (state::TRACKING_BROKEN, 'R'),
            (state::TRACKING_BROADCAST, 'B'),
            (state::NO_EVICT, 'e'),
            (state::NO_TOUCH, 'T'),
        ];
        let flags: String = LETTERS.iter().filter(|(state, _)| self.is(*state)).map(|(_, letter)| letter).collect();
        if flags.is_empty() { "N".to_owned() } else { flags }
    }

    /// The task that serves it: aborting it closes the connection.
    pub fn served_by(&self, task: AbortHandle) {
        *self.task.lock() = Some(task);
    }

    /// Lets its connection look at what clients are asked for, if it waits for input.
    pub fn wake(&self) {
        self.reader.wake();
    }

    /// Closes the connection without a word.
    pub fn close(&self) {
        if let Some(task) = &*self.task.lock() {
            task.abort();
        }
    }

    /// Lets its connection look at something.
    pub(crate) fn call(&self, why: u32) {
        if self.calls.fetch_or(why, Ordering::AcqRel) & why != why {
            self.reader.wake();
        }
    }

    /// Why its connection is called, of these reasons.
    #[inline]
    pub(crate) fn is_called(&self, why: u32) -> bool {
        self.calls.load(Ordering::Acquire) & why != 0
    }

    /// Takes the reasons, of these, for which its connection is called.
    #[inline]
    pub(crate) fn take_calls(&self, why: u32) -> u32 {
        if self.is_called(why) { self.calls.fetch_and(!why, Ordering::AcqRel) & why } else { 0 }
    }

    #[inline]
    pub(crate) fn is(&self, state: u32) -> bool {
        self.states.load(Ordering::Relaxed) & state != 0
    }

    pub(crate) fn set(&self, state: u32, is_so: bool) {
        if is_so {
            self.states.fetch_or(state, Ordering::Relaxed);
        } else {
            self.states.fetch_and(!state, Ordering::Relaxed);
        }
    }

    /// Puts a letter into its mail, and closes it if it reads too slowly.
    pub(crate) fn post(&self, letter: Bytes, limits: &OutputLimits) {
        let unread = {
            let mut mail = self.mail.lock();
            mail.bytes += letter.len();
            mail.letters.push_back(letter);
            mail.bytes
        };
        self.call(call::MAIL);
        self.check_output(unread, limits);
    }

    /// Takes letters for about so many bytes.
    pub(crate) fn take_mail(&self, room: usize, mut visit: impl FnMut(&Bytes)) {
        let mut mail = self.mail.lock();
        let mut taken = 0;
        while taken < room
            && let Some(letter) = mail.letters.pop_front()
        {
            taken += letter.len();
            visit(&letter);
        }
        mail.bytes -= taken;
        if mail.letters.is_empty() {
            mail.letters.shrink_to(limits::SPARE_LETTERS);
        } else {
            self.calls.fetch_or(call::MAIL, Ordering::AcqRel);
        }
    }

    /// Letters, and their bytes.
    #[must_use]
    pub fn mail(&self) -> (usize, usize) {
        let mail = self.mail.lock();
        (mail.letters.len(), mail.bytes)
    }

    /// Closes it if what it has not read is over the limits of its class. Those who use MONITOR count as subscribers: as in
    /// Redis they may never read, and unlike there that has a bound.
    pub(crate) fn check_output(&self, letters: usize, limits: &OutputLimits) {
        let class = if self.is(state::PUBSUB | state::MONITOR) { OutputClass::PubSub } else { OutputClass::Normal };
        let OutputLimit { hard, soft, soft_seconds } = limits.of(class);
        let unread = (letters + self.sizes.output.load(Ordering::Relaxed)) as u64;
        let is_over_soft = {
            let mut mail = self.mail.lock();
            if soft > 0 && unread >= soft {
                let now = clock::boot_now();
                let since = *mail.over_since.get_or_insert(now);
                now.millis_since(since) > soft_seconds.saturating_mul(1000)
            } else {
                mail.over_since = None;
                false
            }
        };
        if is_over_soft || hard > 0 && unread >= hard {
            tracing::warn!(
                client = self.id,
                address = %self.address,
                ?class,
                unread,
                "client is closed: what it has not read is over its output buffer limit"
            );
            self.close();
        }
    }
}

/// Where somebody logs in from.
#[must_use]
pub fn origin(address: std::net::IpAddr) -> Origin {
    if address.to_canonical().is_loopback() { Origin::Loopback } else { Origin::Elsewhere }
}

/// All clients of a node.
#[derive(Debug, Default)]
pub struct Clients {
    next_id: AtomicU64,
    count: AtomicUsize,
    all: Mutex<HashMap<u64, Arc<Client>>>,
}

/// A client's entry in the table, for as long as this lives.
#[derive(Debug)]
pub struct Registration {
    clients: Arc<Clients>,
    pub client: Arc<Client>,
}

impl Registration {
    #[must_use]
    pub fn new(clients: Arc<Clients>, protocol: Protocol, address: SocketAddr, local: SocketAddr) -> Self {
        let id = clients.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let since = clock::boot_now();
        let about = About { resp: 2, user: "default".into(), last_active: since, ..About::default() };
        let sizes = Sizes { queued: AtomicI64::new(-1), ..Sizes::default() };
        let client = Arc::new(Client {
            id,
            protocol,
            address,
            local,
            since,
            about: Mutex::new(about),
            amqp: Mutex::new(None),
            sizes,
            task: Mutex::new(None),
            reader: AtomicWaker::new(),
            released: Notify::new(),
            calls: AtomicU32::new(0),
            states: AtomicU32::new(0),
            mail: Mutex::default(),
        });
        clients.all.lock().insert(id, Arc::clone(&client));
        clients.count.fetch_add(1, Ordering::Relaxed);
        Self { clients, client }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.clients.all.lock().remove(&self.client.id);
        self.clients.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Clients {
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The client with this id.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.all.lock().get(&id).cloned()
    }

    /// All of them, by id.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Client>> {
        let mut all: Vec<_> = self.all.lock().values().cloned().collect();
        all.sort_by_key(|client| client.id);
        all
    }

    /// How many AMQP connections of a kind are open.
    #[must_use]
    pub fn count_amqp(&self, is_wanted: impl Fn(&AmqpAbout) -> bool) -> usize {
        let all = self.all.lock();
        all.values().filter(|client| client.amqp.lock().as_ref().is_some_and(&is_wanted)).count()
    }

    /// How many channels the AMQP connections of a user have.
    #[must_use]
    pub fn count_channels(&self, user: &str) -> usize {
        let all = self.all.lock();
        let of = |client: &Arc<Client>| match &*client.amqp.lock() {
            Some(about) if about.user == user => about.channels().len(),
            _ => 0,
        };
        all.values().map(of).sum()
    }

    #[must_use]
    pub fn find(&self, id: u64) -> Option<Arc<Client>> {
        self.all.lock().get(&id).cloned()
    }

    /// Closes the clients of one protocol.
    pub fn close_all(&self, protocol: Protocol) {
        for client in self.list() {
            if client.protocol == protocol {
                client.close();
            }
        }
    }
}
