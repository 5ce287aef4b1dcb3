//! The policies that have been in force, kept in the state directory: what to go back to, and who changed what when.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::policy::{LoadedPolicy, Revision};
use crate::replace::replace;

/// Policies kept. Each has at most 16 MiB.
const KEPT: usize = 20;

/// What made a policy come into force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// The agent has started.
    Start,
    /// SIGHUP.
    Signal,
    #[default]
    Reload,
    Allow,
    Restore,
    /// A reload was cancelled, or not confirmed in time.
    Rollback,
}

impl How {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Signal => "signal",
            Self::Reload => "reload",
            Self::Allow => "allow",
            Self::Restore => "restore",
            Self::Rollback => "rollback",
        }
    }
}

/// What made a policy come into force, and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub how: How,
    /// None where nobody in particular is known: at a start, after a signal, when time is up.
    pub user: Option<String>,
}

impl Origin {
    pub const fn nobody(how: How) -> Self {
        Self { how, user: None }
    }
}

/// "reload by root".
impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.how.label())?;
        self.user.as_ref().map_or(Ok(()), |user| write!(f, " by {user}"))
    }
}

/// One policy that has been in force; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Counts up with every change: the order that no clock step disturbs.
    pub number: u64,
    pub revision: String,
    pub policy: String,
    /// When it came into force, the last time if it did so more than once.
    pub since: Timestamp,
    #[serde(flatten)]
    pub origin: Origin,
    pub file: PathBuf,
    pub bytes: usize,
    #[serde(skip_deserializing)]
    pub in_force: bool,
}

/// The directory of kept policies: for each revision its text, `REVISION.yaml`, and what is known of it,
/// `REVISION.json`.
#[derive(Clone, Debug)]
pub struct History {
    dir: PathBuf,
}

