//! `smtpfence check` as an admin and as a program read it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

const POLICY: &str = r#"version: 1
name: office
interfaces:
  inside:
    - { match: "guest*", mode: audit }
    - { match: lab0, on_block: drop }
    - lan0
  outside: [wan0]
networks: { clients: [10.25.0.0/16] }
mode: enforce
on_block: reject
groups:
  - { name: guests, clients: [10.25.9.0/24], mode: audit }
  - { name: tills, clients: [10.25.8.0/24, 10.25.9.7], mode: enforce, on_block: drop }
end: true
"#;

/// What is printed about a policy that must be valid.
fn check(policy: &str, options: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    fs::write(&path, policy).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smtpfence"));
    let output = command.arg("check").arg(&path).args(options).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn line<'t>(text: &'t str, label: &str) -> &'t str {
    text.lines().find_map(|line| line.trim_start().strip_prefix(label)).unwrap().trim_start()
}

#[test]
fn the_summary_names_who_is_treated_differently() {
    let shown = check(POLICY, &[]);
    assert_eq!(
        line(&shown, "mode"),
        "enforce; audit for group guests, interface guest*; enforce for group tills"
    );
    assert_eq!(line(&shown, "on block"), "reject; drop for group tills, interface lab0");
    assert_eq!(line(&shown, "gateway mail"), "denied");
    assert_eq!(line(&shown, "inside"), "guest*, lab0, lan0");
    assert_eq!(line(&shown, "groups"), "2");
    assert_eq!(line(&shown, "tills:"), "10.25.8.0/24, 10.25.9.7");
}

#[test]
fn an_audit_policy_says_where_it_blocks_all_the_same() {
    let audit = POLICY.replace("\nmode: enforce", "\nmode: audit").replace("\non_block: reject", "");
    let shown = check(&audit, &[]);
    let mode = line(&shown, "mode");
    assert!(mode.starts_with("audit (") && mode.contains("; enforce for group tills"), "{mode}");
    assert_eq!(line(&shown, "on block"), "drop");
}

#[test]
fn who_says_what_the_policy_says_is_not_worth_a_word() {
    let same = POLICY.replace("mode: audit", "mode: enforce");
    assert_eq!(line(&check(&same, &[]), "mode"), "enforce");
    let unguarded = POLICY.replace("  outside: [wan0]\n", "");
    let shown = check(&unguarded, &[]);
    assert_eq!(line(&shown, "gateway mail"), "not guarded, because no outside interface is named");
}

#[test]
fn programs_read_the_same() {
    let read: Value = serde_json::from_str(&check(POLICY, &["--format", "json"])).unwrap();
    let summary = &read["summary"];
    assert_eq!(
        (&summary["mode"], &summary["on_block"], &summary["gateway_mail"]),
        (&json!("enforce"), &json!("reject"), &json!("deny"))
    );
    assert_eq!(
        summary["inside"],
        json!([
            { "match": "guest*", "mode": "audit", "on_block": null },
            { "match": "lab0", "mode": null, "on_block": "drop" },
            { "match": "lan0", "mode": null, "on_block": null },
        ])
    );
    assert_eq!(
        summary["groups"],
        json!([
            { "name": "guests", "clients": ["10.25.9.0/24"], "mode": "audit", "on_block": null, "file": null, "line": 13 },
            {
                "name": "tills",
                "clients": ["10.25.8.0/24", "10.25.9.7"],
                "mode": "enforce",
                "on_block": "drop",
                "file": null, "line": 14,
            },
        ])
    );
}
