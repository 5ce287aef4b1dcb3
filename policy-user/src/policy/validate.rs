//! Judges a file as written: the policy it means, or everything that is wrong with it at once.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::diagnostics::quoted;
use super::file::{self, Section, Written};
use super::model::{OnBlock, Policy};
use super::places::{Span, Spot};

mod address_advice;
pub(super) mod address_text;
mod coverage;
mod detection;
mod exceptions;
mod expiry;
mod findings;
mod groups;
mod hosts;
mod interfaces;
mod length;
mod mail_servers;
mod networks;
mod ports;
mod spelling;
mod texts;
mod treatment;
mod until;

pub use findings::Findings;

/// When and where the file is read: dates in it are local.
pub struct Moment {
    pub now: Timestamp,
    pub zone: TimeZone,
}

/// The policy, if there are no errors among the findings.
pub fn validate(file: &Written<file::File>, findings: &mut Findings<'_>, moment: &Moment) -> Option<Policy> {
    let root = findings.places.root();
    let Written::As(file) = file else {
        let help = "begin with `version: 1`; see policies/README.md";
        findings.error("not-a-policy", root.span(), "the file doesn't consist of keys with values", help);
        return None;
    };
    if !version_is_known(file, root, findings) {
        // The keys of another version mean something else: nothing more can be said.
        return None;
    }
    findings.unknown_keys::<file::File>(root);
    let name = findings.require(&file.name, root, "name", "name: office");
    let name = name.and_then(|name| texts::name(name, root.key("name"), findings));
    let interfaces = interfaces::validate(&file.interfaces, root, findings);
    let networks = networks::validate(&file.networks, root, findings);
    let ports = ports::validate(&file.ports, root, findings);
    let mode = findings.require(&file.mode, root, "mode", "mode: enforce");
    let mode = mode.and_then(|word| treatment::mode(word, root.key("mode"), findings));
    let on_block = findings.optional(&file.on_block, root, "on_block");
    let on_block = on_block.and_then(|word| treatment::on_block(word, root.key("on_block"), findings));
    let groups = groups::validate(&file.groups, root, &networks, findings);
    let gateway_mail = gateway_mail(file, root, &interfaces, findings);
    let context = mail_servers::Context { interfaces: &interfaces, networks: &networks };
    let mut names = texts::Names::of("mail server and exception");
    let servers = mail_servers::validate(&file.mail_servers, root, &context, &mut names, findings);
    let exceptions = exceptions::Context { servers: &servers, networks: &networks, moment };
    let exceptions = exceptions::validate(&file.exceptions, root, &exceptions, &mut names, findings);
    let log_file = log_file(file, root, findings);
    let detection = detection::validate(&file.detection, root, findings);
    refuse_unsupported(file, root, findings);
    check_end(file, root, findings);
    if findings.has_errors() {
        return None;
    }
    Some(Policy {
        name: name?,
        inside: interfaces.inside,
        outside: interfaces.outside,
        clients: networks.clients,
        internal: networks.internal,
        blocked_ports: ports.blocked,
        submission_ports: ports.submission,
        mode: mode?,
        on_block: on_block.unwrap_or(OnBlock::Drop),
        groups,
        gateway_mail,
        mail_servers: servers.entries,
        exceptions,
        log_file,
        detection,
    })
}

/// A missing version was reported; then everything else is judged as version 1.
fn version_is_known(file: &file::File, root: Spot<'_>, findings: &mut Findings<'_>) -> bool {
    let version = findings.require(&file.version, root, "version", "version: 1");
    let known = version.is_none_or(|version| *version == 1);
    if !known {
        let message = "this version of the policy language is not known here";
        findings.error("unknown-version", root.key("version").span(), message, "write `version: 1`");
    }
    known
}

