//! `interfaces`: which names are inside and which outside, and how what comes in is treated.

use super::super::diagnostics::quoted;
use super::super::file::{self, GlobOrEntry, Word, Written};
use super::super::model::{Datapath, InsideEntry, InterfaceGlob, Treatment};
use super::super::places::{Span, Spot};
use super::{Findings, treatment};

/// Linux's limit for an interface name.
const MAX_NAME: usize = 15;

/// Of either list; more belong into a pattern, and the search for overlaps is quadratic.
const MAX_LISTED: usize = 256;

#[derive(Debug, Default)]
pub struct Interfaces {
    pub inside: Vec<InsideEntry>,
    pub outside: Vec<InterfaceGlob>,
}

pub fn validate(
    written: &Written<file::Interfaces>,
    root: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Interfaces {
    const EXAMPLE: &str = "interfaces: { inside: [lan0], outside: [wan0] }";
    let Some(section) = findings.require(written, root, "interfaces", EXAMPLE) else {
        return Interfaces::default();
    };
    let spot = root.key("interfaces");
    findings.unknown_keys::<file::Interfaces>(spot);
    let inside = findings.require(&section.inside, spot, "inside", "inside: [lan0]");
    let inside = inside.map(|list| entries(list, spot.key("inside"), findings)).unwrap_or_default();
    if matches!(&section.inside, Written::As(list) if list.is_empty()) {
        let at = spot.key("inside").span();
        let message = "`inside` is empty: nothing would be guarded";
        findings.error(
            "empty-list",
            at,
            message,
            "name the interfaces your clients are behind, such as [lan0]",
        );
    }
    let outside = findings.optional(&section.outside, spot, "outside");
    let outside =
        outside.map(|list| globs(list, spot.key("outside"), "outside", findings)).unwrap_or_default();
    if outside.is_empty() {
        let message = "no outside interface is named: \
            processes of the gateway and interfaces not named can reach blocked ports";
        let help = "name the interfaces that packets leave through, such as `outside: [wan0]`";
        findings.warn("no-outside-interface", spot.key("outside").span(), message, help);
    }
    let inside_globs: Vec<(InterfaceGlob, Span)> =
        inside.iter().map(|(entry, at)| (entry.glob.clone(), *at)).collect();
    warn_of_unreachable(&inside_globs, findings);
    check_apart(&inside_globs, &outside, findings);
    Interfaces {
        inside: inside.into_iter().map(|(entry, _)| entry).collect(),
        outside: outside.into_iter().map(|(glob, _)| glob).collect(),
    }
}

fn entries(
    list: &[Written<GlobOrEntry>],
    spot: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Vec<(InsideEntry, Span)> {
    if is_too_long(list.len(), spot, "inside", findings) {
        return Vec::new();
    }
    let entry = |(index, written)| {
        let spot = spot.at(index);
        inside_entry(findings.entry(written, spot, "inside")?, spot, findings)
    };
    list.iter().enumerate().filter_map(entry).collect()
}

/// The entry with the place of its glob.
fn inside_entry(
    written: &GlobOrEntry,
    spot: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Option<(InsideEntry, Span)> {
    let (text, at, treatment, datapath) = match written {
        GlobOrEntry::Glob(text) => (text, spot.span(), Treatment::default(), Datapath::default()),
        GlobOrEntry::Entry(entry) => {
            findings.unknown_keys::<file::InsideEntry>(spot);
            let treatment = treatment::validate(&entry.mode, &entry.on_block, spot, findings);
            let word = findings.optional(&entry.datapath, spot, "datapath");
            let datapath = word.and_then(|word| datapath(word, spot.key("datapath"), findings));
            let text = findings.require(&entry.glob, spot, "match", "match: \"guest*\"")?;
            (text, spot.key("match").span(), treatment, datapath.unwrap_or_default())
        }
    };
    Some((InsideEntry { glob: glob(text, at, findings)?, treatment, datapath }, at))
}

fn datapath(word: &Word, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<Datapath> {
    let found = [Datapath::Tc, Datapath::Xdp, Datapath::XdpForced];
    let found = found.into_iter().find(|datapath| datapath.label() == word.as_str());
    if found.is_none() {
        let message = format!("{} is not a datapath", quoted(word.as_str()));
        let help = "write `tc` (the door alone), `xdp` (also in front of it, where that spares work) or `xdp-forced`";
        findings.error("unknown-datapath", spot.span(), message, help);
    }
    found
}

fn globs(
    list: &[Written<String>],
    spot: Spot<'_>,
    key: &str,
    findings: &mut Findings<'_>,
) -> Vec<(InterfaceGlob, Span)> {
    if is_too_long(list.len(), spot, key, findings) {
        return Vec::new();
    }
    let mut globs: Vec<(InterfaceGlob, Span)> = Vec::new();
    for (index, written) in list.iter().enumerate() {
        let spot = spot.at(index);
        let Some(text) = findings.entry(written, spot, key) else {
            continue;
        };
        let at = spot.span();
        let Some(glob) = glob(text, at, findings) else {
            continue;
        };
        if let Some((_, first)) = globs.iter().find(|(other, _)| *other == glob) {
            let message = format!("{} is listed twice", quoted(text));
            findings.conflict(
                "duplicate-interface",
                at,
                message,
                "remove one of the two",
                (*first, "first listed here"),
            );
        } else {
            globs.push((glob, at));
        }
    }
    globs
}

fn is_too_long(entries: usize, spot: Spot<'_>, key: &str, findings: &mut Findings<'_>) -> bool {
    let too_long = entries > MAX_LISTED;
    if too_long {
        let message = format!("`{key}` has more than {MAX_LISTED} entries");
        findings.error("too-many-interfaces", spot.span(), message, "use patterns, such as \"vlan*\"");
    }
    too_long
}

fn glob(text: &str, at: Span, findings: &mut Findings<'_>) -> Option<InterfaceGlob> {
    match refusal(text) {
        None => Some(InterfaceGlob(text.to_owned())),
        Some((message, help)) => {
            findings.error("bad-interface", at, message, help);
            None
        }
    }
}

/// Why a text is no interface name or pattern, and what to write.
pub fn refusal(text: &str) -> Option<(String, String)> {
    let shown = quoted(text);
    if text.is_empty() || text.len() > MAX_NAME {
        Some((
            format!("{shown} is not an interface name"),
            format!("a name has 1 to {MAX_NAME} bytes; see `ip link`"),
        ))
    } else if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':') {
        let help = "a name has no spaces, no `/` and no `:`; write each interface as an entry of its own";
        Some((format!("{shown} is not an interface name"), help.to_owned()))
    } else if text == "." || text == ".." {
        Some((format!("{shown} is not an interface name"), "see `ip link`".to_owned()))
    } else if text.contains("**") {
        Some((format!("{shown} has two `*` in a row"), format!("write {}", text.replace("**", "*"))))
    } else if text == "lo" {
        let message = "`lo` carries only what the gateway sends to itself".to_owned();
        Some((message, "remove it; the gateway's own traffic needs no interface here".to_owned()))
    } else {
        None
    }
}

/// The first entry that matches counts, so one after another that matches all the same names never does.
fn warn_of_unreachable(inside: &[(InterfaceGlob, Span)], findings: &mut Findings<'_>) {
    for (index, (glob, at)) in inside.iter().enumerate() {
        let before = inside.iter().take(index).map(|(before, _)| before);
        let Some(before) = before.into_iter().find(|before| covers(before.0.as_bytes(), glob.0.as_bytes()))
        else {
            continue;
        };
        let (shown, first) = (quoted(&glob.0), quoted(&before.0));
        let (message, help) = if glob == before {
            (format!("{shown} stands twice in `inside`"), "remove it; the first one counts".to_owned())
        } else {
            let message = format!("{shown} never counts: {first} stands before it and matches it too");
            (message, format!("put it before {first}, or remove it"))
        };
        findings.warn("unreachable-entry", *at, message, help);
    }
}

/// Whether `wide` matches every name that `narrow` does; not found for rarities such as `*?` and `?*`. Both have at most
/// 15 bytes, so the recursion is bounded.
fn covers(wide: &[u8], narrow: &[u8]) -> bool {
    match (wide.split_first(), narrow.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => covers(rest, narrow) || (!narrow.is_empty() && covers(wide, &narrow[1..])),
        (_, Some((b'*', _))) => false,
        (Some((b'?', rest)), Some((_, tail))) => covers(rest, tail),
        (Some((w, rest)), Some((n, tail))) if w == n => covers(rest, tail),
        _ => false,
    }
}

/// A packet's way is from inside to outside: an interface that is both would have no such way.
fn check_apart(
    inside: &[(InterfaceGlob, Span)],
    outside: &[(InterfaceGlob, Span)],
    findings: &mut Findings<'_>,
) {
    for (out, at) in outside {
        let clash = inside.iter().find(|(within, _)| {
            within == out
                || (out.is_literal() && within.matches(&out.0))
                || (within.is_literal() && out.matches(&within.0))
        });
        if let Some((within, first)) = clash {
            let message = format!("{} is outside and also inside, by {}", quoted(&out.0), quoted(&within.0));
            let help = "an interface is one or the other; write a narrower name or pattern";
            findings.conflict("interface-on-both-sides", *at, message, help, (*first, "inside by this"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_would_refuse() {
        for text in ["", "sixteen-letters-", "lan 0", "lan/0", "lan0:1", "l\u{1}", "**", "lo", ".."] {
            assert!(refusal(text).is_some(), "{text:?}");
        }
        for text in ["lan0", "vlan*", "*", "en?0", "fifteen-letters", "br-0.25", "lo0"] {
            assert!(refusal(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_pattern_covers_another_only_if_it_matches_all_of_its_names() {
        let covers = |wide: &str, narrow: &str| covers(wide.as_bytes(), narrow.as_bytes());
        for (wide, narrow) in [
            ("lan0", "lan0"),
            ("lan*", "lan0"),
            ("*", "lan*"),
            ("lan?", "lan0"),
            ("lan*", "lan?*"),
            ("l*n*", "lan*"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("lan0", "lan*"),
            ("lan?", "lan*"),
            ("lan?", "lan"),
            ("lan?*", "lan*"),
            ("lan0", "lan?"),
            ("?", "*"),
            ("vlan*", "*"),
        ] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }
}
