//! Sends one message with swaks, as a staff member's mail program would.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::Host;

use super::postfix::{LOGIN, PASSWORD};
use super::{interrupt, screen};

/// How long the mail program tries to connect.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// How the mail program speaks to the server.
#[derive(Clone, Copy)]
pub enum Way {
    /// Plain SMTP, the port of mail servers among themselves.
    Port25,
    /// The same, but only to the company's own mail server.
    MailServer,
    /// Submission: STARTTLS, then a login.
    Port587,
    /// Submission: TLS from the first byte, then a login.
    Port465,
}

/// Sends a message to `user@provider.example` through `server` and shows what swaks says; whether it was taken.
pub fn send(host: &Host, name: &str, server: Ipv4Addr, way: Way, user: &str) -> Result<bool> {
    interrupt::check()?;
    let mut words = vec!["--server".to_string(), server.to_string()];
    let (port, more) = match way {
        Way::Port25 | Way::MailServer => ("25", ""),
        Way::Port587 => ("587", "--tls"),
        Way::Port465 => ("465", "--tls-on-connect"),
    };
    words.extend(["--port", port, "--from", "staff@company.example"].map(String::from));
    words.extend(["--to".to_string(), format!("{user}@provider.example")]);
    if !more.is_empty() {
        words.extend(
            [more, "--auth", "PLAIN", "--auth-user", LOGIN, "--auth-password", PASSWORD].map(String::from),
        );
    }
    words.extend(["--timeout".to_string(), PATIENCE.as_secs().to_string()]);
    screen::command(name, &format!("swaks {}", words.join(" ")));
    // Without a name to greet with, swaks would ask a DNS that doesn't exist here.
    words.extend(["--helo", "desktop.company.example"].map(String::from));
    let output =
        host.command("swaks").args(&words).envs(NO_NAME_SERVER).output().context("could not start swaks")?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    screen::output(text.lines().filter(|line| worth_showing(line)));
    Ok(output.status.success())
}

/// The lab has no name server. Programs that ask for the machine's own name on one where /etc/hosts does not have it would
/// wait for ten seconds each time (resolv.conf(5)).
const NO_NAME_SERVER: [(&str, &str); 1] = [("RES_OPTIONS", "timeout:1 attempts:1")];

/// The events of a session, and the server's answers that tell its fate.
fn worth_showing(line: &str) -> bool {
    let answer = line.strip_prefix("<-  ").or_else(|| line.strip_prefix("<~  "));
    line.starts_with("===")
        || line.starts_with("***")
        || line.starts_with("<**")
        || answer.is_some_and(|a| a.starts_with("235") || a.contains("queued as"))
}
