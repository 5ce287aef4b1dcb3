//! Writing to the store: a thread of its own that commits in batches and survives a full, read-only or damaged disk.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant as Tick};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::file::OpenFile;
use super::files::{self, DIRECTORY, StoreFile};
use super::packets::{Count, Packets};
use super::retention::Cleaner;
use crate::attempt::Attempt;
use crate::datapath;
use crate::policy::Retention;
use crate::policy::compile::Instant;

/// Batches that wait for the thread. When they are full the events stay in the kernel's ring, where losses are counted.
const QUEUE: usize = 16;

/// A commit waits so long for more rows: it costs a write to the disk however small it is.
const GATHER: Duration = Duration::from_millis(100);

/// Rows of one commit.
const BATCH: usize = 5000;

/// Rows that wait in memory for a disk that takes nothing, some 50 MB; later ones are counted as missed.
const BACKLOG: usize = 100_000;

/// How often the writer wakes without attempts: for a disk that has room again, and for packets that came late.
const PULSE: Duration = Duration::from_secs(1);

/// A moment that never comes.
const NOTHING: u64 = u64::MAX;

const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often files past their time are looked for.
const CLEANING: Duration = Duration::from_secs(60);

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
    status: Arc<Mutex<StoreStatus>>,
    limits: Arc<Mutex<Retention>>,
    waiting_since: Arc<AtomicU64>,
}

enum Work {
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
        let status = Arc::new(Mutex::new(status));
        let limits = Arc::new(Mutex::new(limits));
        let waiting_since = Arc::new(AtomicU64::new(NOTHING));
        let writer = Writer {
            directory,
            status: Arc::clone(&status),
            limits: Arc::clone(&limits),
            waiting_since: Arc::clone(&waiting_since),
            surroundings,
            open: None,
            backlog: VecDeque::new(),
            packets: Packets::default(),
            next_try: Tick::now(),
            pause: Duration::ZERO,
            next_cleaning: Tick::now(),
            cleaner: Cleaner::default(),
        };
        thread::spawn(move || writer.run(work));
        let pulse = queue.downgrade();
        thread::spawn(move || {
            while let Some(queue) = pulse.upgrade() {
                // A full queue wakes the writer as well.
                let _ = queue.try_send(Work::Look);
                drop(queue);
                thread::sleep(PULSE);
            }
        });
        Self { queue, status, limits, waiting_since }
    }

    pub fn set_retention(&self, limits: Retention) {
        if let Ok(mut now) = self.limits.lock() {
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
        let status = self.status.lock().map(|status| status.clone()).unwrap_or_default();
        let lag_ms = match self.waiting_since.load(Ordering::Relaxed) {
            NOTHING => 0,
            since => datapath::boot_time().saturating_sub(since) / 1_000_000,
        };
        StoreStatus { lag_ms, ..status }
    }
}

struct Writer {
    directory: PathBuf,
    status: Arc<Mutex<StoreStatus>>,
    limits: Arc<Mutex<Retention>>,
    /// When the oldest of the backlog was blocked, in nanoseconds of `CLOCK_BOOTTIME`.
    waiting_since: Arc<AtomicU64>,
    surroundings: Surroundings,
    open: Option<OpenFile>,
    /// Not on disk yet, the oldest first.
    backlog: VecDeque<Attempt>,
    packets: Packets,
    next_try: Tick,
    pause: Duration,
    next_cleaning: Tick,
    cleaner: Cleaner,
}

impl Writer {
    fn run(mut self, mut work: mpsc::Receiver<Work>) {
        while let Some(first) = work.blocking_recv() {
            let mut flushed = Vec::new();
            self.take(first, &mut flushed);
            if flushed.is_empty() && (1..BATCH).contains(&self.backlog.len()) {
                thread::sleep(GATHER);
            }
            while self.backlog.len() < BATCH
                && let Ok(more) = work.try_recv()
            {
                self.take(more, &mut flushed);
            }
            self.commit(!flushed.is_empty());
            self.count_packets();
            self.clean();
            for done in flushed {
                // Who waited may have gone.
                let _ = done.send(());
            }
        }
        self.commit(true);
        self.seal();
    }

    fn seal(&mut self) {
        self.count_last_packets();
        if let Some(open) = self.open.take()
            && let Err(error) = open.seal()
        {
            log::warn!("the block log is not closed cleanly: {error}");
        }
    }

    /// Puts work into the backlog.
    fn take(&mut self, work: Work, flushed: &mut Vec<oneshot::Sender<()>>) {
        match work {
            Work::Append(attempts) => {
                let room = BACKLOG.saturating_sub(self.backlog.len());
                let missed = attempts.len().saturating_sub(room);
                self.backlog.extend(attempts.into_iter().take(room));
                self.tell(|status| status.missed += missed as u64);
            }
            Work::Look => {}
            Work::Flush(done) => flushed.push(done),
            Work::Close(done) => {
                self.commit(true);
                self.seal();
                flushed.push(done);
            }
        }
        self.tell_waiting();
    }

    /// Writes the backlog; on an error it stays, for a later try.
    fn commit(&mut self, at_once: bool) {
        if !at_once && Tick::now() < self.next_try {
            return;
        }
        while !self.backlog.is_empty() {
            match self.write_batch() {
                Ok(rows) => self.tell_written(rows),
                Err(error) => return self.tell_failed(&error),
            }
        }
    }

