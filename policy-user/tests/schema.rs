//! The JSON Schema says what the loader does: the same keys, and the same of them mandatory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;
use policy_user::detect::Limits;
use policy_user::policy::{self, reference, schema};
use serde_json::{Map, Value, json};

const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");

/// A policy with every key there is. JSON is YAML.
fn whole() -> Value {
    json!({
        "version": 1,
        "name": "whole",
        "interfaces": {
            "inside": [{ "match": "lan0", "mode": "audit", "on_block": "drop", "datapath": "xdp" }],
            "outside": ["wan0"],
        },
        "networks": { "clients": ["10.25.0.0/16"], "internal": ["10.0.0.0/8"] },
        "ports": { "blocked": [25], "submission": [587] },
        "mode": "enforce",
        "on_block": "reject",
        "mail_servers": [{
            "name": "mx1",
            "address": "10.25.0.25",
            "mac": "02:00:00:00:00:25",
            "interface": "lan0",
            "to": ["203.0.113.0/24"],
        }],
        "exceptions": [{
            "name": "scanner",
            "from": ["10.25.0.10-10.25.0.20"],
            "to": ["203.0.113.25"],
            "for": "14d",
            "since": "2026-11-24",
            "reason": "r",
            "owner": "o",
        }],
        "groups": [{
            "name": "lab",
            "clients": ["10.25.9.0/24"],
            "mode": "audit",
            "on_block": "drop",
            "detection": { "preset": "strict", "overrides": overrides() },
        }],
        "gateway_mail": "deny",
        "detection": {
            "preset": "balanced",
            "overrides": overrides(),
            "host_key": "auto",
            "providers": "/etc/smtpfence/providers.csv",
            "names": { "resolvers": ["9.9.9.9", "2620:fe::fe"], "keep": "24h" },
        },
        "quarantine": {
            "enabled": true,
            "for": "1h",
            "longest": "24h",
            "scope": "mail",
            "except": ["192.0.2.0/24"],
            "except_ports": [443],
        },
        "log": {
            "file": "/var/log/attempts.jsonl",
            "keep": "90d",
            "max_size": "2GiB",
            "journal": true,
            "syslog": ["tls://siem.example.com"],
            "syslog_authorities": "/etc/ssl/siem.pem",
        },
        "identity": { "leases": ["/var/lib/misc/dnsmasq.leases"] },
        "metrics": { "listen": "127.0.0.1:9725" },
        "notify": receivers(),
        "end": true,
    })
}

/// Every key of receivers; one of them is told by one way only.
fn receivers() -> Value {
    let told = |name: &str, way: &str, how: Value| {
        json!({
            "name": name,
            way: how,
            "events": ["infected"],
            "group": "60s",
            "repeat_after": "24h",
            "digest": "08:00",
        })
    };
    let (authorities, secret) = ("/etc/smtpfence/authority.pem", "/etc/smtpfence/secret");
    let webhook = json!({ "url": "https://x.example/", "secret_file": secret, "authorities": authorities });
    let email = json!({
        "server": "mail.example.com",
        "user": "gw",
        "password_file": secret,
        "from": "gw@example.com",
        "to": "it@example.com",
        "authorities": authorities,
    });
    let exec = json!({ "program": "/usr/local/sbin/page", "arguments": ["a"], "timeout": "10s" });
    json!([told("a", "webhook", webhook), told("b", "email", email), told("c", "exec", exec)])
}

/// Whether a key is left out of `receivers` because its receiver is told by another way.
fn is_other_way(at: &str, key: &str, map: &Map<String, Value>) -> bool {
    is_receiver(at) && is_way(key) && !map.contains_key(key)
}

fn is_receiver(at: &str) -> bool {
    at.strip_prefix("/notify/").is_some_and(|index| !index.contains('/'))
}

fn is_way(key: &str) -> bool {
    ["webhook", "email", "exec"].contains(&key)
}

/// Every number of detection.
fn overrides() -> Value {
    Limits::NAMES.iter().map(|name| ((*name).to_owned(), json!(3))).collect::<Map<_, _>>().into()
}

/// The order of a policy's keys matters only for the last one, and JSON's maps here are sorted.
fn codes(policy: &Value) -> Vec<&'static str> {
    let mut rest = policy.as_object().unwrap().clone();
    let end = rest.remove("end");
    let mut lines: String = rest.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
    if let Some(end) = end {
        lines.push_str(&format!("end: {end}\n"));
    }
    let now = "2026-11-25T12:00:00Z".parse().unwrap();
    policy::parse(&lines, now, &TimeZone::UTC)
        .err()
        .map_or_else(Vec::new, |errors| errors.iter().map(|error| error.code).collect())
}

