//! What a valid policy means: in words for people, in JSON for programs.

use std::fmt::{self, Display, Write as _};

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::policy::{LoadedPolicy, MailServer, Mode, OnBlock, Policy, Quarantine, Receiver, Treatment};

/// Entries of a list that the summary shows.
const SHOWN: usize = 10;

/// For programs.
pub fn as_json(loaded: &LoadedPolicy, now: Timestamp) -> Value {
    let policy = &loaded.policy;
    let texts = |nets: &[IpNet]| nets.iter().map(shown_net).collect::<Vec<String>>();
    let inside = policy.inside.iter().map(|entry| {
        let Treatment { mode, on_block } = entry.treatment;
        json!({ "match": entry.glob.0, "mode": mode, "on_block": on_block })
    });
    let groups = policy.groups.iter().map(|group| {
        json!({
            "name": group.name,
            "clients": texts(&group.clients),
            "mode": group.treatment.mode,
            "on_block": group.treatment.on_block,
            "file": group.file,
            "line": group.line,
        })
    });
    let servers = policy.mail_servers.iter().map(|server| {
        json!({
            "name": server.name,
            "addresses": server.addresses,
            "mac": server.mac.map(shown_mac),
            "interface": server.interface,
            "to": server.to.as_deref().map(texts),
            "file": server.file,
            "line": server.line,
        })
    });
    let exceptions = policy.exceptions.iter().map(|exception| {
        json!({
            "name": exception.name,
            "from": texts(&exception.from),
            "to": texts(&exception.to),
            "until": exception.until,
            "seconds_left": exception.until.duration_since(now).as_secs().max(0),
            "reason": exception.reason,
            "owner": exception.owner,
            "file": exception.file,
            "line": exception.line,
        })
    });
    json!({
        "name": policy.name,
        "mode": policy.mode,
        "on_block": policy.on_block,
        "gateway_mail": if policy.gateway_mail { "allow" } else { "deny" },
        "inside": inside.collect::<Vec<Value>>(),
        "outside": policy.outside.iter().map(|glob| glob.0.clone()).collect::<Vec<String>>(),
        "clients": texts(&policy.clients),
        "internal": texts(&policy.internal),
        "blocked_ports": policy.blocked_ports,
        "submission_ports": policy.submission_ports,
        "quarantine": {
            "enabled": policy.quarantine.enabled,
            "seconds": policy.quarantine.first.as_secs(),
            "longest_seconds": policy.quarantine.longest.as_secs(),
            "scope": policy.quarantine.scope,
            "except": texts(&policy.quarantine.except),
            "except_ports": policy.quarantine.except_ports,
        },
        "groups": groups.collect::<Vec<Value>>(),
        "mail_servers": servers.collect::<Vec<Value>>(),
        "exceptions": exceptions.collect::<Vec<Value>>(),
        "log_file": policy.log_file,
        "log_targets": policy.log_targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "lease_files": policy.lease_files,
        "metrics": policy.metrics,
        "notify": policy.receivers.iter().map(receiver).collect::<Vec<Value>>(),
    })
}

fn receiver(receiver: &Receiver) -> Value {
    json!({ "name": receiver.name, "kind": receiver.way.label(), "to": receiver.way.to_string(), "events": receiver.topics })
}

/// What a policy means, for people.
pub struct Summary<'a> {
    pub loaded: &'a LoadedPolicy,
    pub now: Timestamp,
}

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.loaded.policy;
        writeln!(f, "  policy        {}, revision {}", policy.name, self.loaded.revision)?;
        let mode = match policy.mode {
            Mode::Enforce => "enforce",
            Mode::Audit => "audit (what would be blocked goes on and is reported)",
        };
        writeln!(f, "  mode          {mode}{}", departures(policy, policy.mode, |it| it.mode, Mode::label))?;
        let on_block = departures(policy, policy.on_block, |it| it.on_block, OnBlock::label);
        writeln!(f, "  on block      {}{on_block}", policy.on_block.label())?;
        let ports = shown(&policy.blocked_ports, u16::to_string);
        writeln!(f, "  blocked       port {ports}, except as listed below")?;
        let gateway_mail = match (policy.gateway_mail, policy.outside.is_empty()) {
            (true, false) => "allowed",
            (false, false) => "denied",
            (_, true) => "not guarded, because no outside interface is named",
        };
        writeln!(f, "  gateway mail  {gateway_mail}")?;
        writeln!(f, "  inside        {}", shown(&policy.inside, |entry| entry.glob.0.clone()))?;
        writeln!(f, "  outside       {}", shown(&policy.outside, |glob| glob.0.clone()))?;
        writeln!(f, "  clients       {}", shown(&policy.clients, shown_net))?;
        writeln!(f, "  internal      {}", shown(&policy.internal, shown_net))?;
        writeln!(f, "  submission    port {}", shown(&policy.submission_ports, u16::to_string))?;
        if policy.quarantine != Quarantine::default() {
            writeln!(f, "  quarantine    {}", policy.quarantine)?;
        }
        if let Some(path) = &policy.log_file {
            writeln!(f, "  log file      {}", path.display())?;
        }
        if !policy.log_targets.is_empty() {
            writeln!(f, "  log also to   {}", shown(&policy.log_targets, ToString::to_string))?;
        }
        if let Some(address) = &policy.metrics {
            writeln!(f, "  metrics       http://{address}/metrics")?;
        }
        if !policy.receivers.is_empty() {
            let one = |it: &Receiver| format!("{} ({} to {})", it.name, it.way.label(), it.way);
            writeln!(f, "  notify        {}", shown(&policy.receivers, one))?;
        }
        self.groups(f)?;
        self.mail_servers(f)?;
        self.exceptions(f)
    }
}

