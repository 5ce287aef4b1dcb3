//! A file of tests as written, and what is wrong with it, in the same words as for a policy.

use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy_common::Reason;
use serde::Deserialize;

use super::super::diagnostics::{Diagnostic, boundary_before, quoted};
use super::super::explain::{Asked, InQuarantine, Misasked, Question, Verdict, moment};
use super::super::file::{self, Kind, Section, Shape, Word, Written};
use super::super::model::Scope;
use super::super::places::{self, Spot};
use super::super::validate::{Findings, address_text};
use super::Expected;

/// A valid file of tests.
pub struct Suite {
    /// As written: relative to the file.
    pub policy: PathBuf,
    pub gateway_addresses: Vec<IpAddr>,
    pub tests: Vec<Test>,
}

pub struct Test {
    pub name: String,
    pub question: Question,
    pub expected: Expected,
    pub reason: Option<Reason>,
    pub line: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SuiteFile {
    policy: Written<String>,
    at: Written<String>,
    gateway_addresses: Written<Vec<Written<String>>>,
    tests: Written<Vec<Written<TestEntry>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TestEntry {
    name: Written<String>,
    from: Written<String>,
    to: Written<String>,
    port: Written<u64>,
    mac: Written<String>,
    interface: Written<String>,
    at: Written<String>,
    quarantined: Written<Word>,
    expect: Written<String>,
    reason: Written<String>,
}

macro_rules! section {
    ($name:ident: $($key:literal),*) => {
        impl Shape for $name {
            const EXPECTED: &'static str = "keys with values";
            const ADVICE: &'static str = "write its keys, each with a colon and a value";
            fn accepts(kind: Kind) -> bool {
                kind == Kind::Map
            }
        }

        impl Section for $name {
            const KEYS: &'static [&'static str] = &[$($key),*];
        }
    };
}

section!(SuiteFile: "policy", "at", "gateway_addresses", "tests");
section!(TestEntry: "name", "from", "to", "port", "mac", "interface", "at", "quarantined", "expect", "reason");

/// Judges a text: the tests, or all that is wrong with them. Times without a date of their own are `now`.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Suite, Vec<Diagnostic>> {
    let places::Reading { places, problems, readable } = places::read(text);
    let mut findings = Findings::new(&places, problems);
    if !readable || findings.has_errors() {
        return Err(findings.into_lists().0);
    }
    let suite = match file::read_as::<SuiteFile>(text) {
        Ok(written) => validate(&written, places.root(), now, zone, &mut findings),
        Err(error) => {
            let at = boundary_before(text, error.byte);
            let (span, message, help) = places::in_plain_words(text, at, &error.message);
            findings.error("syntax", span, message, help);
            None
        }
    };
    let errors = findings.into_lists().0;
    suite.filter(|_| errors.is_empty()).ok_or(errors)
}

fn validate(
    written: &Written<SuiteFile>,
    root: Spot<'_>,
    now: Timestamp,
    zone: &TimeZone,
    findings: &mut Findings<'_>,
) -> Option<Suite> {
    let Written::As(file) = written else {
        let message = "the file doesn't consist of keys with values";
        findings.error("not-a-test-file", root.span(), message, "begin with `policy: ../office.yaml`");
        return None;
    };
    findings.unknown_keys::<SuiteFile>(root);
    let policy = findings.require(&file.policy, root, "policy", "policy: ../office.yaml");
    let addresses = findings.optional(&file.gateway_addresses, root, "gateway_addresses");
    let addresses = addresses.map_or(&[][..], Vec::as_slice);
    let gateway_addresses = gateway_addresses(addresses, root.key("gateway_addresses"), findings);
    let at = time(&file.at, root, zone, findings).unwrap_or(now);
    let list =
        findings.require(&file.tests, root, "tests", "tests: [{ name: …, from: …, to: …, expect: … }]");
    if list.is_some_and(Vec::is_empty) {
        let help = "write at least one: a file without tests finds nothing wrong";
        findings.error("empty-list", root.key("tests").span(), "`tests` is empty", help);
    }
    let mut tests = Vec::new();
    for (index, entry) in list.into_iter().flatten().enumerate() {
        let spot = root.key("tests").at(index);
        if let Some(entry) = findings.entry(entry, spot, "tests") {
            tests.extend(test(entry, spot, at, zone, findings));
        }
    }
    Some(Suite { policy: policy?.into(), gateway_addresses, tests })
}

