//! Deliveries that a client keeps for longer than `consumer-timeout-ms`, or its consumer's or queue's own timeout: their
//! channel is closed, so that others get them.

use std::time::Duration;

use super::super::context::Context;
use super::super::error::Error;
use super::super::limits;
use super::Session;

impl Session {
    fn default_timeout(&self) -> u64 {
        self.node.config.live.consumer_timeout_ms.size() as u64
    }

    /// How long after the last look the next one is due. None: no delivery has been made that is to be settled.
    pub(in crate::amqp) fn look_period(&self) -> Option<Duration> {
        if !self.about.deliveries_are_kept || !self.is_open() {
            return None;
        }
        // What policies say of queues is known after the first look.
        let known = if self.least_timeout > 0 { self.least_timeout } else { self.default_timeout() };
        let timeout = [known, self.about.own_timeout].into_iter().filter(|timeout| *timeout > 0).min();
        let period = timeout.map_or(u64::MAX, |timeout| timeout / limits::LOOKS_A_TIMEOUT);
        Some(Duration::from_millis(period).clamp(limits::LOOK_LEAST, limits::LOOK_MOST))
    }

    /// With the next turn.
    pub(in crate::amqp) fn look_soon(&mut self) {
        self.is_look_due = true;
    }

    pub(super) fn look_for_overdue(&mut self, context: &mut Context<'_>) {
        let (now, default) = (context.about.now, self.default_timeout());
        let mut overdue = Vec::new();
        self.least_timeout = 0;
        for (number, channel) in self.channels.iter().filter(|(_, channel)| !channel.is_closing()) {
            if let Some(milliseconds) = channel.window().overdue(now, default) {
                overdue.push((*number, milliseconds));
            }
            let least = channel.window().least_timeout(default);
            if least > 0 && (self.least_timeout == 0 || least < self.least_timeout) {
                self.least_timeout = least;
            }
        }
        for (channel, milliseconds) in overdue {
            self.fail(context, channel, (0, 0), &Error::ConsumerTimeout { channel, milliseconds });
        }
    }
}
