//! What becomes of denied packets: by group, interface and policy, compared by the verdict that comes out.

use policy_common::abi::Net;

use super::super::explain::{Paper, Surroundings, Verdict, verdict_at_guard};
use super::super::model::Policy;
use super::ranges::Slice;
use super::{Change, Kind, Sign, reach};

pub fn differences(
    old: &Paper<'_>,
    new: &Paper<'_>,
    (before, after): (Slice<'_, Net>, Slice<'_, Net>),
) -> Vec<Change> {
    let mut changes = Vec::new();
    let guards = [old, new].map(|paper| verdict_at_guard(&paper.tables));
    let guarded = !old.policy.outside.is_empty() && !new.policy.outside.is_empty();
    if guards[0] != guards[1] && guarded {
        let change = Change::new(sign(guards), Kind::Guard);
        changes.push(change.was(guards[0].label()).now(guards[1].label()));
    }
    changes.extend(of_sources(old, new, (0, 0), Vec::new()));
    for (groups, sources) in reach::grouped(before, after) {
        changes.extend(of_sources(old, new, groups, sources));
    }
    changes
}

/// What changes for sources of these groups, through each interface that is inside in both policies.
fn of_sources(old: &Paper<'_>, new: &Paper<'_>, (a, b): (u16, u16), sources: Vec<String>) -> Vec<Change> {
    let shared = globs(old.policy, new.policy).into_iter().filter_map(|glob| {
        let verdict = |paper: &Paper<'_>, group| {
            let inside = Some(entry_of(paper.policy, glob)?);
            Some(Surroundings::new(paper.policy, group, inside).verdict(paper.policy, &paper.tables))
        };
        Some((glob, [verdict(old, a)?, verdict(new, b)?]))
    });
    let all: Vec<(&str, [Verdict; 2])> = shared.collect();
    let told = |interface: Option<&str>, verdicts: [Verdict; 2]| Change {
        interface: interface.map(str::to_owned),
        ..Change::new(sign(verdicts), Kind::Treatment)
            .from(sources.clone())
            .was(verdicts[0].label())
            .now(verdicts[1].label())
    };
    match all.first() {
        Some((_, verdicts)) if all.iter().all(|(_, other)| other == verdicts) => {
            (verdicts[0] != verdicts[1]).then(|| told(None, *verdicts)).into_iter().collect()
        }
        _ => {
            let changed = all.iter().filter(|(_, verdicts)| verdicts[0] != verdicts[1]);
            changed.map(|(glob, verdicts)| told(Some(glob), *verdicts)).collect()
        }
    }
}

/// Audit mode lets packets go on; drop and reject both stop them.
fn sign([before, after]: [Verdict; 2]) -> Sign {
    match (before == Verdict::WouldBlock, after == Verdict::WouldBlock) {
        (true, false) => Sign::Loss,
        (false, true) => Sign::Gain,
        _ => Sign::Change,
    }
}

/// Names and patterns of both policies' inside interfaces, each once.
pub fn globs<'p>(old: &'p Policy, new: &'p Policy) -> Vec<&'p str> {
    let mut globs: Vec<&str> = Vec::new();
    for entry in old.inside.iter().chain(&new.inside) {
        if !globs.contains(&entry.glob.0.as_str()) {
            globs.push(&entry.glob.0);
        }
    }
    globs
}

/// The first entry that matches every name that `glob` matches. Read as a name, a `*` in `glob` could be matched by a `?`.
pub fn entry_of(policy: &Policy, glob: &str) -> Option<usize> {
    let any = |text: &str| text.contains('*');
    policy.inside.iter().position(|entry| entry.glob.matches(glob) && (!any(glob) || any(&entry.glob.0)))
}
