//! A session: what the server remembers of one AMQP client, and how its frames are executed.
//!
//! ```text
//! header -> starting -> tuning -> opening -> running -> closing -> over
//! ```

use std::sync::Arc;

use bytes::BytesMut;
use hashbrown::HashMap;
use tercet_edge::seldom::Seldom;
use tercet_proto::amqp::{
    Closes, Decoder, Frame, FrameKind, Method, Opening, PROTOCOL_HEADER, ReplyCode, ShortString, take_protocol_header,
};

use super::channel::{Channel, Next};
use super::context::{About, Context};
use super::error::Error;
use super::handshake;
use super::limits;
use super::output::Output;
use crate::broker::{ConnectionId, Event, Link};
use crate::budget::{Alarm, Class, Share};
use crate::clients::{AmqpAbout, Client};
use crate::clock;
use crate::journal::Due;
use crate::limits::MESSAGE_BYTES_MOST;
use crate::node::Shared;
use crate::role::Verdict;
use crate::vhost_rules::VhostLimits;

/// One client's state.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) node: Shared,
    pub(super) client: Arc<Client>,
    pub(super) link: Arc<Link>,
    pub(super) out: Output,
    phase: Phase,
    about: About,
    decoder: Decoder,
    channels: HashMap<u16, Channel>,
    dirty: Vec<u16>,
    events: Vec<Event>,
    record: Vec<u8>,
    /// Whose certificate the client has shown.
    certificate: Option<String>,
    /// How long the answer to a wrong login waits.
    pub(super) penalty: Option<std::time::Duration>,
    /// We have told the client that it is held.
    told_blocked: bool,
    /// This batch may change queues: the node is master. Only the end of a connection is handled without.
    may_write: bool,
    /// A basic.publish that has to wait.
    pub(super) held_frame: Option<Frame>,
    /// Messages that a slowed publisher may still send.
    allowance: u32,
    /// It is time to look for deliveries that the client keeps too long.
    is_look_due: bool,
    /// The least time for which it may keep one, in milliseconds; 0: for ever.
    least_timeout: u64,
    verdict: Verdict,
    /// What this connection counts in the node's budget: frames that have not left, and messages that are not whole.
    output: Share,
    input: Share,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Header,
    Starting,
    Tuning,
    Opening,
    Running,
    /// We have sent close; whatever comes before close-ok is not looked at.
    Closing,
    /// Nothing is left to do but to write what is to be written.
    Over,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Header => "pre_init",
            Self::Starting => "starting",
            Self::Tuning => "tuning",
            Self::Opening => "opening",
            Self::Running => "running",
            Self::Closing => "closing",
            Self::Over => "closed",
        }
    }
}

/// Whether all that waits in the inbox was written, as far as there is room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    Whole,
    InPart,
}

/// Class and method of basic.publish.
const BASIC_PUBLISH: (u16, u16) = (60, 40);

/// What is left to do after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Everything whole has been executed.
    Drained,
    /// Frames have to leave first.
    Full,
    /// There is more, and others are to have their turn before.
    TurnOver,
    /// There is more, under another verdict.
    Again,
    /// Nothing may be executed now.
    Held(Verdict),
    /// The next frame publishes, and that has to wait.
    Publishing(Hold),
}

/// Why a publisher waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Alarm(Alarm),
    /// The disk cannot be written; what is in memory may be consumed.
    Disk,
    /// A queue has become longer than its consumers keep up with.
    Slow,
    /// It asks for a message that is being read from the disk.
    Fetch,
}

impl Hold {
    /// What the client is told. One that is slowed goes on soon.
    pub(super) fn reason(self) -> Option<&'static str> {
        match self {
            Self::Alarm(alarm) => Some(alarm.reason()),
            Self::Disk => Some(Alarm::Disk.reason()),
            Self::Slow | Self::Fetch => None,
        }
    }
}

