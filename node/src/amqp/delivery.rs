//! Deliveries of a channel that the client has not settled: by tag, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::error::Error;
use super::limits;
use crate::broker::{Consumer, Queue, Settled};
use crate::clients::ChannelGauges;

/// Who has the message: a consumer, or the client that fetched it with get.
#[derive(Debug, Clone)]
pub(super) enum Holder {
    Consumer(Arc<Consumer>),
    Client(Arc<Queue>),
}

/// A delivery that is not settled.
#[derive(Debug, Clone)]
pub(super) struct Unsettled {
    pub(super) tag: u64,
    pub(super) holder: Holder,
    pub(super) id: u64,
    /// When it was delivered, in milliseconds since the machine's start.
    since: u64,
}

impl Unsettled {
    pub(super) fn queue(&self) -> &Arc<Queue> {
        match &self.holder {
            Holder::Consumer(consumer) => &consumer.queue,
            Holder::Client(queue) => queue,
        }
    }

    /// Milliseconds for which the client may keep it; 0 is for ever.
    fn timeout(&self, default: u64) -> u64 {
        let own = match &self.holder {
            Holder::Consumer(consumer) => consumer.timeout,
            Holder::Client(_) => None,
        };
        own.or_else(|| self.queue().consumer_timeout()).unwrap_or(default)
    }

    pub(super) fn settled(self) -> Settled {
        let consumer = match self.holder {
            Holder::Consumer(consumer) => Some(consumer),
            Holder::Client(_) => None,
        };
        Settled { id: self.id, consumer }
    }
}

/// Settled ones are cut out when they are this many, and the greater part.
const DEAD: usize = 256;

/// The unsettled deliveries of a channel. Tags ascend; what is settled out of turn leaves a hole for a while.
#[derive(Debug, Default)]
pub(super) struct Window {
    last_tag: u64,
    slots: VecDeque<(u64, Option<Unsettled>)>,
    dead: usize,
    /// Who shows how many there are.
    gauges: Arc<ChannelGauges>,
}

impl Window {
    pub(super) fn shown_by(gauges: Arc<ChannelGauges>) -> Self {
        Self { gauges, ..Self::default() }
    }

    #[inline]
    fn show(&self) {
        self.gauges.unacknowledged.store((self.slots.len() - self.dead) as u32, Relaxed);
    }

    /// The tag of a delivery that nobody has to settle.
    pub(super) fn next_tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
    }

    /// The tag of a delivery that is to be settled.
    pub(super) fn add(&mut self, holder: Holder, id: u64, since: u64) -> u64 {
        let tag = self.next_tag();
        self.slots.push_back((tag, Some(Unsettled { tag, holder, id, since })));
        self.show();
        tag
    }

    /// The timeout of a delivery that the client has kept for longer than that. Those that came first are looked at, a
    /// bounded number of them.
    pub(super) fn overdue(&self, now: u64, default: u64) -> Option<u64> {
        let oldest = self.slots.iter().take(limits::OVERDUE_LOOKED_AT).filter_map(|(_, unsettled)| unsettled.as_ref());
        oldest
            .map(|unsettled| (unsettled.timeout(default), now.saturating_sub(unsettled.since)))
            .find(|(timeout, kept)| *timeout > 0 && kept >= timeout)
            .map(|(timeout, _)| timeout)
    }

    /// The least timeout of those deliveries; 0: none has one.
    pub(super) fn least_timeout(&self, default: u64) -> u64 {
        let oldest = self.slots.iter().take(limits::OVERDUE_LOOKED_AT).filter_map(|(_, unsettled)| unsettled.as_ref());
        oldest.map(|unsettled| unsettled.timeout(default)).filter(|timeout| *timeout > 0).min().unwrap_or(0)
    }

    /// Puts deliveries back under their tags.
    pub(super) fn restore(&mut self, all: Vec<Unsettled>) {
        for unsettled in all {
            match self.slots.binary_search_by_key(&unsettled.tag, |(tag, _)| *tag) {
                Ok(index) => {
                    self.slots[index].1 = Some(unsettled);
                    self.dead -= 1;
                }
                Err(index) => self.slots.insert(index, (unsettled.tag, Some(unsettled))),
            }
        }
        self.show();
    }

    /// Takes one delivery out.
    ///
    /// # Errors
    /// It is not there: never delivered, or settled before.
    pub(super) fn take(&mut self, tag: u64) -> Result<Unsettled, Error> {
        let unknown = Error::DeliveryTag(tag);
        let first = self.slots.front().ok_or(unknown.clone())?.0;
        // Mostly the first one, or as far behind it as its tag says.
        let guess = usize::try_from(tag.checked_sub(first).ok_or(unknown.clone())?).map_err(|_| unknown.clone())?;
        let index = match self.slots.get(guess) {
            Some((other, _)) if *other == tag => guess,
            _ => self.slots.binary_search_by_key(&tag, |(tag, _)| *tag).map_err(|_| unknown.clone())?,
        };
        let taken = self.slots[index].1.take().ok_or(unknown)?;
        self.dead += 1;
        self.trim();
        Ok(taken)
    }

    /// Takes all deliveries up to a tag out; 0 stands for all there are.
    ///
    /// # Errors
    /// The tag was never given, or nothing up to it is left.
    pub(super) fn take_up_to(&mut self, tag: u64, mut visit: impl FnMut(Unsettled)) -> Result<(), Error> {
        let end = if tag == 0 { self.last_tag } else { tag };
        let none = self.slots.front().is_none_or(|(first, _)| *first > end);
        if tag > self.last_tag || tag > 0 && none {
            return Err(Error::DeliveryTag(tag));
        }
        while self.slots.front().is_some_and(|(first, _)| *first <= end) {
            match self.slots.pop_front() {
                Some((_, Some(unsettled))) => visit(unsettled),
                _ => self.dead -= 1,
            }
        }
        self.trim();
        Ok(())
    }

    /// Takes all out.
    pub(super) fn take_all(&mut self) -> Vec<Unsettled> {
        self.dead = 0;
        self.gauges.unacknowledged.store(0, Relaxed);
        self.slots.drain(..).filter_map(|(_, unsettled)| unsettled).collect()
    }

    fn trim(&mut self) {
        while self.slots.front().is_some_and(|(_, unsettled)| unsettled.is_none()) {
            self.slots.pop_front();
            self.dead -= 1;
        }
        if self.dead > DEAD && self.dead > self.slots.len() / 2 {
            self.slots.retain(|(_, unsettled)| unsettled.is_some());
            self.dead = 0;
        }
        self.show();
    }
}

