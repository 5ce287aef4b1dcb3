//! What the verbs print for programs and pipes: SARIF, `migrate`, and readers that have seen enough.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");

fn smtpfence(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smtpfence")).args(arguments).current_dir(dir).output().unwrap()
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn code_scanning_gets_rules_levels_and_places() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("my policy.d")).unwrap();
    fs::create_dir(dir.path().join("policy.d")).unwrap();
    let policy = "version: 1\nname: office\nmode: enforce\ninterfaces: { inside: [lan0], outside: [wan0] }\n\
                  networks: { clients: [10.25.0.0/24] }\ninclude: policy.d\n\
                  mail_servers: [{ name: mx1, address: 10.25.0.25 }]\nend: true\n";
    fs::write(dir.path().join("my policy.yaml"), policy).unwrap();
    let valid = smtpfence(dir.path(), &["check", "my policy.yaml", "--format", "sarif"]);
    assert_eq!(valid.status.code(), Some(0));
    let log = parsed(&valid);
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["rules"], json!([{ "id": "mail-server-without-mac" }]));
    let warning = &run["results"][0];
    assert_eq!((&warning["level"], &warning["ruleIndex"]), (&json!("warning"), &json!(0)));
    assert_eq!(
        warning["locations"][0]["physicalLocation"],
        json!({
            "artifactLocation": { "uri": "my%20policy.yaml" },
            "region": { "startLine": 7, "startColumn": 24, "endColumn": 27 },
        })
    );

    let fragment = "mail_servers:\n  - name: mx1\n    address: 10.25.0.26/24\nend: true\n";
    fs::write(dir.path().join("policy.d/10.yaml"), fragment).unwrap();
    let refused = smtpfence(dir.path(), &["check", "my policy.yaml", "--format", "sarif"]);
    assert_eq!(refused.status.code(), Some(1));
    let run = &parsed(&refused)["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for result in results {
        assert_eq!(rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"], result["ruleId"]);
        assert_eq!(result["level"], "error");
        assert!(result["message"]["text"].as_str().unwrap().contains("; "), "{result}");
        let at = &result["locations"][0]["physicalLocation"];
        assert_eq!(at["artifactLocation"]["uri"], "policy.d/10.yaml");
    }
    assert_eq!(results[0]["ruleId"], "duplicate-name");
    let related = &results[0]["relatedLocations"][0];
    assert_eq!(related["physicalLocation"]["artifactLocation"]["uri"], "my%20policy.yaml");
    assert_eq!(related["message"]["text"], "first given here");

    let missing = smtpfence(dir.path(), &["check", "none.yaml", "--format", "sarif"]);
    assert_eq!(missing.status.code(), Some(1));
    let result = &parsed(&missing)["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&json!("file-missing"), &json!("error")));
    assert_eq!(
        result["locations"][0]["physicalLocation"],
        json!({ "artifactLocation": { "uri": "none.yaml" } })
    );
}

#[test]
fn there_is_nothing_to_migrate_from_yet() {
    let dir = tempfile::tempdir().unwrap();
    let office = format!("{POLICIES}/office.yaml");
    let migrated = smtpfence(dir.path(), &["migrate", &office]);
    assert_eq!(migrated.status.code(), Some(0));
    let told = String::from_utf8(migrated.stdout).unwrap();
    assert!(told.ends_with(": version 1 is the current one: nothing to do\n"), "{told}");
    let json = parsed(&smtpfence(dir.path(), &["migrate", &office, "--format", "json"]));
    assert_eq!(json, json!({ "file": office, "version": 1, "current_version": 1, "text": null }));

    let newer = dir.path().join("newer.yaml");
    for (version, expected) in [
        ("version: 2\n", "version 2 of the language is not known here, 1 is the newest; install"),
        ("version: 0\n", "version 0 of the language is not known here"),
        ("version: 1.5\n", "error[wrong-type]"),
        ("", "error[missing-key]: `version` is missing"),
        ("version: [\n", "error[syntax]"),
    ] {
        fs::write(&newer, fs::read_to_string(&office).unwrap().replace("version: 1\n", version)).unwrap();
        let refused = smtpfence(dir.path(), &["migrate", "newer.yaml"]);
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(1) && told.contains(expected), "{version}: {told}");
    }
}

/// Verbs that list something without an agent; those that need one are tried where one runs.
#[test]
fn a_reader_that_has_gone_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let at = |file: &str| format!("{POLICIES}/{file}");
    let (office, branch, suite) =
        (at("office.yaml"), at("branch-no-mailserver.yaml"), at("tests/office.yaml"));
    let verbs: [&[&str]; 14] = [
        &["check", &office],
        &["check", &office, "--format", "json"],
        &["check", &office, "--format", "sarif"],
        &["schema"],
        &["schema", "--fragment"],
        &["schema", "--markdown"],
        &["migrate", &office],
        &["explain", "--policy", &office, "--from", "10.25.0.77", "--to", "203.0.113.25"],
        &["diff", &office, &branch],
        &["diff", &office, &branch, "--format", "json"],
        &["test", &suite],
        &["test", &suite, "--format", "json"],
        &["allow", "--list", "--policy", &office],
        &["history", "--state-dir", "none"],
    ];
    for verb in verbs {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_smtpfence"));
        command.args(verb).current_dir(dir.path()).stdout(writer).stderr(Stdio::piped());
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(0) && !told.contains("panicked"), "{verb:?}: {told}");
    }
}

#[test]
fn a_live_screen_without_a_terminal_is_refused_in_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let refused = smtpfence(dir.path(), &["top", "--state-dir", ".", "--control", "socket"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), told.lines().count()), (Some(2), 1), "{told}");
    assert!(told.contains("needs a terminal") && refused.stdout.is_empty(), "{told}");
}
