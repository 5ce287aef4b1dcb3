//! A policy that has been found valid: what the rest of the program works with, free of YAML and of kernel types.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::receivers::Receiver;
use crate::detect::{HostKey, Limits};

/// One valid policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub name: String,
    /// Inside interfaces; never empty. The first entry that matches a name is the one that counts.
    pub inside: Vec<InsideEntry>,
    /// Globs of outside interface names.
    pub outside: Vec<InterfaceGlob>,
    /// Networks that clients may have addresses of; never empty.
    pub clients: Vec<IpNet>,
    /// Destinations that are not outbound.
    pub internal: Vec<IpNet>,
    /// Ports only designated senders may reach outside; 1 to 8, none 0.
    pub blocked_ports: Vec<u16>,
    /// Ports staff submit mail on; disjoint from `blocked_ports`.
    pub submission_ports: Vec<u16>,
    pub mode: Mode,
    pub on_block: OnBlock,
    /// Client networks that are treated in a way of their own; of two around a client the narrower counts.
    pub groups: Vec<Group>,
    /// Whether processes of the gateway itself may use blocked ports.
    pub gateway_mail: bool,
    pub mail_servers: Vec<MailServer>,
    pub exceptions: Vec<Exception>,
    /// Where attempts are appended beside standard output's stead; `log.file`.
    pub log_file: Option<PathBuf>,
    pub detection: Detection,
    pub quarantine: Quarantine,
    /// Where else they go to: `log.journal`, `log.syslog`.
    pub log_targets: Vec<LogTarget>,
    /// How long the store keeps attempts: `log.keep`, `log.max_size`.
    pub retention: Retention,
    /// Lease files with the names of clients.
    pub lease_files: Vec<PathBuf>,
    /// The loopback address on which the metrics can be asked for: `metrics.listen`.
    pub metrics: Option<SocketAddr>,
    /// Who is told of flags and alarms.
    pub receivers: Vec<Receiver>,
}

/// How long attempts are kept, and in how much room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Retention {
    pub keep: Duration,
    /// Bytes of all files together.
    pub max_size: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep: Duration::from_secs(90 * 86_400), max_size: 2 << 30 }
    }
}

/// Another program that gets the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTarget {
    /// systemd's journal of this machine.
    Journal,
    Syslog {
        transport: Transport,
        /// `host:port`.
        server: String,
        /// Certificates that a TLS server's is checked against; none: those of the system.
        authorities: Option<PathBuf>,
    },
}

/// How syslog messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A datagram each (RFC 5426); nobody tells if it got lost.
    Udp,
    /// RFC 6587, octet counting.
    Tcp,
    /// RFC 5425.
    Tls,
}

impl Transport {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// The port that IANA has registered for it.
    pub const fn usual_port(self) -> u16 {
        match self {
            Self::Udp => 514,
            Self::Tcp => 601,
            Self::Tls => 6514,
        }
    }
}

impl std::fmt::Display for LogTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Journal => f.write_str("journal"),
            Self::Syslog { transport, server, .. } => write!(f, "{}://{server}", transport.label()),
        }
    }
}

/// Whether denied packets are dropped or only reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Enforce,
    Audit,
}

impl Mode {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }
}

/// What becomes of a denied packet in enforce mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBlock {
    Drop,
    /// Answered with a TCP reset where that is possible, else dropped.
    Reject,
}

impl OnBlock {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Reject => "reject",
        }
    }
}

/// How denied packets are treated; what is `None` is as the surroundings say: group, then interface, then policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    pub mode: Option<Mode>,
    pub on_block: Option<OnBlock>,
}

/// Inside interfaces with the treatment of what comes in through them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsideEntry {
    pub glob: InterfaceGlob,
    pub treatment: Treatment,
    pub datapath: Datapath,
}

/// Where in the kernel what comes in through an interface is denied first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Datapath {
    /// At the door.
    #[default]
    Tc,
    /// Also in front of it, where that spares work.
    Xdp,
    /// The same whatever it costs.
    XdpForced,
}

impl Datapath {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
            Self::XdpForced => "xdp-forced",
        }
    }
}

/// Clients that are treated in a way of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    /// Part of the policy's client networks; never empty.
    pub clients: Vec<IpNet>,
    pub treatment: Treatment,
    /// When they are flagged, if not as the policy says.
    pub detection: Option<Limits>,
    /// The fragment that the entry stands in, as seen from the policy's directory; none for the policy file itself.
    pub file: Option<Arc<str>>,
    /// Line of the entry in the file, from 1.
    pub line: usize,
}

