//! `smtpfence diff`: what it says agrees with the decisions of both policies, and what an admin reads.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy_user::policy::diff::{Change, Kind, Sign, differences};
use policy_user::policy::explain::{Examiner, InQuarantine, Paper, Question, Sender, SourceMac, Verdict};
use policy_user::policy::{Policy, Revision, parse};
use serde_json::Value;

const OFFICE: &str = include_str!("../../policies/office.yaml");

fn read(text: &str) -> Policy {
    parse(text, Timestamp::now(), &TimeZone::UTC).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0])).0
}

fn paper(policy: &Policy) -> Paper<'_> {
    Paper::new(policy, Revision([0; 8])).unwrap()
}

fn between(old: &str, new: &str) -> Vec<Change> {
    let (old, new) = (read(old), read(new));
    differences(&paper(&old), &paper(&new), Timestamp::now())
}

/// Random policies over few addresses, so that entries meet.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % end
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn host(&mut self, start: [u8; 3]) -> Ipv4Addr {
        let [a, b, c] = start;
        Ipv4Addr::new(a, b, c, self.below(16) as u8)
    }

    /// `10.25.0.8/30`: some of the 16 addresses.
    fn net(&mut self, start: [u8; 3]) -> String {
        let len = 28 + self.below(5) as u8;
        IpNet::new(self.host(start).into(), len).unwrap().trunc().to_string()
    }

    fn nets(&mut self, start: [u8; 3], most: u64) -> String {
        let nets: Vec<String> = (0..1 + self.below(most)).map(|_| self.net(start)).collect();
        format!("[{}]", nets.join(", "))
    }

    fn policy(&mut self) -> String {
        let treated = ["", ", mode: audit", ", mode: enforce", ", on_block: drop", ", on_block: reject"];
        let (guest, blocked) = (self.of(&treated), self.of(&["25", "25", "25, 2525"]));
        let inside = self.of(&["[lan0, GUEST]", "[GUEST, lan0]", "[lan0]", "[\"*0\"]"]);
        let inside = inside.replace("GUEST", &format!("{{ match: guest0{guest} }}"));
        let mut text =
            format!("version: 1\nname: random\ninterfaces: {{ inside: {inside}, outside: [wan9] }}\n");
        let (clients, internal) = (self.nets(CLIENTS, 2), self.nets(OUTSIDE, 2));
        writeln!(text, "networks: {{ clients: {clients}, internal: {internal} }}").unwrap();
        writeln!(text, "ports: {{ blocked: [{blocked}] }}").unwrap();
        writeln!(
            text,
            "mode: {}\non_block: {}",
            self.of(&["enforce", "audit"]),
            self.of(&["drop", "reject"])
        )
        .unwrap();
        if self.below(2) == 0 {
            let (net, treated) = (self.net(CLIENTS), self.of(&treated[1..]));
            writeln!(text, "groups: [{{ name: group, clients: [{net}]{treated} }}]").unwrap();
        }
        let mut servers = String::new();
        for index in 0..self.below(3) {
            let host = Ipv4Addr::new(10, 25, 0, (self.below(8) * 2 + index) as u8);
            let mac = self.of(&["", ", mac: \"02:00:00:00:00:01\"", ", mac: \"02:00:00:00:00:02\""]);
            let to = if self.below(2) == 0 { "any".to_owned() } else { self.nets(OUTSIDE, 2) };
            writeln!(servers, "  - {{ name: mx{index}, address: {host}, to: {to}{mac} }}").unwrap();
        }
        let mut exceptions = String::new();
        for index in 0..self.below(4) {
            let (from, to) = (self.nets(CLIENTS, 2), self.nets(OUTSIDE, 2));
            let until = self.of(&["2020-01-01", "2098-01-01", "2099-01-01"]);
            let entry =
                format!("name: e{index}, from: {from}, to: {to}, until: {until}, reason: r, owner: o");
            writeln!(exceptions, "  - {{ {entry} }}").unwrap();
        }
        for (key, entries) in [("mail_servers", servers), ("exceptions", exceptions)] {
            if !entries.is_empty() {
                write!(text, "{key}:\n{entries}").unwrap();
            }
        }
        text + "end: true\n"
    }
}

const CLIENTS: [u8; 3] = [10, 25, 0];
const OUTSIDE: [u8; 3] = [203, 0, 113];

fn among(nets: &[String], address: IpAddr) -> bool {
    let inside = |net: &str| {
        let net: IpNet = net.parse().or_else(|_| net.parse::<IpAddr>().map(IpNet::from)).unwrap();
        net.contains(&address)
    };
    match nets.first().map(String::as_str) {
        None => true,
        Some("anywhere") => !nets[1..].iter().any(|net| inside(net.trim_start_matches("not "))),
        Some(_) => nets.iter().any(|net| inside(net)),
    }
}