fn gateway_addresses(list: &[Written<String>], spot: Spot<'_>, findings: &mut Findings<'_>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for (index, written) in list.iter().enumerate() {
        let at = spot.at(index);
        let Some(text) = findings.entry(written, at, "gateway_addresses") else { continue };
        match address_text::address(text) {
            Ok(address) => addresses.push(address),
            Err(refusal) => findings.error(refusal.code, at.span(), refusal.message, refusal.help),
        }
    }
    addresses
}

fn test(
    entry: &TestEntry,
    spot: Spot<'_>,
    now: Timestamp,
    zone: &TimeZone,
    findings: &mut Findings<'_>,
) -> Option<Test> {
    findings.unknown_keys::<TestEntry>(spot);
    let name = findings.require(&entry.name, spot, "name", "name: staff can't send on port 25");
    let from = findings.require(&entry.from, spot, "from", "from: 10.25.0.80");
    let to = findings.require(&entry.to, spot, "to", "to: 203.0.113.25");
    let expect = findings.require(&entry.expect, spot, "expect", "expect: pass");
    let expected = expect.and_then(|text| expected(text, spot.key("expect"), findings));
    let reason = findings.optional(&entry.reason, spot, "reason");
    let reason = reason.and_then(|text| reason_named(text, spot.key("reason"), findings));
    let at = time(&entry.at, spot, zone, findings).unwrap_or(now);
    let asked = Asked {
        port: findings.optional(&entry.port, spot, "port").copied().unwrap_or(25),
        mac: findings.optional(&entry.mac, spot, "mac").map(String::as_str),
        interface: findings.optional(&entry.interface, spot, "interface").map(String::as_str),
        at,
        quarantined: quarantined(&entry.quarantined, spot, findings),
        from: from?,
        to: to?,
    };
    let question = asked.question().map_err(|why| misasked(why, spot, findings)).ok()?;
    let (_, line) = findings.places.line(spot.span());
    Some(Test { name: name?.clone(), question, expected: expected?, reason, line })
}

/// `true` is a quarantine as the policy has it.
fn quarantined(written: &Written<Word>, spot: Spot<'_>, findings: &mut Findings<'_>) -> InQuarantine {
    let Some(word) = findings.optional(written, spot, "quarantined") else { return InQuarantine::No };
    match (word.as_str(), Scope::named(word.as_str())) {
        ("true", _) => InQuarantine::AsThePolicySays,
        ("false", _) => InQuarantine::No,
        (_, Some(scope)) => InQuarantine::Of(scope),
        (other, None) => {
            let message = format!("{} is no quarantine", quoted(other));
            let help = "write `true` for one as the policy has it, or its scope: `mail` or `all`";
            findings.error("unknown-scope", spot.key("quarantined").span(), message, help);
            InQuarantine::No
        }
    }
}

fn time(
    written: &Written<String>,
    parent: Spot<'_>,
    zone: &TimeZone,
    findings: &mut Findings<'_>,
) -> Option<Timestamp> {
    let text = findings.optional(written, parent, "at")?;
    moment(text, zone).map_err(|why| misasked(why, parent, findings)).ok()
}

fn misasked(why: Misasked, parent: Spot<'_>, findings: &mut Findings<'_>) {
    findings.error(why.code, parent.key(why.key).span(), why.message, why.help);
}

fn expected(text: &str, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<Expected> {
    let exactly = Verdict::ALL.into_iter().find(|verdict| verdict.label() == text);
    let expected = exactly.map(Expected::Exactly).or((text == "deny").then_some(Expected::Deny));
    if expected.is_none() {
        let help = "write `pass`, `drop`, `reject`, `would_block`, or `deny` for any of the last three";
        findings.error("unknown-verdict", spot.span(), format!("{} is not a verdict", quoted(text)), help);
    }
    expected
}

fn reason_named(text: &str, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<Reason> {
    let reason = Reason::ALL.into_iter().find(|reason| reason.label() == text);
    if reason.is_none() {
        let help = "see docs/events.md for the reasons, such as `not-a-mail-server`";
        findings.error("unknown-reason", spot.span(), format!("{} is not a reason", quoted(text)), help);
    }
    reason
}
