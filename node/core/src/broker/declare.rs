//! Operations on the topology for clients: declare, delete, bind, unbind.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::Rng as _;
use tercet_proto::amqp::{FieldTable, ShortString};

use super::Broker;
use super::arguments;
use super::batch::Batch;
use super::change::{Change, Changes};
use super::exchange::{self, Bound, Destination};
use super::link::ConnectionId;
use super::own_queue;
use super::queue::{self, Queue};
use super::refusal::{Refusal, Resource};
use super::topology::{self, Topology};

/// The full name of a queue or an exchange.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    pub vhost: &'a ShortString,
    pub name: &'a ShortString,
}

impl Name<'_> {
    fn queue(&self) -> Resource {
        Resource::queue(self.vhost, self.name)
    }

    fn exchange(&self) -> Resource {
        Resource::exchange(self.vhost, self.name)
    }

    fn is_reserved(&self) -> bool {
        self.name.as_bytes().starts_with(b"amq.")
    }
}

/// The name under which a client consumes replies, and the beginning of the name that it gets.
pub const REPLY_QUEUE: &str = "amq.rabbitmq.reply-to";

/// What must hold for a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deletion {
    pub if_unused: bool,
    pub if_empty: bool,
}

/// What is bound.
#[derive(Debug, Clone, Copy)]
pub enum BindTo<'a> {
    Queue(&'a ShortString),
    Exchange(&'a ShortString),
}

impl Broker {
    /// An exchange that has to be there.
    ///
    /// # Errors
    /// It is not, or it is the default exchange, of which nobody may know.
    pub fn find_exchange(&self, batch: &mut Batch<'_>, name: Name<'_>) -> Result<(), Refusal> {
        not_default(name.name)?;
        let topology = self.topology.read();
        batch.depends_on(topology.last_offset);
        topology
            .exchange(name.vhost, name.name.as_bytes())
            .map(|_| ())
            .ok_or_else(|| Refusal::NotFound(name.exchange()))
    }

    /// The type of an exchange, if it is there.
    #[must_use]
    pub fn exchange_kind(&self, name: Name<'_>) -> Option<exchange::Kind> {
        let topology = self.topology.read();
        topology.exchange(name.vhost, name.name.as_bytes()).map(|exchange| exchange.declaration.kind)
    }

    /// From now on virtual hosts may have so many queues. Those that are there stay.
    pub fn set_queue_limits(&self, limits: HashMap<String, usize>) {
        *self.queue_limits.write() = limits;
    }

    /// Makes an exchange, unless there is an equal one.
    ///
    /// # Errors
    /// There is one of this name that is not equal, or the name or an argument is not allowed.
    pub fn declare_exchange(
        &self,
        batch: &mut Batch<'_>,
        name: Name<'_>,
        declaration: exchange::Declaration,
    ) -> Result<(), Refusal> {
        not_default(name.name)?;
        let resource = name.exchange();
        let mut topology = self.topology.write();
        if let Some(existing) = topology.exchange(name.vhost, name.name.as_bytes()) {
            let current = &existing.declaration;
            arguments::compare_field(&resource, "type", current.kind.name(), declaration.kind.name())?;
            arguments::compare_field(&resource, "durable", current.durable, declaration.durable)?;
            arguments::compare_field(&resource, "auto_delete", current.auto_delete, declaration.auto_delete)?;
            arguments::compare_field(&resource, "internal", current.internal, declaration.internal)?;
            arguments::compare_exchanges(&resource, &current.arguments, &declaration.arguments)?;
            batch.depends_on(topology.last_offset);
            return Ok(());
        }
        if name.is_reserved() {
            return Err(Refusal::ReservedName(resource));
        }
        arguments::check_exchange(&resource, declaration.kind, &declaration.arguments)?;
        let (vhost, name) = (name.vhost.detached(), name.name.detached());
        let own = own_queue::of(&name, &declaration).map(|(queue, arguments)| {
            let of = queue::Declaration { durable: declaration.durable, auto_delete: false, owner: None, arguments };
            let number = topology.next_number(&of);
            Change::DeclareQueue { queue: Arc::new(Queue::new(number, vhost.clone(), queue, of)) }
        });
        let exchange = Change::DeclareExchange { vhost, name, declaration };
        self.change(batch, &mut topology, std::iter::once(exchange).chain(own));
        Ok(())
    }

    /// Deletes an exchange with its bindings. One that is not there is deleted already.
    ///
    /// # Errors
    /// It is in use, or not one that may be deleted.
    pub fn delete_exchange(&self, batch: &mut Batch<'_>, name: Name<'_>, deletion: Deletion) -> Result<(), Refusal> {
        not_default(name.name)?;
        if name.is_reserved() {
            return Err(Refusal::SystemExchange(name.exchange()));
        }
        let mut topology = self.topology.write();
        let Some(existing) = topology.exchange(name.vhost, name.name.as_bytes()) else { return Ok(()) };
        if deletion.if_unused && !existing.bindings.is_empty() {
            return Err(Refusal::InUse(name.exchange()));
        }
        let (vhost, name) = (name.vhost.detached(), name.name.detached());
        self.change(batch, &mut topology, [Change::DeleteExchange { vhost, name }]);
        Ok(())
    }

    /// The queue of this name, for a connection that may use it.
    ///
    /// # Errors
    /// It is not there, or belongs to another connection.
    pub fn queue(&self, connection: ConnectionId, name: Name<'_>) -> Result<Arc<Queue>, Refusal> {
        let topology = self.topology.read();
        let queue = topology.queue(name.vhost, name.name.as_bytes());
        let queue = Arc::clone(queue.ok_or_else(|| Refusal::NotFound(name.queue()))?);
        drop(topology);
        may_use(&queue, connection)?;
        Ok(queue)
    }

    /// Makes a queue, unless there is an equal one. Without a name it gets one that nobody has.
    ///
    /// # Errors
    /// There is one of this name that is not equal or belongs to another connection, or the name or an argument is not
    /// allowed.
    pub fn declare_queue(
        &self,
        batch: &mut Batch<'_>,
        connection: ConnectionId,
        name: Name<'_>,
        declaration: queue::Declaration,
    ) -> Result<Arc<Queue>, Refusal> {
        let resource = name.queue();
        if let Some(existing) = self.topology.read().queue(name.vhost, name.name.as_bytes()) {
            return self.redeclare(batch, connection, existing, &declaration);
        }
        let mut topology = self.topology.write();
        if let Some(existing) = topology.queue(name.vhost, name.name.as_bytes()) {
            return self.redeclare(batch, connection, existing, &declaration);
        }
        let chosen = if name.name.is_empty() { generated_name() } else { name.name.detached() };
        if name.is_reserved() {
            return Err(Refusal::ReservedName(resource));
        }
        if let Some(limit) = self.queue_limits.read().get(name.vhost.as_str()).copied()
            && topology.declared(name.vhost) >= limit
        {
            return Err(Refusal::QueueLimit { queue: resource, limit });
        }
        arguments::check_queue(&resource, &declaration.arguments)?;
        arguments::check_properties(&resource, name.name, &declaration)?;
        let number = topology.next_number(&declaration);
        let queue = Arc::new(Queue::new(number, name.vhost.detached(), chosen, declaration));
        let policies = Arc::clone(&self.policies.read());
        queue.take_policies(&policies);
        queue.lock().last_used = batch.now().0;
        self.change(batch, &mut topology, [Change::DeclareQueue { queue: Arc::clone(&queue) }]);
        Ok(queue)
    }

    /// Makes the queue of a client that waits for replies, under a name that nobody guesses. It ends with its connection.
    pub fn declare_reply_queue(
        &self,
        batch: &mut Batch<'_>,
        connection: ConnectionId,
        vhost: &ShortString,
    ) -> Arc<Queue> {
        let name = ShortString::truncated(&format!("{REPLY_QUEUE}.{}", random_suffix()));
        let arguments = FieldTable::new();
        let declaration = queue::Declaration { durable: false, auto_delete: true, owner: Some(connection), arguments };
        let mut topology = self.topology.write();
        let number = topology.next_number(&declaration);
        let queue = Arc::new(Queue::new(number, vhost.detached(), name, declaration));
        self.change(batch, &mut topology, [Change::DeclareQueue { queue: Arc::clone(&queue) }]);
        queue
    }

    /// Makes a virtual host, with the exchanges that are there from the beginning. It is there as long as the accounts have
    /// it; here it is only made room for.
    pub fn open_vhost(&self, vhost: &ShortString) {
        if !self.topology.read().vhosts.contains_key(vhost) {
            self.topology.write().vhosts.entry(vhost.detached()).or_default();
        }
    }

    /// Deletes everything in a virtual host.
    pub fn delete_vhost(&self, batch: &mut Batch<'_>, vhost: &ShortString) {
        let mine: Vec<_> = self.queues().into_iter().filter(|queue| queue.vhost == *vhost).collect();
        for queue in mine {
            // Nothing is asked of it, so nothing is refused.
            _ = self.delete_queue(batch, &queue, Deletion::default());
        }
        let mut topology = self.topology.write();
        let Some(content) = topology.vhosts.get(vhost) else { return };
        let names: Vec<_> = content.exchanges.keys().filter(|name| !topology::is_predeclared(name)).cloned().collect();
        let deletions = names.into_iter().map(|name| Change::DeleteExchange { vhost: vhost.detached(), name });
        self.change(batch, &mut topology, deletions.collect::<Vec<_>>());
    }

    fn redeclare(
        &self,
        batch: &mut Batch<'_>,
        connection: ConnectionId,
        existing: &Arc<Queue>,
        declaration: &queue::Declaration,
    ) -> Result<Arc<Queue>, Refusal> {
        let resource = Resource::queue(&existing.vhost, &existing.name);
        may_use(existing, connection)?;
        let current = &existing.declaration;
        if current.owner.is_some() != declaration.owner.is_some() {
            return Err(Refusal::Locked(resource));
        }
        arguments::compare_field(&resource, "durable", current.durable, declaration.durable)?;
        arguments::compare_field(&resource, "auto_delete", current.auto_delete, declaration.auto_delete)?;
        arguments::compare_queues(&resource, &current.arguments, &declaration.arguments)?;
        let mut state = existing.lock();
        state.last_used = batch.now().0;
        batch.depends_on(state.counts().last_offset);
        drop(state);
        Ok(Arc::clone(existing))
    }

    /// Deletes a queue, and says how many messages went with it.
    ///
    /// # Errors
    /// It is in use or not empty, and must not be.
    pub fn delete_queue(
        &self,
        batch: &mut Batch<'_>,
        queue: &Arc<Queue>,
        deletion: Deletion,
    ) -> Result<usize, Refusal> {
        let mut topology = self.topology.write();
        let mut state = queue.lock();
        let counts = state.counts();
        let resource = || Resource::queue(&queue.vhost, &queue.name);
        if deletion.if_unused && counts.consumers > 0 {
            return Err(Refusal::InUse(resource()));
        }
        if deletion.if_empty && counts.ready > 0 {
            return Err(Refusal::NotEmpty(resource()));
        }
        if state.is_deleted {
            return Ok(0);
        }
        let consumers = state.take_consumers();
        // Nobody puts anything into it any more.
        state.is_deleted = true;
        drop(state);
        for consumer in consumers {
            batch.cancelled(consumer);
        }
        self.change(batch, &mut topology, [Change::DeleteQueue { queue: Arc::clone(queue) }]);
        // What lies in a stream waits for nobody, as RabbitMQ has it.
        Ok(if queue.is_stream() { 0 } else { counts.ready })
    }

    /// Binds a queue or an exchange to an exchange.
    ///
    /// # Errors
    /// One of them is not there, is the default exchange, or belongs to another connection.
    pub fn bind(
        &self,
        batch: &mut Batch<'_>,
        connection: ConnectionId,
        source: Name<'_>,
        to: BindTo<'_>,
        key: &ShortString,
        arguments: FieldTable,
    ) -> Result<(), Refusal> {
        let history = self.history(source);
        // What is copied is in the record of the binding.
        let begins = history.is_some() && !batch.is_together();
        if begins {
            batch.begin_together();
        }
        let bound = self.bind_only(batch, connection, source, to, key, arguments);
        if let (Some(history), Ok(true)) = (&history, &bound) {
            self.recall(batch, history, source.vhost, to);
        }
        if begins {
            batch.end_together();
        }
        bound.map(|_| ())
    }

    /// As `bind`; says whether the binding is new.
    fn bind_only(
        &self,
        batch: &mut Batch<'_>,
        connection: ConnectionId,
        source: Name<'_>,
        to: BindTo<'_>,
        key: &ShortString,
        arguments: FieldTable,
    ) -> Result<bool, Refusal> {
        let mut topology = self.topology.write();
        not_default(source.name)?;
        let exchange = topology.exchange(source.vhost, source.name.as_bytes());
        let exchange = exchange.ok_or_else(|| Refusal::NotFound(source.exchange()))?;
        let bound = bound(&topology, connection, source, to, key, arguments)?;
        if let Some(wrong) = exchange.wrong_arguments(&bound.key, &bound.arguments) {
            return Err(Refusal::WrongBinding(wrong));
        }
        let is_new = !exchange.has(&bound);
        batch.depends_on(topology.last_offset);
        if is_new {
            let (vhost, source) = (source.vhost.detached(), source.name.detached());
            self.change(batch, &mut topology, [Change::Bind { vhost, source, bound }]);
        }
        Ok(is_new)
    }

    /// Ends a binding. One that is not there has ended already, and so has one whose ends are not there.
    ///
    /// # Errors
    /// It was of the default exchange, or of a queue of another connection.
    pub fn unbind(
        &self,
        batch: &mut Batch<'_>,
        connection: ConnectionId,
        source: Name<'_>,
        to: BindTo<'_>,
        key: &ShortString,
        arguments: FieldTable,
    ) -> Result<(), Refusal> {
        let mut topology = self.topology.write();
        not_default(source.name)?;
        let bound = match bound(&topology, connection, source, to, key, arguments) {
            Err(Refusal::NotFound(_)) => return Ok(()),
            other => other?,
        };
        let Some(exchange) = topology.exchange(source.vhost, source.name.as_bytes()) else { return Ok(()) };
        let is_there = exchange.has(&bound);
        batch.depends_on(topology.last_offset);
        if is_there {
            let (vhost, source) = (source.vhost.detached(), source.name.detached());
            self.change(batch, &mut topology, [Change::Unbind { vhost, source, bound }]);
        }
        Ok(())
    }

    /// Makes changes, and those that follow from them: an exchange that has lost its last binding may delete itself. All of
    /// them are one record. Routes that were found before are looked up again.
    fn change(&self, batch: &mut Batch<'_>, topology: &mut Topology, wanted: impl IntoIterator<Item = Change>) {
        let mut changes = Changes::default();
        let mut wanted: VecDeque<Change> = wanted.into_iter().collect();
        while let Some(change) = wanted.pop_front() {
            let vhost = change.vhost().clone();
            if let Change::DeleteExchange { vhost, name } = &change {
                let own = topology.exchange(vhost, name.as_bytes()).and_then(|exchange| exchange.queue.clone());
                wanted.extend(own.map(|queue| Change::DeleteQueue { queue }));
            }
            for name in changes.make(topology, change) {
                if topology.is_abandoned(&vhost, &name) {
                    wanted.push_back(Change::DeleteExchange { vhost: vhost.clone(), name });
                }
            }
        }
        changes.note(batch, topology);
        self.version.fetch_add(1, Ordering::Release);
    }
}

fn not_default(exchange: &ShortString) -> Result<(), Refusal> {
    if exchange.is_empty() { Err(Refusal::DefaultExchange) } else { Ok(()) }
}

pub(super) fn may_use(queue: &Queue, connection: ConnectionId) -> Result<(), Refusal> {
    let is_anothers = queue.declaration.owner.is_some_and(|owner| owner != connection);
    if is_anothers || queue.is_internal() {
        return Err(Refusal::Locked(Resource::queue(&queue.vhost, &queue.name)));
    }
    Ok(())
}

/// A binding with its destination looked up.
fn bound(
    topology: &Topology,
    connection: ConnectionId,
    source: Name<'_>,
    to: BindTo<'_>,
    key: &ShortString,
    arguments: FieldTable,
) -> Result<Bound, Refusal> {
    let vhost = source.vhost;
    let to = match to {
        BindTo::Queue(name) => {
            let queue = topology.queue(vhost, name.as_bytes());
            let queue = queue.ok_or_else(|| Refusal::NotFound(Resource::queue(vhost, name)))?;
            may_use(queue, connection)?;
            Destination::Queue(Arc::clone(queue))
        }
        BindTo::Exchange(name) => {
            not_default(name)?;
            if topology.exchange(vhost, name.as_bytes()).is_none() {
                return Err(Refusal::NotFound(Resource::exchange(vhost, name)));
            }
            Destination::Exchange(name.detached())
        }
    };
    Ok(Bound { key: key.detached(), arguments, to })
}

/// `amq.gen-` and 22 characters, as RabbitMQ makes them.
fn generated_name() -> ShortString {
    ShortString::truncated(&format!("amq.gen-{}", random_suffix()))
}

fn random_suffix() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = rand::rng();
    (0..22).map(|_| char::from(ALPHABET[random.random_range(0..64)])).collect()
}
