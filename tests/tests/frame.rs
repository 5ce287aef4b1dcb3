//! The frame builder: what it builds is what the kernel and the view read.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may the functions it calls")]

use std::net::IpAddr;

use lab::frame::{Frame, Ipv4, Ipv6, Mac, Tcp, Udp, View, flags, number};

const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 0x77]);
const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 1]);
const V6: ([u16; 8], [u16; 8]) = ([0xfd25, 0, 0, 0, 0, 0, 0, 0x77], [0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x25]);

fn view(frame: &Frame) -> View {
    View::parse(&frame.build()).unwrap()
}

#[test]
fn a_plain_syn_has_correct_lengths_and_checksums() {
    let frame = Frame::new(CLIENT, GATEWAY)
        .ip("10.25.0.77".parse().unwrap(), "203.0.113.25".parse().unwrap())
        .tcp(Tcp::syn(40_000, 25));
    let seen = view(&frame);
    assert_eq!(seen.source_mac, Some(CLIENT));
    assert_eq!(seen.destination, "203.0.113.25".parse::<IpAddr>().ok());
    assert!(seen.is_syn_to(25) && !seen.is_syn_to(26));
    assert!(seen.tcp.unwrap().checksum_ok);
    // Computed by hand: the one's complement sum over the header with its checksum is 0xffff.
    let header = &frame.packet()[..20];
    let sum: u32 = header.chunks(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum();
    assert_eq!((sum >> 16) + (sum & 0xffff), 0xffff);
}

#[test]
fn ipv4_options_move_the_ports() {
    for words in 0..=10 {
        let header = Ipv4::new([10, 25, 0, 77], [203, 0, 113, 25]).options(&vec![1; 4 * words]);
        let frame = Frame::new(CLIENT, GATEWAY).ipv4(header).tcp(Tcp::syn(1, 25));
        assert_eq!(frame.packet()[0] & 15, 5 + words as u8);
        assert!(view(&frame).is_syn_to(25));
    }
}

#[test]
fn any_chain_of_ipv6_headers_leads_to_the_port() {
    let header = Ipv6::new(V6.0, V6.1)
        .hop_by_hop(0)
        .destination_options(40)
        .routing(4, 0, &[0; 20])
        .fragment(0, false, 7)
        .authentication(4)
        .extension(number::MOBILITY, &[0; 8]);
    let frame = Frame::new(CLIENT, GATEWAY).ipv6(header).tcp(Tcp::syn(1, 25).payload(b"x"));
    let seen = view(&frame);
    assert!(seen.is_syn_to(25));
    assert_eq!(seen.fragment, Some((0, false)));
    assert!(seen.tcp.unwrap().checksum_ok);
}

#[test]
fn tags_stack_and_padding_belongs_to_nobody() {
    let frame = Frame::new(CLIENT, GATEWAY)
        .tag(number::QINQ, 100)
        .vlan(0)
        .ipv4(Ipv4::new([10, 25, 0, 77], [203, 0, 113, 25]))
        .tcp(Tcp::new(1, 25, flags::ACK))
        .pad_to(90);
    let seen = view(&frame);
    assert_eq!(frame.build().len(), 90);
    assert_eq!(seen.tags, [(number::QINQ, 100), (number::VLAN, 0)]);
    let tcp = seen.tcp.unwrap();
    assert!(tcp.checksum_ok && tcp.payload.is_empty());
}

#[test]
fn fragments_join_to_the_whole() {
    let tcp = Tcp::syn(1, 25).payload(&[7; 100]);
    let whole =
        Frame::new(CLIENT, GATEWAY).ipv4(Ipv4::new([10, 25, 0, 77], [203, 0, 113, 25])).tcp(tcp.clone());
    let frames = whole.fragments(&[24, 64]);
    let offsets: Vec<_> = frames.iter().map(|f| View::parse(f).unwrap().fragment).collect();
    assert_eq!(offsets, [Some((0, true)), Some((24, true)), Some((64, false))]);
    let joined: Vec<u8> = frames.iter().flat_map(|f| f[34..].to_vec()).collect();
    assert_eq!(joined, whole.packet()[20..]);

    let whole =
        Frame::new(CLIENT, GATEWAY).ipv6(Ipv6::new(V6.0, V6.1).hop_by_hop(0).destination_options(0)).tcp(tcp);
    let frames = whole.fragments(&[8]);
    let first = View::parse(&frames[0]).unwrap();
    assert_eq!((first.fragment, first.ports), (Some((0, true)), None), "the port is in the second fragment");
    let joined: Vec<u8> = frames.iter().flat_map(|f| f[14 + 40 + 8 + 8..].to_vec()).collect();
    assert_eq!(joined, whole.packet()[48..]);
}

#[test]
fn a_cut_frame_is_read_as_far_as_it_goes() {
    let whole = Frame::new(CLIENT, GATEWAY)
        .ipv6(Ipv6::new(V6.0, V6.1).authentication(1))
        .udp(Udp::new(53, 53, b"payload"));
    for length in 0..whole.build().len() {
        let _ = View::parse(&whole.clone().cut_to(length).build());
    }
    assert_eq!(view(&whole).ports, Some((53, 53)));
}
