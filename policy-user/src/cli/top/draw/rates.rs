//! How often each reason decides, now and over the last minutes.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Span;

use super::super::meter::{self, Meter};
use super::super::palette::Palette;
use super::super::screen::{Reason, Screen};
use super::columns::{self, Column, List};
use crate::cli::host::bar;

/// Columns of the texts, each with the space behind it.
const TEXTS: u16 = 25 + 11 + 10 + 13;

pub fn draw(frame: &mut Frame<'_>, area: Rect, screen: &Screen, palette: Palette) {
    let course = area.width.saturating_sub(TEXTS);
    let columns = vec![
        Column::text("REASON", 24),
        Column::number("attempts/s", 10),
        Column::number("packets/s", 9),
        Column::number("attempts", 12),
        Column::text("", course),
    ];
    let reasons = busiest(screen, usize::from(area.height.saturating_sub(1)));
    let rows = reasons.into_iter().map(|(label, reason)| line(label, reason, course, palette)).collect();
    let note = "each second, now at the right".to_owned();
    let note = if usize::from(course) > note.len() { note } else { "each second".to_owned() };
    let empty = "nothing was sent to blocked ports yet".to_owned();
    columns::draw(frame, area, List { columns, rows, at: None, note, empty }, palette);
}

/// As many reasons as there is room for: those that decided most of late, in the order of their numbers.
fn busiest(screen: &Screen, room: usize) -> Vec<(&String, &Reason)> {
    let mut reasons: Vec<_> = screen.reasons.iter().collect();
    let lately = |reason: &Reason| reason.packets.course(usize::MAX).iter().sum::<u64>();
    reasons.sort_by_key(|(_, reason)| {
        std::cmp::Reverse((lately(reason), reason.denies, reason.packets.total()))
    });
    reasons.truncate(room);
    reasons.sort_by_key(|(_, reason)| (!reason.denies, reason.place));
    reasons
}

fn line<'a>(label: &'a str, reason: &Reason, course: u16, palette: Palette) -> Vec<Span<'a>> {
    let Reason { denies, attempts, packets, .. } = reason;
    let busy = packets.rate() > 0.0;
    let style = match (*denies, busy) {
        (true, true) => palette.warning(),
        (false, true) => palette.good(),
        (_, false) => ratatui::style::Style::new(),
    };
    // Only what is denied is folded into attempts.
    let folded = |text: String| if *denies { text } else { "passed".to_owned() };
    let shown = if *denies { attempts } else { packets };
    vec![
        Span::styled(label, style),
        Span::raw(if *denies { meter::shown(attempts.rate()) } else { String::new() }),
        Span::raw(meter::shown(packets.rate())),
        Span::raw(folded(attempts.total().to_string())),
        Span::styled(bars(shown, usize::from(course)), palette.bars()),
    ]
}

/// The newest second at the right end.
fn bars(meter: &Meter, room: usize) -> String {
    let course = meter.course(room);
    let most = course.iter().copied().max().unwrap_or(0);
    let bars: String = course.iter().map(|count| bar(*count, most)).collect();
    format!("{bars:>room$}")
}
