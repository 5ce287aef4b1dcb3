//! `interfaces`: which names are inside and which outside.

use super::super::diagnostics::quoted;
use super::super::file::{self, Written};
use super::super::model::InterfaceGlob;
use super::super::places::{Span, Spot};
use super::Findings;

/// Linux's limit for an interface name.
const MAX_NAME: usize = 15;

/// Of either list; more belong into a pattern, and the search for overlaps is quadratic.
const MAX_LISTED: usize = 256;

#[derive(Debug, Default)]
pub struct Interfaces {
    pub inside: Vec<InterfaceGlob>,
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
    let inside = inside.map(|list| globs(list, spot.key("inside"), "inside", findings)).unwrap_or_default();
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
    check_apart(&inside, &outside, findings);
    let plain = |globs: Vec<(InterfaceGlob, Span)>| globs.into_iter().map(|(glob, _)| glob).collect();
    Interfaces { inside: plain(inside), outside: plain(outside) }
}

fn globs(
    list: &[Written<String>],
    spot: Spot<'_>,
    key: &str,
    findings: &mut Findings<'_>,
) -> Vec<(InterfaceGlob, Span)> {
    if list.len() > MAX_LISTED {
        let message = format!("`{key}` has more than {MAX_LISTED} entries");
        findings.error("too-many-interfaces", spot.span(), message, "use patterns, such as \"vlan*\"");
        return Vec::new();
    }
    let mut globs: Vec<(InterfaceGlob, Span)> = Vec::new();
    for (index, written) in list.iter().enumerate() {
        let spot = spot.at(index);
        let Some(text) = findings.entry(written, spot, key) else {
            continue;
        };
        let at = spot.span();
        if let Some((message, help)) = refusal(text) {
            findings.error("bad-interface", at, message, help);
        } else if let Some((_, first)) = globs.iter().find(|(glob, _)| glob.0 == *text) {
            let message = format!("{} is listed twice", quoted(text));
            findings.conflict(
                "duplicate-interface",
                at,
                message,
                "remove one of the two",
                (*first, "first listed here"),
            );
        } else {
            globs.push((InterfaceGlob(text.clone()), at));
        }
    }
    globs
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
}
