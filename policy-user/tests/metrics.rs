//! The metrics as text, and that the alerts that ship ask for nothing that is not exported.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use policy_user::agent::hosts::Departed;
use policy_user::agent::{FlagCounts, Request};
use policy_user::coverage::{Exit, InterfaceStatus, Uncovered};
use policy_user::datapath::{Coverage, Hook, Position, ReasonCount, RingUse};
use policy_user::metrics::{self, Port, PortStatus};
use policy_user::notify::{Counts, ReceiverStatus, Stage, Trouble};
use policy_user::rights::Rights;
use policy_user::status::{AgentInfo, CoverageStatus, HostsInfo, InForce, Status};
use policy_user::store::StoreStatus;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

fn status() -> Status {
    let count =
        |reason, denies| ReasonCount { reason, denies, packets: 7, attempts: 3, would_block_packets: 2 };
    let place = |interface: &str, hook, position| CoverageStatus {
        coverage: Coverage { interface: interface.to_owned(), ifindex: 1, hook },
        position,
    };
    let interface = |name: &str, hooks: &[Hook], default_route, uncovered| InterfaceStatus {
        interface: name.to_owned(),
        ifindex: Some(1),
        up: true,
        hooks: hooks.to_vec(),
        default_route,
        uncovered,
        detail: None,
    };
    Status {
        agent: Some(AgentInfo { pid: 1, version: "1", since: Timestamp::UNIX_EPOCH }),
        rights: Some(Rights { reduced: true, ..Default::default() }),
        in_force: Some(InForce {
            policy: "office".to_owned(),
            revision: "00ff".to_owned(),
            mode: "enforce".to_owned(),
            file: "policy.yaml".into(),
            since: Timestamp::UNIX_EPOCH,
            interfaces: Vec::new(),
            early: Vec::new(),
            inside: Vec::new(),
            outside: Vec::new(),
        }),
        coverage: vec![
            place("lan0", Hook::Door, Position::First),
            place("lan1", Hook::Door, Position::Missing),
            place("wan0", Hook::Guard, Position::First),
        ],
        interfaces: vec![
            interface("lan0", &[Hook::Door], None, None),
            interface("wan0", &[Hook::Guard], Some(Exit::Guarded), None),
            interface("lte\"0", &[], Some(Exit::Unguarded), Some(Uncovered::NotNamed)),
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
            lag_ms: 2500,
            error: Some("full".to_owned()),
            ..Default::default()
        }),
        names: None,
        flags: Some(FlagCounts {
            infected: 1,
            suspect: 2,
            misconfigured: 3,
            acknowledged: 1,
            hosts: 40,
            untracked: 9,
        }),
        metrics: None,
        ring: RingUse { waiting_bytes: 880, capacity_bytes: 4 << 20 },
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
        r#"smtpfence_interface_covered{interface="lan0",by="door",why=""} 1"#,
        r#"smtpfence_interface_covered{interface="lte\"0",by="",why="not-named"} 0"#,
        r#"smtpfence_interfaces_uncovered{why="not-named"} 1"#,
        r#"smtpfence_interfaces_uncovered{why="failed"} 0"#,
        r#"smtpfence_default_routes{guard="present"} 1"#,
        r#"smtpfence_default_routes{guard="missing"} 1"#,
        "smtpfence_lost_events_total 4",
        r#"smtpfence_notify_sent_total{receiver="siem"} 6"#,
        r#"smtpfence_notify_failed_total{receiver="siem"} 1"#,
        r#"smtpfence_notify_waiting{receiver="siem"} 5"#,
        r#"smtpfence_notify_failing{receiver="siem"} 1"#,
        "smtpfence_block_log_rows_total 8",
        "smtpfence_block_log_missed_total 2",
        "smtpfence_block_log_waiting 3",
        "smtpfence_block_log_failing 1",
        "smtpfence_block_log_lag_seconds 2.5",
        "smtpfence_event_ring_waiting_bytes 880",
        "smtpfence_event_ring_capacity_bytes 4194304",
        r#"smtpfence_flagged_hosts{verdict="infected"} 1"#,
        r#"smtpfence_flagged_hosts{verdict="misconfigured"} 3"#,
        "smtpfence_flagged_hosts_acknowledged 1",
        "smtpfence_detector_hosts 40",
        "smtpfence_detector_untracked_attempts_total 9",
        "smtpfence_unlisted_attempts_total 1",
        "smtpfence_hosts_tracked 5",
        "smtpfence_policy_file_differs 0",
        "smtpfence_agent_rights_reduced 1",
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

/// An agent that does nothing but tell its status, and counts how often it was asked.
fn agent() -> (mpsc::Sender<Request>, Arc<AtomicUsize>) {
    let (sender, mut requests) = mpsc::channel(8);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            if let Request::Status(answer) = request {
                count.fetch_add(1, Ordering::Relaxed);
                drop(answer.send(Ok(status())));
            }
        }
    });
    (sender, asked)
}

