//! `log` and `identity`: paths and servers.

use std::path::PathBuf;
use std::time::Duration;

use super::super::diagnostics::quoted;
use super::super::file::{self, OneOrMany, Written};
use super::super::model::{LogTarget, Retention, Transport};
use super::super::places::Spot;
use super::Findings;

/// The longest path Linux takes, without its end (`PATH_MAX`).
const LONGEST_PATH: usize = 4095;

/// Each server is a thread; more is a mistake.
const MAX_SERVERS: usize = 8;

#[derive(Debug, Default)]
pub struct Log {
    pub file: Option<PathBuf>,
    pub targets: Vec<LogTarget>,
    pub retention: Retention,
}

pub fn validate(written: &Written<file::Log>, root: Spot<'_>, findings: &mut Findings<'_>) -> Log {
    let Some(section) = findings.optional(written, root, "log") else { return Log::default() };
    let spot = root.key("log");
    findings.unknown_keys::<file::Log>(spot);
    let file = findings.optional(&section.file, spot, "file");
    let file = file.and_then(|text| path(text, "file", spot.key("file"), findings));
    let mut targets = Vec::new();
    if findings.optional(&section.journal, spot, "journal") == Some(&true) {
        targets.push(LogTarget::Journal);
    }
    let authorities = findings.optional(&section.syslog_authorities, spot, "syslog_authorities");
    let authorities = authorities
        .and_then(|text| path(text, "syslog_authorities", spot.key("syslog_authorities"), findings));
    targets.extend(servers(&section.syslog, authorities.as_ref(), spot, findings));
    let tls = |target: &LogTarget| matches!(target, LogTarget::Syslog { transport: Transport::Tls, .. });
    if authorities.is_some() && !targets.iter().any(tls) {
        findings.warn(
            "unused-authorities",
            spot.key("syslog_authorities").span(),
            "`syslog_authorities` does nothing: no server is reached by `tls://`",
            "remove it, or write the server as tls://host:6514",
        );
    }
    Log { file, targets, retention: retention(section, spot, findings) }
}

/// Ten years.
const LONGEST_KEEP: u64 = 87_660;
/// The file that is being written is never removed, so less could not be kept to.
const SMALLEST_SIZE: u64 = 16 << 20;

fn retention(log: &file::Log, spot: Spot<'_>, findings: &mut Findings<'_>) -> Retention {
    let mut retention = Retention::default();
    if let Some(text) = findings.optional(&log.keep, spot, "keep") {
        let units = [("h", 1), ("d", 24), ("w", 168)];
        match in_units(text, &units).filter(|hours| (1..=LONGEST_KEEP).contains(hours)) {
            Some(hours) => retention.keep = Duration::from_secs(hours * 3600),
            None => {
                let message = format!("{} is no time to keep attempts for", quoted(text));
                let help = "write a whole number of hours, days or weeks up to ten years: 12h, 90d or 2w";
                findings.error("bad-keep", spot.key("keep").span(), message, help);
            }
        }
    }
    if let Some(text) = findings.optional(&log.max_size, spot, "max_size") {
        let units = [("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
        match in_units(text, &units).filter(|bytes| *bytes >= SMALLEST_SIZE) {
            Some(bytes) => retention.max_size = bytes,
            None => {
                let message = format!("{} is no size for the block log", quoted(text));
                let help = "write at least 16MiB, such as 512MiB or 2GiB";
                findings.error("bad-size", spot.key("max_size").span(), message, help);
            }
        }
    }
    retention
}

/// A whole number with one of these units behind it.
pub fn in_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(unit)?;
        let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(*factor)
    })
}

