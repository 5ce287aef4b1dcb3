//! `detection`: how soon hosts are flagged, for all and in groups.

use std::path::PathBuf;

use super::super::diagnostics::quoted;
use super::super::file::{self, Word, Written};
use super::super::model::Detection;
use super::super::places::Spot;
use super::Findings;
use crate::detect::{HostKey, Limits, Preset};

pub fn validate(
    written: &Written<file::Detection>,
    root: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Detection {
    let mut detection = Detection::default();
    let Some(section) = findings.optional(written, root, "detection") else {
        return detection;
    };
    let spot = root.key("detection");
    findings.unknown_keys::<file::Detection>(spot);
    detection.limits = limits(&section.preset, &section.overrides, spot, findings);
    if let Some(word) = findings.optional(&section.host_key, spot, "host_key") {
        match HostKey::named(word.as_str()) {
            Some(key) => detection.host_key = key,
            None => {
                let message = format!("{} is nothing to tell hosts apart by", quoted(word.as_str()));
                let help = "write `auto`, `mac`, or `address` if the clients are behind a router";
                findings.error("unknown-host-key", spot.key("host_key").span(), message, help);
            }
        }
    }
    let providers = findings.optional(&section.providers, spot, "providers");
    detection.providers =
        providers.and_then(|text| super::log::path(text, "providers", spot.key("providers"), findings));
    detection
}

/// A group's own limits; what it leaves out is as in its preset, not as in the policy.
pub fn group(
    written: &Written<file::GroupDetection>,
    group: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Option<Limits> {
    let section = findings.optional(written, group, "detection")?;
    let spot = group.key("detection");
    findings.unknown_keys::<file::GroupDetection>(spot);
    Some(limits(&section.preset, &section.overrides, spot, findings))
}

fn limits(
    preset: &Written<Word>,
    overrides: &Written<file::Numbers>,
    spot: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Limits {
    let word = findings.optional(preset, spot, "preset");
    let preset = word.and_then(|word| Preset::named(word.as_str()));
    if word.is_some() && preset.is_none() {
        let message = "there is no such preset";
        let help = "write `sensitive`, `balanced` or `strict`";
        findings.error("unknown-preset", spot.key("preset").span(), message, help);
    }
    let mut limits = Limits::of(preset.unwrap_or_default());
    let Some(file::Numbers(numbers)) = findings.optional(overrides, spot, "overrides") else {
        return limits;
    };
    let spot = spot.key("overrides");
    for (name, number) in numbers {
        let at = spot.key(name);
        let Some(number) = findings.entry(number, at, name) else { continue };
        if !Limits::NAMES.contains(&name.as_str()) {
            let message = format!("unknown key {}", quoted(name));
            let help = format!("the numbers are {}", Limits::NAMES.join(", "));
            findings.error("unknown-key", at.key_span(), message, help);
            continue;
        }
        if let Err(why) = limits.set(name, u32::try_from(*number).unwrap_or(u32::MAX)) {
            let message = format!("`{}` can't be {number}", name.escape_debug());
            findings.error("bad-override", at.span(), message, format!("{why}; see docs/detection.md"));
        }
    }
    limits
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            limits: Limits::of(Preset::default()),
            host_key: HostKey::default(),
            providers: None::<PathBuf>,
        }
    }
}
