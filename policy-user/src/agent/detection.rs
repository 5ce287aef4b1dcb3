//! The detector at work: fed with what the kernel reports, kept across restarts, asked and corrected by admins.

mod file;
mod flagged;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::enforcement::now;
use crate::attempt::{Attempt, Mac};
use crate::detect::{Change, Detector, Heard, Key, Kind, Note, Providers, Rules, Verdict, record};
use crate::failure::Failure;
use crate::policy::Policy;
use file::Saved;
pub use flagged::{AcknowledgeRequest, FlagCounts, FlagEvent, Flagged};
use ipnet::IpNet;
use policy_common::abi::Answer;

/// Hosts that are kept across a restart: 10 MB or so on disk. Flagged ones come first.
const KEPT: usize = 50_000;
/// Characters of a note.
const LONGEST_NOTE: usize = 200;

const FILE: &str = "detector.bin";

/// The hosts that the last agent had flagged, the gravest first, for readers while none runs.
pub fn remembered(state_dir: &Path, policy: &Policy) -> Result<Vec<Flagged>, Failure> {
    let Some(saved) = Saved::look(&state_dir.join(FILE))? else { return Ok(Vec::new()) };
    let now = now();
    let offset = saved.offset(now);
    let detector = Detector::resume(rules(policy), saved.memory);
    let blocked_ports = policy.blocked_ports.clone();
    let clients = policy.clients.clone();
    let mut inner = Inner { detector, blocked_ports, clients, offset, changed: false, save_fails: false };
    let time = inner.time(now.boot);
    inner.detector.age(time);
    Ok(inner.flags())
}

pub struct Detection {
    path: PathBuf,
    inner: Mutex<Inner>,
    infected: Notify,
}

struct Inner {
    detector: Detector,
    blocked_ports: Vec<u16>,
    /// Whose DNS answers are listened to.
    clients: Vec<IpNet>,
    /// Seconds from the clock of this boot to the detector's, which goes on through restarts of the machine.
    offset: i64,
    changed: bool,
    save_fails: bool,
}

impl Detection {
    /// Goes on where the last agent stopped. What it left behind may be damaged: then it begins with nothing.
    pub fn start(state_dir: &Path, policy: &Policy) -> Self {
        let path = state_dir.join(FILE);
        let now = now();
        let (offset, memory) = match Saved::read(&path) {
            Some(saved) => (saved.offset(now), Some(saved.memory)),
            // Then its times are near those of the wall clock, which helps whoever debugs it.
            None => (now.wall.as_second() - boot_seconds(now.boot), None),
        };
        let rules = rules(policy);
        let detector = match memory {
            Some(memory) => Detector::resume(rules, memory),
            None => Detector::new(rules),
        };
        let blocked_ports = policy.blocked_ports.clone();
        let clients = policy.clients.clone();
        let inner = Inner { detector, blocked_ports, clients, offset, changed: false, save_fails: false };
        Self { path, inner: Mutex::new(inner), infected: Notify::new() }
    }

    /// Judges by another policy from now on; flags stay.
    pub fn set_policy(&self, policy: &Policy) {
        let mut inner = self.lock();
        inner.clients.clone_from(&policy.clients);
        inner.blocked_ports.clone_from(&policy.blocked_ports);
        inner.detector.set_rules(rules(policy));
    }

    /// Takes DNS answers into account that clients got.
    pub fn learn(&self, answers: &[Answer]) {
        let mut inner = self.lock();
        for answer in answers {
            let Some(client) = answer.client().to_ip() else { continue };
            if !inner.clients.iter().any(|net| net.contains(&client)) {
                continue;
            }
            let time = inner.time(answer.time());
            let mac = answer.client_mac().map(Mac);
            inner.detector.learn(&Heard { time, mac, client, message: answer.message() });
        }
    }

    /// Hosts of which names are known, and their addresses; none where names are not learnt.
    pub fn names(&self) -> Option<(usize, usize)> {
        self.lock().detector.names()
    }

    /// Takes attempts into account, and adds the names of their destinations; what is to be told of them.
    pub fn observe(&self, attempts: &mut [Attempt]) -> Vec<FlagEvent> {
        let mut inner = self.lock();
        let mut changes = Vec::new();
        for attempt in attempts {
            // In quarantine other ports are denied too, which say nothing about mail.
            if !inner.blocked_ports.contains(&attempt.destination_port) {
                continue;
            }
            let Some(seen) = record::seen(attempt, inner.time(attempt.boot)) else { continue };
            inner.changed = true;
            changes.extend(inner.detector.observe(&seen));
            attempt.to_name = inner.detector.name(&seen).map(str::to_owned);
        }
        let infects = |it: &Change| it.kind == Kind::Raised && it.report.verdict == Verdict::Infected;
        if changes.iter().any(infects) {
            self.infected.notify_one();
        }
        inner.tell(changes)
    }

    /// Waits until a host is flagged as infected.
    pub async fn infection(&self) {
        self.infected.notified().await;
    }

    /// The hosts that are flagged as infected.
    pub fn infected(&self) -> Vec<Key> {
        self.lock().detector.infected()
    }

