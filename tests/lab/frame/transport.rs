//! TCP segments, UDP datagrams, and anything else behind an IP header.

use std::net::IpAddr;

use super::{checksum, number};

/// TCP flags, to be joined with `|`.
pub mod flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

/// A TCP segment; the checksum is computed unless overridden.
#[derive(Clone, Debug)]
pub struct Tcp {
    source_port: u16,
    destination_port: u16,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    window: u16,
    data_offset: Option<u8>,
    checksum: Option<u16>,
    options: Vec<u8>,
    payload: Vec<u8>,
}

/// A UDP datagram; length and checksum are computed.
#[derive(Clone, Debug)]
pub struct Udp {
    source_port: u16,
    destination_port: u16,
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) enum Transport {
    Tcp(Tcp),
    Udp(Udp),
    Raw { protocol: u8, bytes: Vec<u8> },
}

impl Tcp {
    /// A segment with these flags and nothing in it.
    pub fn new(source_port: u16, destination_port: u16, flags: u8) -> Self {
        Self {
            source_port,
            destination_port,
            sequence: 0x1000_0000,
            acknowledgement: 0,
            flags,
            window: 64240,
            data_offset: None,
            checksum: None,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub fn syn(source_port: u16, destination_port: u16) -> Self {
        Self::new(source_port, destination_port, flags::SYN)
    }

    pub fn sequence(mut self, sequence: u32) -> Self {
        self.sequence = sequence;
        self
    }

    pub fn acknowledgement(mut self, acknowledgement: u32) -> Self {
        self.acknowledgement = acknowledgement;
        self
    }

    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// Options, filled up with end-of-list bytes to a multiple of 4.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// Overrides the header length, in 4-byte units.
    pub fn data_offset(mut self, units: u8) -> Self {
        self.data_offset = Some(units);
        self
    }

    pub fn checksum(mut self, checksum: u16) -> Self {
        self.checksum = Some(checksum);
        self
    }

    fn build(&self, ends: Option<(IpAddr, IpAddr)>) -> Vec<u8> {
        let offset = self.data_offset.unwrap_or(((20 + self.options.len()) / 4) as u8);
        let mut segment = self.source_port.to_be_bytes().to_vec();
        segment.extend(self.destination_port.to_be_bytes());
        segment.extend(self.sequence.to_be_bytes());
        segment.extend(self.acknowledgement.to_be_bytes());
        segment.extend([offset << 4, self.flags]);
        segment.extend(self.window.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend(&self.options);
        segment.extend(&self.payload);
        let computed = ends.map(|(s, d)| checksum::transport(s, d, number::TCP, &segment));
        let sum = self.checksum.or(computed).unwrap_or(0);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        segment
    }
}

impl Udp {
    pub fn new(source_port: u16, destination_port: u16, payload: &[u8]) -> Self {
        Self { source_port, destination_port, payload: payload.to_vec() }
    }

    fn build(&self, ends: Option<(IpAddr, IpAddr)>) -> Vec<u8> {
        let mut datagram = self.source_port.to_be_bytes().to_vec();
        datagram.extend(self.destination_port.to_be_bytes());
        datagram.extend(((8 + self.payload.len()) as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(&self.payload);
        if let Some((source, destination)) = ends {
            // Zero would mean "no checksum".
            let sum = match checksum::transport(source, destination, number::UDP, &datagram) {
                0 => 0xffff,
                sum => sum,
            };
            datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        datagram
    }
}

impl Transport {
    pub(super) fn protocol(&self) -> u8 {
        match self {
            Self::Tcp(_) => number::TCP,
            Self::Udp(_) => number::UDP,
            Self::Raw { protocol, .. } => *protocol,
        }
    }

    /// The bytes, with a checksum over the addresses at both `ends` where there are any.
    pub(super) fn build(&self, ends: Option<(IpAddr, IpAddr)>) -> Vec<u8> {
        match self {
            Self::Tcp(segment) => segment.build(ends),
            Self::Udp(datagram) => datagram.build(ends),
            Self::Raw { bytes, .. } => bytes.clone(),
        }
    }
}
