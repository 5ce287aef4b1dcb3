//! Notifications: flags and alarms reach people by webhook, e-mail or a program of their own.
//!
//! Each receiver has a queue and a task of its own, so that one which is slow or away delays neither the others nor the
//! log, and enforcement least of all. What waits is kept in the state directory.

mod courier;
mod dial;
mod email;
mod event;
mod exec;
mod kept;
mod message;
mod outbox;
mod secret;
mod trouble;
mod webhook;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::agent::FlagEvent;
use crate::failure::Failure;
use crate::policy::{Policy, Receiver, Topic, Way};
use courier::{Courier, deliver};
pub use event::Event;
pub use message::{Batch, Kind, LISTED, Message};
pub use outbox::{Counts, FIRST_PAUSE, Kept, LONGEST_PAUSE, MOST_TRIES, Outbox, SETTLE, Step};
pub use trouble::{Again, Stage, Trouble};

/// What an accident may cost of what waits.
const KEEP: Duration = Duration::from_secs(1);

/// A handle to all receivers of the policy in force.
#[derive(Clone)]
pub struct Notifier {
    couriers: Arc<Mutex<BTreeMap<String, Courier>>>,
    file: Arc<Mutex<kept::File>>,
    changed: Arc<Notify>,
}

/// A receiver and how it fares; the field names are a contract.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiverStatus {
    pub name: String,
    pub kind: &'static str,
    pub to: String,
    pub events: Vec<Topic>,
    pub digest: Option<String>,
    /// Events that are not told yet.
    pub waiting: u64,
    #[serde(flatten)]
    pub counts: Counts,
    pub last_sent: Option<Timestamp>,
    /// Why the newest try failed; none after one that did not.
    pub failing: Option<Trouble>,
    pub failing_at: Option<Timestamp>,
    pub next_try: Option<Timestamp>,
}

/// What became of a test message; the field names are a contract.
#[derive(Clone, Debug, Serialize)]
pub struct Tested {
    pub name: String,
    pub kind: &'static str,
    pub to: String,
    pub delivered: bool,
    pub milliseconds: u64,
    pub trouble: Option<Trouble>,
}

/// What `notify --test` sends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TestRequest {
    /// One receiver; all where there is none.
    pub receiver: Option<String>,
}

impl Notifier {
    /// Goes on where the last agent stopped. Needs a runtime around it.
    pub fn start(state_dir: &Path, policy: &Policy) -> Self {
        let (file, mut kept) = kept::File::read(state_dir);
        let changed = Arc::new(Notify::new());
        let notifier = Self { couriers: Arc::default(), file: Arc::new(Mutex::new(file)), changed };
        notifier.employ(policy, &mut kept);
        tokio::spawn(keep(
            Arc::downgrade(&notifier.couriers),
            notifier.clone_file(),
            Arc::clone(&notifier.changed),
        ));
        notifier
    }

    /// Tells whom this policy names from now on. Receivers that stay keep their queues.
    pub fn follow(&self, policy: &Policy) {
        self.employ(policy, &mut BTreeMap::new());
        self.changed.notify_one();
    }

    fn employ(&self, policy: &Policy, kept: &mut BTreeMap<String, Kept>) {
        let mut couriers = self.couriers();
        couriers.retain(|name, courier| {
            let stays = policy.receivers.iter().any(|receiver| receiver.name == *name);
            let waiting = courier.outbox().waiting();
            if !stays && waiting > 0 {
                log::warn!(
                    "the receiver {name} is not in the policy any more: {waiting} events that waited are lost"
                );
            }
            stays
        });
        for receiver in &policy.receivers {
            check_setup(receiver);
            match couriers.get(&receiver.name) {
                Some(courier) => {
                    courier.outbox().receiver = receiver.clone();
                    courier.wake.notify_one();
                }
                None => {
                    let kept = kept.remove(&receiver.name).unwrap_or_default();
                    let courier = Courier::start(receiver.clone(), kept, Arc::clone(&self.changed));
                    couriers.insert(receiver.name.clone(), courier);
                }
            }
        }
    }

    /// Tells of changes of flags. Waits for nobody.
    pub fn flags(&self, flags: &[FlagEvent]) {
        let events: Vec<_> = flags.iter().filter_map(Event::of_flag).collect();
        self.offer(&events);
    }

    /// Tells of a failure of smtpfence itself; `subject` is what tells it from another of its kind.
    pub fn alarm(&self, topic: Topic, subject: &str, text: &str) {
        self.offer(&[Event::alarm(topic, subject, text)]);
    }

