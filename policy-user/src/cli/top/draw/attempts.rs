//! The newest attempts, the newest on top.

use jiff::tz::TimeZone;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Span;

use super::super::palette::Palette;
use super::super::screen::{Panel, Screen};
use super::columns::{self, Column, List, width};
use crate::store::Row;

/// From this width on there is room for the ID and the interface.
const WIDE: u16 = 120;
/// Attempts that are drawn; more than fit on any terminal.
const DRAWN: usize = 500;

pub fn draw(frame: &mut Frame<'_>, area: Rect, screen: &Screen, palette: Palette) {
    let attempts = screen.attempts();
    let at = (screen.panel == Panel::Attempts).then(|| screen.attempt_at());
    let wide = area.width >= WIDE;
    let note = match at {
        Some(at) if !attempts.is_empty() => format!("{}/{}", at + 1, attempts.len()),
        _ => format!("newest {}", attempts.len()),
    };
    let most = if wide { 39 } else { 20 };
    let from = width(attempts.iter().map(|row| address(row.attempt.client)), 10, most);
    let to = width(attempts.iter().map(|row| address(row.attempt.destination)), 11, most);
    let reason = 23;
    let mut columns = vec![
        Column::text("TIME", 8),
        Column::text("client", from),
        Column::text("destination", to),
        Column::text("reason", reason),
    ];
    if wide {
        columns.extend([Column::text("interface", 12), Column::text("ID", 12)]);
    }
    let used = 8 + from + to + reason + 4 + if wide { 26 } else { 0 };
    columns.push(Column::text("who", area.width.saturating_sub(used)));
    let rows = attempts.iter().take(DRAWN).map(|row| line(row, wide, screen, palette)).collect();
    let empty = match screen.filter.is_empty() {
        true => "no attempt is in the block log yet",
        false => "no attempt fits the filter",
    };
    let broken = screen.look.as_ref().is_some_and(|look| look.hosts.is_err());
    let empty = if broken { String::new() } else { empty.to_owned() };
    columns::draw(frame, area, List { columns, rows, at, note, empty }, palette);
}

fn line<'a>(row: &'a Row, wide: bool, screen: &'a Screen, palette: Palette) -> Vec<Span<'a>> {
    let attempt = &row.attempt;
    let time = attempt.time.to_zoned_datetime(TimeZone::system()).strftime("%H:%M:%S").to_string();
    // In audit mode the packet went on: that must not look like a block.
    let reason = match attempt.verdict {
        "would_block" => Span::styled(format!("({})", attempt.reason), palette.warning()),
        _ => Span::raw(attempt.reason),
    };
    let mut line = vec![
        Span::raw(time),
        Span::raw(address(attempt.client)),
        Span::raw(address(attempt.destination)),
        reason,
    ];
    if wide {
        line.push(Span::raw(attempt.interface.escape_debug().to_string()));
        line.push(Span::raw(attempt.id.as_str()));
    }
    line.push(Span::raw(screen.who(row).map_or("", |who| who.fit(wide))));
    line
}

fn address(ip: Option<std::net::IpAddr>) -> String {
    ip.map_or("?".to_owned(), |ip| ip.to_string())
}
