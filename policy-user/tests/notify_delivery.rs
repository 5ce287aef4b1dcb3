//! Notifications on their way: signed, by TLS that is checked, with a login, without a shell; and what an admin reads
//! where one does not arrive.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod notify_servers;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use notify_servers::{Habits, Tls, submission, web};
use policy_user::notify::{self, Event, Notifier, SETTLE, Stage, Tested};
use policy_user::policy::{self, Email, Exec, Policy, Receiver, Security, Topic, Way, Webhook};
use sha2::Sha256;

const PATIENCE: Duration = Duration::from_secs(20);
const KEY: &str = "a key of more than sixteen bytes";

fn policy(receivers: Vec<Receiver>) -> Policy {
    let text = "version: 1\nname: told\nmode: enforce\ninterfaces: { inside: [lan0], outside: [wan0] }\n\
                networks: { clients: [10.25.0.0/24] }\nend: true\n";
    let (policy, _) = policy::parse(text, Timestamp::now(), &TimeZone::UTC).unwrap();
    Policy { receivers, ..policy }
}

fn receiver(name: &str, way: Way) -> Receiver {
    let (group, repeat_after) = (Duration::from_secs(1), Duration::from_secs(3600));
    Receiver { name: name.into(), way, topics: vec![Topic::Infected], group, repeat_after, digest: None }
}

