//! `detection`: how soon hosts are flagged, for all and in groups.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::super::diagnostics::quoted;
use super::super::file::{self, OneOrMany, Word, Written};
use super::super::model::{Detection, LearntNames};
use super::super::places::Spot;
use super::Findings;
use super::log::in_units;
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
    detection.names = names(&section.names, spot, findings);
    detection
}

/// As many as the kernel's map has room for; more is a mistake.
const MAX_RESOLVERS: usize = 16;
/// A week, as long as the detector remembers a site.
const LONGEST_KEEP: u64 = 168;

fn names(
    written: &Written<file::Names>,
    detection: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Option<LearntNames> {
    let section = findings.optional(written, detection, "names")?;
    let spot = detection.key("names");
    findings.unknown_keys::<file::Names>(spot);
    let listed = findings.require(&section.resolvers, spot, "resolvers", "resolvers: [9.9.9.9]")?;
    let at = spot.key("resolvers");
    let mut resolvers = Vec::new();
    match listed {
        OneOrMany::One(text) => resolvers.extend(resolver(text, at, findings)),
        OneOrMany::Many(list) => {
            for (index, written) in list.iter().enumerate().take(MAX_RESOLVERS + 1) {
                let at = at.at(index);
                if let Some(text) = findings.entry(written, at, "resolvers") {
                    resolvers.extend(resolver(text, at, findings));
                }
            }
            if list.is_empty() || list.len() > MAX_RESOLVERS {
                let message = format!("`resolvers` has {} entries", list.len());
                let help = format!("list 1 to {MAX_RESOLVERS} addresses, or remove `names`");
                findings.error("bad-resolvers", at.span(), message, help);
            }
        }
    }
    let mut keep = Duration::from_secs(86_400);
    if let Some(text) = findings.optional(&section.keep, spot, "keep") {
        match in_units(text, &[("h", 1), ("d", 24)]).filter(|hours| (1..=LONGEST_KEEP).contains(hours)) {
            Some(hours) => keep = Duration::from_secs(hours * 3600),
            None => {
                let message = format!("{} is no time to keep names for", quoted(text));
                let help = "write a whole number of hours or days from 1h to 7d, such as 24h";
                findings.error("bad-keep", spot.key("keep").span(), message, help);
            }
        }
    }
    Some(LearntNames { resolvers, keep })
}

fn resolver(text: &str, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
    if address.is_none() {
        let message = format!("{} is not the address of a resolver", quoted(text));
        let help = "write the address alone, such as 9.9.9.9 or \"2620:fe::fe\"";
        findings.error("bad-resolver", spot.span(), message, help);
    }
    address
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
            names: None,
        }
    }
}
