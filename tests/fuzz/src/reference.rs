//! A second reading of packets, written from the RFCs and on purpose unlike the product's parser: layers are peeled off a slice.
//!
//! It keeps what the product throws away (fragment identity, the bytes of a piece), because the differential run
//! reassembles with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a frame holds behind its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    V4(&'a [u8]),
    V6(&'a [u8]),
    /// More tags than the promise covers.
    OverTagged,
    NotIp,
}

/// An IP packet whose IP header has been peeled off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Protocol of the first byte of `body`.
    pub next: u8,
    /// Up to the end that the IP header states, or that the packet has.
    pub body: &'a [u8],
    /// The fragment fields of an IPv4 header; IPv6 has them in `body`.
    pub piece: Option<Piece>,
    /// IPv4 options.
    pub options: &'a [u8],
}

/// Which part of which datagram a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub id: u32,
    pub offset: usize,
    pub more: bool,
}

/// The next layer of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner<'a> {
    Tcp(&'a [u8]),
    /// A header that may have TCP behind it.
    Header {
        /// As it states; `body` is empty where the packet is shorter.
        length: usize,
        next: u8,
        body: &'a [u8],
        source_route: bool,
    },
    /// An IPv6 fragment header, also of an atomic fragment.
    Piece {
        piece: Piece,
        next: u8,
        body: &'a [u8],
    },
    /// There must be a header, but it is cut off.
    CutOff,
    NotTcp,
}

/// What can be said about one packet alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Tcp(Segment),
    /// May be TCP, but there is no port to read.
    Hidden,
    /// A first fragment with ports or headers so far behind that a later piece, which passes, could rewrite them; whatever
    /// port it has now, it may be stopped.
    Stretched {
        segment: Option<Segment>,
    },
    /// A fragment behind the first one, so near that it could rewrite the ports or flags in it.
    NearPiece,
    /// Any other fragment behind the first one.
    FarPiece,
    NotTcp,
}

/// What is known of TCP whose ports can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub dst_port: u16,
    /// Bytes from the TCP header to the end of the packet.
    pub rest: usize,
    /// Whether the destination may be a hop on the way to another one.
    pub source_routed: bool,
    /// Whether it is the first of several fragments.
    pub more: bool,
}

/// Tags inside a frame that the promise covers.
const TAGS: usize = 8;
/// Headers behind the IP header that the promise covers.
const HEADERS: usize = 16;
/// A later piece that begins below can rewrite a port behind other headers.
const NEAR: usize = 64;

/// The types of IPv4's source route options (RFC 791 §3.1).
const SOURCE_ROUTES: [u8; 2] = [131, 137];
/// Options that can't be read may be anything.
const CUT_OPTIONS: &[u8] = &SOURCE_ROUTES;

/// Peels the Ethernet header and the tags.
pub fn untag(frame: &[u8]) -> Frame<'_> {
    let Some((_, mut rest)) = frame.split_at_checked(12) else { return Frame::NotIp };
    for _ in 0..=TAGS {
        match rest {
            [0x08, 0x00, packet @ ..] => return Frame::V4(packet),
            [0x86, 0xdd, packet @ ..] => return Frame::V6(packet),
            [0x81, 0x00, _, _, inner @ ..] | [0x88, 0xa8, _, _, inner @ ..] => rest = inner,
            _ => return Frame::NotIp,
        }
    }
    match rest {
        [_, _, ..] => Frame::OverTagged,
        _ => Frame::NotIp,
    }
}

/// A packet without a link header: its first bits tell the version.
pub fn bare(packet: &[u8]) -> Frame<'_> {
    match packet {
        [0x40..0x50, ..] => Frame::V4(packet),
        [0x60..0x70, ..] => Frame::V6(packet),
        _ => Frame::NotIp,
    }
}

/// Peels the IP header. `None` is a header that is cut off or that no stack accepts.
pub fn datagram(packet: &[u8]) -> Option<Datagram<'_>> {
    match packet.first()? >> 4 {
        4 => v4(packet),
        6 => v6(packet),
        _ => None,
    }
}

fn v4(packet: &[u8]) -> Option<Datagram<'_>> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let words = usize::from(header[0] % 16);
    if words < 5 {
        return None;
    }
    let stated = usize::from(word(&header[2..4]));
    let whole = if stated == 0 { packet } else { &packet[..stated.min(packet.len())] };
    let bits = word(&header[6..8]);
    let piece = Piece {
        id: word(&header[4..6]).into(),
        offset: usize::from(bits % 0x2000) * 8,
        more: bits / 0x2000 % 2 == 1,
    };
    Some(Datagram {
        src: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        dst: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        next: header[9],
        body: whole.get(words * 4..).unwrap_or_default(),
        piece: (piece.more || piece.offset > 0).then_some(piece),
        options: packet.get(20..words * 4).unwrap_or(CUT_OPTIONS),
    })
}

