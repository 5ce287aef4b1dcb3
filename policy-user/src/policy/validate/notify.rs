//! `notify`: who is told, each receiver by exactly one way.

use std::time::Duration;

use jiff::civil::Time;

use super::super::diagnostics::quoted;
use super::super::file::{self, Word, Written};
use super::super::places::Spot;
use super::super::receivers::{Receiver, Topic, Way};
use super::Findings;
use super::log::in_units;
use super::texts::{self, Names};

mod ways;

/// Each has a queue and a connection of its own; more is a mistake.
const MAX_RECEIVERS: usize = 16;

const GROUP: Duration = Duration::from_secs(60);
const LONGEST_GROUP: u64 = 86_400;
const REPEAT_AFTER: Duration = Duration::from_secs(86_400);
/// A year, in hours.
const LONGEST_REPEAT: u64 = 8_784;

pub fn validate(
    written: &Written<Vec<Written<file::Receiver>>>,
    root: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Receiver> {
    let list = findings.optional(written, root, "notify").map_or(&[][..], Vec::as_slice);
    let spot = root.key("notify");
    if list.len() > MAX_RECEIVERS {
        let message = format!("`notify` has more than {MAX_RECEIVERS} receivers");
        let help = "tell one that passes on, such as a mailing list";
        findings.error("too-many-receivers", spot.at(MAX_RECEIVERS).span(), message, help);
    }
    let mut names = Names::of("receiver");
    let entry = |(index, written)| {
        let spot = spot.at(index);
        let entry = findings.entry(written, spot, "notify")?;
        receiver(entry, spot, &mut names, findings)
    };
    list.iter().enumerate().take(MAX_RECEIVERS).filter_map(entry).collect()
}

fn receiver<'f>(
    entry: &'f file::Receiver,
    spot: Spot<'_>,
    names: &mut Names<'f>,
    findings: &mut Findings<'_>,
) -> Option<Receiver> {
    findings.unknown_keys::<file::Receiver>(spot);
    let name = findings.require(&entry.name, spot, "name", "name: it-ops");
    if let Some(name) = name {
        names.add(name, spot.key("name"), findings);
    }
    let name = name.and_then(|name| texts::name(name, spot.key("name"), findings));
    let way = way(entry, spot, findings);
    let digest = findings.optional(&entry.digest, spot, "digest");
    let digest = digest.and_then(|text| time_of_day(text, spot.key("digest"), findings));
    let topics = topics(&entry.events, spot, findings);
    let nothing = matches!(&entry.events, Written::As(list) if list.is_empty());
    if nothing && matches!(entry.digest, Written::Absent) {
        let help = "name some, such as `events: [infected]`, or send a digest: `digest: \"08:00\"`";
        let message = "this receiver would never be told anything";
        findings.error("no-events", spot.key("events").span(), message, help);
    }
    let seconds = findings.optional(&entry.group, spot, "group");
    let group = seconds.and_then(|text| pause(text, "group", LONGEST_GROUP, spot.key("group"), findings));
    let repeat_after = repeat_after(entry, spot, findings);
    Some(Receiver { name: name?, way: way?, topics, group: group.unwrap_or(GROUP), repeat_after, digest })
}

