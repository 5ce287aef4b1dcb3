//! One random sequence of frames: who sends it, where to, and whether port 25 is open on that way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lab::Mac;

use super::random::Random;
use super::{noise, pieces, single};
use crate::reference::Reading;
use crate::{reference, rules};

const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 1]);
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 0x77]);
const MAIL_SERVER: Mac = Mac([2, 0, 0, 0, 0, 0x25]);

/// Largest frame that fits the cable behind one tag.
const LARGEST: usize = 1514;

/// Frames of one sender to one destination that no other sequence of a run shares.
#[derive(Clone, Debug)]
pub struct Sequence {
    pub number: u64,
    pub way: Way,
    pub frames: Vec<Vec<u8>>,
}

/// Source MAC and both addresses of all packets of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub mac: Mac,
    pub gateway: Mac,
    pub src: IpAddr,
    pub dst: IpAddr,
}

impl Sequence {
    pub fn generate(seed: u64, number: u64) -> Self {
        let random = &mut Random::new(seed, number);
        let way = Way::generate(random, number);
        let mut frames = match random.below(100) {
            0..45 => single::frames(random, &way),
            _ => pieces::frames(random, &way),
        };
        if random.chance(25) {
            noise::spoil(random, &way, &mut frames);
        }
        frames.retain(|frame| (14..=LARGEST).contains(&frame.len()));
        Self { number, way, frames }
    }

    /// Whether the policy lets this sender reach port 25 there.
    pub fn may_send_mail(&self) -> bool {
        self.may_send(false)
    }

    /// Whether a frame with this reading may be stopped: blocked mail, hidden ports, pieces that could rewrite one. Other
    /// ports and protocols and pieces far from the ports must pass.
    pub fn may_stop(&self, reading: Reading) -> bool {
        match reading {
            Reading::Tcp(segment) => {
                segment.dst_port == rules::BLOCKED_PORT && !self.may_send(segment.source_routed)
            }
            Reading::Hidden | Reading::NearPiece | Reading::Stretched { .. } => true,
            Reading::FarPiece | Reading::NotTcp => false,
        }
    }

    fn may_send(&self, source_routed: bool) -> bool {
        let Way { src, dst, mac, .. } = self.way;
        rules::may_send_mail(&rules::Way { src, dst, mac: Some(mac.0), source_routed })
    }

    /// What the door can tell from a frame alone.
    pub fn reading(frame: &[u8]) -> Reading {
        reference::read(reference::untag(&at_the_door(frame)))
    }

    /// Whether a frame has more tags than the promise covers; behind the gateway that can't be seen any more.
    pub fn is_over_tagged(&self) -> bool {
        let is_over = |frame: &Vec<u8>| reference::untag(&at_the_door(frame)) == reference::Frame::OverTagged;
        self.frames.iter().any(is_over)
    }
}

/// The kernel takes the outermost tag out of a frame before the door sees it.
pub fn at_the_door(frame: &[u8]) -> Vec<u8> {
    match frame.split_at_checked(12) {
        Some((addresses, [0x81, 0x00, _, _, inner @ ..] | [0x88, 0xa8, _, _, inner @ ..])) => {
            [addresses, inner].concat()
        }
        _ => frame.to_vec(),
    }
}

impl Way {
    fn generate(random: &mut Random, number: u64) -> Self {
        let v4 = random.chance(45);
        let client = if v4 { address("10.25.0.77") } else { address("fd25::77") };
        let mail_server = if v4 { address("10.25.0.25") } else { address("fd25::25") };
        let (mac, src) = match random.below(100) {
            0..64 => (CLIENT, client),
            64..82 => (MAIL_SERVER, mail_server),
            82..88 => (CLIENT, mail_server),
            88..90 => (MAIL_SERVER, client),
            90..94 if v4 => (CLIENT, address("172.16.9.9")),
            90..94 => (CLIENT, address("2001:db8:77::9")),
            94..96 if v4 => (CLIENT, address("10.25.0.30")),
            94..96 => (CLIENT, address("fd25::30")),
            96..98 if v4 => (CLIENT, address("10.25.0.88")),
            96..98 => (CLIENT, address("fd25::88")),
            _ if v4 => (MAIL_SERVER, address("10.25.0.26")),
            _ => (MAIL_SERVER, address("::ffff:10.25.0.25")),
        };
        Self { mac, gateway: GATEWAY, src, dst: destination(random, v4, number) }
    }

    pub fn is_v4(&self) -> bool {
        self.src.is_ipv4()
    }
}

/// An address that tells the sequence. The gateway routes every one of them to the outside.
fn destination(random: &mut Random, v4: bool, number: u64) -> IpAddr {
    let low = number as u32;
    if v4 {
        let address = match random.below(100) {
            0..94 => u32::from(Ipv4Addr::new(198, 18, 0, 0)) | low & 0x1_ffff,
            // Inside the company although it lies behind the outside interface.
            _ => u32::from(Ipv4Addr::new(10, 128, 0, 0)) | low & 0x7f_ffff,
        };
        return Ipv4Addr::from(address).into();
    }
    let prefix = match random.below(100) {
        0..70 => "2001:db8:5eed::",
        70..75 => "64:ff9b::",
        75..80 => "2002:cb00:7119::",
        80..84 => "::ffff:0:0",
        84..88 => "2001:db8:30::",
        88..94 => "2001:db8:88::",
        _ => "fd77::",
    };
    let IpAddr::V6(prefix) = address(prefix) else { return address(prefix) };
    Ipv6Addr::from_bits(prefix.to_bits() | u128::from(low)).into()
}

/// # Panics
/// If it isn't one.
fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