/// Whether a change explains that these two verdicts differ.
fn explains(change: &Change, question: &Question, verdicts: [Verdict; 2]) -> bool {
    let Sender::Client(client) = question.from else { return false };
    let port = change.kind == Kind::Port;
    let about = among(&change.sources, client)
        && change
            .interface
            .as_deref()
            .is_none_or(|it| it == "*0" || Some(it) == question.interface.as_deref())
        && (port || among(&change.destinations, question.to));
    let opens_or_closes = match verdicts {
        [Verdict::Pass, _] => Sign::Loss,
        [_, Verdict::Pass] => Sign::Gain,
        _ => Sign::Change,
    };
    about
        && match change.kind {
            Kind::Reach | Kind::Internal => change.sign == opens_or_closes,
            Kind::Port => {
                change.sign == opens_or_closes && change.destinations == [format!("port {}", question.port)]
            }
            Kind::Machine | Kind::Inside => true,
            Kind::Treatment | Kind::Guard => opens_or_closes == Sign::Change,
            _ => false,
        }
}

fn question(dice: &mut Dice, at: Timestamp) -> Question {
    Question {
        from: Sender::Client(dice.host(CLIENTS).into()),
        mac: SourceMac::Is([2, 0, 0, 0, 0, 1 + dice.below(2) as u8]),
        interface: Some(dice.of(&["lan0", "guest0"]).to_owned()),
        to: dice.host(OUTSIDE).into(),
        port: dice.of(&[25, 25, 2525]),
        at,
        quarantined: InQuarantine::No,
    }
}

/// Every gain must be one: the honest machine is denied by the old policy and let pass by the new one.
fn holds(change: &Change, [old, new]: [&mut Examiner<'_>; 2], at: Timestamp) -> bool {
    let outside = (0..16).map(|host| Ipv4Addr::new(203, 0, 113, host).into());
    let clients = (0..16).map(|host| IpAddr::from(Ipv4Addr::new(10, 25, 0, host)));
    let reached: Vec<IpAddr> = outside.filter(|address| among(&change.destinations, *address)).collect();
    clients.filter(|client| among(&change.sources, *client)).all(|client| {
        reached.iter().all(|to| {
            let passes = |examiner: &mut Examiner<'_>| {
                let (from, mac, to) = (Sender::Client(client), SourceMac::Unstated, *to);
                let asked =
                    Question { from, mac, interface: None, to, port: 25, at, quarantined: InQuarantine::No };
                examiner.verdict(&asked)
            };
            let (before, after) = (passes(old), passes(new));
            let internal = |(verdict, reason)| verdict == Verdict::Pass && reason == "internal-destination";
            // "Anywhere" is said without regard to what is internal anyway.
            internal(before) || internal(after) || (before.0 == Verdict::Pass) != (after.0 == Verdict::Pass)
        })
    })
}

#[test]
fn every_difference_is_told_and_every_difference_told_is_one() {
    let mut dice = Dice(0x0d1f_f025);
    let at = Timestamp::now();
    let (mut same, mut differing) = (0, 0);
    for _ in 0..300 {
        let (a, b) = (dice.policy(), dice.policy());
        // A third of the pairs differ in one line only.
        let b = match dice.below(3) {
            0 => {
                let at = dice.below(a.lines().count() as u64) as usize;
                let (old, new) = (a.lines(), b.lines().map(str::to_owned).collect::<Vec<_>>());
                let line = |(index, line): (usize, &str)| match new
                    .iter()
                    .find(|new| index == at && new.split(':').next() == line.split(':').next())
                {
                    Some(new) => format!("{new}\n"),
                    None => format!("{line}\n"),
                };
                old.enumerate().map(line).collect()
            }
            _ => b,
        };
        let Ok((new, _)) = parse(&b, at, &TimeZone::UTC) else { continue };
        let old = read(&a);
        let (old, new) = (paper(&old), paper(&new));
        let changes = differences(&old, &new, at);
        let (mut before, mut after) = (old.examiner(), new.examiner());
        for _ in 0..200 {
            let asked = question(&mut dice, at);
            let verdicts = [before.verdict(&asked).0, after.verdict(&asked).0];
            if verdicts[0] == verdicts[1] {
                same += 1;
                continue;
            }
            differing += 1;
            let told = changes.iter().any(|change| explains(change, &asked, verdicts));
            assert!(told, "{verdicts:?} of {asked:?} is not told:\n{changes:#?}\n--- old\n{a}\n--- new\n{b}");
        }
        for change in changes.iter().filter(|change| change.kind == Kind::Reach) {
            let holds = holds(change, [&mut before, &mut after], at);
            assert!(holds, "{change:#?}\n--- old\n{a}\n--- new\n{b}");
        }
        assert_eq!(differences(&old, &old, at), []);
    }
    println!("{same} packets with the same verdict, {differing} with another");
    assert!(same > 1_000 && differing > 1_000);
}