    /// The host, if it behaves as infected ones do and has attempted something since an instant of `CLOCK_BOOTTIME`.
    pub fn acts_infected(&self, host: &Key, since: u64) -> Option<Flagged> {
        let inner = self.lock();
        let (since, now) = (inner.time(since), inner.time(now().boot));
        let report = inner.detector.acts_infected(host, since, now)?;
        Some(inner.flagged(report))
    }

    /// Ends flags whose time is over.
    pub fn age(&self) -> Vec<FlagEvent> {
        let mut inner = self.lock();
        let time = inner.time(now().boot);
        let ended = inner.detector.age(time);
        inner.changed |= !ended.is_empty();
        inner.tell(ended)
    }

    /// The flagged hosts, the gravest first.
    pub fn flags(&self) -> Vec<Flagged> {
        self.lock().flags()
    }

    pub fn counts(&self) -> FlagCounts {
        let inner = self.lock();
        let mut counts = FlagCounts {
            hosts: inner.detector.hosts(),
            untracked: inner.detector.untracked(),
            ..FlagCounts::default()
        };
        for (verdict, acknowledged) in inner.detector.verdicts() {
            match verdict {
                Verdict::Infected => counts.infected += 1,
                Verdict::Suspect => counts.suspect += 1,
                Verdict::Misconfigured => counts.misconfigured += 1,
            }
            counts.acknowledged += usize::from(acknowledged);
        }
        counts
    }

    /// Takes a host's flag back.
    pub fn release(&self, host: &str, user: Option<&str>) -> Result<FlagEvent, Failure> {
        self.correct(host, user, |detector, key| detector.release(key))
    }

    /// Notes that somebody has seen a host's flag.
    pub fn acknowledge(&self, host: &str, note: &str, user: Option<String>) -> Result<FlagEvent, Failure> {
        if note.chars().count() > LONGEST_NOTE || note.chars().any(char::is_control) {
            return Err(Failure::Rejected(format!("a note is one line of up to {LONGEST_NOTE} characters")));
        }
        let by = user.clone();
        let note = Note { text: note.to_owned(), by };
        self.correct(host, user.as_deref(), |detector, key| detector.acknowledge(key, note))
    }

    /// Keeps what is known. A full disk costs only what a restart then forgets.
    pub fn save(&self) {
        let saved = {
            let mut inner = self.lock();
            if !inner.changed {
                return;
            }
            inner.changed = false;
            let now = now();
            Saved::new(now, inner.time(now.boot), inner.detector.memory(KEPT))
        };
        let result = saved.write(&self.path);
        let mut inner = self.lock();
        match &result {
            Err(error) if !inner.save_fails => log::error!("{error}; flags are lost at the next restart"),
            Ok(()) if inner.save_fails => log::warn!("{} can be written again", self.path.display()),
            _ => {}
        }
        inner.save_fails = result.is_err();
        inner.changed |= result.is_err();
    }

    fn correct(
        &self,
        host: &str,
        user: Option<&str>,
        change: impl FnOnce(&mut Detector, &crate::detect::Key) -> Option<Change>,
    ) -> Result<FlagEvent, Failure> {
        let key = host.parse().map_err(Failure::Rejected)?;
        let event = {
            let mut inner = self.lock();
            let change = change(&mut inner.detector, &key);
            inner.changed |= change.is_some();
            inner.tell(change).pop()
        };
        let Some(mut event) = event else {
            return Err(Failure::Rejected(format!("{key} is not flagged; `smtpfence flags` lists who is")));
        };
        event.user = user.map(str::to_owned);
        self.save();
        Ok(event)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whatever panicked meanwhile, a host that was half updated is better than no detector.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn flags(&self) -> Vec<Flagged> {
        self.detector.flagged().into_iter().map(|report| self.flagged(report)).collect()
    }

    fn time(&self, boot: u64) -> u32 {
        u32::try_from((boot_seconds(boot) + self.offset).max(0)).unwrap_or(u32::MAX)
    }
}

fn boot_seconds(boot: u64) -> i64 {
    i64::try_from(boot / 1_000_000_000).unwrap_or(i64::MAX)
}

/// What a policy says about detection. A list of providers that can't be read costs precision, not enforcement.
fn rules(policy: &Policy) -> Rules {
    let detection = &policy.detection;
    let more = detection.providers.as_ref().map(|path| {
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| Providers::with(&text))
            .inspect_err(|why| log::error!("{}: {why}; only the shipped providers are known", path.display()))
    });
    let providers = more.and_then(Result::ok).unwrap_or_else(Providers::shipped);
    let groups = policy.groups.iter().filter_map(|group| Some((group, group.detection?)));
    let groups = groups.flat_map(|(group, limits)| group.clients.iter().map(move |net| (*net, limits)));
    let keep = detection.names.as_ref().map(|names| u32::try_from(names.keep.as_secs()).unwrap_or(u32::MAX));
    Rules::new(detection.limits, detection.host_key, providers).with_names(keep).with_groups(groups.collect())
}
