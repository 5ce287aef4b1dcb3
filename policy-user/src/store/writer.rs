//! Writing to the store: a thread of its own that commits in batches and survives a full, read-only or damaged disk.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant as Tick};

use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::file::OpenFile;
use super::handle::{NOTHING, Shared, StoreStatus, Surroundings, Work};
use super::newest::open_newest;
use super::packets::Packets;
use super::retention::Cleaner;
use crate::attempt::Attempt;
use crate::datapath;
use crate::policy::compile::Instant;

/// A commit waits so long for more rows: it costs a write to the disk however small it is.
const GATHER: Duration = Duration::from_millis(100);

/// Rows of one commit.
const BATCH: usize = 5000;

/// Rows that wait in memory for a disk that takes nothing, some 50 MB; later ones are counted as missed.
const BACKLOG: usize = 100_000;

const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often files past their time are looked for.
const CLEANING: Duration = Duration::from_secs(60);

pub struct Writer {
    directory: PathBuf,
    shared: Shared,
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
    pub fn new(directory: PathBuf, shared: Shared, surroundings: Surroundings) -> Self {
        Self {
            directory,
            shared,
            surroundings,
            open: None,
            backlog: VecDeque::new(),
            packets: Packets::default(),
            next_try: Tick::now(),
            pause: Duration::ZERO,
            next_cleaning: Tick::now(),
            cleaner: Cleaner::default(),
        }
    }

    /// Works until the last handle is gone.
    pub fn run(mut self, mut work: mpsc::Receiver<Work>) {
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
        self.shared.waiting_since.store(since, Ordering::Relaxed);
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
        let limits = self.shared.limits.lock().map(|limits| *limits).unwrap_or_default();
        let now = Instant { wall: (self.surroundings.clock)(), boot: datapath::boot_time() };
        self.cleaner.clean(&self.directory, open.file(), limits, now);
    }

    fn tell(&self, change: impl FnOnce(&mut StoreStatus)) {
        if let Ok(mut status) = self.shared.status.lock() {
            change(&mut status);
        }
    }
}