/// Calls `visit` with the JSON pointer of every mapping of the policy and the schema of it.
fn sections(
    at: &str,
    value: &Value,
    schema: &Value,
    visit: &mut impl FnMut(&str, &Map<String, Value>, &Value),
) {
    match value {
        Value::Object(map) => {
            let schema = schema["anyOf"]
                .as_array()
                .and_then(|all| all.iter().find(|it| it["type"] == "object"))
                .filter(|_| schema["type"] != "object")
                .unwrap_or(schema);
            visit(at, map, schema);
            for (key, value) in map {
                sections(&format!("{at}/{key}"), value, &schema["properties"][key], visit);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                sections(&format!("{at}/{index}"), value, &schema["items"], visit);
            }
        }
        _ => {}
    }
}

/// Compares a shipped file with what the program prints; `BLESS` writes it anew.
fn shipped(path: &Path, printed: &str) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, printed).unwrap();
    }
    let file = fs::read_to_string(path).unwrap_or_default();
    assert!(
        file == printed,
        "{} is not what the program prints: run `BLESS=1 cargo test -p policy-user --test schema`",
        path.display()
    );
}

#[test]
fn the_reference_tells_every_key_as_the_program_knows_it() {
    let printed = reference::document();
    shipped(&Path::new(POLICIES).join("../docs/policy-reference.md"), &printed);
    for whole in [whole(), fragment()] {
        sections("", &whole, &json!({}), &mut |at, map, _| {
            for key in map.keys() {
                assert!(printed.contains(&format!("\n| `{key}` | ")), "{at}/{key}");
            }
        });
    }
}

/// A fragment with every key there is.
fn fragment() -> Value {
    let Value::Object(mut keys) = whole() else { unreachable!() };
    keys.retain(|key, _| ["networks", "mail_servers", "exceptions", "groups", "end"].contains(&key.as_str()));
    Value::Object(keys)
}

#[test]
fn a_fragment_has_the_keys_of_its_schema() {
    let path = Path::new(POLICIES).join("policy-fragment.schema.json");
    shipped(&path, &format!("{:#}\n", schema::fragment()));
    sections("", &fragment(), &schema::fragment(), &mut |at, map, schema| {
        let known: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let known: BTreeSet<_> = known
            .into_iter()
            .filter(|key| !matches!((at, key.as_str()), ("/exceptions/0", "until")))
            .collect();
        assert_eq!(map.keys().cloned().collect::<BTreeSet<_>>(), known, "{at}");
    });
}

#[test]
fn the_shipped_schema_is_what_the_program_prints() {
    let path = Path::new(POLICIES).join("policy.schema.json");
    let printed = format!("{:#}\n", schema::document());
    shipped(&path, &printed);
    for file in [
        "office.yaml",
        "office-notify.yaml",
        "monitor-first.yaml",
        "branch-no-mailserver.yaml",
        "contain-infected.yaml",
    ] {
        let text = fs::read_to_string(Path::new(POLICIES).join(file)).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=policy.schema.json\n"), "{file}");
    }
}

#[test]
fn the_loader_knows_the_keys_of_the_schema_and_no_other() {
    assert_eq!(codes(&whole()), [] as [&str; 0]);
    // Told apart from a wrong key: where there are no files, there are no fragments either.
    let mut including = whole();
    including["include"] = json!("policy.d");
    assert_eq!(codes(&including), ["include-not-read"]);
    sections("", &whole(), &schema::document(), &mut |at, map, schema| {
        let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<BTreeSet<String>>();
        let mut known = keys(schema["properties"].as_object().unwrap());
        // Only one form of an exception's end can stand in it; what `include` names is not there.
        known.retain(|key| !matches!((at, key.as_str()), ("/exceptions/0", "until") | ("", "include")));
        known.retain(|key| !is_other_way(at, key, map));
        assert_eq!(keys(map), known, "{at}");
        assert_eq!(schema["additionalProperties"], false, "{at}");
        let mut policy = whole();
        policy.pointer_mut(at).unwrap()["new"] = json!(1);
        assert_eq!(codes(&policy), ["unknown-key"], "{at}");
    });
}

#[test]
fn the_same_keys_are_mandatory() {
    sections("", &whole(), &schema::document(), &mut |at, map, schema| {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for key in map.keys() {
            let mut policy = whole();
            policy.pointer_mut(at).unwrap().as_object_mut().unwrap().remove(key);
            let expected: &[&str] = match (at, key.as_str()) {
                ("", "end") => &["missing-end"],
                ("/exceptions/0", "for") => &["missing-key"],
                ("/exceptions/0", "since") => &["length-without-since"],
                (at, key) if is_receiver(at) && is_way(key) => &["no-way"],
                _ if required.contains(&json!(key)) => &["missing-key"],
                _ => &[],
            };
            assert_eq!(codes(&policy), expected, "{at}/{key}");
        }
    });
}

#[test]
fn every_key_is_explained() {
    sections("", &whole(), &schema::document(), &mut |at, _, schema| {
        for (key, schema) in schema["properties"].as_object().unwrap() {
            let about = schema["description"].as_str().unwrap();
            assert!(about.ends_with(['.', ')']) && !about.contains("  "), "{at}/{key}: {about}");
        }
    });
}