impl Session {
    pub(super) fn new(node: Shared, client: Arc<Client>, certificate: Option<String>) -> Self {
        let link = Arc::new(Link::new(ConnectionId(client.id)));
        let share = |class| Share::new(Arc::clone(&node.engine.budget), class);
        let (output, input) = (share(Class::Output), share(Class::Input));
        let channel_max = node.config.channel_max.max(1);
        let message_bytes = node.config.max_message_size.0.min(MESSAGE_BYTES_MOST);
        Self {
            node,
            client,
            link,
            out: Output::default(),
            phase: Phase::Header,
            about: About { message_bytes, channel_max, ..About::default() },
            decoder: Decoder::new(limits::FRAME_MAX),
            channels: HashMap::new(),
            dirty: Vec::new(),
            events: Vec::new(),
            record: Vec::new(),
            certificate,
            penalty: None,
            told_blocked: false,
            may_write: false,
            held_frame: None,
            allowance: 0,
            is_look_due: false,
            least_timeout: 0,
            verdict: Verdict::Wait,
            output,
            input,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether a close is on its way, or the connection is over.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Over)
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Seconds, 0 for none.
    pub(super) fn heartbeat(&self) -> u16 {
        if self.phase == Phase::Running { self.about.heartbeat } else { 0 }
    }

    /// Executes what the input holds, then writes what queues have for this connection.
    pub(super) fn execute(&mut self, input: &mut BytesMut) -> Progress {
        let node = Arc::clone(&self.node);
        let permit = node.authority.enter(clock::boot_now());
        let term = node.gate.term();
        if self.phase == Phase::Running && !matches!(permit.verdict, Verdict::Master | Verdict::DiskFailed) {
            return Progress::Held(permit.verdict);
        }
        self.verdict = permit.verdict;
        if self.held_frame.is_none() {
            self.unblocked();
        }
        self.may_write = matches!(permit.verdict, Verdict::Master | Verdict::DiskFailed);
        let mut record = std::mem::take(&mut self.record);
        let Self { out, link, about, dirty, events, .. } = self;
        // Lent to the batch; they come back when it is over.
        let (mut out_lent, mut about_lent) = (std::mem::take(out), std::mem::take(about));
        let (mut dirty_lent, mut events_lent) = (std::mem::take(dirty), std::mem::take(events));
        let link = Arc::clone(link);
        let (progress, depends_on) = {
            let mut context = Context {
                broker: &node.engine.broker,
                batch: node.engine.broker.begin(&node.engine.journal, &mut record, clock::unix_now()),
                out: &mut out_lent,
                link: &link,
                about: &mut about_lent,
                dirty: &mut dirty_lent,
                later: &mut events_lent,
                accounts: &node.engine.accounts,
            };
            context.about.now = clock::boot_now().0 / 1_000_000;
            let mut progress = self.frames(&mut context, input);
            if self.may_write && std::mem::take(&mut self.is_look_due) {
                self.look_for_overdue(&mut context);
            }
            if self.may_write && self.end_batch(&mut context) == Served::InPart && progress == Progress::Drained {
                progress = Progress::TurnOver;
            }
            (progress, context.batch.finish_due())
        };
        drop(permit);
        node.publish();
        out_lent.mark(depends_on, term, &node.gate);
        (self.out, self.about, self.dirty, self.events) = (out_lent, about_lent, dirty_lent, events_lent);
        self.record = record;
        self.output.set(self.out.pending());
        self.input.set(self.about.unfinished + input.len());
        progress
    }

    /// Why the next message has to wait, if it has to.
    #[inline]
    fn hold(&mut self, context: &Context<'_>) -> Option<Hold> {
        if let Some(alarm) = self.node.engine.budget.alarm() {
            // Behind it may lie the rest of messages that have begun; what these may take has a bound of its own.
            return (context.about.unfinished == 0).then_some(Hold::Alarm(alarm));
        }
        if self.verdict == Verdict::DiskFailed {
            return Some(Hold::Disk);
        }
        context.about.slowed_by.as_ref()?;
        if self.allowance > 0 {
            self.allowance -= 1;
            return None;
        }
        Some(Hold::Slow)
    }

    /// A held publisher looks whether it may go on. True: it may.
    pub(super) fn relieve(&mut self, is_due: bool) -> bool {
        let is_long = self.about.slowed_by.as_ref().is_some_and(|queue| queue.is_long());
        if !is_long {
            self.about.slowed_by = None;
        } else if is_due {
            self.allowance = limits::SLOWED_MESSAGES;
        } else {
            return false;
        }
        true
    }

    fn frames(&mut self, context: &mut Context<'_>, input: &mut BytesMut) -> Progress {
        if self.phase == Phase::Header && !self.opening(context, input) {
            return Progress::Drained;
        }
        let mut frames = 0;
        loop {
            if self.phase == Phase::Over {
                input.clear();
                return Progress::Drained;
            }
            if context.out.pending() >= limits::REPLY_BYTES {
                return Progress::Full;
            }
            frames += 1;
            if frames + context.batch.work() > limits::TURN_STEPS {
                return Progress::TurnOver;
            }
            let frame = match self.held_frame.take() {
                Some(frame) => frame,
                None => match self.decoder.decode(input) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => return Progress::Drained,
                    Err(error) => {
                        // Nothing behind a broken frame can be read.
                        input.clear();
                        self.fail(context, 0, (0, 0), &error.into());
                        if self.phase == Phase::Closing {
                            self.phase = Phase::Over;
                        }
                        return Progress::Drained;
                    }
                },
            };
            if frame.kind == FrameKind::Method
                && Method::ids(&frame.payload) == BASIC_PUBLISH
                && self.phase == Phase::Running
            {
                if let Some(hold) = self.hold(context) {
                    self.held_frame = Some(frame);
                    return Progress::Publishing(hold);
                }
                if self.told_blocked {
                    self.told_blocked = false;
                    context.send(0, &Method::ConnectionUnblocked {});
                }
            }
            self.frame(context, &frame);
            if std::mem::take(&mut context.about.is_put_off) {
                self.held_frame = Some(frame);
                return Progress::Publishing(Hold::Fetch);
            }
            // The verdict was for a connection that was not running yet: ask again.
            if frame.channel == 0 && self.phase == Phase::Running {
                return Progress::Again;
            }
        }
    }

