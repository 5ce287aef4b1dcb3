//! `include`: the directory of fragments, and what each fragment is as a file.

use super::super::diagnostics::quoted;
use super::super::file::{self, Section, Written};
use super::super::places::Spot;
use super::{Findings, WrittenPolicy, check_end};

/// A fragment and the place of all that is in it.
pub type Placed<'w, 'p> = (&'w file::Fragment, Spot<'p>);

/// Whether a directory, or a file in it, may have this name: below the policy's own directory, and the same wherever it
/// is shown.
pub fn is_directory_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.len() <= 255
        && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(plain))
}

/// The fragments that can be read on. All of their lists are judged together with those of the policy file.
pub fn validate<'w, 'p>(
    file: &file::File,
    written: &'w WrittenPolicy,
    root: Spot<'_>,
    findings: &mut Findings<'p>,
) -> Vec<Placed<'w, 'p>> {
    let dir = findings.optional(&file.include, root, "include");
    if let Some(dir) = dir {
        judge_directory(dir, written.complete, root, findings);
    }
    let places = findings.places;
    let of_directory = |spot: Spot<'_>| {
        let (name, _) = places.line(spot.span());
        dir.zip(name).is_some_and(|(dir, name)| {
            is_directory_name(&name) && name.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
        })
    };
    if written.complete && (dir.is_none() || !places.fragments().all(of_directory)) {
        // Nothing that was gathered reads like this, and a restore writes to where the names say.
        let message = "the fragments are not those of the directory that `include` names";
        let help = "give the path of the policy file, so that they are found";
        findings.error("include-mismatch", root.key("include").span(), message, help);
    }
    let placed = written.fragments.iter().zip(places.fragments());
    placed.filter_map(|(fragment, root)| judge(fragment, root, findings).map(|it| (it, root))).collect()
}

fn judge_directory(dir: &str, complete: bool, root: Spot<'_>, findings: &mut Findings<'_>) {
    let at = root.key("include").span();
    if !is_directory_name(dir) {
        let message = format!("{} is not a directory below that of the policy", quoted(dir));
        let help =
            "write its path as seen from the policy's directory, without `.` and `..`, such as `policy.d`";
        findings.error("bad-include", at, message, help);
    } else if !complete {
        // Less than the whole would be another policy.
        let message = "the fragments are missing here";
        findings.error(
            "include-not-read",
            at,
            message,
            "give the path of the policy file, so that they are found",
        );
    }
}

fn judge<'w>(
    fragment: &'w Written<file::Fragment>,
    root: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Option<&'w file::Fragment> {
    let Written::As(fragment) = fragment else {
        let help = "write `mail_servers`, `exceptions`, `groups` or `networks`, then `end: true`";
        findings.error(
            "not-a-fragment",
            root.span(),
            "this fragment doesn't consist of keys with values",
            help,
        );
        return None;
    };
    for (key, at) in root.keys().filter(|(key, _)| !file::Fragment::KEYS.contains(key)) {
        if file::File::KEYS.contains(&key) {
            let message = format!("{} can't stand in a fragment", quoted(key));
            findings.error("not-in-a-fragment", at, message, "write it into the policy file itself");
        } else {
            findings.unknown_key::<file::Fragment>(key, at);
        }
    }
    check_end(&fragment.end, root, findings);
    Some(fragment)
}
