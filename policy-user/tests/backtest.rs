//! `backtest` and `calibrate` as a user runs them: files, formats, refusals.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use policy_user::attempt::Attempt;
use policy_user::policy::Retention;
use policy_user::store::Store;
use serde_json::Value;
use tempfile::TempDir;

/// A bot at twenty sites, a printer at one, from 2025-06-16 00:00 UTC on.
fn events() -> String {
    let mut lines = String::new();
    for nth in 0..20 {
        let t = 1_750_032_000 + 900 * nth;
        for (client, site, port) in [(78, 100 + nth, 4000 + nth), (79, 99, 5000 + nth)] {
            lines.push_str(&format!(
                "{{\"t\": {t}.5, \"src\": \"10.25.0.{client}\", \"mac\": \"02:00:00:00:00:{client}\", \"dst\": \
                 \"131.{site}.0.25\", \"sport\": {port}, \"dport\": 25, \"iface\": \"lan0\"}}\n"
            ));
        }
    }
    lines
}

/// The same as the agent logs it.
fn as_logged(events: &str) -> String {
    let mut lines = String::from("{\"event\":\"READY\",\"policy\":\"x\"}\n");
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let second = event["t"].as_f64().unwrap() as i64;
        let time = jiff::Timestamp::from_second(second).unwrap();
        let (client, mac, port) = (&event["src"], &event["mac"], &event["sport"]);
        lines.push_str(&format!(
            "{{\"time\":\"{time}\",\"id\":\"x\",\"event\":\"attempt\",\"verdict\":\"drop\",\"reason\":\"not-a-mail-server\",\
             \"client\":{client},\"client_mac\":{mac},\"client_port\":{port},\"destination\":{},\"destination_port\":25}}\n",
            event["dst"]
        ));
    }
    lines
}

fn file(dir: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join("events");
    fs::write(&path, bytes).unwrap();
    path
}

fn smtpfence(verb: &str, path: &PathBuf, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smtpfence"));
    command.arg(verb).arg("--events").arg(path).args(more).output().unwrap()
}

