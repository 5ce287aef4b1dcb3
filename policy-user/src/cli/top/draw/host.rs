//! One host on the whole screen: who it is, why it is flagged, what it tried, and what to do next.

use std::net::IpAddr;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::Value;

use super::super::palette::Palette;
use super::super::screen::Screen;
use super::super::snapshot::Story;
use super::hosts::flag_style;
use super::wrap::{wrap, wrapped};
use crate::cli::{ago, harmless, host, hosts, text, verdicts, when};
use crate::store::HostStory;

/// Destinations that are shown.
const DESTINATIONS: usize = 10;

pub fn draw(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen, client: IpAddr, palette: Palette) {
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let heading = palette.heading();
    frame.render_widget(Line::styled(format!(" HOST {client}"), heading), head);
    frame.buffer_mut().set_style(head, heading);
    let lines = lines(screen, client, usize::from(area.width), palette);
    let all = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    screen.scrolled = screen.scrolled.min(all.saturating_sub(body.height));
    if all > body.height {
        let (first, last) = (screen.scrolled + 1, screen.scrolled + body.height);
        let note = format!("lines {first}-{last} of {all} ");
        frame.render_widget(Line::styled(note, heading).right_aligned(), head);
    }
    frame.render_widget(Paragraph::new(lines).scroll((screen.scrolled, 0)), body);
}

fn lines(screen: &Screen, client: IpAddr, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let Some(story) = screen.story() else { return vec![Line::from(" reading the block log …")] };
    let mut lines = identity(story, palette);
    if let Some(entry) = screen.quarantine(client) {
        let told = format!("in quarantine until {}: {}", ago(&entry["until"]), text(&entry["reason"]));
        lines.extend(wrapped(&told, width, palette.good()));
    }
    if let Some(flag) = screen.verdicts().and_then(|all| all.of(Some(client), story.identity.mac)) {
        lines.extend(flagged(flag, width, palette));
    }
    match &story.story {
        Err(why) => lines.extend(wrapped(&harmless(why), width, palette.alarm())),
        Ok(None) => lines.push(Line::from(format!(" no blocked attempt since {}", when::shown(story.since)))),
        Ok(Some(known)) => lines.extend(known_lines(story, known, width, palette)),
    }
    lines
}

fn identity(story: &Story, palette: Palette) -> Vec<Line<'static>> {
    let mac = story.identity.mac.map_or("no MAC known".to_owned(), |mac| mac.to_string());
    let mut lines = vec![Line::from(vec![
        Span::styled(format!(" {}", story.client), palette.strong()),
        Span::raw(format!("  {mac}  {}", hosts::who(&story.identity))),
    ])];
    lines.extend(story.entries.iter().map(|entry| {
        let kind = text(&entry["kind"]).replace('_', " ");
        Line::from(format!(" in the policy: {kind} {}", text(&entry["name"])))
    }));
    lines
}

fn flagged(flag: &Value, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let told = format!("{} since {}", verdicts::word(flag), ago(&flag["since"]));
    let mut lines = vec![Line::default()];
    lines.extend(wrapped(&told, width, flag_style(&text(&flag["verdict"]), palette)));
    for part in ["sentence", "remedy"] {
        lines.extend(wrap(&text(&flag["evidence"][part]), width));
    }
    if flag["acknowledged"]["text"].is_string() {
        lines.extend(wrap(&format!("acknowledged: {}", text(&flag["acknowledged"]["text"])), width));
    }
    lines
}

fn known_lines(story: &Story, known: &HostStory, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let chart = host::chart(&known.hours, story.since, i64::try_from(width / 2).unwrap_or(40));
    let per = if chart.hours_each == 1 { "hour".to_owned() } else { format!("{} hours", chart.hours_each) };
    let mut lines = vec![
        Line::default(),
        Line::from(vec![
            Span::styled(format!(" {}", chart.bars), palette.bars()),
            Span::raw(format!("  attempts per {per}, {} at most; now at the right", chart.most)),
        ]),
        title("next", palette),
    ];
    lines.extend(story.next.iter().flat_map(|line| wrap(line, width)));
    lines.push(title(&format!("{:<39}  {:>8}  last", "most tried", "attempts"), palette));
    lines.extend(known.destinations.iter().take(DESTINATIONS).map(|to| {
        let address = to.destination.map_or("?".to_owned(), |ip| ip.to_string());
        Line::from(format!(" {address:<39}  {:>8}  {}", to.totals.attempts, clock(to.totals.last)))
    }));
    lines.push(title("newest attempts", palette));
    lines.extend(story.rows.iter().map(|row| {
        let attempt = &row.attempt;
        let to = attempt.destination.map_or("?".to_owned(), |ip| ip.to_string());
        let verdict = if attempt.verdict == "would_block" { "would block: " } else { "" };
        Line::from(format!(" {}  {to:<39}  {verdict}{}", clock(attempt.time), attempt.reason))
    }));
    lines
}

fn title(text: &str, palette: Palette) -> Line<'static> {
    Line::styled(format!(" {text}"), palette.label())
}

fn clock(time: jiff::Timestamp) -> String {
    time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%m-%d %H:%M:%S").to_string()
}
