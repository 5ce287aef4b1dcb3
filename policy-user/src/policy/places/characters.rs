//! The characters of a text: those that may not stand in it, and at which byte each of them is.

use super::super::diagnostics::is_misleading;
use super::Span;

/// Characters that parsers or editors disagree on.
///
/// U+2028 is a line break to YAML 1.1 and none to YAML 1.2; a direction override makes a line read differently from
/// what it says. Neither may decide what a policy means.
pub fn odd_characters(text: &str) -> impl Iterator<Item = (Span, char)> {
    let odd = move |&(at, c): &(usize, char)| match c {
        '\t' | '\n' => false,
        '\r' => text.as_bytes().get(at + 1) != Some(&b'\n'),
        '\u{feff}' => at != 0,
        _ => c.is_control() || is_misleading(c),
    };
    text.char_indices().filter(odd).map(|(at, c)| (Span::new(at, at + c.len_utf8()), c))
}

/// Translates character indices, which the parser counts, into bytes.
///
/// It remembers where it is: the parser's places come nearly in order, so that all of them together take linear time.
pub struct Cursor<'t> {
    text: &'t str,
    character: usize,
    byte: usize,
}

impl<'t> Cursor<'t> {
    pub const fn new(text: &'t str) -> Self {
        Self { text, character: 0, byte: 0 }
    }

    /// The byte of the character at `index`; past the end it is the length of the text.
    pub fn byte(&mut self, index: usize) -> usize {
        while self.character < index {
            let Some(c) = self.text[self.byte..].chars().next() else { break };
            self.byte += c.len_utf8();
            self.character += 1;
        }
        while self.character > index {
            let Some(c) = self.text[..self.byte].chars().next_back() else { break };
            self.byte -= c.len_utf8();
            self.character -= 1;
        }
        self.byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_goes_both_ways_and_stays_inside() {
        let mut cursor = Cursor::new("aäb€c");
        assert_eq!([3, 1, 4, 99, 0, 2].map(|index| cursor.byte(index)), [4, 1, 7, 8, 0, 3]);
    }

    #[test]
    fn invisible_characters_are_odd() {
        let text = "\u{feff}a: b\r\n\tc\rd\u{85}\u{2028}\u{202e}\u{0}é\u{feff}";
        let odd: Vec<char> = odd_characters(text).map(|(_, c)| c).collect();
        assert_eq!(odd, ['\r', '\u{85}', '\u{2028}', '\u{202e}', '\u{0}', '\u{feff}']);
    }
}