    fn write_batch(&mut self) -> Result<usize, StoreError> {
        let now = (self.surroundings.clock)();
        if self.open.as_ref().is_some_and(|open| open.is_over(now)) {
            self.count_last_packets();
        }
        if let Some(open) = self.open.take_if(|open| open.is_over(now)) {
            let next = open.next();
            open.seal()?;
            self.open = Some(OpenFile::create(&self.directory, next, now)?);
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(open_newest(&self.directory, now)?),
        };
        let rows = self.backlog.len().min(BATCH);
        let batch = &self.backlog.make_contiguous()[..rows];
        let first = match open.write(batch) {
            Ok(first) => first,
            Err(error) => {
                // What it remembers is no longer what the file has.
                self.open = None;
                return Err(error);
            }
        };
        let now = Tick::now();
        for (row, attempt) in (first..).zip(self.backlog.drain(..rows)) {
            self.packets.watch(row, &attempt, now);
        }
        Ok(rows)
    }

    /// Looks how many packets attempts took whose time for it has come.
    fn count_packets(&mut self) {
        let changed = self.packets.look(Tick::now(), &self.surroundings.packets);
        self.write_packets(&changed);
    }

    /// The same for all whose file is about to be sealed.
    fn count_last_packets(&mut self) {
        let changed = self.packets.look_last(&self.surroundings.packets);
        self.write_packets(&changed);
    }

    /// On an error the numbers stay lower than they could be, which is what they promise.
    fn write_packets(&mut self, changed: &[(i64, u64)]) {
        if let Some(open) = &mut self.open
            && !changed.is_empty()
            && let Err(error) = open.write_packets(changed)
        {
            self.open = None;
            log::debug!("packets of attempts are not kept: {error}");
        }
    }

    fn tell_written(&mut self, rows: usize) {
        self.pause = Duration::ZERO;
        self.tell_waiting();
        let mut missed = None;
        self.tell(|status| {
            status.rows += rows as u64;
            missed = status.error.take().map(|_| status.missed);
        });
        if let Some(missed) = missed {
            log::warn!("the block log can be written again; {missed} attempts are missing from it");
        }
    }

    fn tell_waiting(&self) {
        let since = self.backlog.front().map_or(NOTHING, |attempt| attempt.boot);
        self.waiting_since.store(since, Ordering::Relaxed);
        let waiting = self.backlog.len() as u64;
        self.tell(|status| status.waiting = waiting);
    }

    fn tell_failed(&mut self, error: &StoreError) {
        self.pause = (self.pause * 2).clamp(Duration::from_secs(1), LONGEST_PAUSE);
        self.next_try = Tick::now() + self.pause;
        let mut first = false;
        self.tell(|status| first = status.error.replace(error.to_string()).is_none());
        if first {
            log::error!(
                "the block log can't be written: {error}; enforcement and counters go on, {BACKLOG} attempts are kept in \
                 memory meanwhile"
            );
        }
    }

    fn clean(&mut self) {
        let Some(open) = &self.open else { return };
        if Tick::now() < self.next_cleaning {
            return;
        }
        self.next_cleaning = Tick::now() + CLEANING;
        let limits = self.limits.lock().map(|limits| *limits).unwrap_or_default();
        let now = Instant { wall: (self.surroundings.clock)(), boot: datapath::boot_time() };
        self.cleaner.clean(&self.directory, open.file(), limits, now);
    }

    fn tell(&self, change: impl FnOnce(&mut StoreStatus)) {
        if let Ok(mut status) = self.status.lock() {
            change(&mut status);
        }
    }
}

/// The newest file if it can be written further, else a new one behind it.
fn open_newest(directory: &Path, now: Timestamp) -> Result<OpenFile, StoreError> {
    let io = |error: std::io::Error| StoreError {
        path: directory.to_owned(),
        source: rusqlite::Error::ToSqlConversionFailure(error.into()),
    };
    make(directory).map_err(io)?;
    let Some(newest) = files::list(directory).map_err(io)?.pop() else {
        return OpenFile::create(directory, 1, now);
    };
    match OpenFile::resume(newest.clone(), now) {
        Ok(Some(open)) => Ok(open),
        Ok(None) => begin_behind(directory, &newest, "is of another version", now),
        Err(error) if error.is_damage() => begin_behind(directory, &newest, "is damaged", now),
        Err(error) => Err(error),
    }
}

/// Files in it get its group, and nobody else gets in.
fn make(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    let mode = |mode| fs::set_permissions(directory, fs::Permissions::from_mode(mode));
    // A hardened service may not set the bit that hands the group on; its own group is the right one already.
    mode(0o2750).or_else(|_| mode(0o750))
}

/// How many numbers are left free for the rows of a file that can't be read.
const GAP: i64 = 1 << 24;

fn begin_behind(
    directory: &Path,
    bad: &StoreFile,
    why: &str,
    now: Timestamp,
) -> Result<OpenFile, StoreError> {
    match bad.set_aside() {
        Ok(aside) => log::error!(
            "{} {why}: it is kept as {}, and a new file is begun",
            bad.path.display(),
            aside.display()
        ),
        Err(error) => log::error!("{} {why} and can't be renamed: {error}", bad.path.display()),
    }
    OpenFile::create(directory, bad.first + GAP, now)
}