/// Only the guard sees what the gateway itself sends, so without an outside interface nobody obeys the key.
fn gateway_mail(
    file: &file::File,
    root: Spot<'_>,
    interfaces: &interfaces::Interfaces,
    findings: &mut Findings<'_>,
) -> bool {
    let Some(word) = findings.optional(&file.gateway_mail, root, "gateway_mail") else {
        return false;
    };
    let (word, at) = (word.as_str(), root.key("gateway_mail").span());
    if !matches!(word, "deny" | "allow") {
        let message = format!("{} is not something to do with mail of the gateway itself", quoted(word));
        let help = "write `deny`, or `allow` if programs on the gateway send mail themselves";
        findings.error("unknown-gateway-mail", at, message, help);
    } else if interfaces.outside.is_empty() {
        let message = "`gateway_mail` changes nothing: no outside interface is guarded";
        let help = "name the interfaces that packets leave through in `interfaces.outside`, or remove it";
        findings.warn("gateway-mail-without-outside", at, message, help);
    }
    word == "allow"
}

fn log_file(file: &file::File, root: Spot<'_>, findings: &mut Findings<'_>) -> Option<PathBuf> {
    let log = findings.optional(&file.log, root, "log")?;
    let spot = root.key("log");
    findings.unknown_keys::<file::Log>(spot);
    let text = findings.optional(&log.file, spot, "file")?;
    absolute_path(text, "file", "/var/log/smtpfence/attempts.jsonl", spot.key("file").span(), findings)
}

/// A path that means the same from every directory.
fn absolute_path(
    text: &str,
    key: &str,
    example: &str,
    at: Span,
    findings: &mut Findings<'_>,
) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    if text.chars().any(char::is_control) || text.len() > 4095 {
        let message = format!("`{key}` can't be a path");
        findings.error("bad-path", at, message, "write a path without control characters");
    } else if !path.is_absolute() || path.file_name().is_none() || text.ends_with('/') {
        let message = format!("{} is not the absolute path of a file", quoted(text));
        findings.error("bad-path", at, message, format!("write a path such as {example}"));
    }
    Some(path)
}

/// A key that is read but not obeyed would be a promise broken in silence.
fn refuse_unsupported(file: &file::File, root: Spot<'_>, findings: &mut Findings<'_>) {
    let mut refuse = |key: &str, inert: &str| {
        let help = format!("remove it, or write `{inert}`").replace(", or write ``", "");
        let message = format!("`{key}` is not yet supported");
        findings.error("not-yet-supported", root.key(key).span(), message, help);
    };
    if matches!(&file.notify, Written::As(list) if !list.is_empty()) {
        refuse("notify", "notify: []");
    }
    findings.optional(&file.notify, root, "notify");
    refuse_quarantine(file, root, findings);
}

fn refuse_quarantine(file: &file::File, root: Spot<'_>, findings: &mut Findings<'_>) {
    let Some(quarantine) = findings.optional(&file.quarantine, root, "quarantine") else {
        return;
    };
    let spot = root.key("quarantine");
    for (key, at) in spot.keys().filter(|(key, _)| !file::Quarantine::KEYS.contains(key)) {
        let message = format!("`quarantine.{}` is not yet supported", key.escape_debug());
        findings.error("not-yet-supported", at, message, "write `quarantine: { enabled: false }`");
    }
    if findings.require(&quarantine.enabled, spot, "enabled", "enabled: false") == Some(&true) {
        let at = spot.key("enabled").span();
        findings.error(
            "not-yet-supported",
            at,
            "`quarantine` is not yet supported",
            "write `enabled: false`",
        );
    }
}

/// The closing key: without it the beginning of a policy is often a valid, other policy.
fn check_end(file: &file::File, root: Spot<'_>, findings: &mut Findings<'_>) {
    const HELP: &str = "write `end: true` as the last line; it shows that the file is complete";
    let at = root.key("end").span();
    match file.end {
        Written::Absent => {
            findings.error("missing-end", at, "`end: true` is missing, the file may be cut off", HELP);
            return;
        }
        Written::As(true) => {}
        _ => findings.error("bad-end", at, "`end` takes only `true`", HELP),
    }
    if let Some((key, after)) = root.keys().last()
        && key != "end"
    {
        let message = format!("{} stands after `end`", quoted(key));
        findings.conflict(
            "end-not-last",
            after,
            message,
            "move `end: true` to the end of the file",
            (root.key("end").key_span(), "the policy ends here"),
        );
    }
}
