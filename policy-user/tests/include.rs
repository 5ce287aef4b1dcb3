//! Policies in several files: what a directory of fragments means, and how it is refused, edited and kept.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy_user::policy::{
    self, Diagnostic, LoadError, LoadedPolicy, Parts, Policy, Strictness, edit, explain,
};

const MAIN: &str = "version: 1\nname: office\nmode: enforce\n\
    interfaces: { inside: [lan0], outside: [wan0] }\nnetworks: { clients: [10.25.0.0/24] }\n\
    include: policy.d\nmail_servers:\n  \
    - { name: mx1, address: 10.25.0.25, mac: \"02:00:00:00:00:25\" }\nend: true\n";

const SITE: &str = "# Site B.\nnetworks: { clients: [10.26.0.0/24], internal: [10.0.0.0/8] }\nmail_servers:\n  \
    - name: mx2\n    address: 10.26.0.25\n    mac: \"02:00:00:00:01:25\"\ngroups:\n  \
    - { name: lab, clients: [10.26.0.128/25], mode: audit }\nend: true\n";

const PERMITS: &str = "exceptions:\n  - name: scanner\n    from: [10.26.0.77]\n    to: [203.0.113.25]\n    \
    until: 2028-12-31\n    reason: ticket 4711\n    owner: it-ops\nend: true\n";

struct Files(tempfile::TempDir);

impl Files {
    /// A policy with these fragments.
    fn new(fragments: &[(&str, &str)]) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        fs::create_dir(files.at("policy.d")).unwrap();
        files.write("policy.yaml", MAIN);
        for (name, text) in fragments {
            files.write(&format!("policy.d/{name}"), text);
        }
        files
    }

    fn usual() -> Self {
        // By name, not by age.
        Self::new(&[("20-permits.yaml", PERMITS), ("10-site.yaml", SITE)])
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self) -> Result<(LoadedPolicy, Vec<Diagnostic>), LoadError> {
        policy::load(&self.at("policy.yaml"), Strictness::Strict)
    }

    fn policy(&self) -> LoadedPolicy {
        self.load().unwrap_or_else(|error| panic!("{}", error.render(false))).0
    }

    fn refusal(&self) -> String {
        let shown = self.load().unwrap_err().render(false);
        shown.replace(&format!("{}/", self.0.path().display()), "")
    }

    fn smtpfence(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smtpfence"));
        command.args(arguments).arg("--policy").arg(self.at("policy.yaml"));
        for (option, name) in [("--state-dir", "state"), ("--control", "socket"), ("--bpffs", "bpf")] {
            command.arg(option).arg(self.at(name));
        }
        command.output().unwrap()
    }
}

fn names(policy: &Policy) -> Vec<&str> {
    let servers = policy.mail_servers.iter().map(|it| it.name.as_str());
    let groups = policy.groups.iter().map(|it| it.name.as_str());
    servers.chain(policy.exceptions.iter().map(|it| it.name.as_str())).chain(groups).collect()
}

#[test]
fn fragments_add_to_the_policy_and_entries_know_their_file() {
    let files = Files::usual();
    let loaded = files.policy();
    assert_eq!(names(&loaded.policy), ["mx1", "mx2", "scanner", "lab"]);
    assert_eq!(loaded.policy.clients.len(), 2);
    assert_eq!(loaded.policy.internal.len(), 1);
    let shown: Vec<String> =
        explain::Entry::all(&loaded.policy).map(|entry| entry.shown(Path::new("/etc/policy.yaml"))).collect();
    assert_eq!(
        shown,
        [
            "group lab (/etc/policy.d/10-site.yaml:8)",
            "mail server mx1 (/etc/policy.yaml:8)",
            "mail server mx2 (/etc/policy.d/10-site.yaml:4)",
            "exception scanner (/etc/policy.d/20-permits.yaml:2)",
        ]
    );
}

#[test]
fn the_fragment_in_the_readme_is_one() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/README.md")).unwrap();
    let (_, fragment) = readme.split_once("```yaml\n# policy.d/20-site-b.yaml\n").unwrap();
    let files = Files::new(&[("20-site-b.yaml", fragment.split("```").next().unwrap())]);
    let (loaded, warnings) = files.load().unwrap();
    assert_eq!((names(&loaded.policy), warnings), (vec!["mx1", "mx2"], vec![]));
}