    /// False: the protocol header is not whole, or another protocol's.
    fn opening(&mut self, context: &mut Context<'_>, input: &mut BytesMut) -> bool {
        match take_protocol_header(input) {
            Opening::Incomplete => false,
            Opening::Refused => {
                tracing::info!(client = self.client.id, address = %self.client.address, "not an AMQP 0-9-1 client");
                context.out.raw(&PROTOCOL_HEADER);
                self.phase = Phase::Over;
                false
            }
            Opening::Accepted => {
                context.send(0, &handshake::start(&self.node.config, self.certificate.as_deref()));
                self.phase = Phase::Starting;
                true
            }
        }
    }

    #[inline]
    fn frame(&mut self, context: &mut Context<'_>, frame: &Frame) {
        if frame.kind == FrameKind::Heartbeat {
            return;
        }
        let outcome =
            if frame.channel == 0 { self.connection_frame(context, frame) } else { self.channel_frame(context, frame) };
        if let Err(error) = outcome {
            let ids = match frame.kind {
                FrameKind::Method => Method::ids(&frame.payload),
                // Of the method that announced the content.
                FrameKind::Header | FrameKind::Body => BASIC_PUBLISH,
                FrameKind::Heartbeat => (0, 0),
            };
            self.fail(context, frame.channel, ids, &error);
        }
    }

    #[inline]
    fn channel_frame(&mut self, context: &mut Context<'_>, frame: &Frame) -> Result<(), Error> {
        if self.phase != Phase::Running {
            return if self.phase == Phase::Closing { Ok(()) } else { Err(Error::State(self.phase.name())) };
        }
        let number = frame.channel;
        match self.channels.get_mut(&number) {
            Some(channel) if channel.is_closing() => {
                self.closing_frame(context, frame);
                Ok(())
            }
            Some(channel) => {
                if channel.frame(context, frame)? == Next::Gone {
                    self.channels.remove(&number);
                }
                Ok(())
            }
            None => self.open_channel(context, frame),
        }
    }

