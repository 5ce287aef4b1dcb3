//! What waits for receivers, in a file, so that a restart forgets none of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::outbox::Kept;
use crate::replace::replace;

/// The queues of all receivers by their names.
pub struct File {
    path: PathBuf,
    failing: bool,
}

impl File {
    /// What the last agent left behind. A damaged file must stop nothing: it is told and put aside.
    pub fn read(state_dir: &Path) -> (Self, BTreeMap<String, Kept>) {
        let path = state_dir.join("notify.json");
        let kept = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                let aside = path.with_extension("damaged");
                log::error!(
                    "{} is damaged ({error}): notifications that waited are lost, the file is kept as {}",
                    path.display(),
                    aside.display()
                );
                let _ = fs::rename(&path, aside);
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        (Self { path, failing: false }, kept)
    }

    /// A full disk costs only what a restart then forgets; said once.
    pub fn write(&mut self, kept: &BTreeMap<String, Kept>) {
        let written = serde_json::to_vec(kept)
            .map_err(std::io::Error::other)
            .and_then(|json| replace(&self.path, &json, 0o600));
        match &written {
            Err(error) if !self.failing => {
                log::error!(
                    "can't write {}: {error}; notifications that wait are lost at the next restart",
                    self.path.display()
                );
            }
            Ok(()) if self.failing => log::warn!("{} can be written again", self.path.display()),
            _ => {}
        }
        self.failing = written.is_err();
    }
}
