//! The three ways to tell somebody: what each needs, and that none of them is unsafe.

use std::net::IpAddr;
use std::time::Duration;

use hyper::Uri;
use lettre::Address;

use super::super::super::diagnostics::quoted;
use super::super::super::file::{self, OneOrMany, Written};
use super::super::super::places::Spot;
use super::super::super::receivers::{Email, Exec, Security, Webhook};
use super::super::log::{path, with_port};
use super::super::{Findings, texts};

const MAX_ADDRESSES: usize = 20;
const MAX_ARGUMENTS: usize = 32;
const MAX_ARGUMENT: usize = 1024;
const TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_TIMEOUT: u64 = 600;

pub fn webhook(section: &file::Webhook, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<Webhook> {
    findings.unknown_keys::<file::Webhook>(spot);
    let text = findings.require(&section.url, spot, "url", "url: https://hooks.example.com/smtpfence");
    let url = text.and_then(|text| url(text, spot.key("url"), findings));
    let secret = findings.require(
        &section.secret_file,
        spot,
        "secret_file",
        "secret_file: /etc/smtpfence/webhook.secret",
    );
    let secret_file = secret.and_then(|text| path(text, "secret_file", spot.key("secret_file"), findings));
    let authorities = authorities(&section.authorities, spot, findings);
    Some(Webhook { url: url?, secret_file: secret_file?, authorities })
}

/// The message names infected hosts, so it never travels a network in clear text.
fn url(text: &str, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<String> {
    let at = spot.span();
    let parsed = text.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    let Some((uri, scheme)) = parsed.as_ref().and_then(|uri| Some((uri, uri.scheme_str()?))) else {
        let message = format!("{} is no URL", quoted(text));
        findings.error("bad-url", at, message, "write it as https://hooks.example.com/path");
        return None;
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        let message = "the URL has a login in it, which everybody could read who can read the policy";
        findings.error("login-in-url", at, message, "remove it: the signature shows who is calling");
    } else if uri.port().is_some() && uri.port_u16().is_none_or(|port| port == 0) {
        findings.error("bad-url", at, "the URL's port can't be a port", "write a number from 1 to 65535");
    } else if scheme == "https" || (scheme == "http" && local) {
        return Some(text.to_owned());
    } else if scheme == "http" {
        let message = "without TLS everybody on the way could read which hosts are infected";
        let help = "write https://, with `authorities` if your own authority has signed the certificate; http:// reaches only 127.0.0.1, [::1] and localhost";
        findings.error("url-without-tls", at, message, help);
    } else {
        let message = format!("{} is no way to send a message", quoted(scheme));
        findings.error("bad-url", at, message, "write a URL that begins with https://");
    }
    None
}

pub fn email(section: &file::Email, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<Email> {
    findings.unknown_keys::<file::Email>(spot);
    let text = findings.require(&section.server, spot, "server", "server: mail.example.com:587");
    let server = text.and_then(|text| server(text, spot.key("server"), findings));
    let user = findings.require(&section.user, spot, "user", "user: gateway@example.com");
    let user = user.and_then(|text| texts::line(text, "user", spot.key("user"), findings));
    let password = findings.require(
        &section.password_file,
        spot,
        "password_file",
        "password_file: /etc/smtpfence/mail.password",
    );
    let password_file =
        password.and_then(|text| path(text, "password_file", spot.key("password_file"), findings));
    let from = findings.require(&section.from, spot, "from", "from: gateway@example.com");
    let from = from.and_then(|text| address(text, spot.key("from"), findings));
    let to = findings.require(&section.to, spot, "to", "to: it-ops@example.com");
    let to = to.map(|to| addresses(to, spot.key("to"), findings)).filter(|to| !to.is_empty());
    let authorities = authorities(&section.authorities, spot, findings);
    let (host, port, security) = server?;
    let (user, password_file, from, to) = (user?, password_file?, from?, to?);
    Some(Email { host, port, security, user, password_file, from, to, authorities })
}

fn server(text: &str, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<(String, u16, Security)> {
    let named = with_port(text, 587);
    let parsed = named.as_deref().and_then(|server| {
        let (host, port) = server.rsplit_once(':')?;
        Some((host.trim_matches(['[', ']']).to_owned(), port.parse::<u16>().ok()?))
    });
    let (message, help) = match parsed {
        Some((host, 587)) => return Some((host, 587, Security::StartTls)),
        Some((host, 465)) => return Some((host, 465, Security::Implicit)),
        Some((_, 25)) => (
            "port 25 is for mail servers: it has no login, and smtpfence itself closes it".to_owned(),
            "hand the message in at port 587 or 465, as staff do",
        ),
        Some((_, port)) => (
            format!("port {port} is no submission port"),
            "write the server with port 587 (STARTTLS) or 465 (TLS from the beginning)",
        ),
        None => (format!("{} is no server", quoted(text)), "write it as mail.example.com:587"),
    };
    findings.error("bad-submission-server", spot.span(), message, help);
    None
}

fn addresses(written: &OneOrMany, spot: Spot<'_>, findings: &mut Findings<'_>) -> Vec<String> {
    let list = match written {
        OneOrMany::One(text) => return address(text, spot, findings).into_iter().collect(),
        OneOrMany::Many(list) => list,
    };
    if list.is_empty() || list.len() > MAX_ADDRESSES {
        let message = format!("`to` has {} addresses", list.len());
        let help = format!("write 1 to {MAX_ADDRESSES}; a mailing list takes more");
        findings.error("bad-address-list", spot.span(), message, help);
    }
    let mut addresses = Vec::new();
    for (index, written) in list.iter().enumerate().take(MAX_ADDRESSES) {
        let spot = spot.at(index);
        if let Some(text) = findings.entry(written, spot, "to") {
            addresses.extend(address(text, spot, findings));
        }
    }
    addresses
}

/// Judged by what will write it into the message, so that none gets past here that could end a header.
fn address(text: &str, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<String> {
    if text.parse::<Address>().is_ok() && text.is_ascii() && !text.chars().any(char::is_control) {
        return Some(text.to_owned());
    }
    let message = format!("{} is no e-mail address", quoted(text));
    findings.error("bad-email-address", spot.span(), message, "write only the address: it-ops@example.com");
    None
}

pub fn exec(section: &file::Exec, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<Exec> {
    findings.unknown_keys::<file::Exec>(spot);
    let text = findings.require(&section.program, spot, "program", "program: /usr/local/sbin/page-on-call");
    let program = text.and_then(|text| path(text, "program", spot.key("program"), findings));
    let mut arguments = Vec::new();
    let list = findings.optional(&section.arguments, spot, "arguments").map_or(&[][..], Vec::as_slice);
    let at = spot.key("arguments");
    if list.len() > MAX_ARGUMENTS {
        let message = format!("`arguments` has more than {MAX_ARGUMENTS} entries");
        findings.error("too-many-arguments", at.span(), message, "write them into a script");
    }
    for (index, written) in list.iter().enumerate().take(MAX_ARGUMENTS) {
        let spot = at.at(index);
        let Some(text) = findings.entry(written, spot, "arguments") else { continue };
        if text.len() > MAX_ARGUMENT || text.chars().any(char::is_control) {
            let help = format!("write one line of up to {MAX_ARGUMENT} bytes");
            findings.error("bad-argument", spot.span(), "this can't be an argument", help);
        }
        arguments.push(text.clone());
    }
    let timeout = findings
        .optional(&section.timeout, spot, "timeout")
        .and_then(|text| super::pause(text, "timeout", LONGEST_TIMEOUT, spot.key("timeout"), findings));
    Some(Exec { program: program?, arguments, timeout: timeout.unwrap_or(TIMEOUT) })
}

fn authorities(
    written: &Written<String>,
    spot: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Option<std::path::PathBuf> {
    let text = findings.optional(written, spot, "authorities")?;
    path(text, "authorities", spot.key("authorities"), findings)
}