#[test]
fn the_revision_covers_every_file_and_its_name() {
    let files = Files::usual();
    let mut revisions = vec![files.policy().revision];
    files.write("policy.d/20-permits.yaml", &format!("# Reviewed.\n{PERMITS}"));
    revisions.push(files.policy().revision);
    fs::rename(files.at("policy.d/20-permits.yaml"), files.at("policy.d/30-permits.yaml")).unwrap();
    revisions.push(files.policy().revision);
    fs::remove_file(files.at("policy.d/30-permits.yaml")).unwrap();
    revisions.push(files.policy().revision);
    assert_eq!(policy::revision_at(&files.at("policy.yaml")), revisions.last().copied());
    let all = revisions.len();
    revisions.sort_by_key(|revision| revision.0);
    revisions.dedup();
    assert_eq!(revisions.len(), all);
}

/// What history, trial and the control socket do with it.
#[test]
fn the_kept_text_means_the_same_without_the_files() {
    let loaded = Files::usual().policy();
    let (again, _) = policy::load_text(Path::new("/nowhere/policy.yaml"), loaded.text.clone()).unwrap();
    assert_eq!((again.policy, again.revision), (loaded.policy, loaded.revision));
    let parts = Parts::of(&loaded.text);
    let texts: Vec<&str> = parts.list.iter().map(|part| part.text).collect();
    assert_eq!(texts, [MAIN, SITE, PERMITS]);
}

#[test]
fn every_beginning_of_a_fragment_or_of_the_kept_text_is_refused_or_equal() {
    let now = Timestamp::now();
    let whole = Files::usual().policy();
    let judge = |text: &str| policy::parse(text, now, &TimeZone::UTC).ok().map(|(policy, _)| policy);
    let meaning = judge(&whole.text).unwrap();
    let mut equal = 0;
    for fragment in &Parts::of(&whole.text).list[1..] {
        for cut in 0..fragment.text.len() {
            let range = fragment.range();
            let text = [&whole.text[..range.start + cut], &whole.text[range.end..]].concat();
            if let Some(policy) = judge(&text) {
                assert_eq!(policy, meaning, "{cut} bytes of {:?}", fragment.file);
                equal += 1;
            }
        }
    }
    // Without the last line break the fragment is whole.
    assert_eq!(equal, 2);
    for cut in 0..whole.text.len() {
        assert!(judge(&whole.text[..cut]).is_none(), "{cut}");
    }
}

#[test]
fn mistakes_are_shown_where_they_stand() {
    let files = Files::usual();
    files.write(
        "policy.d/15-bad.yaml",
        "mode: audit\nmail_server: []\nmail_servers:\n  - name: mx1\n    address: 10.25.0.1/24\n",
    );
    let shown = files.refusal();
    for expected in [
        "error[not-in-a-fragment]: `mode` can't stand in a fragment\n --> policy.d/15-bad.yaml:1:1",
        "error[unknown-key]: unknown key `mail_server`\n --> policy.d/15-bad.yaml:2:1",
        "error[duplicate-name]: the name `mx1` is given twice\n --> policy.d/15-bad.yaml:4:11",
        "::: policy.yaml:8:13",
        " --> policy.d/15-bad.yaml:5:14",
        "error[missing-end]: `end: true` is missing, the file may be cut off\n --> policy.d/15-bad.yaml:3:1",
    ] {
        assert!(shown.contains(expected), "{expected}\n--- in\n{shown}");
    }
    let one_line = files.load().unwrap_err().to_string();
    assert!(one_line.contains("/policy.d/15-bad.yaml:1:1: `mode` can't"), "{one_line}");
    files.write("policy.d/15-bad.yaml", "mail_servers:\n  - name: &a mx3\n    address: *a\nend: true\n");
    let shown = files.refusal();
    assert!(shown.contains("error[anchor]") && shown.contains("--> policy.d/15-bad.yaml:2:11"), "{shown}");
    files.write("policy.d/15-bad.yaml", "a: [\n");
    assert!(files.refusal().contains("--> policy.d/15-bad.yaml:"), "{}", files.refusal());
    for empty in ["", "# nothing\n", "[]\n"] {
        files.write("policy.d/15-bad.yaml", empty);
        assert!(files.refusal().contains("error[not-a-fragment]"), "{empty:?}: {}", files.refusal());
    }
}

