//! Random senders and destinations, the same in both families, and random framing around their packets.

use lab::frame::{Frame, Ipv4, Ipv6, Tcp, number};
use policy_common::packet::{MAX_HEADERS, MAX_INLINE_TAGS};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::parties::{CLIENT, FAX, GATEWAY_MAC, GUEST, MAIL, Party, RELAY, SCANNER};

/// Who sends to which port at which kind of destination, in either family.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    pub from: Party,
    to4: [u8; 4],
    to6: [u16; 8],
    port: u16,
    flags: u8,
}

pub fn roles() -> impl Strategy<Value = Roles> {
    let destinations = [
        ([198, 18, 7, 7], [0x2001, 0xdb8, 0xcafe, 0, 0, 0, 0, 7]),
        ([198, 51, 100, 7], [0x2001, 0xdb8, 0xbbbb, 0, 0, 0, 0, 7]),
        ([203, 0, 113, 200], [0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, 7]),
        ([10, 99, 0, 7], [0xfd25, 0x99, 0, 0, 0, 0, 0, 7]),
        ([203, 0, 113, 1], [0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1]),
    ];
    let impostor = MAIL.with_mac(CLIENT.mac);
    let unknown = CLIENT.at([192, 168, 1, 1], [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1]);
    (
        select(vec![CLIENT, MAIL, RELAY, SCANNER, FAX, GUEST, impostor, unknown]),
        select(destinations.to_vec()),
        select(vec![25, 26, 443, 587, 10_025, 0]),
        any::<u8>(),
    )
        .prop_map(|(from, (to4, to6), port, flags)| Roles { from, to4, to6, port, flags })
}

/// What is put around a packet; none of it may change what is decided.
#[derive(Clone, Debug, Default)]
pub struct Framing {
    tags: Vec<(u16, u16)>,
    options: Vec<u8>,
    headers: Vec<Header>,
    padding: usize,
}

#[derive(Clone, Copy, Debug)]
enum Header {
    HopByHop(u8),
    Destination(u8),
    Routing(u8, u8),
    Atomic(u32),
    Authentication(u8),
    Mobility,
    Hip,
    Shim6,
}

fn header() -> impl Strategy<Value = Header> {
    prop_oneof![
        (0..4u8).prop_map(Header::HopByHop),
        (0..4u8).prop_map(Header::Destination),
        (0..5u8, 0..2u8).prop_map(|(kind, left)| Header::Routing(kind, left)),
        any::<u32>().prop_map(Header::Atomic),
        (0..8u8).prop_map(Header::Authentication),
        Just(Header::Mobility),
        Just(Header::Hip),
        Just(Header::Shim6),
    ]
}

pub fn framing() -> impl Strategy<Value = Framing> {
    let tag = (select(vec![number::VLAN, number::QINQ]), any::<u16>());
    (vec(tag, 0..12), vec(Just(1u8), 0..=40), vec(header(), 0..20), 0..100usize)
        .prop_map(|(tags, options, headers, padding)| Framing { tags, options, headers, padding })
}

impl Framing {
    /// Whether the parser follows all of it.
    pub fn is_within_limits(&self) -> bool {
        self.tags.len() <= MAX_INLINE_TAGS && self.headers.len() <= MAX_HEADERS
    }

    /// Whether the IPv6 twin has hops to come behind its destination.
    pub fn is_source_routed(&self) -> bool {
        self.headers.iter().any(|header| matches!(header, Header::Routing(_, left) if *left > 0))
    }

    pub fn within_limits(mut self) -> Self {
        self.tags.truncate(MAX_INLINE_TAGS);
        self.headers.truncate(MAX_HEADERS);
        self
    }

    /// How many VLAN tags there are.
    pub fn tags(&self) -> usize {
        self.tags.len()
    }

    pub fn v4(&self, roles: &Roles) -> Vec<u8> {
        let header = Ipv4::new(roles.from.v4, roles.to4).options(&self.options);
        self.finish(Frame::new(roles.from.mac, GATEWAY_MAC).ipv4(header), roles)
    }

    pub fn v6(&self, roles: &Roles) -> Vec<u8> {
        let header =
            self.headers.iter().fold(Ipv6::new(roles.from.v6, roles.to6), |ip, header| match *header {
                Header::HopByHop(units) => ip.hop_by_hop(units),
                Header::Destination(units) => ip.destination_options(units),
                Header::Routing(kind, left) => ip.routing(kind, left, &[0; 4]),
                Header::Atomic(id) => ip.fragment(0, false, id),
                Header::Authentication(units) => ip.authentication(units),
                Header::Mobility => ip.extension(number::MOBILITY, &[0; 8]),
                Header::Hip => ip.extension(number::HIP, &[0; 8]),
                Header::Shim6 => ip.extension(number::SHIM6, &[0; 8]),
            });
        self.finish(Frame::new(roles.from.mac, GATEWAY_MAC).ipv6(header), roles)
    }

    fn finish(&self, frame: Frame, roles: &Roles) -> Vec<u8> {
        let frame = self.tags.iter().fold(frame, |frame, (tpid, tci)| frame.tag(*tpid, *tci));
        let mut bytes = frame.tcp(Tcp::new(40_000, roles.port, roles.flags)).build();
        bytes.resize(bytes.len() + self.padding, 0x19);
        bytes
    }
}
