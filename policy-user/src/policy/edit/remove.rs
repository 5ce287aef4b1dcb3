//! Which bytes an exception takes away with it.

use std::ops::Range;

use super::super::places::{Places, Spot};
use super::add::column;
use super::lines::Lines;

/// The text without the entry at `index`; `None` where the layout leaves no safe cut.
pub fn remove(places: &Places<'_>, text: &str, index: usize) -> Option<String> {
    let list = places.root().key("exceptions");
    let extent = list.extent()?;
    match text.as_bytes().get(extent.start)? {
        b'[' => in_brackets(list, text, extent, index),
        _ => below(list, text, column(text, extent.start), index),
    }
}

fn without(text: &str, cut: Range<usize>) -> String {
    [&text[..cut.start], &text[cut.end..]].concat()
}

/// A list with a dash for each entry: the lines from its dash on.
fn below(list: Spot<'_>, text: &str, column: usize, index: usize) -> Option<String> {
    let lines = Lines(text);
    let entry = list.at(index).extent()?;
    let start = lines.dash(entry.start, column)?;
    let mut end = lines.last_line_end(entry);
    for line in lines.from(end).take_while(|line| line.is_comment() && line.indent() > column) {
        end = line.end();
    }
    let rest = without(text, start..end);
    if list.entries_count() > 1 {
        return Some(rest);
    }
    // Nothing at all behind the colon would be no list.
    let key = list.key_span().range();
    let colon = key.end + text[key.end..].find(':')?;
    Some([&rest[..=colon], " []", &rest[colon + 1..]].concat())
}

/// A list in brackets: the entry with one comma, and whole lines where nothing else stands in them.
fn in_brackets(list: Spot<'_>, text: &str, brackets: Range<usize>, index: usize) -> Option<String> {
    let lines = Lines(text);
    let entry = list.at(index).extent()?;
    let next = list.at(index + 1).extent().map_or(brackets.end - 1, |next| next.start);
    let before = match index.checked_sub(1) {
        Some(previous) => list.at(previous).extent()?.end,
        None => brackets.start + 1,
    };
    let comma_after = lines.comma(entry.end..next);
    let comma_before = lines.comma(before..entry.start).filter(|_| comma_after.is_none());
    let end = comma_after.map_or(entry.end, |comma| comma + 1);
    let line = lines.around(end.saturating_sub(1));
    let rest_of_line = text[end..line.end].trim();
    let alone = lines.is_first(entry.start) && (rest_of_line.is_empty() || rest_of_line.starts_with('#'));
    let cut = if alone {
        lines.around(entry.start).start..line.end
    } else if comma_after.is_some() {
        entry.start..end + text[end..].len() - text[end..].trim_start_matches(' ').len()
    } else {
        comma_before.unwrap_or(entry.start)..end
    };
    let rest = without(text, cut.clone());
    match comma_before.filter(|comma| *comma < cut.start) {
        Some(comma) => Some(without(&rest, comma..comma + 1)),
        None => Some(rest),
    }
}
