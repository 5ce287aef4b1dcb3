//! Blocked attempts of a log asked again: which of them another policy would decide about differently.

use std::collections::HashMap;
use std::io::{self, BufRead};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::explain::{Asked, Examiner, InQuarantine, Question, Verdict};
use super::super::model::Scope;

/// Longer lines are none of ours; a file without line breaks must not fill the memory.
const LONGEST_LINE: u64 = 64 * 1024;

/// What came of asking a log again; the field names are a contract, see `docs/policy-tools.md`.
#[derive(Debug, Default, Serialize)]
pub struct Replay {
    /// Blocked attempts in the log, with those that have no line of their own.
    pub attempts: u64,
    /// Those that would get another verdict.
    pub changed_attempts: u64,
    /// Lines that are no attempt and nothing else the log has.
    pub unreadable_lines: u64,
    /// Attempts alike are one entry; most first.
    pub changed: Vec<Changed>,
}

/// Attempts of one client to one destination that would get another verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub client: String,
    pub client_mac: Option<String>,
    pub interface: String,
    pub destination: String,
    pub destination_port: u64,
    pub before: String,
    pub after: Verdict,
    /// Label of the new reason.
    pub reason: &'static str,
    pub attempts: u64,
    pub last: Timestamp,
}

/// A line of the log, as far as it is needed; see `docs/events.md`.
#[derive(Deserialize)]
struct Line {
    event: String,
    #[serde(default)]
    time: Timestamp,
    /// Attempts that have no line of their own.
    #[serde(default)]
    unlisted: u64,
    #[serde(flatten)]
    attempt: Option<Attempt>,
}

/// What a decision rests on, and what was decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
struct Attempt {
    verdict: String,
    reason: String,
    interface: String,
    client: String,
    client_mac: Option<String>,
    destination: String,
    destination_port: u64,
}

/// Asks every attempt of `log` again, as if it happened at `at`.
pub fn replay(examiner: &mut Examiner<'_>, log: &mut impl BufRead, at: Timestamp) -> io::Result<Replay> {
    let mut replay = Replay::default();
    let mut seen: HashMap<Attempt, (u64, Timestamp)> = HashMap::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if io::Read::take(&mut *log, LONGEST_LINE).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        match serde_json::from_slice::<Line>(&bytes) {
            Ok(Line { event, time, unlisted, attempt: Some(attempt) }) if event == "attempt" => {
                replay.attempts += 1 + unlisted;
                let (count, last) = seen.entry(attempt).or_default();
                *count += 1 + unlisted;
                *last = time.max(*last);
            }
            Ok(line) if line.event != "attempt" => {}
            _ => replay.unreadable_lines += 1,
        }
    }
    for (attempt, (attempts, last)) in seen {
        match again(examiner, &attempt, at) {
            Some((after, reason)) if after.label() != attempt.verdict => {
                replay.changed_attempts += attempts;
                replay.changed.push(changed(attempt, (after, reason), attempts, last));
            }
            Some(_) => {}
            None => replay.unreadable_lines += attempts,
        }
    }
    replay.changed.sort_by(|a, b| b.attempts.cmp(&a.attempts).then_with(|| key(a).cmp(&key(b))));
    Ok(replay)
}

fn key(changed: &Changed) -> (&str, &str, u64, &str) {
    (&changed.client, &changed.destination, changed.destination_port, &changed.interface)
}

fn changed(
    attempt: Attempt,
    (after, reason): (Verdict, &'static str),
    attempts: u64,
    last: Timestamp,
) -> Changed {
    let Attempt { interface, client, client_mac, destination, destination_port, verdict, .. } = attempt;
    let before = verdict;
    Changed {
        client,
        client_mac,
        interface,
        destination,
        destination_port,
        before,
        after,
        reason,
        attempts,
        last,
    }
}

/// The new verdict; none where the line's values can't be asked about.
fn again(examiner: &mut Examiner<'_>, attempt: &Attempt, at: Timestamp) -> Option<(Verdict, &'static str)> {
    let question = question(attempt, at)?;
    // Such a packet has no port that a policy could let pass: only what becomes of it can change.
    if matches!(attempt.reason.as_str(), "unreadable" | "ambiguous-fragment") {
        return Some((examiner.verdict_if_denied(&question), reason_label(&attempt.reason)?));
    }
    Some(examiner.verdict(&question))
}

fn reason_label(label: &str) -> Option<&'static str> {
    policy_common::Reason::ALL.into_iter().map(policy_common::Reason::label).find(|known| *known == label)
}

fn question(attempt: &Attempt, at: Timestamp) -> Option<Question> {
    let local = attempt.reason == "local-process";
    let asked = Asked {
        from: if local { "gateway" } else { &attempt.client },
        to: &attempt.destination,
        port: attempt.destination_port,
        mac: (!local).then_some(attempt.client_mac.as_deref().unwrap_or("none")),
        interface: (!local).then_some(&attempt.interface),
        at,
        // The widest reaches whatever was denied by any.
        quarantined: if attempt.reason == "quarantined" {
            InQuarantine::Of(Scope::All)
        } else {
            InQuarantine::No
        },
    };
    asked.question().ok()
}
