//! Who sends, and the parts of which the packets of a scenario are built.

use std::net::{Ipv4Addr, Ipv6Addr};

use lab::Mac;
use lab::frame::{Frame, Ipv4, Ipv6, Tcp};

use super::Via;

pub const GATEWAY_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// A host, or somebody who pretends to be one.
#[derive(Clone, Copy, Debug)]
pub struct Party {
    pub name: &'static str,
    pub mac: Mac,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    pub via: Via,
}

const fn on_lan(name: &'static str, number: u8, digits: u8) -> Party {
    Party {
        name,
        mac: Mac([2, 0, 0, 0, 0, digits]),
        v4: Ipv4Addr::new(10, 25, 0, number),
        v6: Ipv6Addr::new(0xfd25, 0, 0, 0, 0, 0, 0, digits as u16),
        via: Via::Lan,
    }
}

const fn on_guest(name: &'static str, number: u8, digits: u8) -> Party {
    Party {
        name,
        mac: Mac([2, 0, 0, 0, 0x26, digits]),
        v4: Ipv4Addr::new(10, 26, 0, number),
        v6: Ipv6Addr::new(0xfd26, 0, 0, 0, 0, 0, 0, digits as u16),
        via: Via::Guest,
    }
}

pub const CLIENT: Party = on_lan("client", 77, 0x77);
/// A mail server, bound to its MAC, that may send anywhere.
pub const MAIL: Party = on_lan("mail server", 25, 0x25);
/// A mail server, bound to nothing, that may send to [`super::policy::RELAY_TO`] alone.
pub const RELAY: Party = on_lan("relay", 30, 0x30);
/// A client with a live exception.
pub const SCANNER: Party = on_lan("scanner", 78, 0x78);
/// A client whose exception has expired.
pub const FAX: Party = on_lan("fax", 79, 0x79);
/// A client in quarantine.
pub const QUARANTINED: Party = on_lan("quarantined client", 66, 0x66);
/// A client with a live exception, but in quarantine.
pub const QUARANTINED_SCANNER: Party = on_lan("quarantined scanner", 68, 0x68);
/// A client whose quarantine is over.
pub const RELEASED: Party = on_lan("released client", 67, 0x67);
/// A client in quarantine from everything, not only from mail.
pub const CUT_OFF: Party = on_lan("cut-off client", 69, 0x69);
pub const GUEST: Party = on_guest("guest", 50, 0x50);
/// A mail server bound to the guest interface.
pub const GUEST_MAIL: Party = on_guest("guest mail server", 25, 0x25);

impl Party {
    pub const fn with_mac(mut self, mac: Mac) -> Self {
        self.mac = mac;
        self
    }

    /// The same machine with other addresses.
    pub fn at(mut self, v4: impl Into<Ipv4Addr>, v6: impl Into<Ipv6Addr>) -> Self {
        self.v4 = v4.into();
        self.v6 = v6.into();
        self
    }

    pub const fn via(mut self, via: Via) -> Self {
        self.via = via;
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub const fn label(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    pub const fn header_len(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }
}

/// From whom to whom one scenario's packets go.
#[derive(Clone, Copy, Debug)]
pub struct Shot {
    pub from: Party,
    pub family: Family,
    pub to4: Ipv4Addr,
    pub to6: Ipv6Addr,
    pub port: u16,
    /// Different in each scenario.
    pub source_port: u16,
}

impl Shot {
    /// A frame to the gateway without anything in it.
    pub fn ethernet(&self) -> Frame {
        Frame::new(self.from.mac, GATEWAY_MAC)
    }

    pub fn ipv4(&self) -> Ipv4 {
        Ipv4::new(self.from.v4, self.to4)
    }

    pub fn ipv6(&self) -> Ipv6 {
        Ipv6::new(self.from.v6, self.to6)
    }

    /// A frame with a plain IP header of the shot's family.
    pub fn ip(&self) -> Frame {
        match self.family {
            Family::V4 => self.v4(self.ipv4()),
            Family::V6 => self.v6(self.ipv6()),
        }
    }

    pub fn v4(&self, header: Ipv4) -> Frame {
        self.ethernet().ipv4(header)
    }

    pub fn v6(&self, header: Ipv6) -> Frame {
        self.ethernet().ipv6(header)
    }

    pub fn syn(&self) -> Tcp {
        Tcp::syn(self.source_port, self.port)
    }

    pub fn segment(&self, flags: u8) -> Tcp {
        Tcp::new(self.source_port, self.port, flags)
    }

    /// The bytes of a SYN with this much payload, for building what the frame builder has no word for.
    pub fn syn_bytes(&self, payload: usize) -> Vec<u8> {
        let packet = self.ip().tcp(self.syn().payload(&vec![0x55; payload])).packet();
        packet[self.family.header_len()..].to_vec()
    }

    /// The whole SYN packet in plain IP.
    pub fn syn_frame(&self) -> Frame {
        self.ip().tcp(self.syn())
    }
}
