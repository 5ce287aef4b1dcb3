//! When an exception ends: `until`, or a length with the day it counts from.

use jiff::{SignedDuration, Timestamp};

use super::super::diagnostics::quoted;
use super::super::file::{self, Kind, Written};
use super::super::places::{Span, Spot};
use super::until::{self, Point};
use super::{Findings, Moment, length};

const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
const LONG: SignedDuration = SignedDuration::from_hours(2 * 366 * 24);

/// The first instant at which the entry no longer holds.
pub fn validate(
    entry: &file::Exception,
    spot: Spot<'_>,
    moment: &Moment,
    findings: &mut Findings<'_>,
) -> Option<Timestamp> {
    let written = |key: &str| spot.keys().any(|(written, _)| written == key);
    let ending = match (written("until"), written("for"), written("since")) {
        (true, false, false) | (false, false, false) => {
            let text = findings.require(&entry.until, spot, "until", "until: 2026-12-31")?;
            let at = spot.key("until").span();
            point(text, at, findings).and_then(|point| in_time(point.end(&moment.zone), at, findings))
        }
        (true, true, _) => {
            refuse_both(spot, "for", "`until` and `for` both say when the exception ends", findings);
            None
        }
        (true, false, true) => {
            let message = "`until` says when the exception ends, and `since` has nothing to count";
            refuse_both(spot, "since", message, findings);
            None
        }
        (false, true, false) => {
            refuse_undated(spot, moment, findings);
            None
        }
        (false, _, true) => counted(entry, spot, moment, findings),
    }?;
    let at = if written("until") { spot.key("until") } else { spot.key("for") };
    judge(ending, at.span(), moment, findings);
    Some(ending)
}

fn refuse_both(spot: Spot<'_>, other: &str, message: &str, findings: &mut Findings<'_>) {
    let help = "write `until`, or `for` together with `since`";
    let first = (spot.key("until").key_span(), "one end is written here");
    findings.conflict("two-ends", spot.key(other).key_span(), message, help, first);
}

/// The agent reads the file at every start and reload, and each reading would put the end off.
fn refuse_undated(spot: Spot<'_>, moment: &Moment, findings: &mut Findings<'_>) {
    let message = "`for` doesn't say from when: a file that is read later would mean another end";
    let today = moment.now.to_zoned_datetime(moment.zone.clone()).date();
    let help = format!("add `since: {today}` to count from today, or write `until` instead");
    findings.error("length-without-since", spot.key("for").span(), message, help);
}

fn counted(
    entry: &file::Exception,
    spot: Spot<'_>,
    moment: &Moment,
    findings: &mut Findings<'_>,
) -> Option<Timestamp> {
    let at = spot.key("for").span();
    // A number gets the same advice as text: what lacks is the unit, and quotes wouldn't help.
    let text = match &entry.length {
        Written::Other(Kind::Number) => Some(findings.places.source(at)),
        written => findings.require(written, spot, "for", "for: 14d").map(String::as_str),
    };
    let length = text.and_then(|text| {
        length::parse(text).map_err(|(message, help)| findings.error("bad-length", at, message, help)).ok()
    });
    let since = findings.require(&entry.since, spot, "since", "since: 2026-11-24");
    let since = since.and_then(|text| point(text, spot.key("since").span(), findings))?;
    // Only a warning: a gateway whose clock is wrong after a restart must still take its policy.
    if since.start(&moment.zone).is_some_and(|start| start > moment.now) {
        let message = "`since` is yet to come, but the exception holds as soon as the policy does";
        let help = "`since` only says from when `for` counts; add the entry when it is needed";
        findings.warn("since-in-future", spot.key("since").span(), message, help);
    }
    in_time(since.plus(length?, &moment.zone), spot.key("since").span(), findings)
}

fn point(text: &str, at: Span, findings: &mut Findings<'_>) -> Option<Point> {
    let refuse =
        |help| findings.error("bad-date", at, format!("{} is not a date or time", quoted(text)), help);
    until::parse(text).map_err(refuse).ok()
}

fn in_time(ending: Option<Timestamp>, at: Span, findings: &mut Findings<'_>) -> Option<Timestamp> {
    if ending.is_none() {
        findings.error("bad-date", at, "the end is after the last date there is", "write an earlier date");
    }
    ending
}

fn judge(ending: Timestamp, at: Span, moment: &Moment, findings: &mut Findings<'_>) {
    let left = ending.duration_since(moment.now);
    let days = left.as_hours() / 24;
    if !left.is_positive() {
        let message = "this exception has expired and permits nothing any more";
        findings.warn("exception-expired", at, message, "remove the entry, or give it a later date");
    } else if left < SOON {
        let left = match (days, left.as_hours()) {
            (0, hours) => format!("{} h", hours.max(1)),
            (1, _) => "1 day".to_owned(),
            (days, _) => format!("{days} days"),
        };
        let help = "ask its owner whether it is still needed";
        findings.warn("exception-expires-soon", at, format!("this exception ends in {left}"), help);
    } else if left > LONG {
        let message = format!("this exception lasts {} more years", days / 365);
        let help = "give it an end at which somebody looks at it again";
        findings.warn("exception-lasts-long", at, message, help);
    }
}