/// How hosts are found that send as bots do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detection {
    pub limits: Limits,
    pub host_key: HostKey,
    /// File of mail providers beside the shipped ones.
    pub providers: Option<PathBuf>,
    /// Whether the names of destinations are learnt from DNS answers.
    pub names: Option<LearntNames>,
}

/// Whose answers are believed, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearntNames {
    /// Never empty.
    pub resolvers: Vec<IpAddr>,
    pub keep: Duration,
}

/// What becomes of infected hosts, and what clients in quarantine may still do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Whether infected hosts are put in quarantine without an admin.
    pub enabled: bool,
    /// How long the first time; then twice as long as before, up to `longest`.
    pub first: Duration,
    pub longest: Duration,
    pub scope: Scope,
    /// Destinations that stay open.
    pub except: Vec<IpNet>,
    /// TCP ports that stay open; at most 8, none of them for mail.
    pub except_ports: Vec<u16>,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self {
            enabled: false,
            first: Duration::from_secs(3600),
            longest: Duration::from_secs(24 * 3600),
            scope: Scope::Mail,
            except: Vec::new(),
            except_ports: Vec::new(),
        }
    }
}

/// "infected hosts by themselves, 1h to 24h; scope mail".
impl std::fmt::Display for Quarantine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.enabled {
            let span = |length: Duration| jiff::SignedDuration::try_from(length).unwrap_or_default();
            write!(f, "infected hosts by themselves, {:#} to {:#}", span(self.first), span(self.longest))?;
        } else {
            f.write_str("only by hand")?;
        }
        write!(f, "; scope {}", self.scope.label())?;
        let ports = self.except_ports.iter().map(|port| format!("port {port}"));
        let nets = self.except.iter().map(|net| match net.prefix_len() == net.max_prefix_len() {
            true => net.addr().to_string(),
            false => net.to_string(),
        });
        let spared: Vec<String> = nets.chain(ports).collect();
        if spared.is_empty() { Ok(()) } else { write!(f, ", except {}", spared.join(", ")) }
    }
}

/// How far a quarantine reaches; the wider the greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Blocked and submission ports.
    #[default]
    Mail,
    /// Everything that would leave.
    All,
}

impl Scope {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::All => "all",
        }
    }

    pub fn named(word: &str) -> Option<Self> {
        [Self::Mail, Self::All].into_iter().find(|scope| scope.label() == word)
    }

    /// In the kernel's terms.
    pub const fn number(self) -> u8 {
        match self {
            Self::Mail => policy_common::abi::scope::MAIL,
            Self::All => policy_common::abi::scope::ALL,
        }
    }
}

/// An interface name in which `*` stands for any run of characters and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InterfaceGlob(pub String);

/// A designated sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailServer {
    pub name: String,
    /// Its addresses; never empty.
    pub addresses: Vec<IpAddr>,
    pub mac: Option<[u8; 6]>,
    /// The inside interface it must come in through.
    pub interface: Option<String>,
    /// Where it may send to; `None` is anywhere.
    pub to: Option<Vec<IpNet>>,
    /// The fragment that the entry stands in, as seen from the policy's directory; none for the policy file itself.
    pub file: Option<Arc<str>>,
    /// Line of the entry in the file, from 1.
    pub line: usize,
}

/// A permit with an end.
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    pub name: String,
    pub from: Vec<IpNet>,
    pub to: Vec<IpNet>,
    /// The first instant at which it no longer holds.
    pub until: jiff::Timestamp,
    pub reason: String,
    pub owner: Option<String>,
    /// The fragment that the entry stands in, as seen from the policy's directory; none for the policy file itself.
    pub file: Option<Arc<str>>,
    /// Line of the entry in the file, from 1.
    pub line: usize,
}

/// A policy with where it came from.
#[derive(Clone, Debug)]
pub struct LoadedPolicy {
    pub policy: Policy,
    pub path: PathBuf,
    /// The text exactly as read; with fragments the texts of all files, see `Parts`.
    pub text: String,
    pub revision: Revision,
}

/// First eight bytes of the SHA-256 of a policy's text; printed as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision(pub [u8; 8]);

impl Revision {
    pub fn of(text: &str) -> Self {
        let hash = Sha256::digest(text.as_bytes());
        let mut revision = [0; 8];
        revision.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
        Self(revision)
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl InterfaceGlob {
    /// Whether the name has no wildcard, so that the interface is expected to exist.
    pub fn is_literal(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    pub fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
    }
}

/// Names have at most 15 bytes, so the plain recursion is bounded.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => matches(rest, name) || (!name.is_empty() && matches(pattern, &name[1..])),
        (Some((b'?', rest)), Some((_, tail))) => matches(rest, tail),
        (Some((p, rest)), Some((n, tail))) if p == n => matches(rest, tail),
        _ => false,
    }
}
