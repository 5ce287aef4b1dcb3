//! The lines at the top: what is in force, whether it holds, and what needs somebody's attention.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::text::{Line, Span};
use serde_json::Value;

use super::super::palette::Palette;
use super::super::screen::Screen;
use super::super::snapshot::{Agent, Snapshot};
use super::columns::fit;
use super::hosts::ago;
use crate::cli::{harmless, text};

/// Digits of a revision that tell it from others.
const REVISION: usize = 8;

/// Two lines, and one for each alarm.
pub fn lines(screen: &Screen, palette: Palette, width: u16) -> Vec<Line<'static>> {
    let Some(look) = &screen.look else {
        return vec![Line::from(" smtpfence: waiting for the first look"), Line::default()];
    };
    let clock = clock(look.time);
    let policy = policy(screen.status(), palette);
    let mut first = vec![Span::styled(" smtpfence  ", palette.strong())];
    first.extend(policy);
    let used: usize = first.iter().map(Span::width).sum();
    let room = usize::from(width).saturating_sub(used + clock.chars().count() + 1);
    first.push(Span::raw(" ".repeat(room)));
    first.push(Span::raw(clock));
    let mut lines = vec![Line::from(first)];
    lines.extend(packed(state(screen, look, palette), usize::from(width)));
    let alarms = alarms(screen, look);
    lines.extend(
        alarms
            .into_iter()
            .map(|alarm| Line::styled(fit(&format!(" {alarm}"), usize::from(width)), palette.alarm())),
    );
    lines
}

fn clock(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

fn policy(status: &Value, palette: Palette) -> Vec<Span<'static>> {
    let policy = &status["in_force"];
    if policy.is_null() {
        return vec![Span::styled("policy unknown", palette.warning())];
    }
    let mode = text(&policy["mode"]);
    let style = if mode == "enforce" { palette.good() } else { palette.warning() };
    vec![
        Span::raw(format!("{} ", fit(&text(&policy["policy"]), 24))),
        Span::raw(format!("{}  ", text(&policy["revision"]).chars().take(REVISION).collect::<String>())),
        Span::styled(mode, style),
    ]
}

/// Agent, coverage, losses and flags, a few words each.
fn state(screen: &Screen, look: &Snapshot, palette: Palette) -> Vec<Span<'static>> {
    let status = screen.status();
    let mut chips = Vec::new();
    let mut chip = |text: String, style| chips.push(Span::styled(text, style));
    let plain = ratatui::style::Style::new();
    if look.agent == Agent::Answers {
        chip(format!("agent {}", status["agent"]["pid"]), palette.good());
    }
    let places = status["coverage"].as_array().map(Vec::as_slice).unwrap_or_default();
    let bad = places.iter().filter(|place| is_bad(place)).count();
    match (places.len(), bad) {
        (0, _) => chip("NOTHING covered".to_owned(), palette.alarm()),
        (all, 0) => chip(format!("{all} hooks covered"), palette.good()),
        (all, bad) => chip(format!("{bad} of {all} hooks NOT covered"), palette.alarm()),
    }
    let lost = status["lost_events"].as_u64().unwrap_or(0);
    chip(format!("{lost} lost events"), if lost == 0 { plain } else { palette.warning() });
    let flags = &status["flags"];
    for (verdict, style) in
        [("infected", palette.alarm()), ("suspect", palette.warning()), ("misconfigured", palette.warning())]
    {
        match flags[verdict].as_u64() {
            None | Some(0) => {}
            Some(number) => chip(format!("{number} {verdict}"), style),
        }
    }
    let quarantine = status["quarantine"].as_array().map_or(0, Vec::len);
    if quarantine > 0 {
        chip(format!("{quarantine} quarantined"), palette.warning());
    }
    chips
}

/// As many in a line as fit.
fn packed(chips: Vec<Span<'static>>, width: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    for chip in chips {
        match lines.last_mut() {
            Some(line) if line.width() + 2 + chip.width() <= width => line.push_span(Span::raw("  ")),
            _ => lines.push(Line::from(" ")),
        }
        if let Some(line) = lines.last_mut() {
            line.push_span(chip);
        }
    }
    lines
}

fn is_bad(place: &Value) -> bool {
    matches!(place["position"].as_str(), Some("behind" | "missing"))
}

/// What needs somebody's attention, the gravest first.
fn alarms(screen: &Screen, look: &Snapshot) -> Vec<String> {
    let mut alarms = Vec::new();
    match (look.agent, screen.gone_since) {
        (Agent::Answers, _) => {}
        (Agent::Silent, _) => {
            alarms.push("AGENT DOES NOT ANSWER: the kernel goes on alone".to_owned());
        }
        (Agent::Gone, Some(since)) => alarms.push(format!(
            "AGENT GONE since {} ({}): the kernel goes on alone",
            clock(since),
            ago(since, look.time)
        )),
        (Agent::Gone, None) => {
            alarms.push("NO AGENT runs: the kernel goes on alone".to_owned());
        }
    }
    if let Err(why) = &look.status {
        alarms.push(format!("no numbers: {}", harmless(why)));
    }
    let status = screen.status();
    let places = status["coverage"].as_array().map(Vec::as_slice).unwrap_or_default();
    alarms.extend(places.iter().filter(|place| is_bad(place)).map(|place| {
        let what = match place["position"].as_str() {
            Some("behind") => "NOT SAFE: another program stands in front of ours on",
            _ => "NOT COVERED: our program is not on",
        };
        format!("{what} {} ({})", text(&place["interface"]), text(&place["hook"]))
    }));
    if let Some(error) = status["store"]["error"].as_str() {
        alarms.push(format!("block log CAN'T BE WRITTEN: {}", harmless(error)));
    }
    if !status["pending"].is_null() {
        alarms.push(format!(
            "ON TRIAL: revision {} comes back at {} unless `smtpfence confirm` comes first",
            text(&status["pending"]["previous"]),
            crate::cli::ago(&status["pending"]["until"])
        ));
    }
    if let Some(error) = status["reload_error"].as_str() {
        alarms.push(format!("reload REFUSED, the policy above stays: {}", harmless(error)));
    }
    alarms
}
