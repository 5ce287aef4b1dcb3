//! Writing the log: a thread of its own, so that a slow disk or a stopped reader holds up nothing but the log.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::FlagEvent;
use crate::attempt::Attempt;
use crate::status::InForce;

/// How attempts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Aligned lines for people.
    Human,
}

/// Batches that wait for the thread. When they are full the events stay in the kernel's ring, where losses are counted.
const QUEUE: usize = 16;

/// A handle to the writing thread; it ends when the last handle is gone.
#[derive(Clone)]
pub struct LogWriter {
    format: Format,
    file: Arc<Mutex<Option<PathBuf>>>,
    work: mpsc::Sender<Work>,
}

enum Work {
    Write(String),
    Flush(oneshot::Sender<()>),
}

impl LogWriter {
    /// Starts the thread; attempts go to `file`, or to standard output where there is none.
    pub fn start(format: Format, file: Option<PathBuf>) -> Self {
        let (sender, mut work) = mpsc::channel(QUEUE);
        let file = Arc::new(Mutex::new(file));
        let target = Arc::clone(&file);
        thread::spawn(move || {
            let mut failing = false;
            while let Some(work) = work.blocking_recv() {
                match work {
                    Work::Write(text) => {
                        let file = target.lock().ok().and_then(|file| file.clone());
                        let result = append(file.as_ref(), &text);
                        report(&result, &text, &mut failing);
                    }
                    Work::Flush(done) => drop(done.send(())),
                }
            }
        });
        Self { format, file, work: sender }
    }

    /// Sends later batches to another file, or to standard output.
    pub fn set_file(&self, file: Option<PathBuf>) {
        if let Ok(mut target) = self.file.lock() {
            *target = file;
        }
    }

    /// Tells on standard output that the policy is in force.
    pub fn announce(&self, in_force: &InForce) {
        let interfaces: Vec<_> = in_force.interfaces.iter().map(|c| c.interface.as_str()).collect();
        let line = match self.format {
            Format::Json => {
                let mut ready = serde_json::json!({
                    "event": "READY",
                    "policy": in_force.policy,
                    "revision": in_force.revision,
                    "mode": in_force.mode,
                    "interfaces": interfaces,
                })
                .to_string();
                ready.push('\n');
                ready
            }
            Format::Human => format!(
                "READY  policy {} (revision {}, mode {}) is in force on {}\n",
                in_force.policy,
                in_force.revision,
                in_force.mode,
                if interfaces.is_empty() { "no interface yet".to_owned() } else { interfaces.join(", ") }
            ),
        };
        if let Err(error) = append(None, &line) {
            log::error!("can't write to standard output: {error}");
        }
    }

    /// Queues a batch, waiting while the queue is full.
    pub async fn write(&self, attempts: &[Attempt]) {
        self.queue(attempts, "attempts").await;
    }

    /// Queues changes of flags.
    pub async fn write_flags(&self, flags: &[FlagEvent]) {
        // People read them in the agent's own log, which has them already.
        if self.format == Format::Json && !flags.is_empty() {
            self.queue(flags, "changes of flags").await;
        }
    }

    async fn queue<T: Serialize + Display>(&self, rows: &[T], what: &'static str) {
        let mut text = String::new();
        for row in rows {
            match self.format {
                Format::Json => match serde_json::to_string(row) {
                    Ok(json) => text.push_str(&json),
                    Err(error) => log::error!("{what} can't be written as JSON: {error}"),
                },
                Format::Human => text.push_str(&row.to_string()),
            }
            text.push('\n');
        }
        // The thread ends only after the last handle, so the queue is open.
        let _ = self.work.send(Work::Write(text)).await;
    }

    /// Waits until everything queued so far is written.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.work.send(Work::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

/// Opens the file for each batch: a log that was rotated away, or a disk that has room again, needs no signal.
fn append(file: Option<&PathBuf>, text: &str) -> io::Result<()> {
    match file {
        Some(path) => File::options().append(true).create(true).open(path)?.write_all(text.as_bytes()),
        None => {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        }
    }
}

/// Says once that the log fails and once that it works again, with what was missed.
fn report(result: &io::Result<()>, text: &str, failing: &mut bool) {
    match result {
        Ok(()) if *failing => {
            *failing = false;
            log::warn!("the log can be written again");
        }
        Ok(()) => {}
        Err(error) => {
            let lines = text.lines().count();
            if !*failing {
                log::error!("the log can't be written: {error}; enforcement and counters go on");
            }
            log::warn!("{lines} lines are missing from the log");
            *failing = true;
        }
    }
}
