//! Damage to finished frames: single bytes changed, the end cut off or padded. What routers insist on is repaired.

use std::net::IpAddr;

use super::random::Random;
use super::sequence::Way;

pub fn spoil(random: &mut Random, way: &Way, frames: &mut [Vec<u8>]) {
    let chosen = random.below(frames.len().max(1));
    let Some(frame) = frames.get_mut(chosen) else { return };
    let Some(ip) = ip_header(frame) else { return };
    for _ in 0..random.within(1, 3) {
        match random.below(10) {
            0..8 => {
                // Most of what a filter reads lies in the first bytes of the packet.
                let reach = if random.chance(80) { ip + 80 } else { frame.len() };
                let at = random.within(12, reach.min(frame.len()) - 1);
                frame[at] = match random.below(3) {
                    0 => random.byte(),
                    1 => frame[at] ^ 1 << random.below(8),
                    _ => random.pick(&[0, 6, 25, 44, 51, 60, 0x45, 0x60, 0xff]),
                };
            }
            8 => frame.truncate(random.within(ip, frame.len())),
            _ => {
                let length = random.within(1, 30);
                frame.extend(random.bytes(length));
            }
        }
        if frame.len() <= ip {
            break;
        }
    }
    repair(frame, ip, way);
}

/// Where the IP header begins, behind any tags.
fn ip_header(frame: &[u8]) -> Option<usize> {
    let tags =
        frame.get(12..)?.chunks_exact(4).take_while(|tag| matches!(tag, [0x81, 0, ..] | [0x88, 0xa8, ..]));
    let at = 14 + 4 * tags.count();
    (frame.len() > at + 20).then_some(at)
}

/// Puts the addresses back, by which the packet is recognised outside, and makes the header checksum right again.
fn repair(frame: &mut [u8], ip: usize, way: &Way) {
    let mut restore = |at: usize, address: IpAddr| {
        let octets = match address {
            IpAddr::V4(a) => a.octets().to_vec(),
            IpAddr::V6(a) => a.octets().to_vec(),
        };
        if let Some(field) = frame.get_mut(ip + at..ip + at + octets.len()) {
            field.copy_from_slice(&octets);
        }
    };
    if way.is_v4() {
        restore(12, way.src);
        restore(16, way.dst);
        let length = usize::from(frame.get(ip).copied().unwrap_or(0) % 16) * 4;
        if length >= 20
            && let Some(header) = frame.get_mut(ip..ip + length)
        {
            header[10..12].fill(0);
            let sum: u32 =
                header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            let folded = (folded & 0xffff) + (folded >> 16);
            header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
        }
    } else {
        restore(8, way.src);
        restore(24, way.dst);
    }
}
