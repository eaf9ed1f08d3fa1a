//! One account of bytes a node: what it holds for clients beside the key space, and when publishers have to wait.
//!
//! ```text
//! bytes:  0 ............ low ........ limit
//!                         |            '-- beyond it publishers are held
//!                         '-- below it they go on
//! ```
//!
//! Holders count for themselves and report in steps, so the sum is a little old and costs next to nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};

use event_listener::{Event, EventListener};

use crate::limits;

/// What bytes are held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Messages in queues.
    Queues,
    /// Frames that a client has not taken yet.
    Output,
    /// Messages of which a part has come, and what transactions wait for.
    Input,
    /// Records that are not on disk yet.
    Journal,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::Queues, Self::Output, Self::Input, Self::Journal];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queues => "queues",
            Self::Output => "output",
            Self::Input => "input",
            Self::Journal => "journal",
        }
    }
}

/// Why publishers are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    Memory,
    Disk,
}

impl Alarm {
    /// The reason that RabbitMQ gives in connection.blocked.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Memory => "low on memory",
            Self::Disk => "low on disk",
        }
    }
}

/// The account. One a node.
#[derive(Debug)]
pub struct Budget {
    classes: [AtomicIsize; Class::ALL.len()],
    limit: AtomicUsize,
    is_over: AtomicBool,
    /// Publishers may go on.
    relieved: Event,
    alarms: AtomicUsize,
}

impl Default for Budget {
    /// Without a limit.
    fn default() -> Self {
        Self {
            classes: Default::default(),
            limit: AtomicUsize::new(usize::MAX),
            is_over: AtomicBool::new(false),
            relieved: Event::new(),
            alarms: AtomicUsize::new(0),
        }
    }
}

impl Budget {
    /// The bytes beyond which publishers are held.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
        self.judge();
    }

    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Bytes of one class.
    #[must_use]
    pub fn of(&self, class: Class) -> usize {
        usize::try_from(self.classes[class as usize].load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Bytes of all classes.
    #[must_use]
    pub fn total(&self) -> usize {
        Class::ALL.into_iter().map(|class| self.of(class)).sum()
    }

    /// Why publishers have to wait, if they have to.
    #[inline]
    #[must_use]
    pub fn alarm(&self) -> Option<Alarm> {
        self.is_over.load(Ordering::Relaxed).then_some(Alarm::Memory)
    }

    /// How often publishers had to wait since the start.
    #[must_use]
    pub fn alarms(&self) -> usize {
        self.alarms.load(Ordering::Relaxed)
    }

    /// Whether so much more than the limit is held that what has begun may not go on either.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.alarm().is_some() && self.total() > self.limit().saturating_add(self.limit() / limits::BUDGET_OVERRUN)
    }

    /// Resolves when publishers may go on again. Made before the look at `alarm`.
    pub fn relieved(&self) -> EventListener {
        self.relieved.listen()
    }

    /// Bytes that one queue with consumers may hold before its publishers are slowed.
    #[inline]
    #[must_use]
    pub fn queue_bound(&self) -> usize {
        (self.limit() / limits::QUEUE_SHARE).max(limits::QUEUE_AHEAD_BYTES)
    }

    fn add(&self, class: Class, bytes: isize) {
        self.classes[class as usize].fetch_add(bytes, Ordering::Relaxed);
        self.judge();
    }

    /// Replaces the number of a class that is measured from outside.
    pub fn measured(&self, class: Class, bytes: usize) {
        self.classes[class as usize].store(isize::try_from(bytes).unwrap_or(isize::MAX), Ordering::Relaxed);
        self.judge();
    }

    fn judge(&self) {
        let (total, limit) = (self.total(), self.limit());
        if self.is_over.load(Ordering::Relaxed) {
            if total <= limit - limit / limits::BUDGET_RELIEF && self.is_over.swap(false, Ordering::SeqCst) {
                self.relieved.notify(usize::MAX);
            }
        } else if total > limit && !self.is_over.swap(true, Ordering::SeqCst) {
            self.alarms.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The part of one holder in the account. It goes with its holder.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    class: Class,
    held: usize,
    reported: usize,
}

impl Share {
    #[must_use]
    pub fn new(budget: Arc<Budget>, class: Class) -> Self {
        Self { budget, class, held: 0, reported: 0 }
    }

    #[inline]
    pub fn add(&mut self, bytes: usize) {
        self.set(self.held + bytes);
    }

    #[inline]
    pub fn remove(&mut self, bytes: usize) {
        self.set(self.held.saturating_sub(bytes));
    }

    /// The holder has so many bytes now.
    #[inline]
    pub fn set(&mut self, bytes: usize) {
        self.held = bytes;
        if self.held.abs_diff(self.reported) >= limits::BUDGET_STEP || self.held == 0 && self.reported > 0 {
            self.report();
        }
    }

    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn report(&mut self) {
        self.budget.add(self.class, self.held as isize - self.reported as isize);
        self.reported = self.held;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held = 0;
        if self.reported > 0 {
            self.report();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_are_held_beyond_the_limit_and_released_below_the_lower_one() {
        let budget = Arc::new(Budget::default());
        budget.set_limit(1 << 20);
        let mut queue = Share::new(Arc::clone(&budget), Class::Queues);
        let mut output = Share::new(Arc::clone(&budget), Class::Output);
        queue.add(600 << 10);
        assert_eq!(budget.alarm(), None);
        output.add(600 << 10);
        assert_eq!((budget.alarm(), budget.alarms()), (Some(Alarm::Memory), 1));
        queue.remove(180 << 10);
        assert_eq!(budget.alarm(), Some(Alarm::Memory), "below the limit, and not by enough");
        drop(output);
        assert_eq!((budget.alarm(), budget.total()), (None, 420 << 10));
        queue.set(0);
        assert_eq!(budget.total(), 0);
    }

    #[test]
    fn small_changes_are_reported_in_steps_and_none_is_lost() {
        let budget = Arc::new(Budget::default());
        let mut share = Share::new(Arc::clone(&budget), Class::Queues);
        for _ in 0..1_000 {
            share.add(100);
        }
        assert!(budget.total().abs_diff(100_000) < limits::BUDGET_STEP);
        for _ in 0..1_000 {
            share.remove(100);
        }
        assert_eq!(budget.total(), 0);
    }
}
