//! The hosts of the last day.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

use super::super::meter;
use super::super::palette::Palette;
use super::super::screen::{Listed, Panel, Screen};
use super::columns::{self, Column, List, width};
use crate::cli::{harmless, text};

/// From this width on there is room for MAC and interface.
const WIDE: u16 = 120;

pub fn draw(frame: &mut Frame<'_>, area: Rect, screen: &Screen, palette: Palette) {
    let hosts = screen.hosts();
    let at = (screen.panel == Panel::Hosts).then(|| screen.host_at());
    let place = if hosts.is_empty() { 0 } else { screen.host_at() + 1 };
    let wide = area.width >= WIDE;
    let address = width(hosts.iter().map(client), 10, if wide { 39 } else { 20 });
    let mut columns = vec![
        Column::text("HOST", address),
        Column::text("verdict", 13),
        Column::number("att./s", 6),
        Column::number("att. 24 h", 9),
        Column::number("to", 5),
        Column::number("last", 8),
    ];
    if wide {
        columns.extend([Column::text("MAC", 17), Column::text("interface", 12)]);
    }
    let used = address + 13 + 6 + 9 + 5 + 8 + 6 + if wide { 17 + 12 + 2 } else { 0 };
    columns.push(Column::text("who", area.width.saturating_sub(used)));
    let now = screen.look.as_ref().map_or(Timestamp::UNIX_EPOCH, |look| look.time);
    let rows = hosts.iter().map(|host| row(host, now, wide, screen, palette)).collect();
    let note = format!("{place}/{} by {}", hosts.len(), screen.order.label());
    let empty = empty(screen);
    columns::draw(frame, area, List { columns, rows, at, note, empty }, palette);
}

fn row<'a>(
    host: &Listed<'a>,
    now: Timestamp,
    wide: bool,
    screen: &Screen,
    palette: Palette,
) -> Vec<Span<'a>> {
    let total = &host.line.total;
    let (verdict, style) = verdict(host, screen, palette);
    let rate = if host.rate > 0.0 { palette.warning() } else { Style::new() };
    let mut row = vec![
        Span::raw(client(host)),
        Span::styled(verdict, style),
        Span::styled(meter::shown(host.rate), rate),
        Span::raw(total.totals.attempts.to_string()),
        Span::raw(total.destinations.to_string()),
        Span::raw(ago(total.totals.last, now)),
    ];
    if wide {
        row.push(Span::raw(total.mac.map_or("-".to_owned(), |mac| mac.to_string())));
        row.push(Span::raw(total.interface.escape_debug().to_string()));
    }
    row.push(Span::raw(host.line.who.fit(wide)));
    row
}

/// One word: quarantine first, because it says what happens to the host.
fn verdict(host: &Listed<'_>, screen: &Screen, palette: Palette) -> (String, Style) {
    let flag = host.flag.map(|flag| text(&flag["verdict"]));
    match (host.quarantined, flag) {
        (true, _) => ("quarantined".to_owned(), palette.good()),
        (false, Some(flag)) => {
            let style = flag_style(&flag, palette);
            (flag, style)
        }
        (false, None) if screen.verdicts().is_none() => ("?".to_owned(), Style::new()),
        (false, None) => ("-".to_owned(), Style::new()),
    }
}

pub fn flag_style(verdict: &str, palette: Palette) -> Style {
    if verdict == "infected" { palette.alarm() } else { palette.warning() }
}

fn client(host: &Listed<'_>) -> String {
    host.line.total.client.map_or("?".to_owned(), |ip| ip.to_string())
}

/// How long ago, in at most eight characters.
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    match now.duration_since(time).as_secs() {
        seconds @ ..=0 if seconds > -60 => "now".to_owned(),
        seconds @ 1..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds if seconds > 0 => format!("{} days", seconds / 86_400),
        _ => "later".to_owned(),
    }
}

fn empty(screen: &Screen) -> String {
    match screen.look.as_ref().map(|look| &look.hosts) {
        None => String::new(),
        Some(Err(why)) => harmless(why),
        Some(Ok(_)) if screen.filter.is_empty() => "no host was blocked in the last 24 hours".to_owned(),
        Some(Ok(_)) => "no host fits the filter".to_owned(),
    }
}
