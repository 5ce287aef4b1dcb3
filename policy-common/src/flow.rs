//! The facts about one packet that a decision rests on.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address that carries its family, so that `10.25.0.25` and `::ffff:10.25.0.25` are never equal.
///
/// Bytes are in network order; an IPv4 address fills the first four and leaves the rest zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Addr {
    family: u8,
    bytes: [u8; 16],
}

const _: () = assert!(size_of::<Addr>() == 17);

impl Addr {
    /// The family byte of IPv4, as in the version field of its header.
    pub const IPV4: u8 = 4;
    /// The family byte of IPv6.
    pub const IPV6: u8 = 6;
    /// No address: of a frame whose IP header can't be read.
    pub const NONE: Self = Self { family: 0, bytes: [0; 16] };

    #[inline(always)]
    pub const fn v4(a: [u8; 4]) -> Self {
        Self { family: Self::IPV4, bytes: [a[0], a[1], a[2], a[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] }
    }

    #[inline(always)]
    pub const fn v6(bytes: [u8; 16]) -> Self {
        Self { family: Self::IPV6, bytes }
    }

    /// Makes [`Addr::NONE`] an IPv4 address in place, without touching the bytes that stay 0.
    #[inline(always)]
    pub fn set_v4(&mut self, a: [u8; 4]) {
        self.family = Self::IPV4;
        if let Some(first) = self.bytes.first_chunk_mut::<4>() {
            *first = a;
        }
    }

    /// Makes it an IPv6 address in place, four bytes at a time; `quarter` is below 4.
    #[inline(always)]
    pub fn set_v6_quarter(&mut self, quarter: usize, a: [u8; 4]) {
        self.family = Self::IPV6;
        for (index, byte) in a.into_iter().enumerate() {
            self.bytes[quarter * 4 + index] = byte;
        }
    }

    /// 4, 6, or 0 for no address.
    #[inline(always)]
    pub const fn family(&self) -> u8 {
        self.family
    }

    #[inline(always)]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.bytes
    }

    /// The bytes in fours, as they lie in memory.
    #[inline(always)]
    pub(crate) const fn quarters(&self) -> [u32; 4] {
        let b = &self.bytes;
        [
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ]
    }

    /// Length of this family's addresses in bits; 0 for no address.
    pub const fn bits(&self) -> u8 {
        match self.family {
            Self::IPV4 => 32,
            Self::IPV6 => 128,
            _ => 0,
        }
    }

    /// The address with all bits behind the first `len` cleared; bits are counted behind the family byte.
    pub fn masked(&self, len: u8) -> Self {
        let mut masked = *self;
        for (i, byte) in masked.bytes.iter_mut().enumerate() {
            // Bits of this byte that are kept: 8 in front of the end of the prefix, 0 behind it.
            let kept = usize::from(len).saturating_sub(i * 8).min(8);
            *byte &= (0xff00u16 >> kept) as u8;
        }
        masked
    }

    /// Whether no router takes a packet to this destination any further (RFC 5771 §4, RFC 4291 §2.5.6 and §2.7): what a host
    /// needs to find neighbours and keep its address.
    #[inline(always)]
    pub const fn stays_on_link(&self) -> bool {
        let b = &self.bytes;
        match self.family {
            Self::IPV4 => matches!((b[0], b[1], b[2], b[3]), (255, 255, 255, 255) | (224, 0, 0, _)),
            Self::IPV6 => (b[0] == 0xfe && b[1] & 0xc0 == 0x80) || (b[0] == 0xff && b[1] & 0x0f <= 2),
            _ => false,
        }
    }

    /// The address for printing; none where the header could not be read.
    pub const fn to_ip(&self) -> Option<IpAddr> {
        let b = &self.bytes;
        match self.family {
            Self::IPV4 => Some(IpAddr::V4(Ipv4Addr::new(b[0], b[1], b[2], b[3]))),
            Self::IPV6 => Some(IpAddr::V6(Ipv6Addr::from_bits(u128::from_be_bytes(*b)))),
            _ => None,
        }
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(a) => Self::v4(a.octets()),
            IpAddr::V6(a) => Self::v6(a.octets()),
        }
    }
}

/// TCP flag bits of byte 13 of the header (RFC 9293 §3.1).
pub mod tcp_flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
}

/// What the bytes behind the IP header are, as far as the decision cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Payload {
    /// Neither TCP nor a chain of headers that may hide TCP: never SMTP from us.
    Other = 0,
    /// TCP whose ports are known.
    Tcp,
    /// May be TCP, but its destination port can't be read: cut off, or beyond a limit of the parser.
    Unreadable,
    /// A fragment without the transport header that can't change one either.
    LaterFragment,
    /// A later fragment so near the start that it could overwrite the transport header when reassembled.
    AmbiguousFragment,
}

/// Parsed packet facts; not a connection.
///
/// Ports, flags and sequence number are in host order and mean something only where `payload` is [`Payload::Tcp`];
/// flags and sequence number are 0 where the header is cut off behind the ports.
///
/// The order of the fields aligns the bytes of both addresses: BPF loads what is not aligned byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Flow {
    /// VLAN id of the outermost tag inside the frame (12 bits); 0 where there is none or only a priority tag.
    pub inline_vlan: u16,
    pub payload: Payload,
    pub tcp_flags: u8,
    /// Whether the TCP header is there at least up to its flags.
    ///
    /// This and `plain` are facts of their own, not comparisons of offsets: the verifier would have to tell apart every
    /// offset a header can have, and give up.
    pub complete: bool,
    /// Whether the TCP header follows the IP header without options or extension headers between them.
    pub plain: bool,
    /// Whether the destination may be a hop on the way to another one: IPv4 source route, IPv6 routing header.
    pub source_routed: bool,
    pub src: Addr,
    pub src_port: u16,
    /// Whether this is the first of several fragments.
    pub fragmented: bool,
    pub dst: Addr,
    pub dst_port: u16,
    pub seq: u32,
    /// Acknowledgement number, host order; 0 like the flags where it is cut off.
    pub ack: u32,
    /// Bytes of payload behind the TCP header, from the length in the IP header.
    pub payload_len: u32,
    /// Bytes in front of the IP header; 0 where there is none.
    pub ip_offset: u32,
}

const _: () = assert!(size_of::<Flow>() == 64);

impl Flow {
    /// Whether it asks for a TCP connection.
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        // Flags are 0 where there is no TCP header.
        self.tcp_flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN
    }

    /// The flow of a frame that is not IP: all bits are 0.
    pub const OTHER: Self = Self {
        payload: Payload::Other,
        src: Addr::NONE,
        dst: Addr::NONE,
        src_port: 0,
        dst_port: 0,
        tcp_flags: 0,
        seq: 0,
        ack: 0,
        payload_len: 0,
        ip_offset: 0,
        complete: false,
        plain: false,
        source_routed: false,
        fragmented: false,
        inline_vlan: 0,
    };
}
