//! What `policy.yaml` means, written in Rust from the words of the design: the judge of the product's decisions.

use std::net::IpAddr;

/// The text that these rules are about.
pub const POLICY: &str = include_str!("../policy.yaml");

pub const BLOCKED_PORT: u16 = 25;

const MAIL_SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x25];

/// Who sends a segment where, as far as rules ask for it.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Source MAC; none where there is no link layer.
    pub mac: Option<[u8; 6]>,
    /// Then `dst` is a hop only, and no rule about destinations counts.
    pub source_routed: bool,
}

/// Whether TCP to a blocked port may go this way.
pub fn may_send_mail(way: &Way) -> bool {
    let by_destination = match (parts(way.src), parts(way.dst)) {
        _ if is_internal(way.dst) => true,
        (Parts::V4([10, 25, 0, 30]), Parts::V4([203, 0, 113, _])) => true,
        (Parts::V4([10, 25, 0, 88]), Parts::V4([198, 51, 100, _])) => true,
        (Parts::V6([0xfd25, 0, 0, 0, 0, 0, 0, 0x30]), Parts::V6([0x2001, 0xdb8, 0x30, ..])) => true,
        (Parts::V6([0xfd25, 0, 0, 0, 0, 0, 0, 0x88]), Parts::V6([0x2001, 0xdb8, 0x88, ..])) => true,
        _ => false,
    };
    let by_source = match parts(way.src) {
        Parts::V4([10, 25, 0, 25]) | Parts::V6([0xfd25, 0, 0, 0, 0, 0, 0, 0x25]) => {
            way.mac == Some(MAIL_SERVER_MAC)
        }
        _ => false,
    };
    by_source || by_destination && !way.source_routed
}

/// Whether reaching `dst` is not outbound.
pub fn is_internal(dst: IpAddr) -> bool {
    match parts(dst) {
        Parts::V4([first, ..]) => first == 10,
        Parts::V6([first, ..]) => first >> 8 == 0xfd,
    }
}

enum Parts {
    V4([u8; 4]),
    V6([u16; 8]),
}

fn parts(address: IpAddr) -> Parts {
    match address {
        IpAddr::V4(a) => Parts::V4(a.octets()),
        IpAddr::V6(a) => Parts::V6(a.segments()),
    }
}