fn way(entry: &file::Receiver, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<Way> {
    let webhook = findings.optional(&entry.webhook, spot, "webhook");
    let webhook = webhook.map(|it| ways::webhook(it, spot.key("webhook"), findings).map(Way::Webhook));
    let email = findings.optional(&entry.email, spot, "email");
    let email = email.map(|it| ways::email(it, spot.key("email"), findings).map(Way::Email));
    let exec = findings.optional(&entry.exec, spot, "exec");
    let exec = exec.map(|it| ways::exec(it, spot.key("exec"), findings).map(Way::Exec));
    let written = [
        ("webhook", !matches!(entry.webhook, Written::Absent)),
        ("email", !matches!(entry.email, Written::Absent)),
        ("exec", !matches!(entry.exec, Written::Absent)),
    ];
    let mut keys = written.iter().filter(|(_, there)| *there).map(|(key, _)| *key);
    match (keys.next(), keys.next()) {
        (None, _) => {
            let message = "nothing says how this receiver is told";
            findings.error("no-way", spot.span(), message, "write one of `webhook`, `email` and `exec`");
        }
        (Some(first), Some(second)) => findings.conflict(
            "two-ways",
            spot.key(second).key_span(),
            "a receiver is told by one way only",
            "make two receivers of it, each with a name of its own",
            (spot.key(first).key_span(), "told by this one already"),
        ),
        _ => {}
    }
    [webhook, email, exec].into_iter().flatten().next()?
}

fn topics(written: &Written<Vec<Written<Word>>>, spot: Spot<'_>, findings: &mut Findings<'_>) -> Vec<Topic> {
    let Some(list) = findings.optional(written, spot, "events") else { return Topic::USUAL.to_vec() };
    let spot = spot.key("events");
    let mut topics = Vec::new();
    for (index, written) in list.iter().enumerate() {
        let spot = spot.at(index);
        let Some(word) = findings.entry(written, spot, "events") else { continue };
        match Topic::named(word.as_str()) {
            Some(topic) if topics.contains(&topic) => {
                let message = format!("{} is listed twice", quoted(word.as_str()));
                findings.error("duplicate-event", spot.span(), message, "remove one of them");
            }
            Some(topic) => topics.push(topic),
            None => {
                let message = format!("{} is no event", quoted(word.as_str()));
                let help = format!("the events are {}", Topic::ALL.map(Topic::label).join(", "));
                findings.error("unknown-event", spot.span(), message, help);
            }
        }
    }
    topics
}

fn time_of_day(text: &str, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<Time> {
    let parsed = text.split_once(':').and_then(|(hour, minute)| {
        let number = |digits: &str| {
            let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
            digits.parse::<i8>().ok().filter(|_| plain)
        };
        Time::new(number(hour)?, number(minute)?, 0, 0).ok()
    });
    if parsed.is_none() {
        let message = format!("{} is no time of the day", quoted(text));
        findings.error("bad-time", spot.span(), message, "write hours and minutes: digest: \"08:00\"");
    }
    parsed
}

/// Seconds, minutes or hours.
fn pause(
    text: &str,
    key: &str,
    longest: u64,
    spot: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Option<Duration> {
    let seconds = in_units(text, &[("s", 1), ("m", 60), ("h", 3600)]);
    let seconds = seconds.filter(|seconds| (1..=longest).contains(seconds));
    if seconds.is_none() {
        let message = format!("{} is no time for `{key}`", quoted(text));
        let longest = if longest.is_multiple_of(3600) {
            format!("{}h", longest / 3600)
        } else {
            format!("{}m", longest / 60)
        };
        let help = format!("write a whole number of seconds, minutes or hours up to {longest}: 30s or 5m");
        findings.error("bad-duration", spot.span(), message, help);
    }
    seconds.map(Duration::from_secs)
}

fn repeat_after(entry: &file::Receiver, spot: Spot<'_>, findings: &mut Findings<'_>) -> Duration {
    let Some(text) = findings.optional(&entry.repeat_after, spot, "repeat_after") else {
        return REPEAT_AFTER;
    };
    let hours = in_units(text, &[("h", 1), ("d", 24), ("w", 168)]);
    match hours.filter(|hours| (1..=LONGEST_REPEAT).contains(hours)) {
        Some(hours) => Duration::from_secs(hours * 3600),
        None => {
            let message = format!("{} is no time for `repeat_after`", quoted(text));
            let help = "write a whole number of hours, days or weeks up to a year: 24h, 7d or 2w";
            findings.error("bad-duration", spot.key("repeat_after").span(), message, help);
            REPEAT_AFTER
        }
    }
}