/// A port that nobody has. Another test may take it before it is used: it is far from those that the kernel gives out.
async fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + (std::process::id() % 5_000) as u16;
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], base + NEXT.fetch_add(1, Ordering::Relaxed)));
        if TcpListener::bind(address).await.is_ok() {
            return address;
        }
    }
}

async fn connected(address: SocketAddr) -> TcpStream {
    for _ in 0..500 {
        if let Ok(stream) = TcpStream::connect(address).await {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody listens on {address}");
}

/// Sends this and reads to the end of the connection.
async fn answered(address: SocketAddr, request: &str) -> String {
    let mut stream = connected(address).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // What the port cuts off may end in a reset.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn the_port_answers_this_machine_and_nobody_else() {
    let address = free_port().await;
    let (sender, asked) = agent();
    let mut port = Port::new(sender);
    assert_eq!(port.status(), None);
    port.follow(Some(address));
    let get = |host: String| format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\n\r\n");
    for host in [address.to_string(), format!("localhost:{}", address.port())] {
        let answer = answered(address, &get(host)).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("# EOF\n"), "{answer}");
        assert!(answer.contains(metrics::CONTENT_TYPE) && answer.contains("lost_events_total 4"), "{answer}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "the second answer is the first one, a moment old");
    let here = address.to_string();
    for (request, code) in [
        (get("rebound.example".to_owned()), "403"),
        ("GET /metrics HTTP/1.0\r\n\r\n".to_owned(), "403"),
        (format!("POST /metrics HTTP/1.1\r\nhost: {here}\r\ncontent-length: 0\r\n\r\n"), "405"),
        (format!("GET /v1/status HTTP/1.1\r\nhost: {here}\r\n\r\n"), "404"),
        (format!("POST /v1/reload HTTP/1.1\r\nhost: {here}\r\n\r\n"), "404"),
        (format!("GET /metrics HTTP/1.1\r\nhost: {here}\r\nx: {}\r\n\r\n", "x".repeat(64 << 10)), "431"),
    ] {
        let answer = answered(address, &request).await;
        // Who still sends when the answer comes may see no more of it than the end.
        let cut_off = code == "431" && answer.is_empty();
        assert!(cut_off || answer.split(' ').nth(1) == Some(code), "{request:.80}: {answer}");
    }
    assert_eq!(port.status(), Some(PortStatus { listen: address, error: None }));
    // The policy takes it back.
    port.follow(None);
    for _ in 0..500 {
        if TcpStream::connect(address).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it still listens");
}

#[tokio::test]
async fn who_sends_nothing_keeps_nobody_else_out_for_long() {
    let address = free_port().await;
    let mut port = Port::new(agent().0);
    port.follow(Some(address));
    let mut silent = Vec::new();
    for _ in 0..9 {
        silent.push(connected(address).await);
    }
    // Eight are served at a time, and each is cut off after 5 s.
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let answer = tokio::time::timeout(Duration::from_secs(20), answered(address, &request)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_tried_again() {
    let address = free_port().await;
    let other = TcpListener::bind(address).await.unwrap();
    let mut port = Port::new(agent().0);
    port.follow(Some(address));
    let error = || port.status().unwrap().error;
    for _ in 0..500 {
        if error().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(error().is_some_and(|error| error.contains("in use")), "{:?}", error());
    drop(other);
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let deadline = Instant::now() + Duration::from_secs(20);
    while error().is_some() {
        assert!(Instant::now() < deadline, "never tried again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(answered(address, &request).await.starts_with("HTTP/1.1 200"));
}
