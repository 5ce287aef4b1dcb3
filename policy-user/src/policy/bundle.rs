//! A policy in several files as one text: the policy file, then each fragment behind a line that names it.
//!
//! So a revision covers all files, and whatever keeps, sends or compares a policy has one text for it. The last line says
//! that nothing is missing: the beginning of a bundle is no bundle.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// YAML takes this line for the beginning of a second document, which no policy file may have.
const FRAGMENT: &str = "\n--- # included: ";
const COMPLETE: &str = "\n--- # included files end here\n";

/// One file of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'t> {
    /// Path of a fragment as seen from the policy's directory; none for the policy file itself.
    pub file: Option<&'t str>,
    /// Byte of the bundle at which it starts.
    pub start: usize,
    pub text: &'t str,
}

impl Part<'_> {
    pub const fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }
}

/// The files of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'t> {
    /// The policy file first, then the fragments in their order.
    pub list: Vec<Part<'t>>,
    /// Whether the fragments are known. A policy that includes some must not be read without them.
    pub complete: bool,
}

impl<'t> Parts<'t> {
    pub fn of(text: &'t str) -> Self {
        let Some(all) = text.strip_suffix(COMPLETE) else {
            return Self { list: vec![Part { file: None, start: 0, text }], complete: false };
        };
        let starts: Vec<usize> = all.match_indices(FRAGMENT).map(|(at, _)| at).chain([all.len()]).collect();
        let mut list = vec![Part { file: None, start: 0, text: &all[..starts[0]] }];
        for bounds in starts.windows(2) {
            let (name, text) =
                all[bounds[0] + FRAGMENT.len()..bounds[1]].split_once('\n').unwrap_or_default();
            list.push(Part { file: Some(name), start: bounds[1] - text.len(), text });
        }
        Self { list, complete: true }
    }
}

/// Puts the files of a policy together; the fragments come with their names.
pub fn join<'a>(main: &str, fragments: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = main.to_owned();
    for (name, fragment) in fragments {
        text.extend([FRAGMENT, name, "\n", fragment]);
    }
    text + COMPLETE
}

/// The line, from 1, on which a file holds what only stands between files.
pub fn boundary_in(file: &str) -> Option<usize> {
    let at = file.find(FRAGMENT).or_else(|| file.find(COMPLETE))?;
    Some(file[..=at].bytes().filter(|byte| *byte == b'\n').count() + 1)
}

/// Where a fragment lies, or the policy itself, for the policy at `policy`.
pub fn path_of(policy: &Path, file: Option<&str>) -> PathBuf {
    file.map_or_else(|| policy.to_owned(), |file| policy.with_file_name(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_joined_is_found_again_byte_for_byte() {
        for main in ["a: b\n", "no line end", "", "\r\n"] {
            let fragments = [("d/1.yaml", "x: 1"), ("d/2.yaml", "\n\ny: 2\n"), ("d/3.yaml", "")];
            let joined = join(main, fragments);
            let parts = Parts::of(&joined);
            assert!(parts.complete);
            let found: Vec<_> = parts.list.iter().map(|part| (part.file.unwrap_or("-"), part.text)).collect();
            assert_eq!(found, [&[("-", main)][..], &fragments].concat());
            for part in &parts.list {
                assert_eq!(&joined[part.range()], part.text);
            }
            assert_eq!(Parts::of(&join(main, [])).list.len(), 1);
        }
    }

    #[test]
    fn the_beginning_of_a_bundle_is_no_bundle() {
        let joined = join("a: b\n", [("d/1.yaml", "x: 1\n")]);
        for cut in 0..joined.len() {
            assert!(!Parts::of(&joined[..cut]).complete, "{cut}");
        }
        assert_eq!(boundary_in(&joined), Some(3));
        assert_eq!(boundary_in(&join("a: b", [])), Some(2));
        assert_eq!(boundary_in("--- # included: x\na: b\n"), None);
    }
}
