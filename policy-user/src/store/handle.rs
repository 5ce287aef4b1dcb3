//! The handle to the store's writing thread: what is handed over, waited for and told.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::files::DIRECTORY;
use super::newest::make;
use super::packets::Count;
use super::writer::Writer;
use crate::attempt::Attempt;
use crate::datapath;
use crate::policy::Retention;
use crate::rights;

/// Batches that wait for the thread. When they are full the events stay in the kernel's ring, where losses are counted.
const QUEUE: usize = 16;

/// How often the writer wakes without attempts: for a disk that has room again, and for packets that came late.
const PULSE: Duration = Duration::from_secs(1);

/// A moment that never comes.
pub const NOTHING: u64 = u64::MAX;

/// How the store is; the field names are a contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    pub directory: PathBuf,
    /// Since the agent started.
    pub rows: u64,
    /// Attempts that could not be kept.
    pub missed: u64,
    /// Attempts in memory that are not on disk yet.
    pub waiting: u64,
    /// How long the oldest of them has waited, in milliseconds.
    pub lag_ms: u64,
    /// Why nothing can be written now; none where it can.
    pub error: Option<String>,
}

/// What the store asks of the world beside its disk.
pub struct Surroundings {
    pub clock: Box<dyn Fn() -> Timestamp + Send>,
    pub packets: Count,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { clock: Box::new(Timestamp::now), packets: Box::new(|_| None) }
    }
}

/// A handle to the writing thread.
#[derive(Clone)]
pub struct Store {
    queue: mpsc::Sender<Work>,
    shared: Shared,
}

/// What the handle and the thread both look at.
#[derive(Clone)]
pub struct Shared {
    pub status: Arc<Mutex<StoreStatus>>,
    pub limits: Arc<Mutex<Retention>>,
    /// When the oldest attempt that is not on disk was blocked, in nanoseconds of `CLOCK_BOOTTIME`.
    pub waiting_since: Arc<AtomicU64>,
}

pub enum Work {
    Append(Vec<Attempt>),
    /// Time has passed.
    Look,
    Flush(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

impl Store {
    /// Starts the thread. It takes attempts from the first moment, whatever the disk says.
    pub fn start(state_dir: &Path, limits: Retention) -> Self {
        Self::start_in(state_dir, limits, Surroundings::default())
    }

    /// The same where not everything is as usual.
    pub fn start_in(state_dir: &Path, limits: Retention, surroundings: Surroundings) -> Self {
        let (queue, work) = mpsc::channel(QUEUE);
        let directory = state_dir.join(DIRECTORY);
        // So that readers can tell an empty log from none. What stands in the way is told when there is something to write.
        let _ = make(&directory);
        let status = StoreStatus { directory: directory.clone(), ..StoreStatus::default() };
        let shared = Shared {
            status: Arc::new(Mutex::new(status)),
            limits: Arc::new(Mutex::new(limits)),
            waiting_since: Arc::new(AtomicU64::new(NOTHING)),
        };
        let writer = Writer::new(directory, shared.clone(), surroundings);
        rights::spawn("store", move || writer.run(work));
        let pulse = queue.downgrade();
        rights::spawn("store-pulse", move || {
            while let Some(queue) = pulse.upgrade() {
                // A full queue wakes the writer as well.
                let _ = queue.try_send(Work::Look);
                drop(queue);
                thread::sleep(PULSE);
            }
        });
        Self { queue, shared }
    }

    pub fn set_retention(&self, limits: Retention) {
        if let Ok(mut now) = self.shared.limits.lock() {
            *now = limits;
        }
    }

    /// Hands attempts over, waiting while the queue is full.
    pub async fn append(&self, attempts: Vec<Attempt>) {
        // The thread ends only after the last handle, so the queue is open.
        let _ = self.queue.send(Work::Append(attempts)).await;
    }

    /// Waits until everything handed over so far is on disk, or can't be written.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Work::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    /// Waits until everything is on disk and the file is sealed; what comes later opens it again.
    pub async fn close(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Work::Close(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    pub fn status(&self) -> StoreStatus {
        let status = self.shared.status.lock().map(|status| status.clone()).unwrap_or_default();
        let lag_ms = match self.shared.waiting_since.load(Ordering::Relaxed) {
            NOTHING => 0,
            since => datapath::boot_time().saturating_sub(since) / 1_000_000,
        };
        StoreStatus { lag_ms, ..status }
    }
}
