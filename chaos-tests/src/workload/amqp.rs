//! Workload: a publisher of persistent messages to a durable queue, with confirms; and the drain that counts at the end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::sleep;

use super::{Stop, wait_to_retry};
use crate::check::acknowledged::Elements;
use crate::check::unavailable::Success;
use crate::client::amqp::{Channel, Error, Event};
use crate::sys::Moment;

pub const QUEUE: &str = "drill";
pub const USER: &str = "guest";
/// Waits for a handshake, a confirm or a delivery end here.
const LIMIT: Duration = Duration::from_millis(500);
/// Unconfirmed messages of a publisher.
const WINDOW: usize = 32;
/// Between two publishes: the queue of a long drill stays small enough to be copied to a replica that comes back.
const PACE: Duration = Duration::from_millis(1);
/// The drain's own limit for one answer; a long queue has just been re-read by nobody.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// What was published to the queue, by all rounds.
#[derive(Debug, Clone, Default)]
pub struct Book(Arc<Mutex<Published>>);

#[derive(Debug, Default)]
struct Published {
    elements: Elements,
    confirmations: Vec<Success>,
    rejected: u64,
    errors: Vec<String>,
    /// What has been taken out of the queue again.
    drained: Vec<String>,
}

impl Book {
    /// Confirmed messages, and those that may be in the queue.
    #[must_use]
    pub fn elements(&self) -> Elements {
        Elements { name: format!("queue {QUEUE}"), ..self.lock().elements.clone() }
    }

    /// How many messages have been confirmed so far.
    #[must_use]
    pub fn confirmed(&self) -> usize {
        self.lock().confirmations.len()
    }

    /// What the queue held each time that it was emptied, in order.
    #[must_use]
    pub fn drained(&self) -> Vec<String> {
        self.lock().drained.clone()
    }

    /// Empties the queue.
    ///
    /// # Errors
    /// The broker stops before it has delivered what it counted.
    pub async fn empty(&self, brokers: &Brokers) -> Result<(), Error> {
        let messages = drain(brokers).await?;
        self.lock().drained.extend(messages);
        Ok(())
    }

    /// Confirmations from the `first` on.
    #[must_use]
    pub fn confirmations_from(&self, first: usize) -> Vec<Success> {
        self.lock().confirmations[first..].to_vec()
    }

    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.lock().rejected
    }

    /// The connection errors that publishers saw.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        self.lock().errors.clone()
    }

    /// What had no confirm when the connection ended may be in the queue or not.
    fn connection_ended(&self, pending: &mut VecDeque<Pending>, error: Option<String>) {
        let mut published = self.lock();
        published.elements.unknown.extend(pending.drain(..).map(|message| message.element));
        published.errors.extend(error);
    }

    fn lock(&self) -> MutexGuard<'_, Published> {
        self.0.lock().expect("nobody panics while holding the book")
    }
}

/// Where publishers and the drain connect.
#[derive(Debug, Clone)]
pub struct Brokers {
    /// Any node serves any client, so they are tried in turn.
    pub addresses: Vec<SocketAddr>,
    pub password: String,
}

struct Pending {
    tag: u64,
    element: String,
    sent: Moment,
}

/// Publishes until it is stopped, then waits for the last confirms.
pub async fn publish(publisher: String, brokers: Brokers, book: Book, stop: Stop) {
    let mut number = 0;
    let mut pending = VecDeque::new();
    for attempt in 0.. {
        if stop.is_asked() {
            return;
        }
        let address = brokers.addresses[attempt % brokers.addresses.len()];
        let result = publish_on(address, &brokers.password, &publisher, &mut number, &mut pending, &book, &stop).await;
        book.connection_ended(&mut pending, result.err().map(|error| format!("{address}: {error}")));
        wait_to_retry().await;
    }
}

async fn publish_on(
    address: SocketAddr,
    password: &str,
    publisher: &str,
    number: &mut u64,
    pending: &mut VecDeque<Pending>,
    book: &Book,
    stop: &Stop,
) -> Result<(), Error> {
    let mut channel = Channel::open(address, USER, password, LIMIT).await?;
    channel.declare_durable(QUEUE).await?;
    channel.confirm_select().await?;
    let mut tag = 0;
    while !stop.is_asked() {
        if pending.len() < WINDOW {
            *number += 1;
            tag += 1;
            let element = format!("{publisher}-{number}");
            let sent = Moment::now();
            let body = element.clone();
            pending.push_back(Pending { tag, element, sent });
            channel.publish_persistent(QUEUE, body.as_bytes()).await?;
            let next = sleep(PACE);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    event = channel.event() => settle(event?, pending, book),
                    () = &mut next => break,
                }
            }
        } else {
            settle(channel.event_in_time().await?, pending, book);
        }
    }
    while !pending.is_empty() {
        settle(channel.event_in_time().await?, pending, book);
    }
    Ok(())
}

fn settle(event: Event, pending: &mut VecDeque<Pending>, book: &Book) {
    let replied = Moment::now();
    let mut published = book.lock();
    match event {
        Event::Confirmed { tag, multiple } => {
            for message in take(pending, tag, multiple) {
                published.confirmations.push(Success { sent: message.sent, replied });
                published.elements.acknowledged.push(message.element);
            }
        }
        Event::Rejected { tag, multiple } => {
            let messages = take(pending, tag, multiple);
            published.rejected += messages.len() as u64;
            published.elements.unknown.extend(messages.into_iter().map(|message| message.element));
        }
        Event::Delivered { .. } => {}
    }
}

fn take(pending: &mut VecDeque<Pending>, tag: u64, multiple: bool) -> Vec<Pending> {
    let (taken, left): (Vec<_>, Vec<_>) =
        pending.drain(..).partition(|message| if multiple { message.tag <= tag } else { message.tag == tag });
    *pending = left.into();
    taken
}

/// How many messages are ready.
///
/// # Errors
/// No broker answers.
pub async fn count(brokers: &Brokers) -> Result<usize, Error> {
    let mut channel = Channel::open(brokers.addresses[0], USER, &brokers.password, DRAIN_LIMIT).await?;
    Ok(channel.declare_durable(QUEUE).await? as usize)
}

/// Takes every message out of the queue, in order.
///
/// # Errors
/// The broker stops before it has delivered what it counted.
async fn drain(brokers: &Brokers) -> Result<Vec<String>, Error> {
    let mut channel = Channel::open(brokers.addresses[0], USER, &brokers.password, DRAIN_LIMIT).await?;
    let count = channel.declare_durable(QUEUE).await? as usize;
    if count > 0 {
        channel.consume(QUEUE).await?;
    }
    let mut messages = Vec::with_capacity(count);
    while messages.len() < count {
        if let Event::Delivered { body, .. } = channel.event_in_time().await? {
            messages.push(String::from_utf8_lossy(&body).into_owned());
        }
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> VecDeque<Pending> {
        (1..=3).map(|tag| Pending { tag, element: format!("p-{tag}"), sent: Moment::at_ms(tag) }).collect()
    }

    #[test]
    fn a_multiple_confirm_settles_everything_up_to_its_tag_and_a_single_one_only_itself() {
        let book = Book::default();
        let mut pending = three();
        settle(Event::Confirmed { tag: 2, multiple: true }, &mut pending, &book);
        assert_eq!(book.elements().acknowledged, ["p-1", "p-2"]);
        let mut pending = three();
        settle(Event::Rejected { tag: 2, multiple: false }, &mut pending, &book);
        assert_eq!(pending.iter().map(|message| message.tag).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(book.elements().unknown, ["p-2"]);
        assert_eq!(book.rejected(), 1);
    }
}
