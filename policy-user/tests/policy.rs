//! The policy language from outside: what is accepted, what is refused and in which words, and how much of either.
//!
//! Beside each file of `policy_fixtures` stands what an admin reads about it. `BLESS=1 cargo test --test policy` writes
//! those texts anew, for review as a diff.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy_user::policy::{self, Diagnostic, Mode, OnBlock, Policy, Strictness, Treatment, diagnostics};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn parse(text: &str) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> {
    let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    policy::parse(text, now, &TimeZone::UTC)
}

fn yaml_files(dir: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(ROOT).join(dir)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {dir}");
    files
}

fn shipped() -> Vec<PathBuf> {
    yaml_files("../policies")
}

fn compare(file: &Path, read: &str, wrong: &mut String) {
    let expected = file.with_extension("txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&expected, read).unwrap();
    }
    let wanted = fs::read_to_string(&expected).unwrap_or_default();
    if wanted != read {
        writeln!(wrong, "{}:\n--- expected\n{wanted}\n--- read\n{read}", file.display()).unwrap();
    }
}

fn rendered(file: &Path, diagnostics: &[Diagnostic], text: &str) -> String {
    diagnostics::render(diagnostics, file.file_name().unwrap().to_str().unwrap(), text, false)
}

#[test]
fn refused_files_say_where_and_what_to_write() {
    let mut wrong = String::new();
    for file in yaml_files("tests/policy_fixtures/refused") {
        let text = fs::read_to_string(&file).unwrap();
        match parse(&text) {
            Ok(_) => writeln!(wrong, "{}: accepted", file.display()).unwrap(),
            Err(errors) => {
                assert!(errors.iter().all(|error| !error.help.is_empty()), "{}: no advice", file.display());
                compare(&file, &rendered(&file, &errors, &text), &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn accepted_files_have_exactly_their_warnings() {
    let mut wrong = String::new();
    for file in yaml_files("tests/policy_fixtures/accepted") {
        let text = fs::read_to_string(&file).unwrap();
        match parse(&text) {
            Ok((_, warnings)) => compare(&file, &rendered(&file, &warnings, &text), &mut wrong),
            Err(errors) => writeln!(wrong, "{}", rendered(&file, &errors, &text)).unwrap(),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn shipped_policies_are_valid_without_warnings() {
    for file in shipped() {
        let text = fs::read_to_string(&file).unwrap();
        let (_, warnings) =
            parse(&text).unwrap_or_else(|errors| panic!("{}", rendered(&file, &errors, &text)));
        assert!(warnings.is_empty(), "{}", rendered(&file, &warnings, &text));
    }
}

#[test]
fn the_office_policy_means_what_it_says() {
    let text = fs::read_to_string(Path::new(ROOT).join("../policies/office.yaml")).unwrap();
    let (policy, _) = parse(&text).unwrap();
    assert_eq!((policy.name.as_str(), policy.mode), ("office-frankfurt", Mode::Enforce));
    assert_eq!((policy.on_block, policy.gateway_mail), (OnBlock::Reject, false));
    assert!(policy.inside.iter().any(|entry| entry.glob.matches("vlan10")));
    assert_eq!((policy.blocked_ports, policy.submission_ports), (vec![25], vec![587, 465]));
    let mx1 = &policy.mail_servers[0];
    assert_eq!(
        mx1.addresses,
        ["10.25.1.25".parse::<std::net::IpAddr>().unwrap(), "fd25::25".parse().unwrap()]
    );
    assert_eq!((mx1.mac, &mx1.interface, &mx1.to), (Some([2, 0, 0, 0, 0, 0x25]), &None, &None));
    assert_eq!(text.lines().nth(mx1.line - 1).unwrap().trim(), "- name: mx1");
    assert_eq!(policy.mail_servers[2].to, Some(vec!["203.0.113.0/24".parse().unwrap()]));
    let scanner = &policy.exceptions[0];
    assert_eq!(scanner.until, "2028-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(scanner.owner.as_deref(), Some("it-ops@example.com"));
}

#[test]
fn groups_and_interfaces_keep_what_they_say_and_leave_the_rest() {
    let text =
        fs::read_to_string(Path::new(ROOT).join("tests/policy_fixtures/accepted/treatments.yaml")).unwrap();
    let (policy, _) = parse(&text).unwrap();
    let (audit, enforce) = (Some(Mode::Audit), Some(Mode::Enforce));
    let (drop, reject) = (Some(OnBlock::Drop), Some(OnBlock::Reject));
    assert_eq!((policy.mode, policy.on_block, policy.gateway_mail), (Mode::Enforce, OnBlock::Reject, true));
    let inside = policy.inside.iter().map(|entry| (entry.glob.0.as_str(), entry.treatment));
    let treated = |mode, on_block| Treatment { mode, on_block };
    assert_eq!(
        inside.collect::<Vec<_>>(),
        [
            ("lan0", treated(None, None)),
            ("guest*", treated(audit, drop)),
            ("vlan*", treated(None, reject)),
            ("tun0", treated(None, None)),
        ]
    );
    let groups = policy.groups.iter().map(|group| (group.name.as_str(), group.treatment));
    assert_eq!(
        groups.collect::<Vec<_>>(),
        [("lab", treated(audit, None)), ("staff", treated(enforce, drop)), ("printers", treated(None, drop)),]
    );
    assert_eq!(policy.groups[2].clients, ["10.25.0.200/32".parse().unwrap()]);
    assert_eq!(text.lines().nth(policy.groups[1].line - 1).unwrap().trim(), "- name: staff");
}

#[test]
fn lists_have_their_limits() {
    let list = |number, entry: fn(usize) -> String| (0..number).map(entry).collect::<Vec<_>>().join(", ");
    let text = |inside: &str, groups: &str| {
        format!(
            "version: 1\nname: many\nmode: enforce\nnetworks: {{ clients: [10.0.0.0/8] }}\n\
             interfaces: {{ inside: [{inside}], outside: [wan0] }}\ngroups: [{groups}]\nend: true\n"
        )
    };
    let group = |index| format!("{{ name: g{index}, clients: [{}], mode: audit }}", address(index));
    let groups = |number| text("lan0", &list(number, group));
    let (policy, warnings) = parse(&groups(256)).unwrap();
    assert_eq!((policy.groups.len(), warnings.len()), (256, 0));
    assert_eq!(parse(&groups(257)).unwrap_err()[0].code, "too-many-groups");
    let inside = |number| text(&list(number, |index| format!("{{ match: i{index} }}")), "");
    let (policy, warnings) = parse(&inside(256)).unwrap();
    assert_eq!((policy.inside.len(), warnings.len()), (256, 0));
    assert_eq!(parse(&inside(257)).unwrap_err()[0].code, "too-many-interfaces");
}

/// An editor, `scp` or a full disk can leave the beginning of a file behind. A quarter of them would be valid YAML.
#[test]
fn every_prefix_of_a_policy_is_refused_or_means_the_same() {
    for file in shipped() {
        let text = fs::read_to_string(&file).unwrap();
        let (whole, _) = parse(&text).unwrap();
        let mut accepted = 0;
        for end in 0..text.len() {
            let Some(prefix) = text.get(..end) else { continue };
            if let Ok((part, _)) = parse(prefix) {
                assert_eq!(part, whole, "{} cut at byte {end}", file.display());
                accepted += 1;
            }
        }
        assert!(accepted < 120, "{}: only what follows the closing key may be missing", file.display());
    }
}

/// Neither parser may panic: it would take the agent down.
#[test]
fn damaged_policies_never_panic() {
    let mut state: u64 = 25;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    const BITS: &[&str] = &[
        "\t", "\n", "- ", ": ", "[", "]", "{", "}", "\"", "'", "&a ", "*a", "!t ", "|\n", ">", "#", "? ",
        "ü", "---\n",
    ];
    let treatments = Path::new(ROOT).join("tests/policy_fixtures/accepted/treatments.yaml");
    for file in shipped().into_iter().chain([treatments]) {
        let text = fs::read_to_string(&file).unwrap();
        for _ in 0..1_500 {
            let mut damaged: Vec<char> = text.chars().collect();
            for _ in 0..1 + random(4) {
                let at = random(damaged.len());
                match random(3) {
                    0 => drop(damaged.drain(at..(at + 1 + random(40)).min(damaged.len()))),
                    1 => damaged.splice(at..at, BITS[random(BITS.len())].chars()).for_each(drop),
                    _ => damaged[at] = BITS[random(BITS.len())].chars().next().unwrap(),
                }
            }
            let damaged: String = damaged.into_iter().collect();
            if let Err(errors) = parse(&damaged) {
                assert!(!errors.is_empty());
                rendered(&file, &errors, &damaged);
            }
        }
    }
}

/// What the README calls an example must be one.
#[test]
fn the_examples_of_the_readme_are_valid() {
    let readme = fs::read_to_string(Path::new(ROOT).join("../policies/README.md")).unwrap();
    let head = "version: 1\nname: readme\nmode: audit\ninterfaces: { inside: [\"vlan*\"], outside: [wan0] }\n\
                networks: { clients: [10.25.0.0/16, \"fd25::/64\"] }\n";
    let mut examples = 0;
    // One that names a file is a fragment; `tests/include.rs` tries it.
    let blocks = readme.split("```yaml\n").skip(1).filter(|block| !block.starts_with("# policy.d/"));
    for block in blocks {
        let text = format!("{head}{}end: true\n", block.split("```").next().unwrap());
        let (_, warnings) = parse(&text).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]));
        assert!(warnings.is_empty(), "{}", warnings[0]);
        examples += 1;
    }
    assert_eq!(examples, 4);
}

/// Processor time of this thread: other work on the machine doesn't count.
fn cpu_time() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).try_into().unwrap()
}

/// Unoptimised code is ten times slower than what is installed.
const LIMIT: Duration = if cfg!(debug_assertions) { Duration::from_secs(10) } else { Duration::from_secs(1) };

fn refused_quickly(what: &str, text: &str, code: &str) {
    let start = cpu_time();
    let errors = parse(text).expect_err(what);
    let elapsed = cpu_time() - start;
    assert_eq!(errors[0].code, code, "{what}: {}", errors[0]);
    assert!(errors.len() <= 101, "{what}: {} errors", errors.len());
    assert!(elapsed < LIMIT, "{what}: {elapsed:?}");
}

const LARGE: usize = 16 * 1024 * 1024;

#[test]
fn bombs_are_refused() {
    let laughs = (1..10).fold("a0: &a0 [lol, lol, lol]\n".to_owned(), |text, level| {
        let alias = format!("*a{}", level - 1);
        text + &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "))
    });
    refused_quickly("alias bomb", &laughs, "anchor");
    for (what, unit) in [("lists", "["), ("mappings", "{"), ("entries", "- "), ("pairs", "{a: ")] {
        refused_quickly(what, &unit.repeat(LARGE / unit.len()), "too-deep");
    }
    refused_quickly("keys of keys", &"? ".repeat(LARGE / 2), "key-not-text");
    refused_quickly("quote", &("a: \"".to_owned() + &"x".repeat(LARGE - 5)), "syntax");
    refused_quickly("blank lines", &"\n".repeat(LARGE), "empty-file");
    refused_quickly("comments", &"#\n".repeat(LARGE / 2), "empty-file");
    refused_quickly("control characters", &"\u{1}".repeat(LARGE), "odd-character");
    let keys: String = (0..1_000_000).fold(String::new(), |text, key| text + &format!("k{key}: 1\n"));
    refused_quickly("keys", &keys, "too-many-keys");
    refused_quickly("too large", &" ".repeat(LARGE + 1), "file-too-large");
}

/// Beside the clients, the file has two list entries.
fn with_clients(number: usize, entry: impl Fn(usize) -> String) -> String {
    let head = "version: 1\nname: big\ninterfaces: { inside: [lan0], outside: [wan0] }\nmode: enforce\n\
                networks:\n  clients:\n";
    let mut text = head.to_owned();
    for index in 0..number {
        writeln!(text, "  - {}", entry(index)).unwrap();
    }
    text + "end: true\n"
}

fn address(index: usize) -> String {
    format!("10.{}.{}.{}", index >> 16, index >> 8 & 255, index & 255)
}

#[test]
fn a_million_entries_are_accepted_and_one_more_is_refused() {
    let start = cpu_time();
    let (policy, warnings) = parse(&with_clients(999_998, address)).unwrap();
    assert_eq!((policy.clients.len(), warnings.len()), (999_998, 0));
    let elapsed = cpu_time() - start;
    assert!(elapsed < 3 * LIMIT, "{elapsed:?}");
    refused_quickly("a million and one", &with_clients(999_999, address), "too-many-values");
}

/// A range of 20 bytes can stand for 30 networks of the kernel.
#[test]
fn ranges_make_up_a_limited_number_of_networks() {
    let range = |index: usize| format!("10.{}.0.1-10.{}.255.254", index % 256, index % 256);
    let (policy, _) = parse(&with_clients(8_700, range)).unwrap();
    assert_eq!(policy.clients.len(), 8_700 * 30);
    let errors = parse(&with_clients(100_000, range)).unwrap_err();
    assert_eq!((errors.len(), errors[0].code), (1, "too-many-ranges"));
}

#[test]
fn a_million_mistakes_are_counted_not_listed() {
    let errors = parse(&with_clients(900_000, |index| format!("{}/8", address(index + 1)))).unwrap_err();
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[100].message, "899900 more errors are not shown");
    let (_, warnings) = parse(&with_clients(900_000, |_| "10.0.0.0/8".to_owned())).unwrap();
    assert_eq!(warnings.len(), 101);
}

#[test]
fn only_a_file_nobody_else_can_change_is_enforced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    fs::copy(Path::new(ROOT).join("../policies/office.yaml"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let error = policy::load(&path, Strictness::Strict).unwrap_err();
    assert!(error.is_rejection());
    assert_eq!(
        error.to_string(),
        format!("{}: others can write to it (mode 0666); run `chmod go-w` on it", path.display())
    );
    let (_, warnings) = policy::load(&path, Strictness::Advisory).unwrap();
    assert_eq!(warnings[0].code, "file-writable-by-others");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let (loaded, warnings) = policy::load(&path, Strictness::Strict).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(loaded.revision, policy::Revision::of(&loaded.text));
}

#[test]
fn what_is_no_policy_file_is_rejected_and_what_cannot_be_read_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let rejected = |path: &Path| policy::load(path, Strictness::Advisory).unwrap_err().is_rejection();
    assert!(rejected(&dir.path().join("missing")));
    assert!(rejected(dir.path()));
    assert!(rejected(Path::new("/dev/null")));
    let endless = dir.path().join("loop");
    std::os::unix::fs::symlink(&endless, &endless).unwrap();
    assert!(!rejected(&endless));
}