pub fn lease_files(
    written: &Written<file::Identity>,
    root: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Vec<PathBuf> {
    let Some(section) = findings.optional(written, root, "identity") else { return Vec::new() };
    let spot = root.key("identity");
    findings.unknown_keys::<file::Identity>(spot);
    let Some(list) = findings.optional(&section.leases, spot, "leases") else { return Vec::new() };
    let spot = spot.key("leases");
    let mut paths = Vec::new();
    for (index, written) in list.iter().enumerate() {
        let spot = spot.at(index);
        if let Some(text) = findings.entry(written, spot, "leases") {
            paths.extend(path(text, "leases", spot, findings));
        }
    }
    paths
}

/// A path that means the same from every directory.
pub fn path(text: &str, key: &str, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    let at = spot.span();
    if text.chars().any(char::is_control) || text.len() > LONGEST_PATH {
        let message = format!("`{key}` can't be a path");
        findings.error("bad-path", at, message, "write a path without control characters");
    } else if !path.is_absolute() || path.file_name().is_none() || text.ends_with('/') {
        let message = format!("{} is not the absolute path of a file", quoted(text));
        findings.error("bad-path", at, message, format!("write a path such as {}", example(key)));
    } else {
        return Some(path);
    }
    None
}

fn example(key: &str) -> &'static str {
    match key {
        "leases" => "/var/lib/misc/dnsmasq.leases",
        "providers" => "/etc/smtpfence/providers.csv",
        "secret_file" => "/etc/smtpfence/webhook.secret",
        "password_file" => "/etc/smtpfence/mail.password",
        "program" => "/usr/local/sbin/page-on-call",
        "authorities" | "syslog_authorities" => "/etc/ssl/certs/ca-certificates.crt",
        _ => "/var/log/smtpfence/attempts.jsonl",
    }
}

fn servers(
    written: &Written<OneOrMany>,
    authorities: Option<&PathBuf>,
    log: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Vec<LogTarget> {
    let Some(servers) = findings.optional(written, log, "syslog") else { return Vec::new() };
    let spot = log.key("syslog");
    let mut targets: Vec<LogTarget> = Vec::new();
    let mut add = |text: &str, spot: Spot<'_>, findings: &mut Findings<'_>| {
        let Some(target) = server(text, authorities, spot, findings) else { return };
        if targets.contains(&target) {
            let message = format!("{} is listed twice", quoted(text));
            findings.error("duplicate-server", spot.span(), message, "remove one of them");
        } else if targets.len() == MAX_SERVERS {
            let message = format!("`syslog` has more than {MAX_SERVERS} servers");
            findings.error("too-many-servers", spot.span(), message, "send to one that passes on");
        } else {
            targets.push(target);
        }
    };
    match servers {
        OneOrMany::One(text) => add(text, spot, findings),
        OneOrMany::Many(list) => {
            for (index, written) in list.iter().enumerate().take(MAX_SERVERS + 1) {
                let spot = spot.at(index);
                if let Some(text) = findings.entry(written, spot, "syslog") {
                    add(text, spot, findings);
                }
            }
        }
    }
    targets
}

/// `tls://siem.example.com:6514`; the port may be left out.
fn server(
    text: &str,
    authorities: Option<&PathBuf>,
    spot: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Option<LogTarget> {
    let parsed = text.split_once("://").and_then(|(scheme, server)| {
        let transport = [Transport::Udp, Transport::Tcp, Transport::Tls]
            .into_iter()
            .find(|transport| transport.label() == scheme)?;
        Some((transport, with_port(server, transport.usual_port())?))
    });
    let Some((transport, server)) = parsed else {
        let message = format!("{} is no syslog server", quoted(text));
        let help = "write it as udp://192.0.2.5:514, tcp://[2001:db8::5]:601 or tls://siem.example.com:6514";
        findings.error("bad-server", spot.span(), message, help);
        return None;
    };
    let authorities = authorities.filter(|_| transport == Transport::Tls).cloned();
    Some(LogTarget::Syslog { transport, server, authorities })
}

/// `host:port` if `server` is a host name, an IPv4 address or an IPv6 address in brackets, with or without a port.
pub(super) fn with_port(server: &str, usual: u16) -> Option<String> {
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (server, usual),
    };
    let named = |host: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        !host.is_empty() && host.len() <= 253 && host.chars().all(fits)
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => named(host),
    };
    (host_fits && port != 0).then(|| format!("{host}:{port}"))
}