#[test]
fn layout_order_and_names_make_no_difference() {
    let plain: String =
        OFFICE.lines().map(|line| line.split(" #").next().unwrap().trim_end().to_owned() + "\n").collect();
    let other = plain
        .replace("[lan0, \"vlan*\"]", "[\"vlan*\", lan0]")
        .replace(
            "    - 10.25.0.0/24\n    - 10.25.1.0/24\n",
            "    - 10.25.1.0/24\n    - 10.25.0.128/25\n    - 10.25.0.0/25\n",
        )
        .replace("name: mx1", "name: mail")
        .replace("legacy scanner without TLS", "an old one")
        .replace("to: [203.0.113.0/24]", "to: [203.0.113.0/24, 203.0.113.7]")
        .replace("until: 2027-12-31", "until: 2028-01-01T00:00:00Z");
    assert!(other != plain && other.contains("name: mail") && other.contains("10.25.0.128/25"));
    assert_eq!(between(OFFICE, &other), []);
}

#[test]
fn an_exception_that_has_ended_is_none() {
    let ended = OFFICE.replace("2027-12-31 ", "2020-12-31 ");
    let without = ended.split("exceptions:").next().unwrap().to_owned() + "end: true\n";
    assert_eq!(between(&ended, &without), []);
    let changes = between(OFFICE, &without);
    assert_eq!((changes.len(), changes[0].sign, changes[0].kind), (1, Sign::Loss, Kind::Reach));
}

#[test]
fn what_is_not_a_verdict_is_told_too() {
    let other = OFFICE
        .replace("submission: [587, 465]", "submission: [465]")
        .replace("outside: [wan0]", "outside: [\"wan*\"]")
        .replace("\nend: true", "\ngateway_mail: allow\nlog: { file: /var/log/mail.jsonl }\nend: true");
    let told: Vec<(Kind, Sign)> = between(OFFICE, &other).iter().map(|it| (it.kind, it.sign)).collect();
    let expected = [
        (Kind::GatewayMail, Sign::Gain),
        (Kind::Outside, Sign::Change),
        (Kind::Submission, Sign::Change),
        (Kind::LogFile, Sign::Change),
    ];
    assert_eq!(told, expected);
}

fn smtpfence(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smtpfence"))
        .args(args)
        .current_dir(dir)
        .env("TZ", "UTC")
        .output()
        .unwrap()
}

fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
    dir
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_admin_reads_who_gains_and_who_loses() {
    let new = OFFICE
        .replace("to: [203.0.113.25]", "to: [203.0.113.25, 198.51.100.0/28]")
        .replace("address: 10.25.1.26", "address: 10.25.1.27")
        .replace("mode: enforce", "mode: audit");
    let dir = written(&[("old.yaml", OFFICE), ("new.yaml", &new)]);
    let output = smtpfence(&["diff", "old.yaml", "new.yaml"], dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    let shown = text_of(&output.stdout);
    let lines: Vec<&str> = shown.lines().skip(2).collect();
    assert_eq!(
        lines,
        [
            "+ reach         10.25.0.77 -> 198.51.100.0/28  until 2028-01-01 00:00 UTC, exception scanner-3rd-floor (new.yaml:44)",
            "- reach         10.25.1.26 -> anywhere         mail server mx2 (old.yaml:34)",
            "+ reach         10.25.1.27 -> anywhere         mail server mx2 (new.yaml:34)",
            "+ treatment     everybody  would_block (was reject)",
            "+ guard           would_block (was drop)",
            "",
            "+ opens 4, - closes 1, ~ changes 0",
        ]
    );
}

#[test]
fn exit_codes_are_those_of_the_manual() {
    let dir = written(&[
        ("old.yaml", OFFICE),
        ("new.yaml", &OFFICE.replace("mode: enforce", "mode: audit")),
        ("bad.yaml", "mode: x\n"),
    ]);
    for (args, code) in [
        (&["diff", "old.yaml", "new.yaml"][..], 0),
        (&["diff", "--exit-code", "old.yaml", "new.yaml"], 1),
        (&["diff", "--exit-code", "old.yaml", "old.yaml"], 0),
        (&["diff", "old.yaml", "bad.yaml"], 1),
        (&["diff", "old.yaml"], 1),
        (&["diff", "--running", "old.yaml", "new.yaml"], 1),
        (&["diff", "--running", "--control", "none.sock", "new.yaml"], 2),
        (&["diff", "old.yaml", "new.yaml", "--log", "none.jsonl"], 2),
    ] {
        let output = smtpfence(args, dir.path());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text_of(&output.stderr));
    }
}

