//! A text as lines, found by a byte in them.

use std::ops::Range;

#[derive(Clone, Copy)]
pub struct Lines<'t>(pub &'t str);

impl<'t> Lines<'t> {
    /// Bytes of the line around `at`, line break included.
    pub fn around(self, at: usize) -> Range<usize> {
        let start = self.0[..at].rfind('\n').map_or(0, |found| found + 1);
        let end = self.0[at..].find('\n').map_or(self.0.len(), |found| at + found + 1);
        start..end
    }

    /// The lines from the one that begins at `at` on.
    pub fn from(self, at: usize) -> impl Iterator<Item = Line<'t>> {
        self.0[at..].split_inclusive('\n').scan(at, |at, text| {
            let start = *at;
            *at += text.len();
            Some(Line { start, text })
        })
    }

    /// Blanks before the first character of the line around `at`.
    pub fn indent(self, at: usize) -> &'t str {
        let line = &self.0[self.around(at)];
        &line[..line.len() - line.trim_start_matches(' ').len()]
    }

    /// Whether only blanks stand between the beginning of the line and `at`.
    pub fn is_first(self, at: usize) -> bool {
        self.0[self.around(at).start..at].trim_start_matches('\u{feff}').bytes().all(|byte| byte == b' ')
    }

    /// Where the line with the dash begins that introduces what stands at `at`; its column is that of its list.
    pub fn dash(self, at: usize, column: usize) -> Option<usize> {
        let mut line = self.around(at).start;
        loop {
            let dash = self.0.as_bytes().get(line + column) == Some(&b'-');
            let after = self.0.as_bytes().get(line + column + 1);
            if dash && self.indent(line).len() == column && after.is_some_and(u8::is_ascii_whitespace) {
                return Some(line);
            }
            line = self.around(line.checked_sub(1)?).start;
        }
    }

    /// The end of the last line that belongs to a value; blank lines behind folded text don't.
    pub fn last_line_end(self, value: Range<usize>) -> usize {
        let last = value.start + self.0[value.clone()].trim_end().len();
        self.around(last.saturating_sub(1).max(value.start)).end
    }

    /// What ends a line in this text.
    pub fn line_end(self) -> &'static str {
        if self.0.contains("\r\n") { "\r\n" } else { "\n" }
    }

    /// The first comma of a stretch that holds nothing but blanks, line breaks and comments beside it.
    pub fn comma(self, between: Range<usize>) -> Option<usize> {
        let mut in_comment = false;
        self.0[between.clone()].bytes().enumerate().find_map(|(at, byte)| {
            match byte {
                b'#' => in_comment = true,
                b'\n' => in_comment = false,
                b',' if !in_comment => return Some(between.start + at),
                _ => {}
            }
            None
        })
    }
}

#[derive(Clone, Copy)]
pub struct Line<'t> {
    pub start: usize,
    pub text: &'t str,
}

impl Line<'_> {
    pub const fn end(self) -> usize {
        self.start + self.text.len()
    }

    pub fn indent(self) -> usize {
        self.text.len() - self.text.trim_start_matches(' ').len()
    }

    pub fn is_comment(self) -> bool {
        self.text.trim_start().starts_with('#')
    }
}
