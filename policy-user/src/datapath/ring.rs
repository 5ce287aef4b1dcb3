//! How full the ring buffer of events is: what waits there for an agent.

use std::ffi::c_void;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use aya::maps::MapData;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use serde::Serialize;

use super::error::DatapathError;
use super::pins::Pins;
use super::state;

/// The field names are a contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RingUse {
    pub waiting_bytes: u64,
    pub capacity_bytes: u64,
}

/// The two positions of the ring, which the kernel shows to whoever may map it. aya keeps its own to itself.
pub(super) struct EventRing {
    consumer: Position,
    producer: Position,
    capacity: u64,
}

impl EventRing {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let map = state::open(pins, "EVENTS", Ok)?;
        let failed =
            |source: std::io::Error| DatapathError::Io { doing: "map", path: pins.map("EVENTS"), source };
        let page = rustix::param::page_size();
        let at = |offset: usize| Position::map(map.fd().as_fd(), offset).map_err(failed);
        // The consumer's position stands at the start of the first page, the producer's at that of the second.
        Ok(Self { consumer: at(0)?, producer: at(page)?, capacity: capacity(&map)? })
    }

    pub(super) fn used(&self) -> RingUse {
        // The consumer first: it never gets ahead of the producer.
        let consumer = self.consumer.load();
        let waiting = self.producer.load().wrapping_sub(consumer);
        RingUse { waiting_bytes: waiting as u64, capacity_bytes: self.capacity }
    }
}

fn capacity(map: &MapData) -> Result<u64, DatapathError> {
    let info = map.info().map_err(|source| DatapathError::State {
        doing: "open",
        map: "EVENTS",
        source: Box::new(source),
    })?;
    Ok(u64::from(info.max_entries()))
}

/// One position, in a page of the ring.
struct Position(NonNull<AtomicUsize>);

// SAFETY: nothing but atomic loads goes through the pointer, and the page stays mapped until the owner is dropped.
unsafe impl Send for Position {}
// SAFETY: as above.
unsafe impl Sync for Position {}

impl Position {
    fn map(ring: BorrowedFd<'_>, offset: usize) -> std::io::Result<Self> {
        let length = rustix::param::page_size();
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
        let page = unsafe {
            mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, ring, offset as u64)?
        };
        let page = NonNull::new(page.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        Ok(Self(page))
    }

    fn load(&self) -> usize {
        // SAFETY: the page is mapped, begins with an unsigned long, and is only ever written atomically.
        unsafe { self.0.as_ref() }.load(Ordering::Acquire)
    }
}

impl Drop for Position {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` has mapped, and nobody can use it any more.
        let _ = unsafe { munmap(self.0.as_ptr().cast::<c_void>(), rustix::param::page_size()) };
    }
}