#[cfg(test)]
mod tests {
    use tercet_proto::amqp::{FieldTable, ShortString};

    use super::*;
    use crate::broker::{Broker, ConnectionId, Name, QueueDeclaration};
    use crate::ids::UnixMillis;
    use crate::journal::Journal;

    fn queue() -> Arc<Queue> {
        let (broker, journal, mut record) = (Broker::default(), Journal::new(), Vec::new());
        let mut batch = broker.begin(&journal, &mut record, UnixMillis(0));
        let arguments = FieldTable::new();
        let declaration = QueueDeclaration { durable: false, auto_delete: false, owner: None, arguments };
        let (vhost, name) = (ShortString::from_static("/"), ShortString::from_static("q"));
        broker.declare_queue(&mut batch, ConnectionId(0), Name { vhost: &vhost, name: &name }, declaration).unwrap()
    }

    fn window(count: u64) -> Window {
        let queue = queue();
        let mut window = Window::default();
        for id in 1..=count {
            window.add(Holder::Client(Arc::clone(&queue)), id, 10 * id);
        }
        window
    }

    #[test]
    fn a_delivery_that_is_kept_too_long_is_found() {
        let mut window = window(3);
        assert_eq!((window.overdue(109, 100), window.overdue(110, 100)), (None, Some(100)));
        assert_eq!(window.overdue(u64::MAX, 0), None, "no timeout");
        window.take(1).unwrap();
        assert_eq!((window.overdue(119, 100), window.overdue(120, 100)), (None, Some(100)));
        assert_eq!((window.least_timeout(100), window.least_timeout(0)), (100, 0));
        window.take_all();
        assert_eq!((window.overdue(u64::MAX, 100), window.least_timeout(100)), (None, 0));
    }

    fn up_to(window: &mut Window, tag: u64) -> Result<Vec<u64>, Error> {
        let mut ids = Vec::new();
        window.take_up_to(tag, |unsettled| ids.push(unsettled.id)).map(|()| ids)
    }

    #[test]
    fn a_tag_is_settled_once() {
        let mut window = window(3);
        assert_eq!(window.take(2).map(|u| u.id), Ok(2));
        assert_eq!(window.take(2).map(|u| u.id), Err(Error::DeliveryTag(2)));
        assert_eq!(window.take(4).map(|u| u.id), Err(Error::DeliveryTag(4)));
        assert_eq!(up_to(&mut window, 3), Ok(vec![1, 3]));
        assert_eq!(up_to(&mut window, 3), Err(Error::DeliveryTag(3)));
    }

    #[test]
    fn zero_stands_for_all() {
        let mut window = window(3);
        assert_eq!(up_to(&mut window, 0), Ok(vec![1, 2, 3]));
        assert_eq!(up_to(&mut window, 0), Ok(vec![]));
        assert_eq!(window.next_tag(), 4);
    }

    #[test]
    fn what_is_restored_can_be_settled_again() {
        let mut window = window(3);
        let taken = vec![window.take(2).unwrap(), window.take(1).unwrap()];
        window.restore(taken);
        assert_eq!(up_to(&mut window, 3), Ok(vec![1, 2, 3]));
    }

    #[test]
    fn holes_do_not_pile_up_behind_one_that_is_never_settled() {
        let mut window = window(10_000);
        for tag in 2..=10_000 {
            window.take(tag).unwrap();
        }
        assert!(window.slots.len() <= 2 * DEAD + 2, "{} slots", window.slots.len());
        assert_eq!(window.take(1).map(|u| u.id), Ok(1));
        assert!(window.slots.is_empty());
    }
}
