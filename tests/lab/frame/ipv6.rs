//! The IPv6 header with any chain of extension headers, and fragmentation per RFC 8200.

use std::net::Ipv6Addr;

use super::{number, pieces};

/// An extension header. Its first byte, "next header", is filled in when the packet is built.
#[derive(Clone, Debug)]
pub struct Extension {
    number: u8,
    bytes: Vec<u8>,
}

/// An IPv6 header with extension headers in the order in which they were added.
#[derive(Clone, Debug)]
pub struct Ipv6 {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    traffic_class: u8,
    flow_label: u32,
    hop_limit: u8,
    version: u8,
    extensions: Vec<Extension>,
    last_next: Option<u8>,
    payload_length: Option<u16>,
}

impl Extension {
    /// Options (hop-by-hop, destination) of `8 * (units + 1)` bytes that are all padding.
    fn padding(number: u8, units: u8) -> Self {
        let mut bytes = vec![0; 8 * (usize::from(units) + 1)];
        bytes[1] = units;
        let mut at = 2;
        while at < bytes.len() {
            // One PadN holds at most 255 bytes of data.
            let data = (bytes.len() - at).saturating_sub(2).min(255);
            if bytes.len() - at == 1 {
                break; // a zero byte is Pad1
            }
            bytes[at] = 1;
            bytes[at + 1] = data as u8;
            at += 2 + data;
        }
        Self { number, bytes }
    }
}

impl Ipv6 {
    pub fn new(source: impl Into<Ipv6Addr>, destination: impl Into<Ipv6Addr>) -> Self {
        Self {
            source: source.into(),
            destination: destination.into(),
            traffic_class: 0,
            flow_label: 0,
            hop_limit: 64,
            version: 6,
            extensions: Vec::new(),
            last_next: None,
            payload_length: None,
        }
    }

    pub fn traffic_class(mut self, class: u8) -> Self {
        self.traffic_class = class;
        self
    }

    pub fn flow_label(mut self, label: u32) -> Self {
        self.flow_label = label;
        self
    }

    pub fn hop_limit(mut self, limit: u8) -> Self {
        self.hop_limit = limit;
        self
    }

    pub fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// Adds hop-by-hop options of `8 * (units + 1)` bytes.
    pub fn hop_by_hop(self, units: u8) -> Self {
        self.with(Extension::padding(number::HOP_BY_HOP, units))
    }

    /// Adds destination options of `8 * (units + 1)` bytes.
    pub fn destination_options(self, units: u8) -> Self {
        self.with(Extension::padding(number::DESTINATION_OPTIONS, units))
    }

    /// Adds a routing header of this type with this many segments left and `data` (4 + 8n bytes).
    pub fn routing(self, kind: u8, segments_left: u8, data: &[u8]) -> Self {
        let mut bytes = vec![0, 0, kind, segments_left];
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes[1] = (bytes.len() / 8 - 1) as u8;
        self.with(Extension { number: number::ROUTING, bytes })
    }

    /// Adds a fragment header, whatever follows: `offset` in bytes, a multiple of 8.
    pub fn fragment(self, offset: u16, more: bool, id: u32) -> Self {
        self.with(fragment_header(offset, more, id))
    }

    /// Adds an authentication header whose length field is `units` (it has `4 * (units + 2)` bytes).
    pub fn authentication(self, units: u8) -> Self {
        let mut bytes = vec![0; 4 * (usize::from(units) + 2)];
        bytes[1] = units;
        self.with(Extension { number: number::AUTHENTICATION, bytes })
    }

    /// Adds any header: its number and its bytes, of which the first is overwritten.
    pub fn extension(self, number: u8, bytes: &[u8]) -> Self {
        self.with(Extension { number, bytes: bytes.to_vec() })
    }

    fn with(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// Overrides what the last header says follows it.
    pub fn last_next_header(mut self, number: u8) -> Self {
        self.last_next = Some(number);
        self
    }

    pub fn payload_length(mut self, length: u16) -> Self {
        self.payload_length = Some(length);
        self
    }

    pub(super) fn build(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let (first, mut chain) = chain(&self.extensions, self.last_next.unwrap_or(protocol));
        chain.extend(payload);
        let length = self.payload_length.unwrap_or(chain.len() as u16);
        let word =
            u32::from(self.version) << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        let mut packet = word.to_be_bytes().to_vec();
        packet.extend(length.to_be_bytes());
        packet.extend([first, self.hop_limit]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(chain);
        packet
    }

    pub(super) fn fragments(&self, protocol: u8, payload: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
        let travels_with_all = |e: &Extension| matches!(e.number, number::HOP_BY_HOP | number::ROUTING);
        let split = self.extensions.iter().rposition(travels_with_all).map_or(0, |at| at + 1);
        let (before, behind) = self.extensions.split_at(split);
        let (first, mut fragmentable) = chain(behind, self.last_next.unwrap_or(protocol));
        fragmentable.extend(payload);
        let fragment = |(offset, bytes, more): (usize, &[u8], bool)| {
            let mut header = self.clone();
            header.extensions = before.to_vec();
            header.last_next = Some(first);
            header.fragment(offset as u16, more, 0x5eed_0001).build(first, bytes)
        };
        pieces(&fragmentable, cuts).into_iter().map(fragment).collect()
    }
}

fn fragment_header(offset: u16, more: bool, id: u32) -> Extension {
    let mut bytes = vec![0, 0];
    bytes.extend((offset & !7 | u16::from(more)).to_be_bytes());
    bytes.extend(id.to_be_bytes());
    Extension { number: number::FRAGMENT, bytes }
}

/// The number of the first header, and the bytes of all with their "next header" filled in.
fn chain(extensions: &[Extension], last_next: u8) -> (u8, Vec<u8>) {
    let numbers = extensions.iter().map(|e| e.number).chain([last_next]).collect::<Vec<_>>();
    let mut bytes = Vec::new();
    for (extension, next) in extensions.iter().zip(&numbers[1..]) {
        let at = bytes.len();
        bytes.extend(&extension.bytes);
        if let Some(first) = bytes.get_mut(at) {
            *first = *next;
        }
    }
    (numbers[0], bytes)
}
