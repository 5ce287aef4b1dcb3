//! Judges a file as written: the policy it means, or everything that is wrong with it at once.

use std::iter;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::diagnostics::quoted;
use super::file::{self, Written};
use super::model::{Exception, MailServer, OnBlock, Policy};
use super::places::Spot;

mod address_advice;
pub(super) mod address_text;
mod coverage;
mod detection;
mod exceptions;
mod expiry;
mod findings;
mod groups;
mod hosts;
mod include;
mod interfaces;
mod length;
mod log;
mod mail_servers;
mod metrics;
mod networks;
mod notify;
mod ports;
mod quarantine;
mod spelling;
mod texts;
mod treatment;
mod until;

pub use findings::Findings;
pub use include::is_directory_name;

/// When and where the file is read: dates in it are local.
pub struct Moment {
    pub now: Timestamp,
    pub zone: TimeZone,
}

/// A policy as its files say it.
pub struct WrittenPolicy {
    pub main: Written<file::File>,
    pub fragments: Vec<Written<file::Fragment>>,
    /// Whether the fragments are all that `include` stands for.
    pub complete: bool,
}

/// The policy, if there are no errors among the findings.
pub fn validate(written: &WrittenPolicy, findings: &mut Findings<'_>, moment: &Moment) -> Option<Policy> {
    let root = findings.places.root();
    let Written::As(file) = &written.main else {
        let help = "begin with `version: 1`; see policies/README.md";
        findings.error("not-a-policy", root.span(), "the file doesn't consist of keys with values", help);
        return None;
    };
    if !version_is_known(file, root, findings) {
        // The keys of another version mean something else: nothing more can be said.
        return None;
    }
    findings.unknown_keys::<file::File>(root);
    let fragments = include::validate(file, written, root, findings);
    let name = findings.require(&file.name, root, "name", "name: office");
    let name = name.and_then(|name| texts::name(name, root.key("name"), findings));
    let interfaces = interfaces::validate(&file.interfaces, root, findings);
    let networks = networks::validate(&file.networks, root, &fragments, findings);
    let ports = ports::validate(&file.ports, root, findings);
    let mode = findings.require(&file.mode, root, "mode", "mode: enforce");
    let mode = mode.and_then(|word| treatment::mode(word, root.key("mode"), findings));
    let on_block = findings.optional(&file.on_block, root, "on_block");
    let on_block = on_block.and_then(|word| treatment::on_block(word, root.key("on_block"), findings));
    let groups = fragments.iter().map(|(fragment, root)| (&fragment.groups, *root));
    let groups = iter::once((&file.groups, root)).chain(groups);
    let groups = groups::validate(groups, &networks, findings);
    let gateway_mail = gateway_mail(file, root, &interfaces, findings);
    let lists = iter::once((&file.mail_servers, &file.exceptions, root));
    let more = fragments.iter().map(|(it, root)| (&it.mail_servers, &it.exceptions, *root));
    let surroundings = mail_servers::Context { interfaces: &interfaces, networks: &networks };
    let (mail_servers, exceptions) = senders(lists.chain(more), &surroundings, moment, findings);
    let log = log::validate(&file.log, root, findings);
    let lease_files = log::lease_files(&file.identity, root, findings);
    let metrics = metrics::validate(&file.metrics, root, findings);
    let detection = detection::validate(&file.detection, root, findings);
    let quarantine = quarantine::validate(&file.quarantine, root, &ports, findings);
    let receivers = notify::validate(&file.notify, root, findings);
    check_end(&file.end, root, findings);
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
        mail_servers,
        exceptions,
        log_file: log.file,
        log_targets: log.targets,
        retention: log.retention,
        lease_files,
        metrics,
        receivers,
        detection,
        quarantine,
    })
}

type Entries<'f, T> = &'f Written<Vec<Written<T>>>;

/// Who may send, from the lists of all files: names and addresses are given once among them.
fn senders<'f>(
    lists: impl Iterator<Item = (Entries<'f, file::MailServer>, Entries<'f, file::Exception>, Spot<'f>)> + Clone,
    context: &mail_servers::Context<'_>,
    moment: &Moment,
    findings: &mut Findings<'_>,
) -> (Vec<MailServer>, Vec<Exception>) {
    let mut names = texts::Names::of("mail server and exception");
    let mut servers = mail_servers::MailServers::default();
    for (written, _, root) in lists.clone() {
        mail_servers::validate(written, root, context, &mut names, &mut servers, findings);
    }
    let context = exceptions::Context { servers: &servers, networks: context.networks, moment };
    let exceptions = lists
        .flat_map(|(_, written, root)| exceptions::validate(written, root, &context, &mut names, findings))
        .collect();
    (servers.entries, exceptions)
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

/// The closing key: without it the beginning of a policy is often a valid, other policy.
fn check_end(end: &Written<bool>, root: Spot<'_>, findings: &mut Findings<'_>) {
    const HELP: &str = "write `end: true` as the last line; it shows that the file is complete";
    let at = root.key("end").span();
    match end {
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
