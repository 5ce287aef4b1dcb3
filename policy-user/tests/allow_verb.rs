//! `smtpfence allow` on a policy file, without an agent.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/allow_fixtures");

const ATTEMPT: &str = r#"{"event":"READY","policy":"office"}
{"time":"2026-11-24T08:42:52Z","id":"6d89c5807e5e","event":"attempt","reason":"not-a-mail-server","client":"10.25.0.77","destination":"203.0.113.25","rule":null}
{"time":"2026-11-24T08:42:53Z","id":"6d89ffffffff","event":"attempt","reason":"quarantined","client":"10.25.0.78","destination":"203.0.113.25","rule":null}
"#;

/// A policy file, a log, and no agent.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new(layout: &str) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::copy(Path::new(FIXTURES).join("before").join(layout), desk.policy()).unwrap();
        fs::set_permissions(desk.policy(), fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(desk.log(), ATTEMPT).unwrap();
        desk
    }

    fn policy(&self) -> PathBuf {
        self.0.path().join("policy.yaml")
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("attempts.jsonl")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.policy()).unwrap()
    }

    /// The exit code, and all that was said.
    fn allow(&self, arguments: &[&str], input: &str) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smtpfence"));
        command.arg("allow").args(arguments).arg("--policy").arg(self.policy());
        command.arg("--state-dir").arg(self.0.path()).arg("--control").arg(self.0.path().join("none"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that does not read it may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(told).unwrap())
    }
}

const WHY: [&str; 6] = ["--until", "2999-12-31", "--reason", "test", "--owner", "it"];

#[test]
fn the_file_is_written_as_a_whole_and_only_when_wanted() {
    let desk = Desk::new("block.yaml");
    let before = desk.text();
    let wanted = [&["--from", "10.25.0.77", "--to", "203.0.113.25"][..], &WHY].concat();
    let (code, told) = desk.allow(&wanted, "y\n");
    assert!(code == 2 && told.contains("add --yes"), "{told}");
    assert_eq!(desk.text(), before);
    let (code, told) = desk.allow(&[&wanted[..], &["--yes"]].concat(), "");
    assert!(code == 0 && told.contains("no agent answers"), "{told}");
    assert!(desk.text().contains("name: allow-10.25.0.77-to-203.0.113.25\n"));
    assert_eq!(fs::metadata(desk.policy()).unwrap().permissions().mode() & 0o7777, 0o640);
    let (code, told) = desk.allow(&[&wanted[..], &["--yes"]].concat(), "");
    assert!(code == 0 && told.contains("exception-covered") && told.contains("-2\n"), "{told}");
    for name in ["allow-10.25.0.77-to-203.0.113.25-2", "allow-10.25.0.77-to-203.0.113.25"] {
        assert_eq!(desk.allow(&["--remove", name, "--yes"], "").0, 0);
    }
    assert_eq!(desk.text(), before);
    assert_eq!(fs::read_dir(desk.0.path()).unwrap().count(), 2, "something is left behind");
}

#[test]
fn attempts_are_found_by_id_by_line_and_on_standard_input() {
    let log = |desk: &Desk| desk.log().to_string_lossy().into_owned();
    for (which, input) in [("id", ""), ("line", ""), ("input", ATTEMPT)] {
        let desk = Desk::new("empty.yaml");
        let (log, line) = (log(&desk), format!("{}:2", log(&desk)));
        let which = match which {
            "id" => vec!["--from-log", "6d89c5", "--log", &log],
            "line" => vec!["--from-log", &line],
            _ => vec!["--from-log", "6d89c5807e5e", "--log", "-"],
        };
        let (code, told) = desk.allow(&[&which[..], &WHY, &["--yes"]].concat(), input);
        assert!(code == 0 && told.contains("+    from: [10.25.0.77]\n+    to: [203.0.113.25]\n"), "{told}");
    }
    let desk = Desk::new("empty.yaml");
    let log = log(&desk);
    for (id, why) in [
        ("6d89", "more than one ID"),
        ("6d89ff", "smtpfence release 10.25.0.78"),
        ("000000", "no attempt with the ID"),
        ("zzzz", "no attempt with the ID"),
    ] {
        let (code, told) =
            desk.allow(&[&["--from-log", id, "--log", &log][..], &WHY, &["--yes"]].concat(), "");
        assert!(code == 1 && told.contains(why), "{id}: {told}");
    }
    let (code, told) = desk.allow(&[&["--from-log", &format!("{log}:1")][..], &WHY, &["--yes"]].concat(), "");
    assert!(code == 1 && told.contains("is no blocked attempt"), "{told}");
}

#[test]
fn the_list_marks_what_has_expired() {
    let desk = Desk::new("block.yaml");
    let text = desk.text().replacen("2026-12-31", "2020-12-31", 1);
    fs::write(desk.policy(), text).unwrap();
    let (code, told) = desk.allow(&["--list"], "");
    assert!(code == 0 && told.contains("other  EXPIRED, permits nothing\n  from    10.25.0.81\n"), "{told}");
    let (_, told) = desk.allow(&["--list", "--format", "json"], "");
    let list: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&list[0]["expired"], &list[0]["seconds_left"]), (&true.into(), &0.into()));
    assert_eq!((&list[1]["name"], &list[1]["owner"]), (&"old".into(), &"it # ops".into()));
}
