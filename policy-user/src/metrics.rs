//! The state of enforcement in OpenMetrics text. No label is an address or anything else that a sender chooses.

mod interfaces;
mod port;

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::agent::FlagCounts;
use crate::datapath::{Hook, Position, RingUse};
use crate::failure::Failure;
use crate::notify::ReceiverStatus;
use crate::status::{CoverageStatus, Status};
use crate::store::StoreStatus;

pub use port::{Port, PortStatus};

/// What `GET /metrics` calls its answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVerdict {
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByHook {
    hook: &'static str,
    position: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReceiver {
    receiver: String,
}

/// The whole answer. A registry for each: the numbers are the kernel's, nothing is kept between two answers.
pub fn text(status: &Status) -> Result<String, Failure> {
    let mut registry = Registry::with_prefix("smtpfence");
    count_reasons(&mut registry, status);
    count_hosts(&mut registry, status);
    tell_ring(&mut registry, status.ring);
    if let Some(flags) = &status.flags {
        tell_flags(&mut registry, flags);
    }
    tell_store(&mut registry, status.store.as_ref());
    tell_notifications(&mut registry, &status.notify);
    tell_coverage(&mut registry, &status.coverage);
    interfaces::tell(&mut registry, &status.interfaces);
    tell_policy(&mut registry, status);
    let mut text = String::new();
    encode(&mut text, &registry)
        .map_err(|error| Failure::CouldNotRun(format!("the metrics can't be written: {error}")))?;
    Ok(text)
}

fn count_reasons(registry: &mut Registry, status: &Status) {
    let [packets, attempts, would_block] = [(); 3].map(|()| Family::<ByReason, Counter>::default());
    for count in &status.counters {
        let reason = ByReason { reason: count.reason };
        packets.get_or_create(&reason).inc_by(count.packets);
        if count.denies {
            attempts.get_or_create(&reason).inc_by(count.attempts);
            would_block.get_or_create(&reason).inc_by(count.would_block_packets);
        }
    }
    registry.register("packets", "Packets by the reason of their verdict", packets);
    registry.register("attempts", "Denied attempts by reason", attempts);
    registry.register("would_block_packets", "Denied packets that audit mode let go on", would_block);
}

fn count_hosts(registry: &mut Registry, status: &Status) {
    let hosts = &status.hosts;
    counter(registry, "lost_events", "Attempts without an event, the ring was full", status.lost_events);
    counter(
        registry,
        "unlisted_attempts",
        "Attempts without an event, their host used up its budget",
        hosts.unlisted,
    );
    counter(
        registry,
        "overflow_packets",
        "Packets in no host's account, the map was full",
        hosts.overflow_packets,
    );
    counter(
        registry,
        "departed_accounts",
        "Accounts of idle hosts that were closed",
        hosts.departed.accounts,
    );
    gauge(registry, "hosts_tracked", "Addresses with an account of their own", hosts.tracked);
    gauge(registry, "host_accounts", "Accounts in use", hosts.accounts);
    gauge(registry, "host_accounts_capacity", "Accounts that there can be", hosts.capacity);
    gauge(registry, "quarantined_hosts", "Clients in quarantine", status.quarantine.len());
}

fn tell_store(registry: &mut Registry, store: Option<&StoreStatus>) {
    let Some(store) = store else { return };
    counter(registry, "block_log_rows", "Attempts written to the block log", store.rows);
    counter(registry, "block_log_missed", "Attempts that the block log could not keep", store.missed);
    gauge(registry, "block_log_waiting", "Attempts that are not on disk yet", store.waiting);
    let lag = store.lag_ms as f64 / 1e3;
    let help = "How long the oldest attempt has waited that is not on disk yet";
    registry.register("block_log_lag_seconds", help, constant(lag));
    let failing = u8::from(store.error.is_some());
    gauge(registry, "block_log_failing", "1 while the block log can't be written", failing);
}

/// The names of receivers are the admin's.
fn tell_notifications(registry: &mut Registry, receivers: &[ReceiverStatus]) {
    let [sent, retries, failed, dropped] = [(); 4].map(|()| Family::<ByReceiver, Counter>::default());
    let [waiting, failing] = [(); 2].map(|()| Family::<ByReceiver, Gauge>::default());
    for receiver in receivers {
        let label = ByReceiver { receiver: receiver.name.clone() };
        sent.get_or_create(&label).inc_by(receiver.counts.sent);
        retries.get_or_create(&label).inc_by(receiver.counts.retries);
        failed.get_or_create(&label).inc_by(receiver.counts.failed);
        dropped.get_or_create(&label).inc_by(receiver.counts.dropped);
        waiting.get_or_create(&label).set(whole(receiver.waiting));
        failing.get_or_create(&label).set(i64::from(receiver.failing.is_some()));
    }
    registry.register("notify_sent", "Notifications that were delivered", sent);
    registry.register("notify_retries", "Tries to deliver a notification that failed", retries);
    registry.register("notify_failed", "Notifications that were given up", failed);
    registry.register(
        "notify_dropped",
        "Events that a receiver was told only the number of, or not at all",
        dropped,
    );
    registry.register("notify_waiting", "Events that a receiver has not been told yet", waiting);
    registry.register("notify_failing", "1 while a receiver can't be told", failing);
}

/// Every combination, so that an alert on one that is not there yet can be written.
fn tell_coverage(registry: &mut Registry, coverage: &[CoverageStatus]) {
    let interfaces = Family::<ByHook, Gauge>::default();
    for (hook, hook_label) in [(Hook::Door, "door"), (Hook::Guard, "guard")] {
        for (position, label) in [
            (Position::First, "first"),
            (Position::Behind, "behind"),
            (Position::Missing, "missing"),
            (Position::Unknown, "unknown"),
        ] {
            let found = coverage.iter().filter(|c| c.coverage.hook == hook && c.position == position).count();
            let labels = ByHook { hook: hook_label, position: label };
            interfaces.get_or_create(&labels).set(whole(found));
        }
    }
    registry.register("interfaces", "Interfaces by hook and by where our program stands on it", interfaces);
}

fn tell_policy(registry: &mut Registry, status: &Status) {
    if let Some(policy) = &status.in_force {
        let labels = [("policy", &policy.policy), ("revision", &policy.revision), ("mode", &policy.mode)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.clone())).to_vec();
        registry.register("policy", "The policy in force", Info::new(labels));
        gauge(registry, "policy_since_seconds", "When it came into force", policy.since.as_second());
        let differs = status.file_revision.as_ref() != Some(&policy.revision);
        gauge(registry, "policy_file_differs", "1 where the file is not what is in force", u8::from(differs));
    }
    let refused = u8::from(status.reload_error.is_some());
    gauge(registry, "reload_refused", "1 where the newest reload was refused", refused);
    if let Some(agent) = &status.agent {
        gauge(registry, "agent_start_time_seconds", "When the agent was started", agent.since.as_second());
    }
    if let Some(rights) = &status.rights {
        let help = "1 where the agent holds no more rights than it needs";
        gauge(registry, "agent_rights_reduced", help, u8::from(rights.reduced));
    }
}