    fn open_channel(&mut self, context: &mut Context<'_>, frame: &Frame) -> Result<(), Error> {
        if frame.kind != FrameKind::Method || !matches!(Method::decode(&frame.payload)?, Method::ChannelOpen {}) {
            return Err(Error::ChannelNotOpen);
        }
        if self.channels.len() >= usize::from(context.about.channel_max) {
            return Err(Error::TooManyChannels(context.about.channel_max));
        }
        self.check_channels(context)?;
        let channel = Channel::new(frame.channel);
        if let Some(about) = &mut *self.client.amqp.lock() {
            about.opened(channel.gauges());
        }
        self.channels.insert(frame.channel, channel);
        context.send(frame.channel, &Method::ChannelOpenOk {});
        Ok(())
    }

    /// Whether there may be one more connection of this user, and in this virtual host.
    fn check_connections(&self, context: &Context<'_>) -> Result<(), Error> {
        let directory = self.node.engine.accounts.directory();
        let (user, vhost) = (&context.about.user, &context.about.vhost);
        let clients = &self.node.clients;
        if let Some(limit) = VhostLimits::of(&directory, vhost).connections
            && clients.count_amqp(|about| about.vhost == vhost.as_str()) > limit
        {
            return Err(Error::VhostConnections { vhost: vhost.clone(), user: user.clone(), limit });
        }
        if let Some(limit) = directory.users.get(user.as_str()).and_then(|user| user.limits.max_connections)
            && clients.count_amqp(|about| about.user == user.as_str()) as u64 > limit
        {
            return Err(Error::UserConnections { user: user.clone(), limit });
        }
        Ok(())
    }

    /// Whether the user may have one more channel.
    fn check_channels(&self, context: &Context<'_>) -> Result<(), Error> {
        let user = &context.about.user;
        let directory = self.node.engine.accounts.directory();
        let Some(limit) = directory.users.get(user.as_str()).and_then(|user| user.limits.max_channels) else {
            return Ok(());
        };
        if self.node.clients.count_channels(user) as u64 >= limit {
            return Err(Error::UserChannels { user: user.clone(), limit });
        }
        Ok(())
    }

    /// We have sent close on this channel; both sides may have done so at once.
    fn closing_frame(&mut self, context: &mut Context<'_>, frame: &Frame) {
        if frame.kind != FrameKind::Method {
            return;
        }
        match Method::decode(&frame.payload) {
            Ok(Method::ChannelCloseOk {}) => _ = self.channels.remove(&frame.channel),
            Ok(Method::ChannelClose { .. }) => context.send(frame.channel, &Method::ChannelCloseOk {}),
            _ => {}
        }
    }

