//! Entry points of the kernel programs; everything they do is in the modules, named by job.
#![no_std]
#![no_main]

mod early;
mod frame;
mod hosts;
mod maps;
mod policy;
mod reject;
mod report;
mod skb;
mod submission;
mod verdict;

use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use policy_common::LinkType;

/// The door of an Ethernet-like inside interface (TCX ingress).
#[classifier]
pub fn door(ctx: TcContext) -> i32 {
    verdict::at_door(ctx, LinkType::Ethernet)
}

/// The door of an inside interface without a link layer: tun, WireGuard, ppp (TCX ingress).
#[classifier]
pub fn door_ip(ctx: TcContext) -> i32 {
    verdict::at_door(ctx, LinkType::Ip)
}

/// The guard of an Ethernet-like outside interface (TCX egress).
#[classifier]
pub fn guard(ctx: TcContext) -> i32 {
    verdict::at_guard(ctx, LinkType::Ethernet)
}

/// The guard of an outside interface without a link layer (TCX egress).
#[classifier]
pub fn guard_ip(ctx: TcContext) -> i32 {
    verdict::at_guard(ctx, LinkType::Ip)
}

/// The early door of an Ethernet-like inside interface, where the policy asks for it (XDP).
#[xdp]
pub fn early(ctx: XdpContext) -> u32 {
    early::at_early_door(&ctx)
}

/// A BPF program can't unwind; nothing here panics, and the verifier refuses a program whose loop could be reached.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
