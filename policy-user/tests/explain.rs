//! `smtpfence explain`: its answers, its steps, and that its advice works. That it says what the kernel does is proved by
//! `tests/tests/explain_equals_kernel.rs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Output};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy_user::policy::explain::{Asked, Explanation, InQuarantine, Paper, Remedy, Verdict};
use policy_user::policy::{Policy, Revision, Scope, parse};
use serde_json::Value;

const OFFICE: &str = include_str!("../../policies/office.yaml");
const TREATMENTS: &str = include_str!("policy_fixtures/accepted/treatments.yaml");

fn read(text: &str) -> Policy {
    parse(text, now(), &TimeZone::UTC).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0])).0
}

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn asked<'t>(from: &'t str, to: &'t str) -> Asked<'t> {
    Asked { from, to, port: 25, mac: None, interface: None, at: now(), quarantined: InQuarantine::No }
}

fn explained(policy: &str, asked: Asked<'_>) -> Explanation {
    let policy = read(policy);
    let paper = Paper::new(&policy, Revision([0; 8])).unwrap();
    paper.examiner().explain(&asked.question().unwrap())
}

#[test]
fn the_deciding_step_belongs_to_the_reason() {
    let quarantined =
        |from| Asked { quarantined: InQuarantine::AsThePolicySays, ..asked(from, "198.51.100.7") };
    let cut_off = |from| Asked { quarantined: InQuarantine::Of(Scope::All), ..asked(from, "198.51.100.7") };
    let through = |from, interface| Asked { interface: Some(interface), ..asked(from, "198.51.100.7") };
    for (asked, verdict, reason, step) in [
        (Asked { port: 587, ..asked("10.25.0.80", "198.51.100.7") }, Verdict::Pass, "other-traffic", 4),
        (asked("10.25.0.80", "10.1.2.3"), Verdict::Pass, "internal-destination", 5),
        (quarantined("10.25.0.77"), Verdict::Reject, "quarantined", 6),
        (Asked { port: 587, ..quarantined("10.25.0.77") }, Verdict::Reject, "quarantined", 4),
        (Asked { port: 443, ..quarantined("10.25.0.77") }, Verdict::Pass, "other-traffic", 4),
        (Asked { port: 443, ..cut_off("10.25.0.77") }, Verdict::Reject, "quarantined", 4),
        (Asked { port: 443, to: "10.1.2.3", ..cut_off("10.25.0.77") }, Verdict::Pass, "other-traffic", 4),
        (Asked { port: 443, ..cut_off("10.25.1.25") }, Verdict::Pass, "other-traffic", 4),
        (quarantined("10.25.1.25"), Verdict::Pass, "mail-server", 7),
        (asked("10.25.1.26", "198.51.100.7"), Verdict::Pass, "mail-server", 7),
        (through("10.25.1.26", "lan0"), Verdict::Reject, "spoofed-mail-server", 7),
        (asked("10.25.1.30", "198.51.100.7"), Verdict::Reject, "destination-not-allowed", 7),
        (asked("10.25.0.77", "203.0.113.25"), Verdict::Pass, "exception", 8),
        (asked("192.0.2.1", "198.51.100.7"), Verdict::Reject, "unknown-source", 9),
        (asked("10.25.0.80", "198.51.100.7"), Verdict::Reject, "not-a-mail-server", 10),
        (asked("gateway", "198.51.100.7"), Verdict::Drop, "local-process", 6),
        (asked("gateway", "10.1.2.3"), Verdict::Pass, "internal-destination", 5),
        (through("10.25.0.80", "docker0"), Verdict::Drop, "uncovered-ingress", 6),
        // A pattern doesn't mean the loopback interface, and an outside one is not inside.
        (through("10.25.0.80", "wan0"), Verdict::Drop, "uncovered-ingress", 6),
    ] {
        let explanation = explained(OFFICE, asked);
        assert_eq!((explanation.verdict, explanation.reason), (verdict, reason), "{asked:?}");
        let numbers: Vec<u8> = explanation.steps.iter().map(|step| step.number).collect();
        assert_eq!(numbers, (1..=step).collect::<Vec<u8>>(), "{asked:?}");
        let deciding = explanation.steps.iter().position(|step| step.decides);
        assert_eq!(deciding, Some(explanation.steps.len() - 1), "{asked:?}");
        let answer = &explanation.steps.last().unwrap().answer;
        let word = if verdict.denies() { "deny" } else { "pass" };
        assert!(answer.ends_with(word), "{asked:?}: {answer}");
    }
}

