//! A program of its own that hands on copies of DNS answers on their way to clients: it decides nothing, has no map in common
//! with the programs that do, and lets every packet go on.
#![no_std]
#![no_main]

use aya_ebpf::bindings::BPF_F_RDONLY_PROG;
use aya_ebpf::bindings::tcx_action_base::TCX_NEXT;
use aya_ebpf::helpers::{bpf_ktime_get_boot_ns, bpf_skb_load_bytes};
use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::{HashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::TcContext;
use policy_common::abi::{ANSWER_BYTES, Answer, AnswerHead, Macs};
use policy_common::{Addr, LinkType};

/// Resolvers whose answers are believed; filled before the program is attached.
#[map]
static RESOLVERS: HashMap<Addr, u8> = HashMap::with_max_entries(64, BPF_F_RDONLY_PROG);

/// One record for each answer: 800 of them while the agent is busy.
#[map]
static ANSWERS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// When the running second began, answers handed on since, and answers left out for want of budget or room.
#[map]
static BUDGET: PerCpuArray<[u64; 3]> = PerCpuArray::with_max_entries(1, 0);

/// Answers in a second for each processor. An office asks for some hundreds; a flood costs the agent no more than this.
const PER_SECOND: u64 = 2_000;

/// The shortest DNS message, a header.
const SHORTEST: u32 = 12;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;
const IPPROTO_UDP: u8 = 17;

/// Egress of an Ethernet-like inside interface.
#[classifier]
pub fn names(ctx: TcContext) -> i32 {
    let _ = look(&ctx, LinkType::Ethernet);
    TCX_NEXT
}

/// Egress of an inside interface without a link layer.
#[classifier]
pub fn names_ip(ctx: TcContext) -> i32 {
    let _ = look(&ctx, LinkType::Ip);
    TCX_NEXT
}

/// Hands the packet on if it is an answer of a resolver; `None` where it is anything else.
#[inline(always)]
fn look(ctx: &TcContext, link: LinkType) -> Option<()> {
    let (ip, macs) = match link {
        LinkType::Ethernet => ethernet(ctx)?,
        LinkType::Ip => (0, Macs::NONE),
    };
    let [version] = load::<1>(ctx, ip)?;
    let (udp, resolver, client) = match version >> 4 {
        4 => ipv4(ctx, ip)?,
        6 => ipv6(ctx, ip)?,
        _ => return None,
    };
    let [s0, s1, _, _, l0, l1] = load::<6>(ctx, udp)?;
    if u16::from_be_bytes([s0, s1]) != 53 {
        return None;
    }
    // SAFETY: the map is filled before the program is attached and never written after.
    unsafe { RESOLVERS.get(resolver) }?;
    let length = u32::from(u16::from_be_bytes([l0, l1])).checked_sub(8)?;
    hand_on(ctx, udp + 8, length, &client, &macs)
}

/// Where the IP header begins, behind up to two tags, and the frame's MACs.
#[inline(always)]
fn ethernet(ctx: &TcContext) -> Option<(u32, Macs)> {
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = load::<14>(ctx, 0)?;
    let macs = Macs { known: 1, src: [s0, s1, s2, s3, s4, s5], dst: [d0, d1, d2, d3, d4, d5] };
    let (mut kind, mut offset) = (u16::from_be_bytes([t0, t1]), 14);
    for _ in 0..2 {
        if kind == ETH_P_8021Q || kind == ETH_P_8021AD {
            let [_, _, t0, t1] = load::<4>(ctx, offset)?;
            kind = u16::from_be_bytes([t0, t1]);
            offset += 4;
        }
    }
    (kind == ETH_P_IP || kind == ETH_P_IPV6).then_some((offset, macs))
}

/// Where the UDP header begins, and the addresses. Of a fragmented answer only the first part has one.
#[inline(always)]
fn ipv4(ctx: &TcContext, ip: u32) -> Option<(u32, Addr, Addr)> {
    let h = load::<20>(ctx, ip)?;
    if h[9] != IPPROTO_UDP || u16::from_be_bytes([h[6], h[7]]) & 0x1fff != 0 || h[0] & 0x0f < 5 {
        return None;
    }
    let source = Addr::v4([h[12], h[13], h[14], h[15]]);
    Some((ip + u32::from(h[0] & 0x0f) * 4, source, Addr::v4([h[16], h[17], h[18], h[19]])))
}

/// The same. Answers behind extension headers are left out: no resolver sends such.
#[inline(always)]
fn ipv6(ctx: &TcContext, ip: u32) -> Option<(u32, Addr, Addr)> {
    let [next] = load::<1>(ctx, ip + 6)?;
    if next != IPPROTO_UDP {
        return None;
    }
    Some((ip + 40, Addr::v6(load::<16>(ctx, ip + 8)?), Addr::v6(load::<16>(ctx, ip + 24)?)))
}

#[inline(always)]
fn hand_on(ctx: &TcContext, offset: u32, length: u32, client: &Addr, macs: &Macs) -> Option<()> {
    // SAFETY: takes no argument and only reads the clock.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let budget = BUDGET.get_ptr_mut(0)?;
    // SAFETY: a per-CPU slot; a classifier is not preempted by another one on the same processor.
    let [began, used, left_out] = unsafe { &mut *budget };
    if now - *began > 1_000_000_000 {
        (*began, *used) = (now, 0);
    }
    if *used >= PER_SECOND {
        *left_out += 1;
        return None;
    }
    *used += 1;
    let length = length.min(ctx.len().checked_sub(offset)?).min(ANSWER_BYTES as u32);
    if length < SHORTEST {
        return None;
    }
    let Some(mut record) = ANSWERS.reserve::<Answer>(0) else {
        *left_out += 1;
        return None;
    };
    let head = AnswerHead::new(now, *client, macs, length as u16);
    // SAFETY: the record was reserved for us and is not yet submitted.
    let bytes = unsafe { Answer::begin(record.as_mut_ptr(), head) };
    // SAFETY: there is room for ANSWER_BYTES, and the length is no more than that; the verifier checks it again.
    let failed = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), offset, bytes.cast(), length) };
    if failed == 0 {
        record.submit(0);
    } else {
        record.discard(0);
    }
    Some(())
}

#[inline(always)]
fn load<const N: usize>(ctx: &TcContext, offset: u32) -> Option<[u8; N]> {
    ctx.load(offset as usize).ok()
}

/// A BPF program can't unwind; nothing here panics, and the verifier refuses a program whose loop could be reached.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
