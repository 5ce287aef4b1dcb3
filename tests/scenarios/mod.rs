//! The scenario table: what can carry TCP past a port filter, each with its neighbour that must pass, as data for every runner.
#![allow(dead_code, reason = "each test includes the table and uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may the functions it calls")]

pub mod arbitrary;
mod direction;
pub mod framing;
mod identity;
mod ipv4;
mod ipv4_fragments;
mod ipv6;
mod ipv6_fragments;
mod link;
mod other;
pub mod parties;
mod plain;
pub mod policy;
mod quarantine;
pub mod reference;
mod source;
pub mod stage;
mod table;
mod tcp;

use policy_common::{PacketView, Reason};

use table::Table;

/// One scenario: some packets on the wire, in order.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    /// What goes wrong without the rule, or which specification says so.
    pub why: &'static str,
    pub via: Via,
    pub packets: Vec<Packet>,
    /// Why this row can't be run in the lab, if so.
    pub not_in_lab: Option<&'static str>,
    /// Why the lab with NAT can't show it, if so.
    pub not_behind_nat: Option<&'static str>,
}

/// The inside interface of the gateway through which packets come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    Lan,
    Guest,
}

/// One Ethernet frame and what must become of it.
#[derive(Clone, Debug)]
pub struct Packet {
    pub frame: Vec<u8>,
    pub expect: Expect,
    pub bare: Bare,
}

/// The decision at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Pass(Reason),
    Deny(Reason),
    /// Denied by a quarantine although it is no mail to a blocked port.
    CutOff,
}

/// What a Linux router without any filter and without NAT does with the frame. Where it forwards a frame that passes, the
/// frame must arrive outside; where it forwards one that is denied, the row is an evasion that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    Forwards,
    Drops,
}

impl Expect {
    pub const fn reason(self) -> Reason {
        match self {
            Self::Pass(reason) | Self::Deny(reason) => reason,
            Self::CutOff => Reason::Quarantined,
        }
    }

    pub const fn denies(self) -> bool {
        !matches!(self, Self::Pass(_))
    }
}

impl Expect {
    /// The decision at the guard about the same packet where it did not pass a door; `mail` is what is decided about mail.
    pub const fn at_guard(self, mail: Self) -> Self {
        match self.reason() {
            Reason::OtherTraffic | Reason::LaterFragment => Self::Pass(Reason::OtherTraffic),
            Reason::Quarantined if matches!(self, Self::CutOff) => Self::Pass(Reason::OtherTraffic),
            Reason::Unreadable | Reason::AmbiguousFragment | Reason::InternalDestination => self,
            _ => mail,
        }
    }
}

impl Packet {
    /// The packet as an interface without Ethernet header carries it; none where the frame is no plain IP packet.
    pub fn without_ethernet(&self) -> Option<&[u8]> {
        let (header, packet) = self.frame.split_at_checked(14)?;
        let version = packet.first()? >> 4;
        let matches = matches!((header[12], header[13], version), (0x08, 0x00, 4) | (0x86, 0xdd, 6));
        matches.then_some(packet)
    }

    /// What is expected of [`Self::without_ethernet`]: there is no MAC, so a mail server bound to one is never there.
    pub fn expect_without_ethernet(&self) -> Expect {
        match self.expect {
            Expect::Pass(Reason::MailServer) if policy::is_bound_to_mac(&self.frame) => {
                Expect::Deny(Reason::SpoofedMailServer)
            }
            other => other,
        }
    }
}

/// Bytes as the parser takes them.
pub struct Bytes<'a>(pub &'a [u8]);

impl PacketView for Bytes<'_> {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.load(offset)
    }

    fn len(&self) -> u32 {
        PacketView::len(self.0)
    }
}

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    type Rows = fn(&mut Table);
    let classes: [(&str, Rows); 12] = [
        ("plain", plain::rows),
        ("ipv4", ipv4::rows),
        ("ipv4 fragments", ipv4_fragments::rows),
        ("ipv6", ipv6::rows),
        ("ipv6 fragments", ipv6_fragments::rows),
        ("link", link::rows),
        ("tcp", tcp::rows),
        ("identity", identity::rows),
        ("quarantine", quarantine::rows),
        ("source", source::rows),
        ("direction", direction::rows),
        ("other", other::rows),
    ];
    let mut table = Table::default();
    for (class, rows) in classes {
        table.begin(class);
        rows(&mut table);
    }
    table.rows
}
