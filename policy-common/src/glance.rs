//! One look at fixed places of a frame, which tells most traffic from mail for a fraction of what parsing takes.

use crate::abi::scope;
use crate::decide::PolicyView;
use crate::packet::{ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6, IPPROTO_TCP, LinkType, PacketView, may_hide_tcp};

/// Whether a packet at a door is certainly other traffic. `false` means that it takes a closer look: whatever this says no
/// to, `parse` and `decide` judge.
///
/// Certain is what has its headers at their usual places: at most one tag, no IPv4 options, no fragment, no extension
/// headers, and the whole TCP header inside the length that its IP header tells. What opens a connection to a submission port is
/// looked at, to be counted; while anybody is in quarantine, all that goes there; and everything while one reaches that far.
#[inline(always)]
pub fn is_other_traffic(view: &impl PacketView, link: LinkType, policy: &impl PolicyView) -> bool {
    const SYN: u8 = 0x02;
    let widest = policy.widest_quarantine();
    let is_other_tcp = |port, flags| {
        !policy.is_blocked(port)
            && (!policy.is_submission(port) || (flags & SYN == 0 && widest == scope::NONE))
    };
    widest <= scope::MAIL && is_other(view, link, &is_other_tcp)
}

/// The same at the guard, which knows neither quarantine nor submission.
#[inline(always)]
pub fn is_other_at_guard(view: &impl PacketView, link: LinkType, policy: &impl PolicyView) -> bool {
    is_other(view, link, &|port, _| !policy.is_blocked(port))
}

/// `is_other_tcp` judges destination port and flags.
#[inline(always)]
fn is_other(view: &impl PacketView, link: LinkType, is_other_tcp: &impl Fn(u16, u8) -> bool) -> bool {
    match link {
        LinkType::Ethernet => match view.load::<6>(12) {
            Some([type0, type1, .., inner0, inner1]) => match u16::from_be_bytes([type0, type1]) {
                // The offsets are constants in each arm: the kernel checks an access to a packet by its range.
                ETH_P_8021Q => is_other_ip(view, u16::from_be_bytes([inner0, inner1]), 18, is_other_tcp),
                ethertype => is_other_ip(view, ethertype, 14, is_other_tcp),
            },
            None => false,
        },
        // Two bytes: of a test for one the verifier learns nothing (`find_good_pkt_pointers`).
        LinkType::Ip => match view.load::<2>(0) {
            Some([first, _]) if first >> 4 == 4 => is_other_ip(view, ETH_P_IP, 0, is_other_tcp),
            Some([first, _]) if first >> 4 == 6 => is_other_ip(view, ETH_P_IPV6, 0, is_other_tcp),
            _ => false,
        },
    }
}

#[inline(always)]
fn is_other_ip(
    view: &impl PacketView,
    ethertype: u16,
    offset: u32,
    is_other_tcp: &impl Fn(u16, u8) -> bool,
) -> bool {
    match ethertype {
        ETH_P_IP => is_other_ipv4(view, offset, is_other_tcp),
        ETH_P_IPV6 => is_other_ipv6(view, offset, is_other_tcp),
        _ => false,
    }
}

#[inline(always)]
fn is_other_ipv4(view: &impl PacketView, offset: u32, is_other_tcp: &impl Fn(u16, u8) -> bool) -> bool {
    let Some(h) = view.load::<34>(offset) else { return false };
    // All of the fragment field but the reserved bit and DF.
    if h[0] != 0x45 || h[6] & 0x3f != 0 || h[7] != 0 {
        return false;
    }
    // 0 is real: GSO packets above 64 KiB have it.
    let length = u16::from_be_bytes([h[2], h[3]]);
    match h[9] {
        IPPROTO_TCP => {
            (length == 0 || length >= 40) && is_other_tcp(u16::from_be_bytes([h[22], h[23]]), h[33])
        }
        protocol => !may_hide_tcp(protocol, false),
    }
}

#[inline(always)]
fn is_other_ipv6(view: &impl PacketView, offset: u32, is_other_tcp: &impl Fn(u16, u8) -> bool) -> bool {
    let Some(h) = view.load::<54>(offset) else { return false };
    if h[0] >> 4 != 6 {
        return false;
    }
    // 0 is a jumbogram or a GSO packet above 64 KiB.
    let length = u16::from_be_bytes([h[4], h[5]]);
    match h[6] {
        IPPROTO_TCP => {
            (length == 0 || length >= 20) && is_other_tcp(u16::from_be_bytes([h[42], h[43]]), h[53])
        }
        next => !may_hide_tcp(next, true),
    }
}