fn tell_ring(registry: &mut Registry, ring: RingUse) {
    let (waiting, capacity) = (ring.waiting_bytes, ring.capacity_bytes);
    gauge(registry, "event_ring_waiting_bytes", "Events that no agent has read yet", waiting);
    gauge(registry, "event_ring_capacity_bytes", "Room for events; what comes beyond it is lost", capacity);
}

/// Every verdict, so that an alert on one that nobody has yet can be written.
fn tell_flags(registry: &mut Registry, flags: &FlagCounts) {
    let flagged = Family::<ByVerdict, Gauge>::default();
    for (verdict, hosts) in
        [("infected", flags.infected), ("suspect", flags.suspect), ("misconfigured", flags.misconfigured)]
    {
        flagged.get_or_create(&ByVerdict { verdict }).set(whole(hosts));
    }
    registry.register("flagged_hosts", "Flagged hosts by verdict", flagged);
    let acknowledged = "Flagged hosts that an admin has acknowledged";
    gauge(registry, "flagged_hosts_acknowledged", acknowledged, flags.acknowledged);
    gauge(registry, "detector_hosts", "Hosts that the detector remembers", flags.hosts);
    let untracked = "Attempts of hosts that the detector had no room for";
    counter(registry, "detector_untracked_attempts", untracked, flags.untracked);
}

fn constant(value: f64) -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(value);
    gauge
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: impl TryInto<i64>) {
    let gauge = Gauge::<i64>::default();
    gauge.set(whole(value));
    registry.register(name, help, gauge);
}

fn whole(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