#[test]
fn group_goes_before_interface_before_policy() {
    let through = |from, interface| Asked { interface, ..asked(from, "198.51.100.7") };
    for (from, interface, verdict, mode_by, on_block_by) in [
        ("10.25.0.5", Some("lan0"), Verdict::Drop, "group staff", "group staff"),
        ("10.25.0.130", Some("guest1"), Verdict::WouldBlock, "group lab", "interface guest*"),
        ("10.25.0.200", Some("vlan9"), Verdict::Drop, "policy", "group printers"),
        ("fd25::9", Some("guest1"), Verdict::WouldBlock, "interface guest*", "interface guest*"),
        ("fd25::9", Some("vlan9"), Verdict::Reject, "policy", "interface vlan*"),
        ("fd25::9", Some("lan0"), Verdict::Reject, "policy", "policy"),
    ] {
        let to = if from.contains(':') { "2001:db8::25" } else { "198.51.100.7" };
        let explanation = explained(TREATMENTS, Asked { to, ..through(from, interface) });
        let treatment = explanation.treatment.unwrap();
        assert_eq!(
            (explanation.verdict, treatment.mode.by.as_str(), treatment.on_block.by.as_str()),
            (verdict, mode_by, on_block_by),
            "{from} through {interface:?}"
        );
    }
}

#[test]
fn what_was_not_said_is_told() {
    let explanation = explained(OFFICE, asked("10.25.1.26", "198.51.100.7"));
    let assumed =
        ["its MAC is 02:00:00:00:00:26, as mx2 must have", "it comes in through vlan10, as mx2 must"];
    assert_eq!(explanation.assumed, assumed);
    let explanation = explained(TREATMENTS, asked("fd25::9", "2001:db8::25"));
    assert_eq!(explanation.assumed, ["it comes in through lan0, the first inside interface"]);
    let elsewhere = explanation.elsewhere.iter().map(|it| (it.interface.as_str(), it.verdict));
    assert_eq!(elsewhere.collect::<Vec<_>>(), [("guest*", Verdict::WouldBlock)]);
    // Where all interfaces are treated alike, it doesn't matter which one it is.
    assert!(explained(OFFICE, asked("10.25.0.80", "198.51.100.7")).assumed.is_empty());
}

/// The policy after following a remedy's YAML, as somebody would who knows where its key belongs.
fn followed(policy: &str, remedy: &Remedy) -> String {
    let yaml = remedy.yaml.as_deref().unwrap();
    let lines: Vec<&str> = policy.lines().collect();
    let Some(entry) = &remedy.entry else {
        let key = if yaml.contains("until:") { "exceptions:" } else { "mail_servers:" };
        let key = if yaml.starts_with("- name") { key } else { "mode:" };
        let indented: String = yaml.lines().map(|line| format!("  {line}\n")).collect();
        let added = if key == "mode:" { yaml.to_owned() + "\n" } else { indented };
        let at = lines.iter().position(|line| line.starts_with(key)).unwrap() + 1;
        return lines[..at].join("\n") + "\n" + &added + &lines[at..].join("\n") + "\n";
    };
    // Replaces the keys of the entry, which reaches to the next one.
    let start = entry.line - 1;
    let end = lines[start + 1..].iter().position(|line| !line.starts_with("    ")).unwrap() + start + 1;
    let mut changed: Vec<String> = lines[..=start].iter().map(|line| (*line).to_owned()).collect();
    let key = |line: &str| line.trim_start().split(':').next().unwrap().to_owned();
    let replaced: Vec<String> = yaml.lines().map(key).collect();
    changed.extend(
        lines[start + 1..end].iter().filter(|line| !replaced.contains(&key(line))).map(|it| (*it).to_owned()),
    );
    changed.extend(yaml.lines().map(|line| format!("    {line}")));
    changed.extend(lines[end..].iter().map(|line| (*line).to_owned()));
    changed.join("\n") + "\n"
}

#[test]
fn following_the_advice_lets_it_pass() {
    let at = Timestamp::now();
    let asked = |from, to| Asked { at, ..asked(from, to) };
    let mac = Some("02:00:00:00:00:99");
    for (asked, reason) in [
        (asked("10.25.0.80", "198.51.100.7"), "not-a-mail-server"),
        (Asked { mac, ..asked("10.25.0.80", "198.51.100.7") }, "not-a-mail-server"),
        (asked("fd25::80", "2001:db8::25"), "not-a-mail-server"),
        (asked("192.0.2.1", "198.51.100.7"), "unknown-source"),
        (asked("10.25.1.30", "198.51.100.7"), "destination-not-allowed"),
        (Asked { mac, ..asked("10.25.1.25", "198.51.100.7") }, "spoofed-mail-server"),
        (
            Asked { mac, interface: Some("lan0"), ..asked("10.25.1.26", "198.51.100.7") },
            "spoofed-mail-server",
        ),
        (
            Asked { at: "2028-06-01T12:00:00Z".parse().unwrap(), ..asked("10.25.0.77", "203.0.113.25") },
            "not-a-mail-server",
        ),
        (asked("gateway", "198.51.100.7"), "local-process"),
    ] {
        let explanation = explained(OFFICE, asked);
        assert_eq!(explanation.reason, reason, "{asked:?}");
        let remedies: Vec<&Remedy> = explanation.remedies.iter().filter(|it| it.yaml.is_some()).collect();
        assert!(!remedies.is_empty(), "{asked:?}");
        for remedy in remedies {
            let policy = followed(OFFICE, remedy);
            let then = explained(&policy, asked);
            assert_eq!(then.verdict, Verdict::Pass, "{asked:?} after {remedy:?}: {}\n{policy}", then.reason);
        }
    }
}