fn verdicts(path: &PathBuf, more: &[&str]) -> Vec<(String, String)> {
    let output = smtpfence("backtest", path, &[&["--format", "json"], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.filter(|row| row["verdict"].is_string())
        .map(|row| {
            assert!(row["t"].as_f64().unwrap() > 1e9 && row["attempts"].is_u64(), "{row}");
            (row["mac"].as_str().unwrap().to_owned(), row["verdict"].as_str().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn all_forms_of_a_recording_give_the_same_verdicts() {
    let dir = tempfile::tempdir().unwrap();
    let plain = verdicts(&file(&dir, events().as_bytes()), &[]);
    let wanted = [("78", "misconfigured"), ("79", "misconfigured"), ("78", "suspect"), ("78", "infected")];
    assert_eq!(plain, wanted.map(|(host, verdict)| (format!("02:00:00:00:00:{host}"), verdict.to_owned())));
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(events().as_bytes()).unwrap();
    assert_eq!(verdicts(&file(&dir, &packed.finish().unwrap()), &[]), plain);
    assert_eq!(verdicts(&file(&dir, as_logged(&events()).as_bytes()), &[]), plain);
    // Damaged lines among good ones are counted, not fatal.
    let damaged = format!("{{\"t\": 1\n{}\n{}", "x".repeat(200_000), events());
    assert_eq!(verdicts(&file(&dir, damaged.as_bytes()), &[]), plain);
}

#[test]
fn numbers_and_providers_can_be_tried_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, events().as_bytes());
    let gravest = |more: &[&str]| verdicts(&path, more).pop().unwrap().1;
    assert_eq!(gravest(&["--set", "sites_day=20", "--set", "suspect_abandoned=20"]), "infected");
    assert_eq!(
        gravest(&["--set", "sites_day=20", "--set", "score=10000", "--set", "abandoned=20"]),
        "suspect"
    );
    let providers = dir.path().join("providers.csv");
    fs::write(&providers, "131.0.0.0/8,all one\n").unwrap();
    assert_eq!(gravest(&["--providers", providers.to_str().unwrap()]), "misconfigured");
    let output = smtpfence("backtest", &path, &["--compare", "--preset", "strict"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("hosts that other presets judge otherwise"), "{told}");
}

#[test]
fn what_can_not_be_read_is_refused_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let nothing = file(&dir, b"no attempts\n");
    for (more, code, said) in [
        (&["--set", "sites_hour=99"][..], 1, "`sites_hour` goes from 1 to 20"),
        (&["--set", "sites"], 1, "write NAME=NUMBER"),
        (&[], 1, "holds no attempts; line 1"),
        (&["--providers", "/nonexistent"], 2, "can't read /nonexistent"),
    ] {
        let output = smtpfence("backtest", &nothing, more);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {told}");
        assert!(told.contains(said), "{more:?}: {told}");
    }
}

#[test]
fn calibrate_counts_alarms_by_host_days() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, events().as_bytes());
    let output = smtpfence("calibrate", &path, &["--format", "json"]);
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows[1]["preset"], "balanced");
    assert_eq!((&rows[1]["host_days"], &rows[1]["infected"]), (&2.into(), &1.into()));
    assert_eq!(rows[1]["infected_per_1000_host_days"], 500.0);
}

/// Writes events into a block log as the agent would.
#[tokio::main]
async fn keep(dir: &TempDir, events: &str) {
    let store = Store::start(dir.path(), Retention::default());
    let attempts = events.lines().zip(1..).map(|(line, nth)| {
        let event: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| event[key].as_str().unwrap();
        Attempt {
            boot: 0,
            time: jiff::Timestamp::from_millisecond((event["t"].as_f64().unwrap() * 1000.0) as i64).unwrap(),
            id: format!("{nth:012x}"),
            event: "attempt",
            verdict: "drop",
            reason: "not-a-mail-server",
            interface: text("iface").to_owned(),
            ifindex: 3,
            vlan: None,
            client: Some(text("src").parse().unwrap()),
            client_mac: Some(text("mac").parse().unwrap()),
            client_port: event["sport"].as_u64().unwrap() as u16,
            destination: Some(text("dst").parse().unwrap()),
            destination_port: 25,
            to_name: None,
            destination_mac: None,
            tcp_flags: "SYN".to_owned(),
            tcp_sequence: nth,
            unlisted: event["unlisted"].as_u64().unwrap_or(0) as u32,
            rule: None,
            policy: "office".to_owned(),
            revision: "0123456789abcdef".to_owned(),
        }
    });
    store.append(attempts.collect()).await;
    store.flush().await;
    assert_eq!(store.status().error, None);
}

#[test]
fn the_own_block_log_says_what_a_file_with_the_same_attempts_says() {
    let dir = tempfile::tempdir().unwrap();
    // The printer makes more attempts than are listed.
    let events = events().replacen("\"sport\": 5007", "\"sport\": 5007, \"unlisted\": 700", 1);
    let path = file(&dir, events.as_bytes());
    keep(&dir, &events);
    let own = |verb: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smtpfence"));
        let output = command.arg(verb).arg("--state-dir").arg(dir.path()).args(more).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), told.as_str()), (Some(0), ""));
        String::from_utf8(output.stdout).unwrap()
    };
    for format in ["json", "human"] {
        let more = ["--compare", "--format", format];
        let of_file = String::from_utf8(smtpfence("backtest", &path, &more).stdout).unwrap();
        assert!(of_file.contains("infected") && of_file.contains("many-attempts") == (format == "json"));
        assert_eq!(own("backtest", &[&["--store"], &more[..]].concat()), of_file);
        assert_eq!(own("backtest", &more), of_file, "the block log is the default");
        let of_file = smtpfence("calibrate", &path, &["--format", format]).stdout;
        assert_eq!(own("calibrate", &["--format", format]), String::from_utf8(of_file).unwrap());
    }
    let late = own("backtest", &["--since", "2025-06-16T04:00:00Z"]);
    assert!(late.contains("8 attempts on 2 host-days"), "{late}");
}

#[test]
fn a_missing_block_log_is_told_and_two_sources_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let told = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smtpfence"));
        let output = command.args(["backtest", "--state-dir"]).arg(dir.path()).args(more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, why) = told(&["--store"]);
    assert!(code == Some(2) && why.contains("there is no block log in"), "{why}");
    let (code, why) = told(&["--store", "--events", "x"]);
    assert!(code == Some(2) && why.contains("cannot be used with"), "{why}");
}
