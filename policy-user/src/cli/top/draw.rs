//! The screen drawn into a frame: which part stands where.

mod attempts;
mod columns;
mod head;
mod host;
mod hosts;
mod over;
mod rates;
mod wrap;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::palette::Palette;
use super::screen::Screen;
use crate::cli::harmless;

/// Below this nothing can be read; from it on nothing is missing that can't be reached by a key.
const SMALLEST: (u16, u16) = (60, 14);

pub fn screen(frame: &mut Frame<'_>, screen: &mut Screen, palette: Palette) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let told = format!(
            "{}x{} is too small for this screen: 80x24 is enough, {}x{} the least. q quits.",
            area.width, area.height, SMALLEST.0, SMALLEST.1
        );
        frame.render_widget(Paragraph::new(told).wrap(Wrap { trim: true }), area);
        return;
    }
    let head = head::lines(screen, palette, area.width);
    let told = u16::from(screen.told.is_some() || screen.typing_filter || !screen.filter.is_empty());
    let [top, body, message, keys] = Layout::vertical([
        Constraint::Length(u16::try_from(head.len()).unwrap_or(u16::MAX)),
        Constraint::Fill(1),
        Constraint::Length(told),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(head), top);
    match screen.open {
        Some(client) => host::draw(frame, body, screen, client, palette),
        None => overview(frame, body, screen, palette),
    }
    frame.render_widget(message_line(screen, palette), message);
    frame.render_widget(keys_line(screen, palette), keys);
    if let Some(dialog) = &screen.dialog {
        over::draw(frame, area, dialog, palette);
    }
}

fn overview(frame: &mut Frame<'_>, body: Rect, screen: &Screen, palette: Palette) {
    // Reasons get a quarter, and each list half of the rest unless the other needs less.
    let reasons = count(screen.reasons.len()).clamp(1, (body.height / 4).max(2)) + 1;
    let rest = body.height - reasons;
    let spare = rest.saturating_sub(count(screen.attempts().len()) + 1);
    let hosts = count(screen.hosts().len()).saturating_add(1).clamp(3, (rest / 2).max(spare));
    let [rates, hosts, attempts] =
        Layout::vertical([Constraint::Length(reasons), Constraint::Length(hosts), Constraint::Fill(1)])
            .areas(body);
    rates::draw(frame, rates, screen, palette);
    hosts::draw(frame, hosts, screen, palette);
    attempts::draw(frame, attempts, screen, palette);
}

fn count(lines: usize) -> u16 {
    u16::try_from(lines).unwrap_or(u16::MAX - 1)
}

/// What came of the last wish, or the filter.
fn message_line(screen: &Screen, palette: Palette) -> Line<'static> {
    if let Some(told) = &screen.told {
        return match told {
            Ok(done) => Line::styled(format!(" {done}"), palette.good()),
            Err(why) => Line::styled(format!(" {}", harmless(why)), palette.alarm()),
        };
    }
    let cursor =
        if screen.typing_filter { "█  Enter keeps it, Esc takes it away" } else { "  Esc takes it away" };
    Line::from(vec![
        Span::styled(" filter: ", palette.label()),
        Span::raw(screen.filter.clone()),
        Span::raw(cursor),
    ])
}

/// The keys that do something now.
fn keys_line(screen: &Screen, palette: Palette) -> Line<'static> {
    let keys: &[(&str, &str)] = match screen.open {
        Some(_) => &[
            ("↑↓", "scroll"),
            ("Q", "quarantine"),
            ("R", "release"),
            ("A", "allow"),
            ("Esc", "back"),
            ("?", "help"),
            ("q", "quit"),
        ],
        None => &[
            ("Tab ↑↓", "move"),
            ("Enter", "host"),
            ("/", "filter"),
            ("Q", "quarantine"),
            ("R", "release"),
            ("A", "allow"),
            ("?", "help"),
            ("q", "quit"),
        ],
    };
    let mut spans = vec![Span::raw(" ")];
    for (key, what) in keys {
        spans.push(Span::styled(*key, palette.heading()));
        spans.push(Span::raw(format!(" {what} ")));
    }
    Line::from(spans)
}