/// Answers one request as the agent does.
fn agent(socket: &Path, text: &str) -> std::thread::JoinHandle<String> {
    let listener = UnixListener::bind(socket).unwrap();
    let body = serde_json::json!({ "text": text, "revision": "0" }).to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        text_of(&request[..read]).lines().next().unwrap().to_owned()
    })
}

#[test]
fn the_running_policy_is_the_one_that_the_agent_tells() {
    let dir = written(&[("new.yaml", &OFFICE.replace("mode: enforce", "mode: audit"))]);
    let asked = agent(&dir.path().join("agent.sock"), OFFICE);
    let output = smtpfence(&["diff", "--running", "--control", "agent.sock", "new.yaml"], dir.path());
    assert_eq!(asked.join().unwrap(), "GET /v1/policy HTTP/1.1");
    let shown = text_of(&output.stdout);
    assert!(
        shown.starts_with("running policy (revision ") && shown.contains("would_block (was reject)"),
        "{shown}"
    );
}

#[test]
fn a_log_tells_which_blocked_attempts_would_pass() {
    let attempt = |client: &str, to: &str, verdict: &str, reason: &str, more: &str| {
        format!(
            "{{\"event\":\"attempt\",\"time\":\"2026-01-01T00:00:00Z\",\"verdict\":\"{verdict}\",\"reason\":\"{reason}\",\
             \"interface\":\"lan0\",\"client\":\"{client}\",\"client_mac\":null,\"destination\":\"{to}\",\
             \"destination_port\":25{more}}}\n"
        )
    };
    let log = "{\"event\":\"READY\",\"policy\":\"office\"}\n".to_owned()
        + &attempt("10.25.0.77", "198.51.100.7", "reject", "not-a-mail-server", "").repeat(3)
        + &attempt("10.25.0.80", "198.51.100.7", "reject", "not-a-mail-server", ",\"rule\":null")
        + &attempt("10.25.0.77", "198.51.100.7", "reject", "quarantined", "")
        + &attempt("203.0.113.1", "198.51.100.7", "drop", "local-process", "")
        + "not JSON\n{\"event\":\"attempt\"}\n";
    let new = OFFICE.replace("to: [203.0.113.25]", "to: [203.0.113.25, 198.51.100.0/28]");
    let dir = written(&[("old.yaml", OFFICE), ("new.yaml", &new), ("log.jsonl", &log)]);
    let args = ["diff", "old.yaml", "new.yaml", "--log", "log.jsonl", "--format", "json"];
    let read: Value = serde_json::from_slice(&smtpfence(&args, dir.path()).stdout).unwrap();
    let log = &read["log"];
    assert_eq!(
        (&log["attempts"], &log["changed_attempts"], &log["unreadable_lines"]),
        (&6.into(), &3.into(), &2.into())
    );
    let changed = log["changed"].as_array().unwrap();
    assert_eq!(changed.len(), 1, "{changed:#?}");
    assert_eq!((&changed[0]["client"], &changed[0]["after"]), (&"10.25.0.77".into(), &"pass".into()));
    let shown = text_of(&smtpfence(&args[..5], dir.path()).stdout);
    assert!(
        shown.contains("10.25.0.77 -> 198.51.100.7 port 25  lan0  reject -> pass (exception)  3 attempts"),
        "{shown}"
    );
}

/// Half a million mail servers, of which one has moved.
#[test]
fn large_policies_are_compared_in_seconds() {
    let entries = if cfg!(debug_assertions) { 50_000 } else { 450_000 };
    let server = |index: usize| format!("10.{}.{}.{}", index >> 16, index >> 8 & 255, index & 255);
    let policy = |moved: usize| {
        let mut text =
            "version: 1\nname: big\nmode: enforce\ninterfaces: { inside: [lan0], outside: [wan0] }\n\
                        networks: { clients: [10.0.0.0/8] }\nexceptions:\n"
                .to_owned();
        for index in 0..entries {
            let to = if index == moved { "203.0.113.1" } else { "203.0.113.0" };
            writeln!(
                text,
                "- {{ name: e{index}, from: [{}], to: [{to}], until: 2099-01-01, reason: r, owner: o }}",
                server(index)
            )
            .unwrap();
        }
        text + "end: true\n"
    };
    let (old, new) = (read(&policy(usize::MAX)), read(&policy(1234)));
    let (old, new) = (paper(&old), paper(&new));
    let start = Instant::now();
    let changes = differences(&old, &new, Timestamp::now());
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    assert_eq!(changes.len(), 2, "{changes:#?}");
    assert!(changes.iter().all(|change| change.sources == [server(1234)]));
}
