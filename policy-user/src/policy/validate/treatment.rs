//! `mode` and `on_block`, wherever they stand.

use super::super::diagnostics::quoted;
use super::super::file::{Word, Written};
use super::super::model::{Mode, OnBlock, Treatment};
use super::super::places::Spot;
use super::Findings;

/// What an entry says for itself; the rest is left to its surroundings.
pub fn validate(
    written_mode: &Written<Word>,
    written_on_block: &Written<Word>,
    entry: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Treatment {
    let word = findings.optional(written_mode, entry, "mode");
    let mode = word.and_then(|word| mode(word, entry.key("mode"), findings));
    let word = findings.optional(written_on_block, entry, "on_block");
    let on_block = word.and_then(|word| on_block(word, entry.key("on_block"), findings));
    Treatment { mode, on_block }
}

pub fn mode(word: &Word, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<Mode> {
    match word.as_str() {
        "enforce" => Some(Mode::Enforce),
        "audit" => Some(Mode::Audit),
        _ => {
            let message = format!("{} is not a mode", quoted(word.as_str()));
            let help = "write `enforce` (deny) or `audit` (only report what would be denied)";
            findings.error("unknown-mode", spot.span(), message, help);
            None
        }
    }
}

pub fn on_block(word: &Word, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<OnBlock> {
    match word.as_str() {
        "drop" => return Some(OnBlock::Drop),
        "reject" => return Some(OnBlock::Reject),
        "notice" => {
            let help = "write `on_block: reject`, which lets the program fail at once";
            findings.error("not-yet-supported", spot.span(), "`on_block: notice` is not yet supported", help);
        }
        _ => {
            let message = format!("{} is not something to do with a blocked packet", quoted(word.as_str()));
            let help = "write `drop` (no answer) or `reject` (the program fails at once)";
            findings.error("unknown-action", spot.span(), message, help);
        }
    }
    None
}
