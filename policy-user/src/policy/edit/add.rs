//! Where a new exception goes, for each way that the others can be written.

use std::ops::Range;

use super::super::places::{Places, Spot};
use super::lines::Lines;
use super::{NewException, entry};

/// The text with the new entry; `None` where the layout leaves no safe place.
pub fn add(places: &Places<'_>, text: &str, new: &NewException) -> Option<String> {
    let root = places.root();
    let list = root.key("exceptions");
    let file_in_braces = text.as_bytes().get(root.extent()?.start) == Some(&b'{');
    if !root.keys().any(|(key, _)| key == "exceptions") {
        return new_section(root, text, new, file_in_braces);
    }
    let extent = list.extent()?;
    match text.as_bytes().get(extent.start)? {
        b'[' if list.entries_count() == 0 => first(root, text, extent, new, file_in_braces),
        b'[' => in_brackets(list, text, extent, new, file_in_braces),
        _ => below(list, text, extent, new),
    }
}

fn inserted(text: &str, at: usize, new: &str) -> String {
    [&text[..at], new, &text[at..]].concat()
}

/// A list with a dash for each entry.
fn below(list: Spot<'_>, text: &str, extent: Range<usize>, new: &NewException) -> Option<String> {
    let lines = Lines(text);
    let column = column(text, extent.start);
    let indent = " ".repeat(column);
    let last = list.at(list.entries_count().checked_sub(1)?).extent()?;
    let mut end = lines.last_line_end(last.clone());
    for line in lines.from(end) {
        // A comment in the column of the dashes belongs to the list, unless the next section begins there too.
        let belongs =
            line.is_comment() && (line.indent() > column || (line.indent() == column && column > 0));
        if !belongs {
            break;
        }
        end = line.end();
    }
    let new = if text.as_bytes().get(last.start) == Some(&b'{') {
        format!("{indent}- {}{}", entry::flow(new, false), lines.line_end())
    } else {
        entry::block(new, &indent, &before_key(lines, last.start, column), lines.line_end())
    };
    Some(inserted(text, end, &new))
}

/// The column of the dashes of a list that begins at `first`. The parser puts that at the first dash, or behind it where
/// the dashes stand in the column of the key.
pub fn column(text: &str, first: usize) -> usize {
    let lines = Lines(text);
    let line = lines.around(first).start;
    if lines.is_first(first) && text[first..].starts_with('-') { first - line } else { 0 }
}

/// The blanks, dash among them, from the column of the dash to that of the keys.
fn before_key(lines: Lines<'_>, first_key: usize, column: usize) -> String {
    let line = lines.around(first_key).start;
    let offset = (first_key - line).saturating_sub(column);
    // On a line of their own the keys may be anywhere to the right of the dash.
    let beside_dash = lines.0.as_bytes().get(line + column) == Some(&b'-');
    " ".repeat(if beside_dash { offset.max(2) } else { 2 })
}

/// The first entry of a list that was `[]`.
fn first(
    root: Spot<'_>,
    text: &str,
    brackets: Range<usize>,
    new: &NewException,
    file_in_braces: bool,
) -> Option<String> {
    let lines = Lines(text);
    let inner = brackets.start + 1..brackets.end - 1;
    let one_line = !text[inner.clone()].contains('\n');
    if file_in_braces || !one_line {
        let close = inner.end;
        if one_line {
            return Some([&text[..inner.start], &entry::flow(new, true), &text[close..]].concat());
        }
        let line = lines.around(close).start;
        let indent = lines.indent(close);
        let entry = format!("{indent}  {}{}", entry::flow(new, file_in_braces), lines.line_end());
        return lines.is_first(close).then(|| inserted(text, line, &entry));
    }
    let key = root.key("exceptions").key_span().range();
    let colon = key.end + text[key.end..].find(':')?;
    let end = lines.around(brackets.end).end;
    let indent = usual_indent(root, text);
    let entry = entry::block(new, &indent, "  ", lines.line_end());
    Some([&text[..=colon], &text[brackets.end..end], &entry, &text[end..]].concat())
}

/// A list in brackets that has entries.
fn in_brackets(
    list: Spot<'_>,
    text: &str,
    brackets: Range<usize>,
    new: &NewException,
    json: bool,
) -> Option<String> {
    let lines = Lines(text);
    let last = list.at(list.entries_count() - 1).extent()?;
    let new = entry::flow(new, json);
    if !lines.is_first(last.start) {
        return Some(inserted(text, last.end, &format!(", {new}")));
    }
    let (indent, line_end) = (lines.indent(last.start), lines.line_end());
    let close = brackets.end - 1;
    let comma = lines.comma(last.end..close);
    let line = lines.around(comma.unwrap_or(last.end));
    if line.contains(&close) {
        let before = if comma.is_some() { "" } else { "," };
        let at = comma.map_or(last.end, |comma| comma + 1);
        return Some(inserted(text, at, &format!("{before}{line_end}{indent}{new}")));
    }
    let after = if comma.is_some() { "," } else { "" };
    let with_entry = inserted(text, line.end, &format!("{indent}{new}{after}{line_end}"));
    Some(if comma.is_some() { with_entry } else { inserted(&with_entry, last.end, ",") })
}

/// The section itself is missing: it goes before `end`.
fn new_section(root: Spot<'_>, text: &str, new: &NewException, file_in_braces: bool) -> Option<String> {
    let lines = Lines(text);
    let (_, end) = root.keys().find(|(key, _)| *key == "end")?;
    let end = end.range().start;
    if file_in_braces {
        let section = format!("\"exceptions\": [{}],", entry::flow(new, true));
        let after = match lines.is_first(end) {
            true => format!("{}{}", lines.line_end(), lines.indent(end)),
            false => " ".to_owned(),
        };
        return Some(inserted(text, end, &(section + &after)));
    }
    let line_end = lines.line_end();
    let mut at = lines.around(end).start;
    // What is said right above the last line is about it.
    while let Some(before) = at.checked_sub(1).map(|before| lines.around(before))
        && text[before.clone()].starts_with('#')
    {
        at = before.start;
    }
    let apart = at.checked_sub(1).is_some_and(|before| text[lines.around(before)].trim().is_empty());
    let entry = entry::block(new, &usual_indent(root, text), "  ", line_end);
    let after = if apart { line_end } else { "" };
    Some(inserted(text, at, &format!("exceptions:{line_end}{entry}{after}")))
}

/// The blanks before the dashes of the file's other lists.
fn usual_indent(root: Spot<'_>, text: &str) -> String {
    let other = ["mail_servers", "groups"].into_iter().filter_map(|key| root.key(key).extent());
    let dashed = other.map(|extent| extent.start).find(|at| text.as_bytes().get(*at) != Some(&b'['));
    " ".repeat(dashed.map_or(2, |at| column(text, at)))
}
