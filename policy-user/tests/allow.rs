//! Exceptions added to and removed from policies of every layout: what is not theirs stays byte for byte.
//!
//! `tests/allow_fixtures/before` are the layouts, `added` and `removed` what becomes of them.
//! `BLESS=1 cargo test --test allow` writes the latter anew, for review as a diff.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy_user::policy::edit::{self, EditError, Edited, NewException};
use policy_user::policy::{self, Policy};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/allow_fixtures");

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn new() -> NewException {
    NewException {
        name: "scanner-3rd-floor".into(),
        from: vec!["10.25.0.77".into(), "fd25::77".into()],
        to: vec!["203.0.113.0/24".into()],
        until: "2026-11-24T12:00:00+01:00".into(),
        reason: "new scanner, ticket 4711: \"urgent\" # really".into(),
        owner: "it-ops@example.com".into(),
    }
}

fn add(text: &str) -> Result<Edited, EditError> {
    edit::add(text, &new(), now(), &TimeZone::UTC)
}

fn remove(text: &str, name: &str) -> Result<Edited, EditError> {
    edit::remove(text, name, now(), &TimeZone::UTC)
}

fn read(text: &str) -> Policy {
    policy::parse(text, now(), &TimeZone::UTC).unwrap().0
}

fn layouts() -> Vec<(String, String)> {
    let entries = fs::read_dir(Path::new(FIXTURES).join("before")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 20);
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    paths.into_iter().map(named).collect()
}

fn compare(kind: &str, name: &str, found: &str, wrong: &mut String) {
    let path = Path::new(FIXTURES).join(kind).join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected != found {
        writeln!(wrong, "{kind}/{name}:\n--- expected\n{expected}\n--- found\n{found}").unwrap();
    }
}

/// The lines of `text`, as often as they stand in it, without those of `others`.
fn lines_not_in(text: &str, others: &str) -> Vec<String> {
    let mut others: Vec<&str> = others.split_inclusive('\n').collect();
    let lines = text.split_inclusive('\n').filter(|line| {
        let known = others.iter().position(|other| other == line);
        known.map(|at| others.swap_remove(at)).is_none()
    });
    lines.map(str::to_owned).collect()
}

#[test]
fn an_exception_is_added_in_the_style_of_the_others() {
    let mut wrong = String::new();
    for (name, text) in layouts() {
        let edited = add(&text).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        compare("added", &name, &edited.text, &mut wrong);
        let lost = lines_not_in(&text, &edited.text);
        // Where something is added to a line, that line is another.
        assert!(lost.len() <= 1, "{name}: {lost:?}");
        assert_eq!(edited.policy.exceptions.last().unwrap().reason, new().reason);
        assert_eq!(
            edited.text.contains("\r\n"),
            edited.text.lines().count()
                == edited.text.matches("\r\n").count() + usize::from(!edited.text.ends_with('\n')),
            "{name}: mixed line ends"
        );
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn an_exception_is_removed_with_its_lines_only() {
    let mut wrong = String::new();
    for (name, text) in layouts() {
        match remove(&text, "old") {
            Ok(edited) => {
                compare("removed", &name, &edited.text, &mut wrong);
                assert!(lines_not_in(&edited.text, &text).len() <= 2, "{name}");
            }
            Err(EditError::Unknown(_)) => assert!(read(&text).exceptions.is_empty(), "{name}"),
            Err(error) => panic!("{name}: {error:?}"),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_added_and_removed_again_leaves_nothing_behind() {
    for (name, text) in layouts() {
        let added = add(&text).unwrap().text;
        let back = remove(&added, "scanner-3rd-floor").unwrap().text;
        // Where the section was missing or empty, an empty one remains.
        if !read(&text).exceptions.is_empty() {
            // A comma behind the last entry is as good as none.
            assert_eq!(back.replace("},", "}"), text.replace("},", "}"), "{name}");
        } else {
            let left = lines_not_in(&back, &text);
            assert!(left.len() <= 2 && lines_not_in(&text, &back).len() <= 1, "{name}: {left:?}");
        }
        assert_eq!(read(&back).exceptions.len(), read(&text).exceptions.len(), "{name}");
    }
}

#[test]
fn any_order_of_additions_and_removals_keeps_the_file_valid() {
    for (name, text) in layouts() {
        let mut text = text;
        for round in 0..4 {
            let new = NewException { name: format!("n{round}"), ..new() };
            text = edit::add(&text, &new, now(), &TimeZone::UTC).unwrap().text;
        }
        for round in [3, 0, 2, 1] {
            text =
                remove(&text, &format!("n{round}")).unwrap_or_else(|e| panic!("{name}: {e:?}\n{text}")).text;
        }
        assert!(read(&text).exceptions.len() < 3, "{name}");
    }
}

/// Nothing of what somebody types may become anything else than the text of one value.
#[test]
fn texts_come_back_as_they_were_given() {
    let (_, layout) = layouts().into_iter().find(|(name, _)| name == "block.yaml").unwrap();
    for reason in [
        "plain words",
        "yes",
        "null",
        "1.5",
        "7",
        "0x10",
        "a: b",
        "a #b",
        "#",
        "*a",
        "&a",
        "!t",
        "- a",
        "[a",
        "{a}",
        "'",
        "\"",
        "\\",
        "\\n",
        "%",
        "@x",
        "`x`",
        ", }",
        "end: true",
        "ümläut ✓",
        "2026-12-31",
        "~",
        "|",
        ">",
        "? a",
        "...",
        "---",
        "=",
    ] {
        let new = NewException { reason: reason.into(), owner: reason.into(), ..new() };
        let edited = edit::add(&layout, &new, now(), &TimeZone::UTC).unwrap();
        assert_eq!(edited.policy.exceptions.last().unwrap().reason, reason);
    }
}

#[test]
fn what_the_loader_refuses_is_not_added() {
    let (_, layout) = layouts().into_iter().find(|(name, _)| name == "block.yaml").unwrap();
    let refused = |new: NewException| match edit::add(&layout, &new, now(), &TimeZone::UTC) {
        Err(EditError::InvalidAfter(_, errors)) => errors[0].code,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(NewException { name: "mx1".into(), ..new() }), "duplicate-name");
    assert_eq!(refused(NewException { name: "a b".into(), ..new() }), "bad-name");
    assert_eq!(refused(NewException { from: vec!["10.25.0.77/24".into()], ..new() }), "host-bits-set");
    assert_eq!(refused(NewException { to: vec![], ..new() }), "empty-list");
    assert_eq!(refused(NewException { until: "tomorrow".into(), ..new() }), "bad-date");
    assert_eq!(refused(NewException { reason: "two\nlines".into(), ..new() }), "bad-text");
    assert_eq!(refused(NewException { owner: " ".into(), ..new() }), "bad-text");
}

#[test]
fn a_file_that_is_not_valid_is_left_alone() {
    let tabs = "version: 1\nexceptions:\n\t- name: old\nend: true\n";
    assert!(matches!(add(tabs), Err(EditError::InvalidBefore(_))));
    assert!(matches!(remove(tabs, "old"), Err(EditError::InvalidBefore(_))));
    assert!(matches!(add(""), Err(EditError::InvalidBefore(_))));
    let (_, layout) = layouts().into_iter().find(|(name, _)| name == "block.yaml").unwrap();
    assert!(matches!(remove(&layout, "nobody"), Err(EditError::Unknown(_))));
    assert!(matches!(remove(&layout, "mx1"), Err(EditError::Unknown(_))));
}