#[test]
fn a_released_client_that_is_denied_anyway_gets_the_whole_advice() {
    let quarantined =
        Asked { quarantined: InQuarantine::AsThePolicySays, ..asked("10.25.0.80", "198.51.100.7") };
    let remedies = explained(OFFICE, quarantined).remedies;
    assert!(remedies[0].sentence.contains("`smtpfence release 10.25.0.80`"), "{remedies:#?}");
    assert_eq!(remedies.len(), 3, "{remedies:#?}");
    let scanner = Asked { quarantined: InQuarantine::AsThePolicySays, ..asked("10.25.0.77", "203.0.113.25") };
    assert_eq!(explained(OFFICE, scanner).remedies.len(), 1);
}

fn smtpfence(args: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("office.yaml"), OFFICE).unwrap();
    fs::write(dir.path().join("bad.yaml"), "mode: x\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smtpfence"));
    command.arg("explain").args(args.split(' ')).current_dir(dir.path()).env("TZ", "UTC").output().unwrap()
}

#[test]
fn an_admin_reads_verdict_steps_and_entry() {
    let output =
        smtpfence("--policy office.yaml --from 10.25.1.25 --mac 02:00:00:00:00:99 --to 198.51.100.7");
    assert_eq!(output.status.code(), Some(0));
    let expected = "\
reject: 10.25.1.25 -> 198.51.100.7 port 25

  reason     spoofed-mail-server: the address is a mail server's, but interface or MAC are not the ones the policy binds it to
  policy     office-frankfurt, revision REVISION
  entry      mail server mx1 (office.yaml:30)
  treatment  mode enforce (policy), on_block reject (policy)

How it is decided, where it comes in:
   1  is it TCP over IPv4 or IPv6?                  yes, that is what is asked about
   2  can its destination port be read?             yes, 25
   3  is it a later fragment, without a port?       no
   4  is the port blocked?                          yes
   5  is the destination internal, or the gateway?  no
   6  is the client in quarantine?                  no
   7  is it a mail server?                          yes, mx1, but its MAC is 02:00:00:00:00:99, not 02:00:00:00:00:25: deny

What would let it pass:
  mail server mx1 (office.yaml:30): if the mail server itself has changed, write what it has now; if not, another host has taken its address

      mac: \"02:00:00:00:00:99\"

";
    let revision = Revision::of(OFFICE).to_string();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected.replace("REVISION", &revision));
}

#[test]
fn programs_read_the_same() {
    let output =
        smtpfence("--policy office.yaml --from 10.25.0.77 --to 203.0.113.25 --at 2028-01-02 --format json");
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    let explanation = &read["explanation"];
    assert_eq!(explanation["verdict"], "reject");
    assert_eq!(explanation["reason"], "not-a-mail-server");
    assert_eq!(explanation["treatment"]["on_block"]["by"], "policy");
    assert_eq!(explanation["steps"].as_array().unwrap().len(), 10);
    assert_eq!(explanation["remedies"][0]["entry"]["name"], "scanner-3rd-floor");
    assert_eq!(explanation["remedies"][0]["yaml"], "until: 2028-01-16");
    assert_eq!(
        (&read["question"]["port"], &read["question"]["at"]),
        (&25.into(), &"2028-01-02T12:00:00Z".into())
    );
}

#[test]
fn exit_codes_are_those_of_the_manual() {
    for (args, code, said) in [
        ("--policy office.yaml --from 10.25.0.80 --to 198.51.100.7", 0, ""),
        ("--policy bad.yaml --from 10.25.0.80 --to 198.51.100.7", 1, "error["),
        ("--policy none.yaml --from 10.25.0.80 --to 198.51.100.7", 1, "no such file"),
        (
            "--policy office.yaml --from 10.25.0.080 --to 198.51.100.7",
            1,
            "--from: `10.25.0.080` has a leading zero",
        ),
        ("--policy office.yaml --from 10.25.0.80 --to 2001:db8::25", 1, "of different families"),
        ("--policy office.yaml --from 10.25.0.80 --to 198.51.100.7 --port 0", 1, "--port: 0 is not a port"),
        ("--policy office.yaml --from 10.25.0.80 --to 198.51.100.7 --mac 02-00", 1, "is not a MAC address"),
        (
            "--policy office.yaml --from 10.25.0.80 --to 198.51.100.7 --interface lan*",
            1,
            "is not the name of an interface",
        ),
        ("--policy office.yaml --from 10.25.0.80 --to 198.51.100.7 --at soon", 1, "is not a time"),
        (
            "--policy office.yaml --from gateway --to 198.51.100.7 --mac none",
            1,
            "a process of the gateway has no `mac`",
        ),
        ("--policy office.yaml", 2, "Usage"),
    ] {
        let output = smtpfence(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args}: {stderr}");
        assert!(stderr.contains(said), "{args}: {stderr}");
    }
}
