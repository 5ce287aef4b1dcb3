//! The IPv4 header: correct by itself, and wrong in any single field on demand.

use std::net::Ipv4Addr;

use super::{checksum, pieces};

/// An IPv4 header. Lengths and checksum are computed unless overridden.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    options: Vec<u8>,
    tos: u8,
    ttl: u8,
    id: u16,
    reserved: bool,
    dont_fragment: bool,
    more_fragments: bool,
    fragment_units: u16,
    protocol: Option<u8>,
    version: u8,
    ihl: Option<u8>,
    total_length: Option<u16>,
    checksum: Option<u16>,
}

impl Ipv4 {
    pub fn new(source: impl Into<Ipv4Addr>, destination: impl Into<Ipv4Addr>) -> Self {
        Self {
            source: source.into(),
            destination: destination.into(),
            options: Vec::new(),
            tos: 0,
            ttl: 64,
            id: 1,
            reserved: false,
            dont_fragment: false,
            more_fragments: false,
            fragment_units: 0,
            protocol: None,
            version: 4,
            ihl: None,
            total_length: None,
            checksum: None,
        }
    }

    /// Options, filled up with end-of-list bytes to a multiple of 4; 40 bytes at most make sense.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// Sets the bit that must be zero (the "evil bit").
    pub fn reserved_bit(mut self) -> Self {
        self.reserved = true;
        self
    }

    pub fn dont_fragment(mut self) -> Self {
        self.dont_fragment = true;
        self
    }

    /// Declares this packet a fragment, whatever follows: `offset` in bytes, a multiple of 8.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment_units = offset / 8;
        self.more_fragments = more;
        self
    }

    /// Overrides the protocol number.
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = Some(protocol);
        self
    }

    pub fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// Overrides the header length, in 4-byte units.
    pub fn ihl(mut self, units: u8) -> Self {
        self.ihl = Some(units);
        self
    }

    pub fn total_length(mut self, length: u16) -> Self {
        self.total_length = Some(length);
        self
    }

    pub fn checksum(mut self, checksum: u16) -> Self {
        self.checksum = Some(checksum);
        self
    }

    pub(super) fn build(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header_length = 20 + self.options.len();
        let total = self.total_length.unwrap_or((header_length + payload.len()) as u16);
        let fragment = u16::from(self.reserved) << 15
            | u16::from(self.dont_fragment) << 14
            | u16::from(self.more_fragments) << 13
            | self.fragment_units & 0x1fff;
        let ihl = self.ihl.unwrap_or((header_length / 4) as u8);
        let mut packet = vec![self.version << 4 | ihl & 0x0f, self.tos];
        packet.extend(total.to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend(fragment.to_be_bytes());
        packet.extend([self.ttl, self.protocol.unwrap_or(protocol), 0, 0]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(&self.options);
        let sum = self.checksum.unwrap_or_else(|| checksum::internet(&packet));
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        packet
    }

    /// Options go with every fragment, as if all had the "copied" bit.
    pub(super) fn fragments(&self, protocol: u8, payload: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
        pieces(payload, cuts)
            .into_iter()
            .map(|(offset, bytes, more)| self.clone().fragment(offset as u16, more).build(protocol, bytes))
            .collect()
    }
}
