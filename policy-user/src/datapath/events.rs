//! The two ring buffers the kernel writes: events of denied attempts, and the programs' own diagnostics.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use aya::maps::{Map, MapData, RingBuf};
use policy_common::abi::Event;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::DatapathError;
use super::generation::Generation;
use super::pins::Pins;
use super::state;

/// Events one batch holds at most, so that a flood can't keep the caller from its other work.
const BATCH: usize = 1024;

/// The ring buffer of events. It is pinned: what an agent has not read, the next one does.
pub struct EventStream {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl EventStream {
    pub fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let ring = state::open(pins, "EVENTS", |map| RingBuf::try_from(Map::RingBuf(map)))?;
        Ok(Self { ring: watch(ring, &pins.map("EVENTS"))? })
    }

    /// Waits for events and appends up to a batch of them, oldest first.
    pub async fn next_batch(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let mut ready = self.ring.readable_mut().await?;
        if !fill(ready.get_inner_mut(), events) {
            ready.clear_ready();
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
