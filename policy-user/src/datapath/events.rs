//! The two ring buffers the kernel writes: events of denied attempts, and the programs' own diagnostics.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use aya::maps::{Map, MapData, RingBuf};
use policy_common::abi::Event;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use super::error::DatapathError;
use super::generation::Generation;
use super::pins::Pins;
use super::state;

/// Events one batch holds at most, so that a flood can't keep the caller from its other work.
const BATCH: usize = 1024;

/// How long events gather once a reader has emptied the ring. The kernel wakes it for each event that it has caught up with, and
/// for none while others wait; without a pause, a packet that begins an attempt pays more for the wake-up than for all the rest.
/// A ring fills within it only at 8 million events a second.
const GATHER: Duration = Duration::from_millis(5);

/// The ring buffer of events. It is pinned: what an agent has not read, the next one does.
pub struct EventStream {
    ring: AsyncFd<RingBuf<MapData>>,
    /// It reads no sooner.
    not_before: Instant,
}

impl EventStream {
    pub fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let ring = state::open(pins, "EVENTS", |map| RingBuf::try_from(Map::RingBuf(map)))?;
        Ok(Self { ring: watch(ring, &pins.map("EVENTS"))?, not_before: Instant::now() })
    }

    /// Waits for events and appends up to a batch of them, oldest first.
    ///
    /// The first one at once, later ones some milliseconds after the last batch.
    pub async fn next_batch(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        sleep_until(self.not_before).await;
        let mut ready = self.ring.readable_mut().await?;
        if !fill(ready.get_inner_mut(), events) {
            ready.clear_ready();
            self.not_before = Instant::now() + GATHER;
        }
        Ok(())
    }

    /// What is in the ring right now, up to a batch; `false` when it is empty.
    pub fn drain(&mut self, events: &mut Vec<Event>) -> bool {
        fill(self.ring.get_mut(), events)
    }
}

/// Polls a ring buffer through the runtime.
pub(super) fn watch<T: AsRawFd>(ring: T, name: &Path) -> Result<AsyncFd<T>, DatapathError> {
    // SAFETY: both types own one map descriptor, return it from every call of as_raw_fd, and close it only when dropped.
    unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(|error| DatapathError::Io {
        doing: "poll",
        path: name.to_owned(),
        source: error.into(),
    })
}

/// Tells whether there may be more.
fn fill(ring: &mut RingBuf<MapData>, events: &mut Vec<Event>) -> bool {
    for _ in 0..BATCH {
        let Some(record) = ring.next() else { return false };
        match Event::from_bytes(&record) {
            Some(event) => events.push(event),
            None => log::error!("an event of {} bytes is not of this version: ignored", record.len()),
        }
    }
    true
}

/// Passes the diagnostics of one generation's programs on to the agent's own log, until it is dropped.
pub fn forward_kernel_log(
    generation: &mut Generation,
) -> Result<impl Future<Output = ()> + use<>, DatapathError> {
    let logger = generation
        .kernel_logger()
        .map_err(|error| DatapathError::Object(format!("the kernel side's log: {error}")))?;
    let mut logger = watch(logger, Path::new("AYA_LOGS"))?;
    Ok(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    })
}
