//! What stands in front of the lists: forms, questions, help.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::super::dialog::{Confirm, Dialog, Form};
use super::super::palette::Palette;
use super::wrap::{wrap, wrapped};
use crate::cli::harmless;

/// Characters of a line, without the frame.
const WIDTH: u16 = 72;

pub fn draw(frame: &mut Frame<'_>, area: Rect, dialog: &Dialog, palette: Palette) {
    let width = WIDTH.min(area.width.saturating_sub(4));
    let inside = usize::from(width);
    let (title, lines) = match dialog {
        Dialog::Help => ("Keys and words".to_owned(), help(palette)),
        Dialog::Form(form) => (form.title(), form_lines(form, inside, palette)),
        Dialog::Confirm(confirm) => ("Sure?".to_owned(), confirm_lines(confirm, inside, palette)),
    };
    let height = (u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2)).min(area.height);
    let place = Rect {
        x: area.x + (area.width.saturating_sub(width + 2)) / 2,
        y: area.y + (area.height - height) / 2,
        width: (width + 2).min(area.width),
        height,
    };
    let block = Block::bordered().title(format!(" {title} ")).border_style(palette.label());
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

fn form_lines(form: &Form, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let room = width.saturating_sub(12);
    let mut lines = Vec::new();
    for (at, field) in form.fields.iter().enumerate() {
        let here = at == form.at;
        // The end of a long text is where it is typed.
        let skipped = field.text.chars().count().saturating_sub(room);
        let text: String = field.text.chars().skip(skipped).collect();
        let label = if here { palette.strong() } else { palette.label() };
        let mut spans = vec![Span::styled(format!(" {:>8}  ", field.label), label), Span::raw(text.clone())];
        if here {
            spans.push(Span::styled(" ", palette.cursor()));
        }
        if text.is_empty() {
            spans.push(Span::raw(format!(" ({})", field.hint)));
        }
        lines.push(Line::from(spans));
    }
    lines.push(Line::default());
    match &form.error {
        Some(error) => lines.extend(wrapped(&harmless(error), width, palette.alarm())),
        None => lines.push(Line::from(" Tab next field   Enter goes on   Ctrl-U empties it   Esc leaves")),
    }
    lines
}

fn confirm_lines(confirm: &Confirm, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let mut lines = wrap(&confirm.question, width);
    lines.push(Line::default());
    lines.extend(wrapped(&confirm.command, width, palette.label()));
    lines.push(Line::default());
    lines.push(Line::styled(" y  yes      n or Esc  no", palette.strong()));
    lines
}

fn help(palette: Palette) -> Vec<Line<'static>> {
    let keys = [
        ("Tab", "to the other list      ↑ ↓ PgUp PgDn Home End  move"),
        ("Enter", "all about a host       Esc  back, and the filter away"),
        ("/", "filter: words that a line must contain, such as an"),
        ("", "address, name, MAC, interface, reason or verdict"),
        ("s", "order of the hosts: next column"),
        ("Q", "quarantine a host      R  release it, or its flag"),
        ("A", "allow: an exception for client and destination"),
        ("q x", "quit, as Ctrl-C does   Q, R and A ask before they act"),
    ];
    let words = [
        ("attempt", "(att.) a connection tried, however often it was repeated"),
        ("to", "different destinations in 24 hours"),
        ("/s", "over the last ten seconds, counted exactly by the kernel"),
        ("hook", "an interface's door (inside) or guard (outside)"),
        ("(reason)", "audit mode: it would be denied, and went on"),
        ("quarantined", "all it sends to blocked ports is denied, for a time"),
    ];
    let line = |(key, what): &(&str, &str)| {
        Line::from(vec![
            Span::styled(format!(" {key:>11}  "), palette.label()),
            Span::raw((*what).to_owned()),
        ])
    };
    keys.iter().map(line).chain([Line::default()]).chain(words.iter().map(line)).collect()
}
