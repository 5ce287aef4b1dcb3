//! Copies of the block log for other programs: the journal, and syslog servers.
//!
//! The store is the record; these are beside it. Each has a thread and a queue of its own, so that a server that is away
//! holds up neither the store nor the other outputs. What its queue has no room for is counted and told.

mod journal;
mod syslog;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::policy::LogTarget;
use crate::rights;

/// Batches that wait for a server which is away.
const QUEUE: usize = 256;

/// The pauses between two tries grow to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One line of the log, as every output needs it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub time: Timestamp,
    /// One line for people.
    pub message: String,
    /// The fields of `docs/events.md`.
    pub fields: Map<String, Value>,
}

impl Entry {
    /// An entry with the fields that `record` has as JSON; none if it is no JSON object.
    pub fn new(time: Timestamp, message: String, record: &impl Serialize) -> Option<Self> {
        match serde_json::to_value(record) {
            Ok(Value::Object(fields)) => Some(Self { time, message, fields }),
            _ => None,
        }
    }

    /// The fields that have a value, as text.
    fn texts(&self) -> impl Iterator<Item = (&str, String)> {
        self.fields.iter().filter_map(|(name, value)| match value {
            Value::Null => None,
            Value::String(text) => Some((name.as_str(), text.clone())),
            other => Some((name.as_str(), other.to_string())),
        })
    }
}

/// The outputs of one policy; dropping them ends their threads.
#[derive(Default)]
pub struct Outputs {
    targets: Vec<LogTarget>,
    running: Vec<Running>,
}

struct Running {
    queue: SyncSender<Arc<Vec<Entry>>>,
    missed: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

/// Takes entries one by one; an error means that this one was not taken.
trait Sink: Send {
    fn send(&mut self, entry: &Entry) -> io::Result<()>;
}

impl Outputs {
    pub fn start(targets: Vec<LogTarget>) -> Self {
        let running = targets.iter().map(|target| Running::start(name(target), sink(target))).collect();
        Self { targets, running }
    }

    pub fn targets(&self) -> &[LogTarget] {
        &self.targets
    }

    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Hands a batch to every output, without waiting for any.
    pub fn offer(&self, entries: Vec<Entry>) {
        let entries = Arc::new(entries);
        for output in &self.running {
            if output.queue.try_send(Arc::clone(&entries)).is_err() {
                output.missed.fetch_add(entries.len() as u64, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        for output in &self.running {
            output.over.store(true, Ordering::Relaxed);
        }
    }
}

impl Running {
    fn start(name: String, mut sink: Box<dyn Sink>) -> Self {
        let (queue, batches) = sync_channel(QUEUE);
        let (missed, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (missed_here, over_here) = (Arc::clone(&missed), Arc::clone(&over));
        rights::spawn("output", move || deliver(&name, sink.as_mut(), &batches, &missed_here, &over_here));
        Self { queue, missed, over }
    }
}

/// Delivers in order until the queue is closed, and tells when an output begins and ceases to fail.
fn deliver(
    name: &str,
    sink: &mut dyn Sink,
    batches: &Receiver<Arc<Vec<Entry>>>,
    missed: &AtomicU64,
    over: &AtomicBool,
) {
    let mut failing = false;
    for entry in batches.iter().flat_map(|batch| batch.to_vec()) {
        let mut pause = Duration::from_secs(1);
        while let Err(error) = sink.send(&entry) {
            if over.load(Ordering::Relaxed) {
                return;
            }
            if !failing {
                log::error!("{name} takes nothing: {error}; trying again, the block log itself goes on");
            }
            failing = true;
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if failing {
            let lost = missed.swap(0, Ordering::Relaxed);
            log::warn!("{name} takes entries again; it misses {lost}, which are in the block log");
            failing = false;
        }
    }
}

fn name(target: &LogTarget) -> String {
    match target {
        LogTarget::Journal => "the journal".to_owned(),
        LogTarget::Syslog { .. } => format!("syslog {target}"),
    }
}

fn sink(target: &LogTarget) -> Box<dyn Sink> {
    match target {
        LogTarget::Journal => Box::new(journal::Journal::at(journal::SOCKET)),
        LogTarget::Syslog { transport, server, authorities } => {
            Box::new(syslog::Syslog::new(*transport, server.clone(), authorities.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Transport;
    use serde_json::json;
    use std::io::Read as _;
    use std::net::{TcpListener, UdpSocket};

    fn entry(n: u32) -> Entry {
        Entry::new(Timestamp::UNIX_EPOCH, format!("line {n}"), &json!({ "n": n, "rule": null })).unwrap()
    }

    fn syslog(transport: Transport, server: String) -> LogTarget {
        LogTarget::Syslog { transport, server, authorities: None }
    }

    #[test]
    fn a_datagram_goes_out_for_each_entry() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let outputs = Outputs::start(vec![syslog(Transport::Udp, server.local_addr().unwrap().to_string())]);
        outputs.offer(vec![entry(1), entry(2)]);
        let mut buffer = [0; 2048];
        for n in 1..=2 {
            let len = server.recv(&mut buffer).unwrap();
            let text = std::str::from_utf8(&buffer[..len]).unwrap();
            assert!(text.contains(&format!("n=\"{n}\"")) && text.ends_with(&format!("line {n}")), "{text}");
            assert!(!text.contains("rule"), "{text}");
        }
    }

    #[test]
    fn a_server_that_comes_late_gets_what_waited() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let outputs = Outputs::start(vec![syslog(Transport::Tcp, address.to_string())]);
        outputs.offer(vec![entry(1)]);
        outputs.offer(vec![entry(2)]);
        thread::sleep(Duration::from_millis(200));
        let listener = TcpListener::bind(address).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        drop(outputs);
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.find("line 1").unwrap() < text.find("line 2").unwrap(), "{text}");
    }

    #[test]
    fn a_full_queue_is_counted_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let outputs = Outputs::start(vec![syslog(Transport::Tcp, address.to_string())]);
        for n in 0..QUEUE as u32 + 100 {
            outputs.offer(vec![entry(n)]);
        }
        let missed = outputs.running[0].missed.load(Ordering::Relaxed);
        // One batch may be in the thread's hands.
        assert!((99..=100).contains(&missed), "{missed}");
    }
}