#[test]
fn the_directory_and_its_files_are_judged_like_the_policy() {
    let files = Files::new(&[]);
    assert_eq!(names(&files.policy().policy), ["mx1"], "an empty directory adds nothing");
    // What the shell's `*.yaml` leaves out.
    for name in [".10-a.yaml", "10-a.yaml~", "10-a.yml", "10-a.yaml.bak-0"] {
        files.write(&format!("policy.d/{name}"), "no policy: [");
    }
    assert_eq!(names(&files.policy().policy), ["mx1"]);
    let mode =
        |name: &str, mode| fs::set_permissions(files.at(name), fs::Permissions::from_mode(mode)).unwrap();
    files.write("policy.d/10 a\u{1b}.yaml", "");
    assert!(files.refusal().contains("holds a file named `10 a\\u{1b}.yaml`"), "{}", files.refusal());
    fs::remove_file(files.at("policy.d/10 a\u{1b}.yaml")).unwrap();
    mode("policy.d", 0o777);
    assert!(files.refusal().contains("error[include-writable-by-others]"), "{}", files.refusal());
    assert!(files.refusal().contains("policy.yaml:6:10"), "{}", files.refusal());
    let advised = policy::load(&files.at("policy.yaml"), Strictness::Advisory).unwrap().1;
    assert_eq!(advised[0].code, "include-writable-by-others");
    mode("policy.d", 0o755);
    files.write("policy.d/10-a.yaml", PERMITS);
    mode("policy.d/10-a.yaml", 0o666);
    assert!(files.refusal().starts_with("error[file-writable-by-others]: policy.d/10-a.yaml: "));
    let advised = policy::load(&files.at("policy.yaml"), Strictness::Advisory).unwrap().1;
    assert!(
        advised
            .iter()
            .any(|it| it.code == "file-writable-by-others" && it.file() == Some("policy.d/10-a.yaml"))
    );
    fs::remove_file(files.at("policy.d/10-a.yaml")).unwrap();
    symlink("/dev/zero", files.at("policy.d/10-a.yaml")).unwrap();
    assert!(files.refusal().starts_with("error[file-not-regular]: policy.d/10-a.yaml: "));
    fs::remove_file(files.at("policy.d/10-a.yaml")).unwrap();
    for number in 0..3 {
        let file = fs::File::create(files.at(&format!("policy.d/{number}.yaml"))).unwrap();
        file.set_len(6 * 1024 * 1024).unwrap();
    }
    assert!(files.refusal().contains("error[file-too-large]"), "{}", files.refusal());
    fs::remove_dir_all(files.at("policy.d")).unwrap();
    assert!(files.refusal().contains("error[include-unreadable]"), "{}", files.refusal());
    fs::write(files.at("policy.d"), "").unwrap();
    assert!(files.refusal().contains("error[include-not-directory]"), "{}", files.refusal());
}

