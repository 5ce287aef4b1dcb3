//! The files that a policy's text stands in: which of them a change touches, and how they are written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::lines;
use crate::failure::Failure;
use crate::policy::{Part, Parts, Revision, path_of};
use crate::replace::{replace, rewrite};

/// One file that differs between two texts of a policy.
#[derive(Debug, PartialEq, Eq)]
pub struct FileChange<'t> {
    /// A fragment, as seen from the policy's directory; none for the policy file itself.
    file: Option<&'t str>,
    /// None where there is no such file.
    pub old: Option<&'t str>,
    new: Option<&'t str>,
}

/// The files that differ; a fragment that only the old text has goes.
pub fn differences<'t>(old: Option<&'t str>, new: &'t str) -> impl Iterator<Item = FileChange<'t>> {
    between(old, Some(new)).into_iter()
}

fn between<'t>(old: Option<&'t str>, new: Option<&'t str>) -> Vec<FileChange<'t>> {
    let files = |text: Option<&'t str>| text.map(|text| Parts::of(text).list).unwrap_or_default();
    // Nobody reads the fragments of a policy that includes none; then they stay.
    let go = new.is_none_or(|text| Parts::of(text).complete);
    let (old, new) = (files(old), files(new));
    let gone = old.iter().filter(|part| go && new.iter().all(|other| other.file != part.file));
    let files = new.iter().chain(gone).map(|part| {
        let text = |files: &[Part<'t>]| files.iter().find(|it| it.file == part.file).map(|it| it.text);
        FileChange { file: part.file, old: text(&old), new: text(&new) }
    });
    files.filter(|change| change.old != change.new).collect()
}

/// Makes files that hold `old` hold `new`. Each is exchanged as a whole, one after the other: no agent reads them before
/// it is told to.
pub fn write(policy: &Path, old: Option<&str>, new: Option<&str>) -> Result<(), Failure> {
    between(old, new).iter().try_for_each(|change| change.write(policy))
}

impl FileChange<'_> {
    /// The difference for people.
    pub fn shown(&self, policy: &Path, colour: bool) -> String {
        let path = path_of(policy, self.file).display().to_string();
        let path = path.escape_debug();
        let what = match (self.old, self.new) {
            (None, _) => "new",
            (_, None) => "removed",
            _ => "changed",
        };
        let (old, new) = (self.old.unwrap_or_default(), self.new.unwrap_or_default());
        format!("--- {path}\n+++ {path}, {what}\n{}", lines::difference(old, new, colour))
    }

    /// Copies the file to one beside it that no policy includes.
    pub fn back_up(&self, policy: &Path, revision: Revision) -> Result<PathBuf, Failure> {
        let path = path_of(policy, self.file);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".bak-{revision}"));
        let backup = path.with_file_name(name);
        fs::copy(&path, &backup).map_err(|error| Failure::io("write", &backup, &error))?;
        Ok(backup)
    }

    fn write(&self, policy: &Path) -> Result<(), Failure> {
        let path = path_of(policy, self.file);
        let written = match self.new {
            Some(text) if path.exists() => rewrite(&path, text.as_bytes()),
            Some(text) => made_directory(&path).and_then(|()| replace(&path, text.as_bytes(), 0o600)),
            None if path.exists() => fs::remove_file(&path),
            None => Ok(()),
        };
        written.map_err(|error| Failure::io("write", &path, &error))
    }
}

/// The directory of a fragment may have gone with the last policy that included it.
fn made_directory(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}
