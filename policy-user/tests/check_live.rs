//! `smtpfence check --live` on whatever machine runs the tests: it looks, says what doesn't fit, and changes nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

const POLICY: &str = "version: 1\nname: live\nmode: audit\ninterfaces: { inside: [\"no-such*\"], outside: [gone-wan0] }\n\
                      networks: { clients: [10.25.0.0/16] }\nend: true\n";

fn check(options: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    fs::write(&path, POLICY).unwrap();
    Command::new(env!("CARGO_BIN_EXE_smtpfence")).arg("check").arg(&path).args(options).output().unwrap()
}

#[test]
fn the_file_alone_says_nothing_about_the_machine() {
    let output = check(&["--format", "json", "--deny-warnings"]);
    assert_eq!(output.status.code(), Some(0));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&read["live"], &read["warnings"]), (&Value::Null, &json!([])));
}

#[test]
fn programs_read_what_the_machine_lacks() {
    let output = check(&["--live", "--format", "json", "--bpffs", "/proc"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        read["live"],
        json!({
            "inside": [{ "match": "no-such*", "interfaces": [] }],
            "outside": [{ "match": "gone-wan0", "interfaces": [] }],
        })
    );
    let warnings = read["warnings"].as_array().unwrap();
    for code in ["no-bpffs", "pattern-without-interface", "interface-missing"] {
        assert_eq!(warnings.iter().filter(|warning| warning["code"] == code).count(), 1, "{code}");
    }
    assert!(warnings.iter().all(|warning| warning["line"].is_null() && warning["help"] != ""));
}

#[test]
fn people_read_the_same_and_may_call_it_a_rejection() {
    let output = check(&["--live", "--deny-warnings"]);
    assert_eq!(output.status.code(), Some(1));
    let (shown, warnings) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(
        shown.ends_with("  on this machine\n    inside  no-such*: none\n    outside gone-wan0: none\n"),
        "{shown}"
    );
    assert!(
        warnings.contains("warning[interface-missing]: there is no outside interface gone-wan0"),
        "{warnings}"
    );
}
