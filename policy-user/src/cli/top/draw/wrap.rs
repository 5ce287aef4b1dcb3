//! Long texts cut into lines between words.

use ratatui::style::Style;
use ratatui::text::Line;

/// Lines of at most `width` characters, each with a space in front; a word that is longer is cut.
pub fn wrap(text: &str, width: usize) -> Vec<Line<'static>> {
    wrapped(text, width, Style::new())
}

pub fn wrapped(text: &str, width: usize, style: Style) -> Vec<Line<'static>> {
    broken(text, width).into_iter().map(|line| Line::styled(line, style)).collect()
}

fn broken(text: &str, width: usize) -> Vec<String> {
    let width = width.max(2);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let length = word.trim_end().chars().count();
        if used > 0 && used + length >= width {
            lines.push(format!(" {}", line.trim_end()));
            line.clear();
            used = 0;
        }
        for c in word.chars() {
            if used + 1 >= width {
                if c == ' ' {
                    continue;
                }
                lines.push(format!(" {line}"));
                line.clear();
                used = 0;
            }
            line.push(c);
            used += 1;
        }
    }
    lines.push(format!(" {}", line.trim_end()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_where_they_can() {
        assert_eq!(broken("one two three", 9), [" one two", " three"]);
        assert_eq!(broken("", 9), [" "]);
        assert_eq!(broken("abcdefgh ij", 5), [" abcd", " efgh", " ij"]);
        for width in 0..20 {
            let lines = broken("a bb ccc dddd eeeee", width);
            assert!(lines.iter().all(|line| line.chars().count() <= width.max(2)), "{width}: {lines:?}");
        }
    }
}
