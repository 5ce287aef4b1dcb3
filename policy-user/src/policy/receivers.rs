//! What a policy says about notifications: who is told, how, and of what.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Time;
use serde::{Deserialize, Serialize};

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// No other receiver has it; what waits for a receiver is kept under its name.
    pub name: String,
    pub way: Way,
    /// What it is told at once; may be empty where there is a digest.
    pub topics: Vec<Topic>,
    /// What happens within this time after a message waits for the next one.
    pub group: Duration,
    /// The same of the same host is not told again before this time is over.
    pub repeat_after: Duration,
    /// When, in local time, it is sent all that has happened in a day.
    pub digest: Option<Time>,
}

/// How a message travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Webhook(Webhook),
    Email(Email),
    Exec(Exec),
}

/// An HTTP POST with a JSON body and a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// `https://…`, or `http://…` to this machine itself.
    pub url: String,
    pub secret_file: PathBuf,
    /// Certificates that the server's is checked against; none: those of the system.
    pub authorities: Option<PathBuf>,
}

/// A message handed in at a submission server, as staff do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub user: String,
    pub password_file: PathBuf,
    pub from: String,
    /// Never empty.
    pub to: Vec<String>,
    /// As for a webhook.
    pub authorities: Option<PathBuf>,
}

/// When TLS begins; there is no way without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// By a command (RFC 3207), as on port 587; a server that lacks it is refused.
    StartTls,
    /// At once, as on port 465 (RFC 8314).
    Implicit,
}

/// A program of the admin's that reads the message from its standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub timeout: Duration,
}

/// Kinds of events, the gravest first. The labels are a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    Infected,
    /// Something lets packets out, or did.
    Coverage,
    Suspect,
    /// Another policy than the admin wants is in force.
    Reload,
    /// The block log can't be written.
    Store,
    /// The ring buffer was full.
    Lost,
    Misconfigured,
    /// A flag has ended.
    Released,
}

impl Topic {
    pub const ALL: [Self; 8] = [
        Self::Infected,
        Self::Coverage,
        Self::Suspect,
        Self::Reload,
        Self::Store,
        Self::Lost,
        Self::Misconfigured,
        Self::Released,
    ];
    /// What a receiver is told that does not choose.
    pub const USUAL: [Self; 6] =
        [Self::Infected, Self::Coverage, Self::Suspect, Self::Reload, Self::Store, Self::Lost];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Infected => "infected",
            Self::Coverage => "coverage",
            Self::Suspect => "suspect",
            Self::Reload => "reload",
            Self::Store => "store",
            Self::Lost => "lost",
            Self::Misconfigured => "misconfigured",
            Self::Released => "released",
        }
    }

    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.label() == word)
    }
}

impl Way {
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Email(_) => "email",
            Self::Exec(_) => "exec",
        }
    }
}

/// Where to; of a URL only the server, because the rest is often a secret.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(Webhook { url, .. }) => {
                let end = url.find("://").map_or(0, |at| at + 3);
                let (scheme, rest) = url.split_at(end);
                write!(f, "{scheme}{}", rest.split(['/', '?', '#']).next().unwrap_or_default())
            }
            Self::Email(Email { host, port, to, .. }) => write!(f, "{} by {host}:{port}", to.join(", ")),
            Self::Exec(Exec { program, .. }) => write!(f, "{}", program.display()),
        }
    }
}
