//! What waits for one receiver and when it is sent: grouped, not repeated, tried again. Knows neither network nor clock.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::event::Event;
use super::message::{Batch, Kind, Message};
use super::trouble::{Again, Trouble};
use crate::policy::{Receiver, Topic};

/// What comes together, such as the flags of hosts that caught the same worm, is told together.
pub const SETTLE: Duration = Duration::from_secs(2);
/// The pause after the first failure; it doubles up to the longest.
pub const FIRST_PAUSE: Duration = Duration::from_secs(5);
pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// A day of tries; counted, because a clock may be set.
pub const MOST_TRIES: u32 = 150;
/// The wall clock is looked at as often as this, so that a digest comes on time after it was set.
const LOOK: Duration = Duration::from_secs(60);
/// Subjects that are remembered so as not to repeat them.
const REMEMBERED: usize = 4_096;

/// The queue of one receiver.
pub struct Outbox {
    pub receiver: Receiver,
    kept: Kept,
    /// Earliest time of the next message, or of the next try.
    not_before: Instant,
    counts: Counts,
    pub failing: Option<(Timestamp, Trouble)>,
    last_sent: Option<Timestamp>,
}

/// What outlives a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    pending: Batch,
    in_flight: Option<InFlight>,
    told: BTreeMap<Topic, BTreeMap<String, Timestamp>>,
    day: Batch,
    /// The last day whose digest is made.
    digested: Option<Date>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct InFlight {
    message: Message,
    tries: u32,
}

/// Numbers since the agent started; the field names are a contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages that were delivered.
    pub sent: u64,
    /// Tries that failed.
    pub retries: u64,
    /// Messages that were given up.
    pub failed: u64,
    /// Events that were lost with those messages, or of which only the number was told.
    pub dropped: u64,
    /// Events that were not told because they had been already.
    pub repeated: u64,
}

/// What a courier does next.
#[derive(Debug, PartialEq)]
pub enum Step {
    Send(Box<Message>),
    /// Until then, or until something happens.
    Wait(Option<Duration>),
}

impl Outbox {
    pub fn new(receiver: Receiver, kept: Kept, now: Instant) -> Self {
        Self { receiver, kept, not_before: now, counts: Counts::default(), failing: None, last_sent: None }
    }

    /// Takes an event in, if the receiver wants it and has not been told already; tells whether anything is to be kept.
    pub fn offer(&mut self, event: &Event, now: Instant) -> bool {
        if event.event == Topic::Released {
            // Whoever does it again after that is news.
            for told in self.kept.told.values_mut() {
                told.remove(&event.subject);
            }
        } else if self.is_repetition(event) {
            self.counts.repeated += 1;
            return false;
        }
        let (digest, at_once) = (self.receiver.digest.is_some(), self.receiver.topics.contains(&event.event));
        if digest {
            self.kept.day.add(event);
        }
        if at_once {
            if self.kept.pending.is_empty() && self.kept.in_flight.is_none() {
                self.not_before = self.not_before.max(now + SETTLE);
            }
            if !self.kept.pending.add(event) {
                self.counts.dropped += 1;
            }
        }
        digest || at_once
    }

    fn is_repetition(&mut self, event: &Event) -> bool {
        let told = self.kept.told.entry(event.event).or_default();
        let patience = SignedDuration::try_from(self.receiver.repeat_after).unwrap_or(SignedDuration::MAX);
        // A time in the future was written before the clock was set: it counts as long past.
        let past = told.get(&event.subject).map(|time| event.time.duration_since(*time));
        if past.is_some_and(|past| !past.is_negative() && past < patience) {
            return true;
        }
        told.insert(event.subject.clone(), event.time);
        if told.len() > REMEMBERED {
            let oldest = told.iter().min_by_key(|(_, time)| **time).map(|(subject, _)| subject.clone());
            oldest.and_then(|subject| told.remove(&subject));
        }
        false
    }

    /// What to do now; `local` is the wall clock in the gateway's zone.
    pub fn next(&mut self, now: Instant, wall: Timestamp, local: DateTime) -> Step {
        let wait = self.not_before.saturating_duration_since(now);
        if self.kept.in_flight.is_none() {
            self.close_day(wall, local);
        }
        if self.kept.in_flight.is_none() && !self.kept.pending.is_empty() && wait.is_zero() {
            self.load(Kind::Events, wall);
        }
        match &self.kept.in_flight {
            Some(InFlight { message, .. }) if wait.is_zero() => Step::Send(Box::new(message.clone())),
            None if self.kept.pending.is_empty() => Step::Wait(self.receiver.digest.map(|_| LOOK)),
            _ => Step::Wait(Some(wait)),
        }
    }

    /// Makes the digest where it is time for it and something has happened.
    fn close_day(&mut self, wall: Timestamp, local: DateTime) {
        let Some(time) = self.receiver.digest else { return };
        let today = local.date();
        let over = if local.time() >= time { today } else { today.yesterday().unwrap_or(today) };
        // None: it begins to listen. A later day than today's was made before the clock was set.
        let digested = *self.kept.digested.get_or_insert(over);
        if digested == over {
            return;
        }
        self.kept.digested = Some(over);
        if digested < over && !self.kept.day.is_empty() {
            self.load(Kind::Digest, wall);
        }
    }

    fn load(&mut self, kind: Kind, wall: Timestamp) {
        let batch = if kind == Kind::Digest { &mut self.kept.day } else { &mut self.kept.pending };
        let message = Message::of(kind, &self.receiver.name, batch, wall);
        self.kept.in_flight = Some(InFlight { message, tries: 0 });
    }

    /// Takes down what became of the message that was to be sent.
    pub fn done(&mut self, outcome: Result<(), Trouble>, now: Instant, wall: Timestamp) {
        let Some(in_flight) = &mut self.kept.in_flight else { return };
        in_flight.tries += 1;
        let (tries, events) = (in_flight.tries, in_flight.message.counts.values().sum::<u64>());
        match outcome {
            Ok(()) => {
                self.counts.sent += 1;
                (self.failing, self.last_sent) = (None, Some(wall));
                self.kept.in_flight = None;
                self.not_before = now + self.receiver.group;
            }
            Err(trouble) => {
                self.counts.retries += 1;
                self.not_before = now + pause(tries);
                if trouble.again == Again::Never || tries >= MOST_TRIES {
                    self.counts.failed += 1;
                    self.counts.dropped += events;
                    self.kept.in_flight = None;
                }
                self.failing = Some((wall, trouble));
            }
        }
    }

    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn last_sent(&self) -> Option<Timestamp> {
        self.last_sent
    }

    /// Events that are not told yet.
    pub fn waiting(&self) -> u64 {
        let in_flight = self.kept.in_flight.as_ref();
        self.kept.pending.total() + in_flight.map_or(0, |it| it.message.counts.values().sum::<u64>())
    }

    /// How long until the message that failed is tried again.
    pub fn retry_in(&self, now: Instant) -> Option<Duration> {
        self.kept.in_flight.as_ref()?;
        self.failing.as_ref().map(|_| self.not_before.saturating_duration_since(now))
    }
}

fn pause(tries: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
}
