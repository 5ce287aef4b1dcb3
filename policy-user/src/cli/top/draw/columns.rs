//! Lists in columns that fit: what is too long ends with an ellipsis.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table, TableState, Wrap};

use super::super::palette::Palette;

/// One column of a list.
#[derive(Clone, Copy)]
pub struct Column {
    title: &'static str,
    width: u16,
    right: bool,
}

impl Column {
    pub const fn text(title: &'static str, width: u16) -> Self {
        Self { title, width, right: false }
    }

    pub const fn number(title: &'static str, width: u16) -> Self {
        Self { title, width, right: true }
    }
}

/// What a list shows.
pub struct List<'a> {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Span<'a>>>,
    /// The line under the cursor, where the cursor is in this list.
    pub at: Option<usize>,
    /// At the right end of the titles, if there is room.
    pub note: String,
    /// In place of lines where there are none.
    pub empty: String,
}

pub fn draw(frame: &mut Frame<'_>, area: Rect, list: List<'_>, palette: Palette) {
    let List { columns, rows, at, note, empty } = list;
    let heading = if at.is_some() { palette.heading() } else { palette.quiet_heading() };
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let widths = || columns.iter().map(|column| Constraint::Length(column.width));
    let titles = columns.iter().map(|column| cell(*column, Span::raw(column.title)));
    let titles =
        Table::new([Row::new(titles.collect::<Vec<_>>())], widths()).column_spacing(1).style(heading);
    frame.render_widget(titles, head);
    let used: u16 = columns.iter().map(|column| column.width + 1).sum::<u16>();
    let free = columns.last().map_or(0, |last| last.width.saturating_sub(last.title.len() as u16))
        + head.width.saturating_sub(used);
    if note.chars().count() < usize::from(free) {
        frame.render_widget(Line::styled(note, heading).right_aligned(), head);
    }
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(empty).wrap(Wrap { trim: false }), body);
        return;
    }
    let lines = rows.into_iter().map(|row| {
        Row::new(columns.iter().zip(row).map(|(column, span)| cell(*column, span)).collect::<Vec<_>>())
    });
    let table = Table::new(lines, widths()).column_spacing(1).row_highlight_style(palette.cursor());
    let mut state = TableState::default().with_selected(at);
    frame.render_stateful_widget(table, body, &mut state);
}

fn cell(column: Column, span: Span<'_>) -> Line<'_> {
    let width = usize::from(column.width);
    let line =
        if span.width() > width { Line::styled(fit(&span.content, width), span.style) } else { span.into() };
    if column.right { line.right_aligned() } else { line }
}

/// The beginning of a text that is too long.
pub fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(width.saturating_sub(1)).collect();
    beginning + "…"
}

/// The width that the longest of the texts needs, between two bounds.
pub fn width(texts: impl Iterator<Item = String>, least: u16, most: u16) -> u16 {
    let longest = texts.map(|text| text.chars().count()).max().unwrap_or(0);
    u16::try_from(longest).unwrap_or(most).clamp(least, most.max(least))
}
