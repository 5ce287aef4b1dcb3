//! How two texts differ, line by line, for people.

use std::fmt::Write as _;
use std::ops::Range;

/// Lines shown around a difference.
const AROUND: usize = 2;
/// More lines of a difference than this are a different file, not a change to read.
const SHOWN: usize = 400;
/// Pairs of lines that are compared for the shortest difference; beyond it all lines between the first and the last
/// difference are shown as changed.
const MOST_PAIRS: usize = 4_000_000;

/// Each line with a sign in front: `-` only in `old`, `+` only in `new`; empty where they are equal.
pub fn difference(old: &str, new: &str, colour: bool) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let steps = steps(&old, &new);
    let changed: Vec<usize> =
        steps.iter().enumerate().filter(|(_, step)| step.sign != ' ').map(|(at, _)| at).collect();
    let mut out = String::new();
    let mut shown = 0;
    for hunk in hunks(&changed, steps.len()) {
        // Writing to a String can't fail.
        let _ = writeln!(out, "@@ line {} @@", steps[hunk.start].line);
        for step in &steps[hunk] {
            if shown == SHOWN {
                let _ = writeln!(out, "… more lines are not shown");
                return out;
            }
            shown += 1;
            let _ = writeln!(out, "{}", step.shown(colour));
        }
    }
    out
}

struct Step<'t> {
    sign: char,
    text: &'t str,
    /// In the new text, from 1.
    line: usize,
}

impl Step<'_> {
    /// A line of a file that nobody has judged yet must not act on the terminal.
    fn shown(&self, colour: bool) -> String {
        let harmless = |c: char| match c {
            '\t' => c.to_string(),
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        };
        let text: String = self.text.trim_end_matches(['\r', '\n']).chars().map(harmless).collect();
        match (self.sign, colour) {
            ('-', true) => format!("\u{1b}[31m-{text}\u{1b}[0m"),
            ('+', true) => format!("\u{1b}[32m+{text}\u{1b}[0m"),
            (sign, _) => format!("{sign}{text}"),
        }
    }
}

fn steps<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Step<'t>> {
    let before = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let rest = (&old[before..], &new[before..]);
    let after = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_middle, new_middle) = (&rest.0[..rest.0.len() - after], &rest.1[..rest.1.len() - after]);
    let mut steps = Vec::with_capacity(old.len() + new_middle.len());
    let mut line = 1;
    let mut step = |sign, text| {
        steps.push(Step { sign, text, line });
        line += usize::from(sign != '-');
    };
    new[..before].iter().for_each(|text| step(' ', *text));
    middle(old_middle, new_middle, &mut step);
    new[new.len() - after..].iter().for_each(|text| step(' ', *text));
    steps
}

/// The longest common subsequence of what differs, in a table of lengths from each pair of lines to the end.
fn middle<'t>(old: &[&'t str], new: &[&'t str], step: &mut impl FnMut(char, &'t str)) {
    let width = new.len() + 1;
    if (old.len() + 1).saturating_mul(width) > MOST_PAIRS {
        old.iter().for_each(|text| step('-', text));
        new.iter().for_each(|text| step('+', text));
        return;
    }
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            step(' ', new[j]);
            (i, j) = (i + 1, j + 1);
        } else if i < old.len()
            && (j == new.len() || common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            step('-', old[i]);
            i += 1;
        } else {
            step('+', new[j]);
            j += 1;
        }
    }
}

/// Stretches around the changed steps; near ones are joined.
fn hunks(changed: &[usize], steps: usize) -> Vec<Range<usize>> {
    let mut hunks: Vec<Range<usize>> = Vec::new();
    for at in changed {
        let (start, end) = (at.saturating_sub(AROUND), (at + AROUND + 1).min(steps));
        match hunks.last_mut() {
            Some(open) if start <= open.end => open.end = end,
            _ => hunks.push(start..end),
        }
    }
    hunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_with_what_stands_around_them() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n";
        let new = "a\nb\nc\nX\ne\nf\ng\nh\ni\nj\nk\u{1b}[2J";
        let expected = "@@ line 2 @@\n b\n c\n-d\n+X\n e\n f\n@@ line 9 @@\n i\n j\n+k\\u{1b}[2J\n";
        assert_eq!(difference(old, new, false), expected);
        assert_eq!(difference(old, old, false), "");
        assert_eq!(difference("", "a\n", false), "@@ line 1 @@\n+a\n");
        assert!(difference(old, new, true).contains("\u{1b}[31m-d\u{1b}[0m"));
    }

    #[test]
    fn a_large_difference_takes_bounded_time_and_room() {
        let numbered = |offset: usize| -> String {
            (0..100_000).map(|line| format!("{}\n", line * 2 + offset)).collect()
        };
        let shown = difference(&numbered(0), &numbered(1), false);
        assert!(shown.lines().count() < SHOWN + 3 && shown.ends_with("not shown\n"));
    }
}
