//! `smtpfence test`: the shipped policies keep their promises, and a failure says what to look at.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use policy_user::policy::unit_test;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const OFFICE: &str = include_str!("../../policies/office.yaml");

fn shipped() -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(ROOT).join("../policies/tests")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_shipped_policies_pass_their_tests_and_every_entry_is_touched() {
    let policies = fs::read_dir(Path::new(ROOT).join("../policies")).unwrap();
    let policies = policies.map(|entry| entry.unwrap().path());
    let policies = policies.filter(|path| path.extension().is_some_and(|it| it == "yaml")).count();
    assert_eq!(shipped().len(), policies, "each policy has tests");
    for file in shipped() {
        let report = unit_test::run(&file, None).unwrap();
        let failed = report.tests.iter().find(|test| !test.passed);
        assert!(failed.is_none(), "{}: {failed:#?}", file.display());
        assert!(report.untested.is_empty(), "{}: {:?}", file.display(), report.untested);
    }
}

/// A policy that breaks a promise must fail its tests: else they would prove nothing.
#[test]
fn a_careless_change_is_found() {
    for (what, from, to) in [
        ("mode", "mode: enforce", "mode: audit"),
        ("everybody may send", "address: 10.25.1.30", "address: [10.25.1.30, 10.25.0.80]"),
        ("the MAC is gone", "    mac: \"02:00:00:00:00:25\" ", "    # "),
        ("a mistyped MAC", "02:00:00:00:00:25", "02:00:00:00:00:52"),
        ("the interface is gone", "    interface: vlan10 ", "    # "),
        ("wider", "to: [203.0.113.0/24]", "to: any"),
        ("an exception to everywhere", "to: [203.0.113.25]", "to: [0.0.0.0/0]"),
        ("longer", "until: 2027-12-31 ", "until: 2028-12-31 "),
        ("no guard", "  outside: [wan0] ", "  outside: [] "),
        ("another port", "blocked: [25]", "blocked: [24]"),
    ] {
        let policy = OFFICE.replace(from, to);
        assert_ne!(policy, OFFICE, "{what}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("office.yaml");
        fs::write(&path, policy).unwrap();
        let file = Path::new(ROOT).join("../policies/tests/office.yaml");
        let report = unit_test::run(&file, Some(&path)).unwrap();
        assert!(report.tests.iter().any(|test| !test.passed), "{what}");
    }
}

fn smtpfence(tests: &str, options: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("office.yaml"), OFFICE).unwrap();
    fs::write(dir.path().join("tests.yaml"), tests).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smtpfence"));
    command.arg("test").arg("tests.yaml").args(options).current_dir(dir.path()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const WRONG: &str = "policy: office.yaml\ntests:\n\
    - { name: mx1 sends, from: 10.25.1.25, to: 198.51.100.7, expect: pass }\n\
    - { name: staff send, from: 10.25.0.80, to: 10.1.2.3, expect: deny, reason: unknown-source }\n";

#[test]
fn a_failure_shows_what_was_expected_and_how_it_was_decided() {
    let output = smtpfence(WRONG, &[]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "\
FAILED staff send (tests.yaml:4)
  expected  deny, unknown-source
  got       pass, internal-destination: the destination is inside the company
     1  is it TCP over IPv4 or IPv6?                  yes, that is what is asked about
     2  can its destination port be read?             yes, 25
     3  is it a later fragment, without a port?       no
     4  is the port blocked?                          yes
     5  is the destination internal, or the gateway?  yes, in 10.0.0.0/8: pass

tests.yaml: 1 of 2 passed; 1 of 4 entries of the policy are touched, not
  mail server mx2 (office.yaml:34)
  mail server newsletter (office.yaml:38)
  exception scanner-3rd-floor (office.yaml:44)
FAILED: 1 passed, 1 failed
";
    assert_eq!(text(&output.stdout), expected);
    let read: Value = serde_json::from_slice(&smtpfence(WRONG, &["--format", "json"]).stdout).unwrap();
    assert_eq!((&read["ok"], &read["passed"], &read["failed"]), (&false.into(), &1.into(), &1.into()));
    let test = &read["files"][0]["report"]["tests"][1];
    assert_eq!(
        (&test["line"], &test["expected"], &test["got"]["verdict"]),
        (&4.into(), &"deny".into(), &"pass".into())
    );
}

#[test]
fn exit_codes_are_those_of_the_manual() {
    let good = WRONG.lines().take(3).collect::<Vec<_>>().join("\n");
    for (tests, options, code, said) in [
        (good.as_str(), &[][..], 0, ""),
        (&good, &["--deny-untested"], 1, ""),
        (&good, &["none.yaml"], 1, "none.yaml: there is no such file"),
        (
            "policy: none.yaml\ntests: [{ name: a, from: gateway, to: 192.0.2.1, expect: pass }]",
            &[],
            1,
            "no such file",
        ),
        ("policy: office.yaml\ntests: []\n", &[], 1, "a file without tests finds nothing wrong"),
        ("", &[], 1, "keys with values"),
        ("policy: office.yaml\npolicy: office.yaml\ntests: 1\n", &[], 1, "written twice"),
        ("policy: [", &[], 1, "no value can begin like this"),
    ] {
        let output = smtpfence(tests, options);
        assert_eq!(output.status.code(), Some(code), "{tests}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{tests}: {}", text(&output.stderr));
    }
}

#[test]
fn mistakes_are_shown_all_at_once_with_their_places() {
    let tests = "policy: office.yaml\ntests:\n\
        - { name: a, from: 10.25.0.080, to: 198.51.100.7, expects: pass }\n\
        - { name: b, from: gateway, to: 198.51.100.7, expect: block, reason: because }\n\
        - { name: c, from: fd25::1, to: 198.51.100.7, expect: pass, port: 70000, at: later }\n";
    let output = smtpfence(tests, &[]);
    let shown = text(&output.stderr);
    for (place, code, help) in [
        (":3:20", "leading-zero", "write 10.25.0.80"),
        (":3:51", "unknown-key", "did you mean `expect`?"),
        (":3:3", "missing-key", "write `expect: pass`"),
        (":4:55", "unknown-verdict", "`deny` for any of the last three"),
        (":4:70", "unknown-reason", "see docs/events.md"),
        (":5:33", "mixed-families", "IPv4 or IPv6 at both ends"),
        (":5:78", "bad-time", "write a date such as"),
    ] {
        let at = shown.find(&format!("error[{code}]")).unwrap_or_else(|| panic!("no {code} in\n{shown}"));
        let about = shown[at..].split("\n\n").next().unwrap();
        assert!(about.contains(&format!("tests.yaml{place}\n")) && about.contains(help), "{code}:\n{about}");
    }
}