impl History {
    pub fn at(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("history") }
    }

    /// All that is kept, the newest first; `in_force` is the revision to mark.
    pub fn list(&self, in_force: Option<&str>) -> Result<Vec<Kept>, Failure> {
        let names = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::io("read", &self.dir, &error)),
        };
        let paths = names.flatten().map(|entry| entry.path());
        let described = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
        // A damaged description takes its policy from the list, and nothing else.
        let mut list: Vec<Kept> =
            described.filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).collect();
        list.sort_by_key(|kept| std::cmp::Reverse(kept.number));
        for kept in &mut list {
            kept.in_force = Some(kept.revision.as_str()) == in_force;
        }
        Ok(list)
    }

    /// The kept policy whose revision begins with `prefix`, and its text.
    pub fn find(&self, prefix: &str) -> Result<(Kept, String), Failure> {
        let list = self.list(None)?;
        let mut found = list.into_iter().filter(|kept| kept.revision.starts_with(prefix));
        let unknown = |what: &str| {
            Failure::Rejected(format!("{what}; `smtpfence history` lists the revisions that are kept"))
        };
        let shown = prefix.escape_debug();
        let kept = match (found.next(), found.next()) {
            (Some(kept), None) if !prefix.is_empty() => kept,
            (Some(_), _) => return Err(unknown(&format!("\"{shown}\" begins more than one revision"))),
            (None, _) => return Err(unknown(&format!("no revision \"{shown}\" is kept"))),
        };
        let path = self.path(&kept.revision, "yaml");
        let text = fs::read_to_string(&path).map_err(|error| Failure::io("read", &path, &error))?;
        if Revision::of(&text).to_string() != kept.revision {
            return Err(Failure::Rejected(format!(
                "{} is damaged: it is not the text of revision {}; restore another one",
                path.display(),
                kept.revision
            )));
        }
        Ok((kept, text))
    }

    /// Keeps what has just come into force. A full disk must not stop a reload: then it is only missing here.
    pub fn keep(&self, policy: &LoadedPolicy, origin: &Origin) {
        if let Err(error) = self.try_keep(policy, origin) {
            log::error!("{error}; revision {} can't be restored later", policy.revision);
        }
    }

    fn try_keep(&self, policy: &LoadedPolicy, origin: &Origin) -> Result<(), Failure> {
        let failed = |error| Failure::io("write in", &self.dir, &error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(failed)?;
        let list = self.list(None)?;
        let revision = policy.revision.to_string();
        let newest = list.first();
        // A restart, or a reload of the same text, changes nothing that somebody could want back.
        if newest.is_some_and(|newest| newest.revision == revision) {
            return Ok(());
        }
        let kept = Kept {
            number: newest.map_or(1, |newest| newest.number + 1),
            revision: revision.clone(),
            policy: policy.policy.name.clone(),
            since: Timestamp::now(),
            origin: origin.clone(),
            file: policy.path.clone(),
            bytes: policy.text.len(),
            in_force: false,
        };
        let described = serde_json::to_vec_pretty(&kept).map_err(|error| failed(error.into()))?;
        // First what must not be missing: a description without its text would promise too much.
        replace(&self.path(&revision, "yaml"), policy.text.as_bytes(), 0o600).map_err(failed)?;
        replace(&self.path(&revision, "json"), &described, 0o600).map_err(failed)?;
        self.forget_old(&revision, &list);
        Ok(())
    }

    /// Removes everything but the newest and what belongs to it.
    fn forget_old(&self, newest: &str, before: &[Kept]) {
        let others = before.iter().map(|kept| kept.revision.as_str()).filter(|revision| *revision != newest);
        let staying: HashSet<&str> = others.take(KEPT - 1).chain([newest]).collect();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let stays =
                path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|it| staying.contains(it));
            if !stays && let Err(error) = fs::remove_file(&path) {
                log::warn!("can't remove {}: {error}", path.display());
            }
        }
    }

    fn path(&self, revision: &str, extension: &str) -> PathBuf {
        self.dir.join(revision).with_extension(extension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;

    fn named(name: &str) -> LoadedPolicy {
        let text = format!(
            "version: 1\nname: {name}\nmode: audit\ninterfaces: {{ inside: [lan0], outside: [wan0] }}\n\
             networks: {{ clients: [10.25.0.0/24] }}\nend: true\n"
        );
        policy::load_text(Path::new("/etc/policy.yaml"), text).unwrap().0
    }

    fn names(history: &History) -> Vec<String> {
        history.list(None).unwrap().into_iter().map(|kept| kept.policy).collect()
    }

    #[test]
    fn the_last_twenty_are_kept_newest_first_and_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::at(dir.path());
        assert!(history.list(None).unwrap().is_empty());
        for round in 0..30 {
            history.keep(&named(&format!("p{round}")), &Origin::nobody(How::Reload));
        }
        // Back and forth: nothing else is pushed out by it.
        for name in ["p28", "p29", "p28", "p28"] {
            history.keep(&named(name), &Origin { how: How::Signal, user: Some("anna".into()) });
        }
        let expected: Vec<String> =
            [28, 29].into_iter().chain((10..28).rev()).map(|it| format!("p{it}")).collect();
        assert_eq!(names(&history), expected);
        assert_eq!(fs::read_dir(dir.path().join("history")).unwrap().count(), 40);
        let (kept, text) = history.find(&named("p28").revision.to_string()).unwrap();
        assert_eq!((kept.number, kept.origin.to_string().as_str()), (33, "signal by anna"));
        assert_eq!(text, named("p28").text);
    }

    #[test]
    fn only_what_is_kept_whole_can_be_found() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::at(dir.path());
        history.keep(&named("a"), &Origin::nobody(How::Start));
        history.keep(&named("b"), &Origin::nobody(How::Signal));
        let revision = named("a").revision.to_string();
        assert_eq!(history.find(&revision[..6]).unwrap().0.policy, "a");
        for unknown in ["", "../lock", "0000000000000000"] {
            assert!(matches!(history.find(unknown), Err(Failure::Rejected(_))), "{unknown:?}");
        }
        fs::write(history.path(&revision, "yaml"), "cut off").unwrap();
        assert!(history.find(&revision).unwrap_err().to_string().contains("is damaged"));
        fs::write(history.path(&revision, "json"), "{").unwrap();
        assert_eq!(names(&history), ["b"]);
    }

    #[test]
    fn a_full_disk_is_told_and_nothing_else() {
        let history = History::at(Path::new("/dev/full"));
        history.keep(&named("a"), &Origin::nobody(How::Start));
        assert!(history.list(None).is_err());
    }
}
