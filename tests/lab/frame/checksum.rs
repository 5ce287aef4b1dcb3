//! The Internet checksum (RFC 1071), with the pseudo-header of both families.

use std::net::IpAddr;

/// The checksum field's value for `bytes`, in which that field must be zero.
pub(super) fn internet(bytes: &[u8]) -> u16 {
    finish(add(0, bytes))
}

/// The checksum field's value for a transport segment, in which that field must be zero.
pub(super) fn transport(source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let mut sum = 0;
    for address in [source, destination] {
        sum = match address {
            IpAddr::V4(a) => add(sum, &a.octets()),
            IpAddr::V6(a) => add(sum, &a.octets()),
        };
    }
    sum += u64::from(protocol) + segment.len() as u64;
    finish(add(sum, segment))
}

fn add(sum: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(2).fold(sum, |sum, pair| {
        sum + u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
    })
}

fn finish(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}
