//! Does this sentinel hear the master? One `Hearing` for the master of the current epoch.
//!
//! ```text
//!            Renew                      silent for D, or
//!   hearing <------ suspecting  <------ stream gone and the process refuses connections, or
//!                                       another incarnation answers in its place
//! ```
//! What counts is that both hear each other: a Renew says for how long the master had not heard us, and silence began then.
//! A stream that broke while the process still takes connections proves nothing: the master will come back.

use std::time::Duration;

use super::Unfit;
use crate::{clock::Moment, limits};

/// Which process is listened for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    pub epoch: u64,
    pub name: String,
    pub incarnation: String,
}

/// What a fresh TCP connect to the master's peer port met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    Accepted,
    Refused,
    /// No answer within the time of a probe, or no route.
    Unreachable,
}

/// Why the master is suspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Silent,
    Refused,
    Unreachable,
    Restarted,
    /// It gave its lease up, and no newer epoch has come.
    Resigned,
    /// It is heard, and is of no use.
    Unfit(Unfit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Heard,
    Suspected(Reason),
}

/// Observation of the master of one epoch.
#[derive(Debug, Clone)]
pub struct Hearing {
    subject: Option<Subject>,
    silence: Duration,
    /// Since when silence counts: the change of subject, the last Renew, or the last time we were not running.
    since: Moment,
    is_silent: bool,
    last_renew: Option<Moment>,
    streams: usize,
    had_stream: bool,
    probe: Option<Probe>,
    restarted: bool,
    resigned: Option<Moment>,
    last_tick: Moment,
    /// When we last found that we had not been running.
    stood_still: Option<Moment>,
}

impl Hearing {
    #[must_use]
    pub fn new(silence: Duration, now: Moment) -> Self {
        Self {
            subject: None,
            silence,
            since: now,
            is_silent: false,
            last_renew: None,
            streams: 0,
            had_stream: false,
            probe: None,
            restarted: false,
            resigned: None,
            last_tick: now,
            stood_still: None,
        }
    }

    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// `SENTINEL SET ... down-after-milliseconds`.
    pub fn set_silence(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// Listens for another process, or for the same one under another epoch. `streams`: how many Lease streams of it are
    /// open already.
    pub fn listen_for(&mut self, subject: Option<Subject>, streams: usize, now: Moment) {
        if self.subject == subject {
            return;
        }
        *self = Self {
            subject,
            silence: self.silence,
            since: now,
            is_silent: false,
            last_renew: None,
            streams,
            had_stream: streams > 0,
            probe: None,
            restarted: false,
            resigned: None,
            last_tick: self.last_tick,
            stood_still: self.stood_still,
        };
    }

    /// Silence counts from now on: nobody was to be heard here before.
    pub fn begin_anew(&mut self, now: Moment) {
        self.since = now;
        self.is_silent = false;
        self.last_renew = None;
    }

    fn is_subject(&self, name: &str, incarnation: &str) -> bool {
        self.subject.as_ref().is_some_and(|subject| subject.name == name && subject.incarnation == incarnation)
    }

    /// A Renew of this process under this epoch arrived, whether it was granted or not. `deaf_for`: since when it had not
    /// heard us as it was sent.
    pub fn renewed(&mut self, name: &str, incarnation: &str, epoch: u64, deaf_for: Duration, now: Moment) {
        if self.is_subject(name, incarnation) && self.subject.as_ref().is_some_and(|subject| subject.epoch == epoch) {
            self.last_renew = Some(now);
            self.since = self.since.max(now.before(deaf_for));
            self.is_silent = now.since(self.since) > self.silence;
            self.restarted = false;
            self.probe = None;
        }
    }

    /// It executes nothing more under `epoch`.
    pub fn resigned(&mut self, name: &str, incarnation: &str, epoch: u64, now: Moment) {
        if self.is_subject(name, incarnation) && self.subject.as_ref().is_some_and(|subject| subject.epoch == epoch) {
            self.resigned.get_or_insert(now);
        }
    }

    pub fn stream_opened(&mut self, name: &str, incarnation: &str) {
        if self.is_subject(name, incarnation) {
            self.streams += 1;
            self.had_stream = true;
            self.probe = None;
        }
    }

    pub fn stream_closed(&mut self, name: &str, incarnation: &str) {
        if self.is_subject(name, incarnation) {
            self.streams = self.streams.saturating_sub(1);
        }
    }

    /// A probe ended. Probes are wanted while no stream is open.
    pub fn probed(&mut self, subject: &Subject, probe: Probe) {
        if self.subject.as_ref() == Some(subject) && self.streams == 0 {
            self.probe = Some(probe);
        }
    }

    #[must_use]
    pub fn wants_probe(&self) -> bool {
        self.subject.is_some() && self.streams == 0
    }

    /// The node of the master answered as `incarnation`: if that is another process, the one we listen for is gone; or what
    /// was seen is older than its promotion, until it is seen itself.
    pub fn seen_incarnation(&mut self, name: &str, incarnation: &str) {
        if let Some(subject) = self.subject.as_ref().filter(|subject| subject.name == name) {
            self.restarted = subject.incarnation != incarnation;
        }
    }

    /// The detector's regular look.
    pub fn tick(&mut self, now: Moment) -> Verdict {
        let slip = now.since(self.last_tick);
        self.last_tick = now;
        if slip > limits::TICK + limits::TICK_SLIP {
            self.stood_still = Some(now);
            // What was found before we stood still stays found: only a Renew ends it.
            if !self.is_silent {
                self.since = now;
            }
        }
        self.is_silent = self.is_silent || now.since(self.since) > self.patience();
        self.verdict(now)
    }

    fn patience(&self) -> Duration {
        if self.last_renew.is_none() { self.silence.max(limits::PROMOTION_GRACE) } else { self.silence }
    }

    #[must_use]
    pub fn verdict(&self, now: Moment) -> Verdict {
        if self.subject.is_none() {
            return Verdict::Heard;
        }
        if self.restarted {
            return Verdict::Suspected(Reason::Restarted);
        }
        // In a hand-over the next epoch is on its way.
        if self.resigned.is_some_and(|at| now.since(at) > limits::RESIGNATION_GRACE) {
            return Verdict::Suspected(Reason::Resigned);
        }
        if self.streams == 0 {
            match self.probe {
                Some(Probe::Refused) => return Verdict::Suspected(Reason::Refused),
                Some(Probe::Unreachable) => return Verdict::Suspected(Reason::Unreachable),
                Some(Probe::Accepted) | None => {}
            }
        }
        let is_silent = self.is_silent || now.since(self.since) > self.patience();
        if is_silent { Verdict::Suspected(Reason::Silent) } else { Verdict::Heard }
    }

    /// May another sentinel be told that we do not hear the master? A stream that broke and was not opened again is
    /// enough for that: the one who asks has grounds of its own.
    #[must_use]
    pub fn hears(&self, now: Moment) -> bool {
        self.verdict(now) == Verdict::Heard && self.resigned.is_none() && !(self.had_stream && self.streams == 0)
    }

    /// When this sentinel found that it had not been running, for as long as what it sees is not a whole window again:
    /// what Redis calls TILT.
    #[must_use]
    pub fn tilt(&self, now: Moment) -> Option<Moment> {
        self.stood_still.filter(|&at| now.since(at) <= self.silence)
    }

    /// Since the last Renew of this epoch, for `last-ok-ping-reply`.
    #[must_use]
    pub fn last_renew(&self) -> Option<Moment> {
        self.last_renew
    }

    #[must_use]
    pub fn has_stream(&self) -> bool {
        self.streams > 0
    }
}