    fn connection_frame(&mut self, context: &mut Context<'_>, frame: &Frame) -> Result<(), Error> {
        if frame.kind != FrameKind::Method {
            return if self.phase == Phase::Closing { Ok(()) } else { Err(Error::NoMethod) };
        }
        match (self.phase, Method::decode(&frame.payload)?) {
            (Phase::Closing, Method::ConnectionCloseOk {}) => self.phase = Phase::Over,
            (_, Method::ConnectionClose { .. }) => {
                self.release(context);
                context.send(0, &Method::ConnectionCloseOk {});
                self.phase = Phase::Over;
            }
            (Phase::Closing, _) => {}
            (Phase::Starting, Method::ConnectionStartOk { client_properties, mechanism, response, .. }) => {
                let address = self.client.address;
                let certificate = self.certificate.as_deref();
                let result =
                    context.about.log_in(&self.node, address, &client_properties, &mechanism, &response, certificate);
                if let Err(error @ (Error::Login(_) | Error::Mechanism(_) | Error::Sasl(_))) = &result {
                    static WRONG: Seldom = Seldom::new();
                    if let Some(left_out) = WRONG.due() {
                        tracing::warn!(client = self.client.id, %address, %error, left_out, "AMQP login refused");
                    }
                    self.penalty = Some(self.node.logins.wrong(address.ip()));
                }
                result?;
                context.send(0, &handshake::tune(context.about.channel_max));
                self.phase = Phase::Tuning;
            }
            (Phase::Tuning, Method::ConnectionTuneOk { channel_max, frame_max, heartbeat }) => {
                context.about.tuned(channel_max, frame_max, heartbeat)?;
                self.decoder = Decoder::new(frame_max);
                self.phase = Phase::Opening;
            }
            (Phase::Opening, Method::ConnectionOpen { virtual_host }) => {
                context.about.open(&self.node.engine.accounts.directory(), &virtual_host)?;
                context.broker.open_vhost(&context.about.vhost);
                self.phase = Phase::Running;
                let about = &mut *context.about;
                *self.client.amqp.lock() = Some(AmqpAbout {
                    user: about.user.to_string(),
                    vhost: virtual_host.to_string(),
                    mechanism: about.mechanism.to_string(),
                    properties: std::mem::take(&mut about.properties),
                    channel_max: about.channel_max,
                    frame_max: about.frame_max,
                    heartbeat: about.heartbeat,
                    ..AmqpAbout::default()
                });
                // It is counted itself, so that of two that come at once none slips through.
                if let Err(error) = self.check_connections(context) {
                    *self.client.amqp.lock() = None;
                    self.phase = Phase::Opening;
                    return Err(error);
                }
                context.send(0, &Method::ConnectionOpenOk {});
                tracing::debug!(client = self.client.id, address = %self.client.address, "AMQP connection is open");
            }
            (Phase::Running, Method::ConnectionUpdateSecret { .. }) => {
                // Passwords do not expire, so there is nothing to renew: as RabbitMQ with users of its own.
                context.send(0, &Method::ConnectionUpdateSecretOk {});
            }
            (Phase::Running, _) => return Err(Error::NotForServers),
            (phase, _) => return Err(Error::State(phase.name())),
        }
        Ok(())
    }

    /// Tells the client what was wrong, and closes the channel or the connection for it.
    fn fail(&mut self, context: &mut Context<'_>, number: u16, (class_id, method_id): (u16, u16), error: &Error) {
        let code = error.reply_code();
        tracing::info!(
            client = self.client.id,
            address = %self.client.address,
            channel = number,
            code = code.code(),
            %error,
            "AMQP client made an error"
        );
        if error.closes() == Closes::Channel && number != 0 {
            if let Some(channel) = self.channels.get_mut(&number) {
                channel.close(context);
                let (reply_code, reply_text) = (code.code(), error.reply_text());
                context.send(number, &Method::ChannelClose { reply_code, reply_text, class_id, method_id });
            }
            return;
        }
        if matches!(error, Error::Login(_)) && !context.about.capabilities.authentication_failure_close {
            // A client that does not know better takes a closed socket for a refused login.
            self.phase = Phase::Over;
            return;
        }
        self.close(context, code, error.reply_text(), (class_id, method_id));
    }

    fn close(
        &mut self,
        context: &mut Context<'_>,
        code: ReplyCode,
        reply_text: ShortString,
        (class_id, method_id): (u16, u16),
    ) {
        if self.is_ending() {
            return;
        }
        self.release(context);
        context.send(0, &Method::ConnectionClose { reply_code: code.code(), reply_text, class_id, method_id });
        self.phase = Phase::Closing;
    }

    /// Everything that belongs to the connection goes back or goes; later, where it may not now.
    fn release(&mut self, context: &mut Context<'_>) {
        if !self.may_write {
            return;
        }
        for (_, mut channel) in self.channels.drain() {
            context.batch.depends_on(channel.last_publish());
            channel.release(context);
        }
        for queue in std::mem::take(&mut context.about.exclusive) {
            // Nobody else can have changed it, and nothing is asked of it.
            _ = context.broker.delete_queue(&mut context.batch, &queue, crate::broker::Deletion::default());
        }
        self.give_back(context);
    }

