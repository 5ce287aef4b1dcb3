//! One blocked attempt as the log shows it: stable field names for machines, an aligned line for people.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use policy_common::Reason;
use policy_common::abi::{Event, verdict};
use policy_common::flow::tcp_flags;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::netlink;
use crate::policy::Revision;
use crate::policy::compile::{Instant, Rule};

/// A blocked attempt. The field names are a contract; see `docs/events.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    pub time: Timestamp,
    /// Nanoseconds of `CLOCK_BOOTTIME`, which no clock step changes.
    #[serde(skip)]
    pub boot: u64,
    /// Short name of this attempt, for `smtpfence allow --from-log`.
    pub id: String,
    pub event: &'static str,
    /// `drop`, `reject`, or `would_block` where audit mode let the packet go on.
    pub verdict: &'static str,
    pub reason: &'static str,
    pub interface: String,
    pub ifindex: u32,
    pub vlan: Option<u16>,
    pub client: Option<IpAddr>,
    pub client_mac: Option<Mac>,
    pub client_port: u16,
    pub destination: Option<IpAddr>,
    pub destination_port: u16,
    /// Name by which the client knows the destination, where the policy lets names be learnt.
    pub to_name: Option<String>,
    /// MAC the client sent to: the gateway's, on a routed network.
    pub destination_mac: Option<Mac>,
    /// For example `SYN` or `PSH|ACK`.
    pub tcp_flags: String,
    pub tcp_sequence: u32,
    /// Attempts of this host since its last row that have no row of their own: it used up its budget of events.
    pub unlisted: u32,
    /// Policy entry that decided; none for the general rule.
    pub rule: Option<String>,
    pub policy: String,
    pub revision: String,
}

/// A MAC address, printed as `02:00:00:00:00:77`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// What turns the kernel's numbers into words.
pub struct Lexicon {
    /// Interface names by index; the last known one for interfaces that are gone.
    pub interfaces: HashMap<u32, String>,
    policies: HashMap<Revision, (String, Vec<Rule>)>,
    /// Their revisions, the latest learnt last.
    order: VecDeque<Revision>,
}

/// Policies whose events may still be in the ring. A reload storm must not fill the memory with more.
const KNOWN_POLICIES: usize = 8;

impl Lexicon {
    pub fn new() -> Self {
        Self { interfaces: HashMap::new(), policies: HashMap::new(), order: VecDeque::new() }
    }

    /// Learns a policy's name and rules; events of earlier ones may still be in the ring.
    pub fn learn(&mut self, revision: Revision, name: &str, rules: &[Rule]) {
        self.policies.insert(revision, (name.to_owned(), rules.to_owned()));
        self.order.retain(|known| *known != revision);
        self.order.push_back(revision);
        if self.order.len() > KNOWN_POLICIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.policies.remove(&oldest);
        }
    }

    /// The interface's name; of one that appeared a moment ago, as the kernel knows it.
    pub fn interface(&self, index: u32) -> String {
        self.interfaces.get(&index).cloned().unwrap_or_else(|| netlink::present_name(index))
    }

    /// Words an event; `now` relates its time to the wall clock.
    pub fn attempt(&self, event: &Event, now: Instant) -> Attempt {
        let revision = Revision(event.revision());
        let policy = self.policies.get(&revision);
        let rule = policy.and_then(|(_, rules)| rules.get((event.rule() as usize).checked_sub(1)?));
        Attempt {
            time: wall_time(event.time(), now),
            boot: event.time(),
            id: id(event),
            event: "attempt",
            verdict: verdict_label(event.verdict()),
            reason: Reason::from_number(event.reason()).map_or("unknown", Reason::label),
            interface: self.interface(event.ifindex()),
            ifindex: event.ifindex(),
            vlan: event.vlan(),
            client: event.src().to_ip(),
            client_mac: event.src_mac().map(Mac),
            client_port: event.src_port(),
            destination: event.dst().to_ip(),
            destination_port: event.dst_port(),
            to_name: None,
            destination_mac: event.dst_mac().map(Mac),
            tcp_flags: flag_names(event.tcp_flags()),
            tcp_sequence: event.seq(),
            unlisted: event.unlisted(),
            rule: rule.map(|rule| rule.name.clone()),
            policy: policy.map_or_else(String::new, |(name, _)| name.clone()),
            revision: revision.to_string(),
        }
    }
}

impl Default for Lexicon {
    fn default() -> Self {
        Self::new()
    }
}

/// One line for people: time, verdict, who, through what, where to, why.
impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%:z");
        let client = endpoint(self.client, self.client_port);
        let mac = self.client_mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string());
        let destination = endpoint(self.destination, self.destination_port);
        write!(
            f,
            "{time}  {:<11}  {client:<21}  {mac:<17}  {:<8}  -> {destination:<21}  {}",
            self.verdict,
            self.interface.escape_debug().to_string(),
            self.reason
        )?;
        if let Some(name) = &self.to_name {
            write!(f, "  {}", name.escape_debug())?;
        }
        match &self.rule {
            Some(rule) => write!(f, " (rule {rule})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(':');
        let mut mac = [0; 6];
        for byte in &mut mac {
            let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+')).ok_or(())?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        if parts.next().is_some() { Err(()) } else { Ok(Self(mac)) }
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom("not a MAC address"))
    }
}

/// 12 hexadecimal digits over what no two attempts share. Made of the kernel's own record, not of the wall clock, so that
/// it is the same whoever reads the record and whenever.
fn id(event: &Event) -> String {
    let mut hash = Sha256::new();
    hash.update(event.time().to_be_bytes());
    for address in [event.src(), event.dst()] {
        hash.update(address.to_ip().map(|ip| ip.to_string()).unwrap_or_default());
        hash.update(" ");
    }
    hash.update(event.src_port().to_be_bytes());
    hash.update(event.dst_port().to_be_bytes());
    hash.update(event.seq().to_be_bytes());
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn endpoint(ip: Option<IpAddr>, port: u16) -> String {
    match ip {
        Some(IpAddr::V4(ip)) => format!("{ip}:{port}"),
        Some(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        None => "?".to_owned(),
    }
}

fn verdict_label(number: u8) -> &'static str {
    match number {
        verdict::DROP => "drop",
        verdict::WOULD_BLOCK => "would_block",
        verdict::REJECT => "reject",
        _ => "unknown",
    }
}

/// The wall-clock time of an instant on the boot clock, by the difference the two have now.
pub fn wall_time(boot: u64, now: Instant) -> Timestamp {
    let ago = SignedDuration::from_nanos(i64::try_from(now.boot.saturating_sub(boot)).unwrap_or(i64::MAX));
    now.wall.checked_sub(ago).unwrap_or(now.wall)
}

fn flag_names(flags: u8) -> String {
    let names = [
        (tcp_flags::FIN, "FIN"),
        (tcp_flags::SYN, "SYN"),
        (tcp_flags::RST, "RST"),
        (tcp_flags::PSH, "PSH"),
        (tcp_flags::ACK, "ACK"),
        (tcp_flags::URG, "URG"),
    ];
    let set: Vec<_> = names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    set.join("|")
}
