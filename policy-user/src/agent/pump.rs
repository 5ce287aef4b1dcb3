//! From the kernel's ring buffer to the log.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use policy_common::abi::Event;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::detection::Detection;
use super::enforcement::now;
use super::log_writer::LogWriter;
use super::names::HandOver;
use crate::attempt::{Attempt, Lexicon};
use crate::datapath::{AnswerStream, EventStream};

/// How long a stopping agent waits for a log that takes nothing; what is still in the ring waits for the next agent.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// The running task.
pub struct Pump {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Starts moving events.
pub fn start(
    mut events: EventStream,
    mut hand_over: HandOver,
    lexicon: Arc<RwLock<Lexicon>>,
    detection: Arc<Detection>,
    writer: LogWriter,
) -> Pump {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        let mut batch = Vec::new();
        let mut answers = None;
        loop {
            tokio::select! {
                biased;
                () = stopped.cancelled() => break,
                Some(new) = hand_over.recv() => answers = new,
                () = heard(&mut answers) => {}
                result = events.next_batch(&mut batch) => if let Err(error) = result {
                    log::error!("the ring buffer of events can't be read: {error}; counters go on");
                    return;
                },
            }
            // A client that was told an address and tries it at once comes after its answer.
            learn(&mut answers, &detection);
            write(&mut batch, &lexicon, &detection, &writer).await;
        }
        events.drain(&mut batch);
        write(&mut batch, &lexicon, &detection, &writer).await;
        writer.close().await;
    });
    Pump { stop, task }
}

impl Pump {
    /// Writes what is in the ring now and ends.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(LAST_WRITE, self.task).await.is_err() {
            log::error!("the log takes nothing: the last attempts are only in the counters");
        }
    }
}

/// Waits for DNS answers; for ever where nobody hands them on.
async fn heard(answers: &mut Option<AnswerStream>) {
    let Some(stream) = answers else { return std::future::pending().await };
    if let Err(error) = stream.readable().await {
        log::error!("the ring buffer of DNS answers can't be read: {error}; no more names are learnt");
        *answers = None;
    }
}

fn learn(answers: &mut Option<AnswerStream>, detection: &Detection) {
    let Some(stream) = answers else { return };
    let mut batch = Vec::new();
    stream.drain(&mut batch);
    detection.learn(&batch);
}

async fn write(batch: &mut Vec<Event>, lexicon: &RwLock<Lexicon>, detection: &Detection, writer: &LogWriter) {
    if batch.is_empty() {
        return;
    }
    let mut attempts: Vec<Attempt> = {
        let Ok(lexicon) = lexicon.read() else { return };
        let now = now();
        batch.drain(..).map(|event| lexicon.attempt(&event, now)).collect()
    };
    let flags = detection.observe(&mut attempts);
    writer.write(attempts).await;
    writer.write_flags(&flags).await;
}