    pub fn offer(&self, events: &[Event]) {
        let now = Instant::now();
        for courier in self.couriers().values() {
            let mut outbox = courier.outbox();
            let taken = events.iter().filter(|event| outbox.offer(event, now)).count();
            drop(outbox);
            if taken > 0 {
                courier.wake.notify_one();
                self.changed.notify_one();
            }
        }
    }

    pub fn status(&self) -> Vec<ReceiverStatus> {
        self.couriers().values().map(|courier| status(&courier.outbox())).collect()
    }

    /// Writes down what waits.
    pub fn close(&self) {
        write(&self.couriers, &self.file);
    }

    fn clone_file(&self) -> Arc<Mutex<kept::File>> {
        Arc::clone(&self.file)
    }

    fn couriers(&self) -> MutexGuard<'_, BTreeMap<String, Courier>> {
        self.couriers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiver of that name; all of them where there is none.
pub fn chosen(policy: &Policy, name: Option<&str>) -> Result<Vec<Receiver>, Failure> {
    let fits = |receiver: &&Receiver| name.is_none_or(|name| receiver.name == name);
    let chosen: Vec<_> = policy.receivers.iter().filter(fits).cloned().collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let names: Vec<_> = policy.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
    Err(Failure::Rejected(match name {
        Some(name) if !names.is_empty() => {
            format!("there is no receiver {:?}; the policy has {}", name, names.join(", "))
        }
        _ => "the policy names no receivers; add some to `notify`, see docs/notifications.md".to_owned(),
    }))
}

/// Sends each of these receivers a test message, all at once.
pub async fn test(receivers: Vec<Receiver>) -> Vec<Tested> {
    futures_util::future::join_all(receivers.into_iter().map(test_one)).await
}

async fn test_one(receiver: Receiver) -> Tested {
    let begun = Instant::now();
    let outcome = deliver(&receiver.way, &Message::test(&receiver.name)).await;
    Tested {
        kind: receiver.way.label(),
        to: receiver.way.to_string(),
        name: receiver.name,
        delivered: outcome.is_ok(),
        milliseconds: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        trouble: outcome.err(),
    }
}

fn status(outbox: &Outbox) -> ReceiverStatus {
    let Receiver { name, way, topics, digest, .. } = &outbox.receiver;
    let later = |time: Duration| {
        let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
        Timestamp::now().checked_add(time).ok()
    };
    ReceiverStatus {
        name: name.clone(),
        kind: way.label(),
        to: way.to_string(),
        events: topics.clone(),
        digest: digest.map(|time| time.strftime("%H:%M").to_string()),
        waiting: outbox.waiting(),
        counts: outbox.counts(),
        last_sent: outbox.last_sent(),
        failing: outbox.failing.as_ref().map(|(_, trouble)| trouble.clone()),
        failing_at: outbox.failing.as_ref().map(|(time, _)| *time),
        next_try: outbox.retry_in(Instant::now()).and_then(later),
    }
}

/// A secret that can't be read is told when the policy comes into force, not when the first host is infected.
fn check_setup(receiver: &Receiver) {
    let file = match &receiver.way {
        Way::Webhook(webhook) => &webhook.secret_file,
        Way::Email(email) => &email.password_file,
        Way::Exec(_) => return,
    };
    if let Err(trouble) = secret::read(file) {
        log::error!("the receiver {} can't be told of anything: {trouble}", receiver.name);
    }
}

type Couriers = Mutex<BTreeMap<String, Courier>>;

/// Writes down changes until the last handle is gone.
async fn keep(couriers: std::sync::Weak<Couriers>, file: Arc<Mutex<kept::File>>, changed: Arc<Notify>) {
    loop {
        changed.notified().await;
        tokio::time::sleep(KEEP).await;
        let Some(couriers) = couriers.upgrade() else { return };
        let file = Arc::clone(&file);
        // Writing may take long on a slow disk, and nobody waits for it.
        let _ = tokio::task::spawn_blocking(move || write(&couriers, &file)).await;
    }
}

fn write(couriers: &Couriers, file: &Mutex<kept::File>) {
    // Before what is written is taken: a later state must not be overtaken by an earlier one.
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let couriers = couriers.lock().unwrap_or_else(PoisonError::into_inner);
    let kept: BTreeMap<_, _> =
        couriers.iter().map(|(name, courier)| (name.clone(), courier.outbox().kept().clone())).collect();
    drop(couriers);
    file.write(&kept);
}