fn secret(dir: &Path, text: &str, mode: u32) -> PathBuf {
    let path = dir.join(format!("secret-{mode:o}"));
    fs::write(&path, format!("{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn webhook(dir: &Path, url: String, authorities: Option<PathBuf>) -> Way {
    Way::Webhook(Webhook { url, secret_file: secret(dir, KEY, 0o600), authorities })
}

async fn tried(way: Way) -> Tested {
    notify::test(vec![receiver("it", way)]).await.pop().unwrap()
}

fn stage(tested: &Tested) -> Option<Stage> {
    assert_eq!(tested.delivered, tested.trouble.is_none());
    tested.trouble.as_ref().map(|trouble| trouble.stage)
}

fn event(subject: &str) -> Event {
    Event::alarm(Topic::Infected, subject, "the host is infected: it was seen")
}

#[tokio::test]
async fn a_webhook_is_signed_and_sent_only_to_the_right_server() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, other) = (Tls::new(dir.path()), tempfile::tempdir().unwrap());
    let stranger = Tls::new(other.path());
    let (listener, port) = listener();
    let posts = web(listener, "204 No Content", Some(&tls));
    let url = format!("https://localhost:{port}/hook?a=b");
    let tested = tried(webhook(dir.path(), url.clone(), Some(tls.authority.clone()))).await;
    assert!(tested.delivered, "{tested:?}");
    assert_eq!(tested.to, format!("https://localhost:{port}"), "the rest of a URL is often a secret");
    let post = posts.recv_timeout(PATIENCE).unwrap();
    assert!(post.head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{}", post.head);
    let body: serde_json::Value = serde_json::from_str(&post.body).unwrap();
    assert_eq!(
        (&body["version"], &body["kind"], &body["receiver"]),
        (&1.into(), &"test".into(), &"it".into())
    );
    let (id, time) = (post.header("webhook-id"), post.header("webhook-timestamp"));
    assert_eq!(body["id"], id);
    assert!((Timestamp::now().as_second() - time.parse::<i64>().unwrap()).abs() < 60, "{time}");
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    mac.update(format!("{id}.{time}.{}", post.body).as_bytes());
    let signature = STANDARD.decode(post.header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
    mac.verify_slice(&signature).unwrap();

    let tested = tried(webhook(dir.path(), url.clone(), Some(stranger.authority))).await;
    assert_eq!(stage(&tested), Some(Stage::Tls), "{tested:?}");
    let tested = tried(webhook(dir.path(), url.replace("localhost", "127.0.0.1"), Some(tls.authority))).await;
    assert_eq!(stage(&tested), Some(Stage::Tls), "a certificate for another name: {tested:?}");
    assert!(posts.try_recv().is_err(), "something was sent over an unsafe connection");
}

#[tokio::test]
async fn what_went_wrong_is_told_with_the_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let (closed, nobody) = listener();
    drop(closed);
    let (angry, port) = listener();
    let _posts = web(angry, "401 Unauthorized", None);
    let local = |port: u16| format!("http://127.0.0.1:{port}/");
    for (way, expected, words) in [
        (webhook(dir.path(), "https://nowhere.invalid/".into(), None), Stage::Dns, "/etc/resolv.conf"),
        (webhook(dir.path(), local(nobody), None), Stage::Connect, "firewall"),
        (webhook(dir.path(), local(port), None), Stage::Answer, "same secret"),
        (
            Way::Webhook(Webhook {
                url: local(port),
                secret_file: secret(dir.path(), KEY, 0o644),
                authorities: None,
            }),
            Stage::Setup,
            "chmod 600",
        ),
        (
            Way::Webhook(Webhook {
                url: local(port),
                secret_file: secret(dir.path(), "short", 0o400),
                authorities: None,
            }),
            Stage::Setup,
            "/dev/urandom",
        ),
    ] {
        let tested = tried(way).await;
        assert_eq!(stage(&tested), Some(expected), "{tested:?}");
        assert!(tested.trouble.as_ref().unwrap().next.contains(words), "{tested:?}");
    }
}

#[tokio::test]
async fn e_mail_goes_only_with_tls_and_a_login() {
    let dir = tempfile::tempdir().unwrap();
    let tls = Tls::new(dir.path());
    let habits = Habits { implicit_tls: false, offers_starttls: true, user: "gw", password: "pass word" };
    let email = |port, security, password: &str, mode| {
        Way::Email(Email {
            host: "localhost".into(),
            port,
            security,
            user: "gw".into(),
            password_file: secret(dir.path(), password, mode),
            from: "gw@example.com".into(),
            to: vec!["it@example.com".into(), "boss@example.com".into()],
            authorities: Some(tls.authority.clone()),
        })
    };
    let server = |habits| {
        let (listener, port) = listener();
        (submission(listener, habits, &tls), port)
    };
    for implicit_tls in [false, true] {
        let (letters, port) = server(Habits { implicit_tls, ..habits });
        let security = if implicit_tls { Security::Implicit } else { Security::StartTls };
        let tested = tried(email(port, security, "pass word", 0o600)).await;
        assert!(tested.delivered, "{tested:?}");
        let letter = letters.recv_timeout(PATIENCE).unwrap();
        let (head, body) = letter.split_once("\r\n\r\n").unwrap();
        for line in
            ["From: gw@example.com", "To: it@example.com, boss@example.com", "Auto-Submitted: auto-generated"]
        {
            assert!(head.contains(line), "{head}");
        }
        assert!(body.contains("smtpfence notify --test"), "{body}");
    }
    let (letters, port) = server(habits);
    let tested = tried(email(port, Security::StartTls, "wrong", 0o600)).await;
    assert_eq!(stage(&tested), Some(Stage::Login), "{tested:?}");
    let (naked, port) = server(Habits { offers_starttls: false, ..habits });
    let tested = tried(email(port, Security::StartTls, "pass word", 0o600)).await;
    assert_eq!(stage(&tested), Some(Stage::Tls), "{tested:?}");
    let tested = tried(email(port, Security::StartTls, "pass word", 0o644)).await;
    assert_eq!(stage(&tested), Some(Stage::Setup), "{tested:?}");
    assert!(letters.try_recv().is_err() && naked.try_recv().is_err());
}

#[tokio::test]
async fn a_program_gets_the_message_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("page");
    let run = |script: &str, mode| {
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        let arguments = vec![dir.path().display().to_string(), "$(id); true".to_owned()];
        tried(Way::Exec(Exec { program: program.clone(), arguments, timeout: Duration::from_secs(2) }))
    };
    let tested = run("cat > \"$1/in\"; env > \"$1/env\"; echo \"$2\" > \"$1/argument\"", 0o700).await;
    assert!(tested.delivered, "{tested:?}");
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let message: serde_json::Value = serde_json::from_str(&read("in")).unwrap();
    assert_eq!(message["kind"], "test");
    assert!(!read("env").contains("CARGO"), "{}", read("env"));
    assert_eq!(read("argument"), "$(id); true\n");

    let tested = run("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 3", 0o700).await;
    let trouble = tested.trouble.unwrap();
    assert!(trouble.stage == Stage::Answer && trouble.why.contains("status: 3"), "{trouble}");
    assert!(trouble.why.len() < 1_000, "what it says is not capped: {}", trouble.why.len());
    let begun = Instant::now();
    let tested = run("sleep 60 & echo $! > \"$1/child\"; wait", 0o700).await;
    assert_eq!(stage(&tested), Some(Stage::Timeout), "{tested:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let child = format!("/proc/{}/cmdline", read("child").trim());
    let gone = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        fs::read(&child).map_or(true, |line| line.is_empty())
    });
    assert!(gone, "what the program has started lives on");
    let tested = run("true", 0o777).await;
    assert_eq!(stage(&tested), Some(Stage::Setup), "{tested:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_delays_no_other() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Nobody takes its connections out of the queue.
    let (_hanging, hangs) = listener();
    let (listener, port) = listener();
    let posts = web(listener, "200 OK", None);
    let local = |port: u16| webhook(dir.path(), format!("http://127.0.0.1:{port}/"), None);
    let receivers = vec![receiver("a-hangs", local(hangs)), receiver("b-works", local(port))];
    let notifier = Notifier::start(state.path(), &policy(receivers));
    let begun = Instant::now();
    notifier.offer(&[event("a")]);
    assert!(begun.elapsed() < Duration::from_millis(500), "offering waits: {:?}", begun.elapsed());
    let body = posts.recv_timeout(PATIENCE).unwrap().body;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["kind"], &body["counts"]["infected"]), (&"events".into(), &1.into()));
    assert!(begun.elapsed() >= SETTLE, "{:?}", begun.elapsed());
    assert_eq!(notifier.status()[0].waiting, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_told_is_told_by_the_next_agent() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (closed, port) = listener();
    drop(closed);
    let way = webhook(dir.path(), format!("http://127.0.0.1:{port}/"), None);
    let policy = policy(vec![receiver("it", way)]);
    let notifier = Notifier::start(state.path(), &policy);
    notifier.offer(&[event("10.25.0.77")]);
    let begun = Instant::now();
    while notifier.status()[0].failing.is_none() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", notifier.status());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(notifier.status()[0].next_try.is_some());
    notifier.close();
    drop(notifier);
    let mode = fs::metadata(state.path().join("notify.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let posts = web(TcpListener::bind(("127.0.0.1", port)).unwrap(), "200 OK", None);
    let notifier = Notifier::start(state.path(), &policy);
    let body: serde_json::Value = serde_json::from_str(&posts.recv_timeout(PATIENCE).unwrap().body).unwrap();
    assert_eq!(body["events"][0]["subject"], "10.25.0.77");
    // Nobody is told twice.
    notifier.offer(&[event("10.25.0.77")]);
    assert_eq!(notifier.status()[0].counts.repeated, 1);
    // A receiver that a policy no longer names is left alone.
    notifier.follow(&self::policy(Vec::new()));
    assert!(notifier.status().is_empty());
}