impl Summary<'_> {
    fn groups(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = &self.loaded.policy.groups;
        if groups.is_empty() {
            return writeln!(f, "  groups        none");
        }
        writeln!(f, "  groups        {}", groups.len())?;
        for group in groups.iter().take(SHOWN) {
            writeln!(f, "    {}: {}", group.name, shown(&group.clients, shown_net))?;
        }
        more(f, groups.len())
    }

    fn mail_servers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = &self.loaded.policy.mail_servers;
        if servers.is_empty() {
            return writeln!(f, "  mail servers  none");
        }
        writeln!(f, "  mail servers  {}", servers.len())?;
        for server in servers.iter().take(SHOWN) {
            writeln!(f, "    {}: {}", server.name, about(server))?;
        }
        more(f, servers.len())
    }

    fn exceptions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exceptions = &self.loaded.policy.exceptions;
        if exceptions.is_empty() {
            return writeln!(f, "  exceptions    none");
        }
        writeln!(f, "  exceptions    {}", exceptions.len())?;
        for exception in exceptions.iter().take(SHOWN) {
            let (from, to) = (shown(&exception.from, shown_net), shown(&exception.to, shown_net));
            let left = remaining(exception.until, self.now);
            writeln!(f, "    {}: from {from} to {to}, {left}", exception.name)?;
        }
        more(f, exceptions.len())
    }
}

/// Which groups and interfaces say something else than the policy: "; audit for group guests, interface guest*".
fn departures<T: Copy + PartialEq>(
    policy: &Policy,
    default: T,
    said: impl Fn(&Treatment) -> Option<T>,
    label: impl Fn(T) -> &'static str,
) -> String {
    let groups = policy.groups.iter().map(|group| (said(&group.treatment), format!("group {}", group.name)));
    let inside =
        policy.inside.iter().map(|entry| (said(&entry.treatment), format!("interface {}", entry.glob.0)));
    let mut sayings: Vec<(T, Vec<String>)> = Vec::new();
    for (said, whose) in groups.chain(inside) {
        let Some(said) = said else { continue };
        match sayings.iter_mut().find(|(known, _)| *known == said) {
            Some((_, all)) => all.push(whose),
            None => sayings.push((said, vec![whose])),
        }
    }
    // Who says the same as the policy matters only beside somebody who doesn't: it may stand before them.
    if sayings.iter().all(|(said, _)| *said == default) {
        return String::new();
    }
    let text =
        |(said, whose): &(T, Vec<String>)| format!("; {} for {}", label(*said), shown(whose, String::clone));
    sayings.iter().map(text).collect()
}

fn about(server: &MailServer) -> String {
    let mut text = shown(&server.addresses, ToString::to_string);
    if let Some(mac) = server.mac {
        // Writing to a String can't fail.
        let _ = write!(text, ", only with MAC {}", shown_mac(mac));
    }
    if let Some(interface) = &server.interface {
        let _ = write!(text, ", only through {interface}");
    }
    match &server.to {
        None => text + ", to anywhere",
        Some(nets) => text + ", to " + &shown(nets, shown_net),
    }
}

fn remaining(until: Timestamp, now: Timestamp) -> String {
    let left = until.duration_since(now);
    if !left.is_positive() {
        return "expired".to_owned();
    }
    match (left.as_hours() / 24, left.as_hours(), left.as_mins()) {
        (0, 0, minutes) => format!("{minutes} min left"),
        (0 | 1, hours, _) => format!("{hours} h left"),
        (days, ..) => format!("{days} days left"),
    }
}

fn more(f: &mut fmt::Formatter<'_>, number: usize) -> fmt::Result {
    if number > SHOWN { writeln!(f, "    … and {} more", number - SHOWN) } else { Ok(()) }
}

/// The first of a list, and how many more there are.
pub fn shown<T>(list: &[T], text: impl Fn(&T) -> String) -> String {
    if list.is_empty() {
        return "none".to_owned();
    }
    let first: Vec<String> = list.iter().take(SHOWN).map(text).collect();
    match list.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{}, … and {more} more", first.join(", ")),
    }
}

fn shown_net(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

fn shown_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