#[test]
fn an_include_that_leads_elsewhere_or_was_not_followed_is_refused() {
    let now = Timestamp::now();
    let codes = |text: &str| -> Vec<&str> {
        policy::parse(text, now, &TimeZone::UTC)
            .map_or_else(|it| it.iter().map(|it| it.code).collect(), |_| vec![])
    };
    assert_eq!(codes(MAIN), ["include-not-read"]);
    for elsewhere in ["..", "../other", ".", "/etc/policy.d", "policy.d/", "a b", "\"policy\\x2ed\""] {
        let files = Files::usual();
        files.write("policy.yaml", &MAIN.replace("include: policy.d", &format!("include: {elsewhere}")));
        assert!(files.load().is_err(), "{elsewhere}");
    }
    // However the key is written, its fragments are read.
    for key in ["\"include\"", "'include'", "\"\\x69nclude\"", "? include\n"] {
        let files = Files::usual();
        files.write("policy.yaml", &MAIN.replace("include", key));
        assert_eq!(names(&files.policy().policy).len(), 4, "{key}");
    }
    // What only stands between files must not be forged in one.
    let files = Files::usual();
    let kept = files.policy().text;
    assert_eq!(codes(&kept), [] as [&str; 0]);
    for (was, forged) in [
        ("include: policy.d\n", ""),
        ("include: policy.d\n", "include: other.d\n"),
        ("policy.d/10-site.yaml", "policy.d/../10-site.yaml"),
        ("policy.d/10-site.yaml", "/etc/cron.d/site.yaml"),
    ] {
        assert_eq!(codes(&kept.replace(was, forged)), ["include-mismatch"], "{forged}");
    }
    files.write("policy.yaml", &kept);
    assert!(files.refusal().contains("error[file-bundle]"), "{}", files.refusal());
    // `check` and `diff` read what the history keeps; it is never put in force as one file.
    let (read, _) = policy::load(&files.at("policy.yaml"), Strictness::Advisory).unwrap();
    assert_eq!(read.text, kept);
    files.write("policy.yaml", kept.strip_suffix('\n').unwrap());
    assert!(policy::load(&files.at("policy.yaml"), Strictness::Advisory).is_err());
}

#[test]
fn exceptions_are_added_to_the_policy_file_and_removed_where_they_stand() {
    let files = Files::usual();
    let loaded = files.policy();
    let (now, zone) = (Timestamp::now(), TimeZone::UTC);
    let new = edit::NewException {
        name: "printer".into(),
        from: vec!["10.26.0.78".into()],
        to: vec!["203.0.113.26".into()],
        until: "2028-12-31".into(),
        reason: "r".into(),
        owner: "o".into(),
    };
    let added = edit::add(&loaded.text, &new, now, &zone).unwrap();
    assert_eq!(names(&added.policy), ["mx1", "mx2", "printer", "scanner", "lab"]);
    let parts = Parts::of(&added.text);
    assert!(parts.list[0].text.contains("printer"));
    assert_eq!((parts.list[1].text, parts.list[2].text), (SITE, PERMITS));
    let removed = edit::remove(&added.text, "scanner", now, &zone).unwrap();
    assert_eq!(names(&removed.policy), ["mx1", "mx2", "printer", "lab"]);
    assert_eq!(Parts::of(&removed.text).list[2].text, "exceptions: []\nend: true\n");
    let removed = edit::remove(&removed.text, "printer", now, &zone).unwrap();
    assert_eq!(Parts::of(&removed.text).list[1].text, SITE);
}

#[test]
fn the_verbs_write_only_the_files_that_change() {
    let files = Files::usual();
    let before = files.policy();
    let removed = files.smtpfence(&["allow", "--remove", "scanner", "--yes"]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    let told = String::from_utf8_lossy(&removed.stdout).into_owned();
    assert!(told.contains("policy.d/20-permits.yaml, changed") && !told.contains("10-site"), "{told}");
    assert_eq!(fs::read_to_string(files.at("policy.yaml")).unwrap(), MAIN);
    assert_eq!(names(&files.policy().policy), ["mx1", "mx2", "lab"]);

    // History as an agent keeps it, then back: a new fragment goes, what is missing comes.
    let history = policy_user::agent::history::History::at(&files.at("state"));
    history
        .keep(&before, &policy_user::agent::history::Origin::nobody(policy_user::agent::history::How::Start));
    files.write("policy.d/30-late.yaml", "mail_servers: [{ name: mx9, address: 10.25.0.9 }]\nend: true\n");
    fs::remove_file(files.at("policy.d/10-site.yaml")).unwrap();
    let restored = files.smtpfence(&["restore", &before.revision.to_string(), "--yes"]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let told = String::from_utf8_lossy(&restored.stdout).into_owned();
    for expected in ["10-site.yaml, new", "20-permits.yaml, changed", "30-late.yaml, removed"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert_eq!(files.policy().text, before.text);
    assert_eq!(files.policy().revision, before.revision);
    let backups: Vec<String> = fs::read_dir(files.at("policy.d"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".bak-"))
        .collect();
    assert_eq!(backups.len(), 2, "{backups:?}");
}
