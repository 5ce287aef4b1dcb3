//! The metrics as text, and that the alerts that ship ask for nothing that is not exported.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use jiff::Timestamp;
use policy_user::agent::hosts::Departed;
use policy_user::datapath::{Coverage, Hook, Position, ReasonCount};
use policy_user::metrics;
use policy_user::notify::{Counts, ReceiverStatus, Stage, Trouble};
use policy_user::status::{AgentInfo, CoverageStatus, HostsInfo, InForce, Status};
use policy_user::store::StoreStatus;

fn status() -> Status {
    let count =
        |reason, denies| ReasonCount { reason, denies, packets: 7, attempts: 3, would_block_packets: 2 };
    let place = |interface: &str, hook, position| CoverageStatus {
        coverage: Coverage { interface: interface.to_owned(), ifindex: 1, hook },
        position,
    };
    Status {
        agent: Some(AgentInfo { pid: 1, version: "1", since: Timestamp::UNIX_EPOCH }),
        in_force: Some(InForce {
            policy: "office".to_owned(),
            revision: "00ff".to_owned(),
            mode: "enforce".to_owned(),
            file: "policy.yaml".into(),
            since: Timestamp::UNIX_EPOCH,
            interfaces: Vec::new(),
        }),
        coverage: vec![
            place("lan0", Hook::Door, Position::First),
            place("lan1", Hook::Door, Position::Missing),
            place("wan0", Hook::Guard, Position::First),
        ],
        counters: vec![count("mail-server", false), count("not-a-mail-server", true)],
        lost_events: 4,
        hosts: HostsInfo {
            tracked: 5,
            accounts: 6,
            capacity: 16_384,
            attempts: 3,
            packets: 7,
            unlisted: 1,
            untold: 1,
            overflow_attempts: 0,
            overflow_packets: 0,
            departed: Departed::default(),
        },
        store: Some(StoreStatus {
            rows: 8,
            missed: 2,
            waiting: 3,
            error: Some("full".to_owned()),
            ..Default::default()
        }),
        flags: None,
        notify: vec![ReceiverStatus {
            name: "siem".to_owned(),
            kind: "webhook",
            to: "https://hooks.example.com".to_owned(),
            events: Vec::new(),
            digest: None,
            waiting: 5,
            counts: Counts { sent: 6, retries: 2, failed: 1, ..Counts::default() },
            last_sent: None,
            failing: Some(Trouble::new(Stage::Dns, "no address", "check the name")),
            failing_at: None,
            next_try: None,
        }],
        quarantine: Vec::new(),
        reload_error: None,
        file_revision: Some("00ff".to_owned()),
        pending: None,
        rolled_back: None,
    }
}

#[test]
fn the_numbers_of_the_status_are_exported() {
    let text = metrics::text(&status()).unwrap();
    for line in [
        r#"smtpfence_packets_total{reason="mail-server"} 7"#,
        r#"smtpfence_attempts_total{reason="not-a-mail-server"} 3"#,
        r#"smtpfence_would_block_packets_total{reason="not-a-mail-server"} 2"#,
        r#"smtpfence_interfaces{hook="door",position="missing"} 1"#,
        r#"smtpfence_interfaces{hook="guard",position="behind"} 0"#,
        "smtpfence_lost_events_total 4",
        r#"smtpfence_notify_sent_total{receiver="siem"} 6"#,
        r#"smtpfence_notify_failed_total{receiver="siem"} 1"#,
        r#"smtpfence_notify_waiting{receiver="siem"} 5"#,
        r#"smtpfence_notify_failing{receiver="siem"} 1"#,
        "smtpfence_block_log_rows_total 8",
        "smtpfence_block_log_missed_total 2",
        "smtpfence_block_log_waiting 3",
        "smtpfence_block_log_failing 1",
        "smtpfence_unlisted_attempts_total 1",
        "smtpfence_hosts_tracked 5",
        "smtpfence_policy_file_differs 0",
        r#"smtpfence_policy_info{policy="office",revision="00ff",mode="enforce"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    // Attempts are folded only where a packet is denied.
    assert!(!text.contains(r#"smtpfence_attempts_total{reason="mail-server"}"#), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn alerts_ask_only_for_what_is_exported() {
    let text = metrics::text(&status()).unwrap();
    let name = |line: &str| line.split(['{', ' ']).next().unwrap().to_owned();
    let exported: BTreeSet<String> = text.lines().filter(|line| !line.starts_with('#')).map(name).collect();
    let alerts: serde_yaml::Value =
        serde_yaml::from_str(include_str!("../../docs/prometheus-alerts.yaml")).unwrap();
    let rules = alerts["groups"][0]["rules"].as_sequence().expect("no rules");
    assert!(rules.len() > 3);
    for rule in rules {
        let (alert, expr) = (rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap());
        assert!(
            rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(),
            "{alert}"
        );
        let word = |c: char| !c.is_ascii_lowercase() && c != '_';
        let used: Vec<&str> = expr.split(word).filter(|name| name.starts_with("smtpfence_")).collect();
        assert!(!used.is_empty(), "{alert} asks for nothing of ours");
        for name in used {
            assert!(exported.contains(name), "{alert} asks for {name}, exported are {exported:?}");
        }
    }
}
