//! The task of one receiver: waits for events, delivers, tries again. No other waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::message::Message;
use super::outbox::{Kept, Outbox, Step};
use super::trouble::{Stage, Trouble};
use super::{email, exec, webhook};
use crate::policy::{Receiver, Way};

/// Longer than this nobody answers any more.
const LIMIT: Duration = Duration::from_secs(30);

/// A running task; it ends with this value.
pub struct Courier {
    pub outbox: Arc<Mutex<Outbox>>,
    pub wake: Arc<Notify>,
    stop: CancellationToken,
}

impl Courier {
    /// `changed` is told whenever there is something to keep.
    pub fn start(receiver: Receiver, kept: Kept, changed: Arc<Notify>) -> Self {
        let outbox = Arc::new(Mutex::new(Outbox::new(receiver, kept, Instant::now())));
        let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let work = work(Arc::clone(&outbox), Arc::clone(&wake), changed);
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(work).await });
        Self { outbox, wake, stop }
    }

    pub fn outbox(&self) -> MutexGuard<'_, Outbox> {
        locked(&self.outbox)
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn locked(outbox: &Mutex<Outbox>) -> MutexGuard<'_, Outbox> {
    // Whatever panicked meanwhile, a queue is better than none.
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn work(outbox: Arc<Mutex<Outbox>>, wake: Arc<Notify>, changed: Arc<Notify>) {
    loop {
        let (step, way) = {
            let mut outbox = locked(&outbox);
            let wall = Timestamp::now();
            let local = wall.to_zoned_datetime(TimeZone::system()).datetime();
            let step = outbox.next(Instant::now(), wall, local);
            (step, outbox.receiver.way.clone())
        };
        match step {
            Step::Wait(None) => wake.notified().await,
            // Nothing to do if the time is over: the loop looks again.
            Step::Wait(Some(time)) => drop(tokio::time::timeout(time, wake.notified()).await),
            Step::Send(message) => {
                let outcome = deliver(&way, &message).await;
                let mut outbox = locked(&outbox);
                tell(&outbox, &outcome);
                outbox.done(outcome, Instant::now(), Timestamp::now());
                changed.notify_one();
            }
        }
    }
}

/// Sends one message now.
pub async fn deliver(way: &Way, message: &Message) -> Result<(), Trouble> {
    let limit = match way {
        // It keeps its own time.
        Way::Exec(exec) => exec.timeout + LIMIT,
        _ => LIMIT,
    };
    let sent = async {
        match way {
            Way::Webhook(webhook) => webhook::deliver(webhook, message).await,
            Way::Email(email) => email::deliver(email, message).await,
            Way::Exec(exec) => exec::deliver(exec, message).await,
        }
    };
    tokio::time::timeout(limit, sent).await.unwrap_or_else(|_| {
        let why = format!("there was no answer within {} s", limit.as_secs());
        Err(Trouble::new(
            Stage::Timeout,
            why,
            "check that the server is not overloaded; the message is sent again",
        ))
    })
}

/// Says once that a receiver fails and once that it works again; each message that is given up.
fn tell(outbox: &Outbox, outcome: &Result<(), Trouble>) {
    let (name, way) = (&outbox.receiver.name, &outbox.receiver.way);
    match outcome {
        Ok(()) if outbox.failing.is_some() => log::warn!("the receiver {name} can be told again"),
        Ok(()) => {}
        Err(trouble) if outbox.failing.as_ref().is_none_or(|(_, before)| before.why != trouble.why) => {
            log::error!("the receiver {name} ({} {way}) could not be told: {trouble}", way.label());
        }
        Err(trouble) => log::debug!("the receiver {name} still can't be told: {trouble}"),
    }
}