fn v6(packet: &[u8]) -> Option<Datagram<'_>> {
    let (header, behind) = packet.split_first_chunk::<40>()?;
    let stated = usize::from(word(&header[4..6]));
    let address = |at: usize| {
        let bytes: [u8; 16] = header[at..at + 16].try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(bytes)))
    };
    Some(Datagram {
        src: address(8)?,
        dst: address(24)?,
        next: header[6],
        body: if stated == 0 { behind } else { &behind[..stated.min(behind.len())] },
        piece: None,
        options: &[],
    })
}

/// Peels one header.
pub fn peel<'a>(v6: bool, next: u8, body: &'a [u8]) -> Inner<'a> {
    let length: fn(u8) -> usize = match next {
        6 => return Inner::Tcp(body),
        51 => |byte| usize::from(byte) * 4 + 8,
        0 | 43 | 60 | 135 | 139 | 140 if v6 => |byte| usize::from(byte) * 8 + 8,
        44 if v6 => |_| 8,
        _ => return Inner::NotTcp,
    };
    let Some(header) = body.first_chunk::<8>() else { return Inner::CutOff };
    let length = length(header[1]);
    let behind = body.get(length..).unwrap_or_default();
    if next == 44 {
        let bits = usize::from(word(&header[2..4]));
        let id = u32::from(word(&header[4..6])) << 16 | u32::from(word(&header[6..8]));
        let piece = Piece { id, offset: bits - bits % 8, more: bits % 2 == 1 };
        return Inner::Piece { piece, next: header[0], body: behind };
    }
    Inner::Header { length, next: header[0], body: behind, source_route: next == 43 && header[3] != 0 }
}

/// What one frame alone says.
pub fn read(frame: Frame<'_>) -> Reading {
    let (version, packet) = match frame {
        Frame::V4(packet) if packet.len() >= 20 => (4, packet),
        Frame::V6(packet) if packet.len() >= 40 => (6, packet),
        Frame::V4(_) | Frame::V6(_) | Frame::OverTagged => return Reading::Hidden,
        Frame::NotIp => return Reading::NotTcp,
    };
    match datagram(packet) {
        Some(datagram) if packet[0] >> 4 == version => read_datagram(&datagram),
        _ => Reading::NotTcp,
    }
}

fn read_datagram(datagram: &Datagram<'_>) -> Reading {
    if let Some(piece) = datagram.piece.filter(|piece| piece.offset > 0) {
        let near = match datagram.next {
            6 => 16,
            51 => NEAR,
            _ => 0,
        };
        return if piece.offset < near { Reading::NearPiece } else { Reading::FarPiece };
    }
    let v6 = datagram.src.is_ipv6();
    let (mut next, mut body) = (datagram.next, datagram.body);
    // How far we are in the part that later pieces can rewrite; from `NEAR` on they pass.
    let mut reached = datagram.piece.map(|_| 0);
    let mut stretched = false;
    let mut headers = 0;
    let mut source_routed = datagram.options.iter().any(|byte| SOURCE_ROUTES.contains(byte));
    let mut more = datagram.piece.is_some();
    let reading = loop {
        let inner = peel(v6, next, body);
        stretched |= inner != Inner::NotTcp && reached.is_some_and(|reached| reached + 4 > NEAR);
        // Pieces of a piece: nobody sends them, and the outer pieces may contradict each other about the inner ones.
        stretched |= more && matches!(inner, Inner::Piece { .. });
        match inner {
            Inner::Tcp([_, _, high, low, behind @ ..]) => {
                let (dst_port, rest) = (u16::from_be_bytes([*high, *low]), 4 + behind.len());
                break Reading::Tcp(Segment { dst_port, rest, source_routed, more });
            }
            Inner::Tcp(_) => break Reading::Hidden,
            Inner::Piece { piece, .. } if piece.offset >= NEAR => break Reading::FarPiece,
            Inner::Piece { piece, .. } if piece.offset > 0 => break Reading::NearPiece,
            Inner::NotTcp => break Reading::NotTcp,
            Inner::CutOff => break Reading::Hidden,
            _ if headers == HEADERS => break Reading::Hidden,
            Inner::Piece { piece, next: inner, body: behind } => {
                (next, body) = (inner, behind);
                reached = match reached {
                    Some(reached) => Some(reached + 8),
                    None => piece.more.then_some(0),
                };
                more |= piece.more;
            }
            Inner::Header { length, next: inner, body: behind, source_route } => {
                (next, body) = (inner, behind);
                reached = reached.map(|reached| reached + length);
                source_routed |= source_route;
            }
        }
        headers += 1;
    };
    match reading {
        Reading::Tcp(segment) if stretched => Reading::Stretched { segment: Some(segment) },
        _ if stretched => Reading::Stretched { segment: None },
        reading => reading,
    }
}

fn word(two: &[u8]) -> u16 {
    two.iter().fold(0, |word, byte| word << 8 | u16::from(*byte))
}