    /// What is in the inbox and can reach nobody any more goes back to its queues.
    fn give_back(&self, context: &mut Context<'_>) {
        let mut events = std::mem::take(context.later);
        context.link.take(&mut events);
        for event in events {
            undeliverable(context, event);
        }
    }

    /// Acknowledgements take effect, confirms are written, and queues are heard.
    fn end_batch(&mut self, context: &mut Context<'_>) -> Served {
        for number in std::mem::take(context.dirty) {
            if let Some(channel) = self.channels.get_mut(&number) {
                channel.end_batch(context);
            }
        }
        let end = context.batch.work() + limits::TURN_STEPS;
        while context.out.pending() < limits::OUTPUT_BYTES {
            if context.batch.work() >= end {
                return Served::InPart;
            }
            let mut events = std::mem::take(context.later);
            context.link.take(&mut events);
            let found = !events.is_empty();
            for event in events.drain(..) {
                self.event(context, event);
            }
            if context.later.is_empty() {
                *context.later = events;
            }
            if context.link.take_starved() {
                for channel in self.channels.values() {
                    channel.queues().for_each(|queue| queue.serve(&mut context.batch));
                }
            } else if !found {
                break;
            }
        }
        Served::Whole
    }

    #[inline]
    fn event(&mut self, context: &mut Context<'_>, event: Event) {
        match event {
            Event::Deliver(consumer, taken) => {
                let channel = self.channels.get_mut(&consumer.channel);
                match channel.filter(|c| c.consumer(&consumer.tag).is_some_and(|known| Arc::ptr_eq(known, &consumer))) {
                    Some(channel) => channel.deliver(context, consumer, &taken),
                    None => undeliverable(context, Event::Deliver(consumer, taken)),
                }
            }
            Event::Cancelled(consumer) => {
                if let Some(channel) = self.channels.get_mut(&consumer.channel) {
                    channel.cancelled(context, &consumer.tag);
                }
            }
        }
    }

    /// The client is to know why nothing happens.
    pub(super) fn blocked(&mut self, why: &'static str) {
        if self.about.capabilities.connection_blocked && !self.told_blocked {
            self.told_blocked = true;
            let reason = ShortString::from_static(why);
            self.say(&Method::ConnectionBlocked { reason });
        }
    }

    fn unblocked(&mut self) {
        if std::mem::take(&mut self.told_blocked) {
            self.say(&Method::ConnectionUnblocked {});
        }
    }

    /// The mastership has ended: what was not committed never leaves, and the client is told to go elsewhere.
    pub(super) fn deposed(&mut self) {
        self.out.drop_uncommitted(&self.node.gate);
        if self.phase == Phase::Running {
            let error = Error::NotMaster;
            let (reply_code, reply_text) = (error.reply_code().code(), error.reply_text());
            self.say(&Method::ConnectionClose { reply_code, reply_text, class_id: 0, method_id: 0 });
        }
        self.phase = if self.phase == Phase::Running { Phase::Closing } else { Phase::Over };
    }

    fn say(&mut self, method: &Method) {
        let gate = &self.node.gate;
        self.out.encoder(self.about.frame_max).method(0, method);
        self.out.mark(Due::NOTHING, gate.term(), gate);
    }
}

/// A delivery whose consumer has ended meanwhile.
fn undeliverable(context: &mut Context<'_>, event: Event) {
    use crate::broker::{Acknowledge, Settled, Settlement, Then};
    if let Event::Deliver(consumer, taken) = event
        && consumer.acknowledge == Acknowledge::Manually
    {
        let queue = Arc::clone(&consumer.queue);
        let settled = Settled { id: taken.id, consumer: Some(consumer) };
        queue.settle(&mut context.batch, &[settled], Settlement::Untouched, Then::Serve);
    }
}

mod overdue;
mod release;
