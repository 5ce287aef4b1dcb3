//! Writing the log: a thread of its own, so that a slow disk or a stopped reader holds up nothing but the log.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use policy_common::abi::AttemptKey;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::FlagEvent;
use crate::attempt::Attempt;
use crate::datapath::PacketCounts;
use crate::notify::Notifier;
use crate::outputs::{Entry, Outputs};
use crate::policy::Policy;
use crate::rights;
use crate::status::InForce;
use crate::store::{Store, StoreStatus, Surroundings};

/// How attempts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Aligned lines for people.
    Human,
    /// No attempts on standard output: the block log has them. A file that the policy names gets JSON.
    Quiet,
}

/// Batches that wait for the thread. When they are full the events stay in the kernel's ring, where losses are counted.
const QUEUE: usize = 16;

/// A handle to the writing thread; it ends when the last handle is gone.
#[derive(Clone)]
pub struct LogWriter {
    format: Format,
    file: Arc<Mutex<Option<PathBuf>>>,
    outputs: Arc<Mutex<Outputs>>,
    store: Store,
    notifier: Notifier,
    work: mpsc::Sender<Work>,
}

enum Work {
    Write(String),
    Flush(oneshot::Sender<()>),
}

impl LogWriter {
    /// Starts the thread; attempts go to the store, and to the policy's file or to standard output where it names none.
    pub fn start(format: Format, policy: &Policy, state_dir: &Path, packets: PacketCounts) -> Self {
        let packets = Box::new(move |attempt: &AttemptKey| packets.of(attempt));
        let surroundings = Surroundings { packets, ..Surroundings::default() };
        let store = Store::start_in(state_dir, policy.retention, surroundings);
        let notifier = Notifier::start(state_dir, policy);
        let (sender, mut work) = mpsc::channel(QUEUE);
        let file = Arc::new(Mutex::new(policy.log_file.clone()));
        let outputs = Arc::new(Mutex::new(Outputs::start(policy.log_targets.clone())));
        let target = Arc::clone(&file);
        rights::spawn("log", move || {
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
        Self { format, file, outputs, store, notifier, work: sender }
    }

    /// Sends later batches to where this policy wants them.
    pub fn follow(&self, policy: &Policy) {
        if let Ok(mut target) = self.file.lock() {
            target.clone_from(&policy.log_file);
        }
        self.store.set_retention(policy.retention);
        self.notifier.follow(policy);
        // Outputs that stay keep their connections and what waits in their queues.
        if let Ok(mut outputs) = self.outputs.lock()
            && outputs.targets() != policy.log_targets
        {
            *outputs = Outputs::start(policy.log_targets.clone());
        }
    }

    /// Tells on standard output that the policy is in force.
    pub fn announce(&self, in_force: &InForce) {
        let interfaces: Vec<_> = in_force.interfaces.iter().map(|c| c.interface.as_str()).collect();
        let line = match self.format {
            Format::Json | Format::Quiet => {
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
    pub async fn write(&self, attempts: Vec<Attempt>) {
        self.copy(&attempts, |attempt| attempt.time);
        self.queue(&attempts, "attempts").await;
        self.store.append(attempts).await;
    }

    /// Queues changes of flags, and tells the receivers.
    pub async fn write_flags(&self, flags: &[FlagEvent]) {
        self.notifier.flags(flags);
        self.copy(flags, |flag| flag.time);
        // People read them in the agent's own log, which has them already.
        if self.format != Format::Human && !flags.is_empty() {
            self.queue(flags, "changes of flags").await;
        }
    }

    /// Hands copies to the other outputs, if the policy names any.
    fn copy<T: Serialize + Display>(&self, rows: &[T], time: impl Fn(&T) -> Timestamp) {
        if let Ok(outputs) = self.outputs.lock()
            && !outputs.is_empty()
            && !rows.is_empty()
        {
            let entry = |row: &T| Entry::new(time(row), row.to_string(), row);
            outputs.offer(rows.iter().filter_map(entry).collect());
        }
    }

    async fn queue<T: Serialize + Display>(&self, rows: &[T], what: &'static str) {
        let to_file = self.file.lock().is_ok_and(|file| file.is_some());
        if self.format == Format::Quiet && !to_file {
            return;
        }
        let mut text = String::new();
        for row in rows {
            match self.format {
                Format::Json | Format::Quiet => match serde_json::to_string(row) {
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

    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    pub fn store_status(&self) -> StoreStatus {
        self.store.status()
    }

    /// Waits until everything queued so far is written, and closes the store.
    pub async fn close(&self) {
        let (done, wait) = oneshot::channel();
        if self.work.send(Work::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
        self.store.close().await;
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
