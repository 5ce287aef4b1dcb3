//! The generator of packets, and the programs between which any packet filter at the same hook must lie.
#![no_std]
#![no_main]

use aya_ebpf::Global;
use aya_ebpf::bindings::tcx_action_base::{TCX_DROP, TCX_NEXT};
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::{TcContext, XdpContext};

/// A frame in which everything that varies is zero: 64 bytes of IPv4, or 80 of IPv6.
#[used]
#[unsafe(no_mangle)]
pub static FRAME: Global<[u64; 10]> = Global::new([0; 10]);

#[used]
#[unsafe(no_mangle)]
pub static IS_IPV6: Global<u8> = Global::new(0);

/// Sum of the constant part of what each checksum covers.
#[used]
#[unsafe(no_mangle)]
pub static IP_SUM: Global<u32> = Global::new(0);
#[used]
#[unsafe(no_mangle)]
pub static TCP_SUM: Global<u32> = Global::new(0);

/// The last 32 bits of a source address are this, with the odd numbers below the mask after next added.
#[used]
#[unsafe(no_mangle)]
pub static FIRST_SOURCE: Global<u32> = Global::new(0);

/// Number of sources less one; the number is a power of two.
#[used]
#[unsafe(no_mangle)]
pub static SOURCES_MASK: Global<u32> = Global::new(0);

/// 1 where every packet begins a connection of its own, 0 where each source has one.
#[used]
#[unsafe(no_mangle)]
pub static IS_FRESH: Global<u8> = Global::new(0);

/// Every so many packets one goes to `RARE_PORT`, the others to `PORT`.
#[used]
#[unsafe(no_mangle)]
pub static RARE_EVERY: Global<u32> = Global::new(1);
#[used]
#[unsafe(no_mangle)]
pub static PORT: Global<u16> = Global::new(0);
#[used]
#[unsafe(no_mangle)]
pub static RARE_PORT: Global<u16> = Global::new(0);

/// 1 where packets end right behind the generator: what they cost then is the generator's own.
#[used]
#[unsafe(no_mangle)]
pub static IS_EMPTY_RUN: Global<u8> = Global::new(0);

/// Packets made so far, and how many of them went to `RARE_PORT`.
#[map]
pub static MADE: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// Makes the next packet in place of the one that the kernel has put there.
#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    match try_generate(&ctx) {
        Some(()) if IS_EMPTY_RUN.load() != 0 => XDP_DROP,
        Some(()) => XDP_PASS,
        None => XDP_ABORTED,
    }
}

#[inline(always)]
fn try_generate(ctx: &XdpContext) -> Option<()> {
    let number = count(0)?;
    let port = if (number as u32).is_multiple_of(RARE_EVERY.load()) {
        count(1)?;
        RARE_PORT.load()
    } else {
        PORT.load()
    };
    // Fibonacci hashing: neighbouring numbers give far sources, as in a flood, and every source comes up equally often.
    let spread = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
    let pick = spread & SOURCES_MASK.load();
    // Odd ones only: the even ones between them are left to the allowlist.
    let segment = Segment {
        source: FIRST_SOURCE.load() | pick << 1 | 1,
        source_port: 1024 | (if IS_FRESH.load() != 0 { number } else { u64::from(pick) }) as u16,
        port,
        sequence: number as u32,
    };
    if IS_IPV6.load() != 0 { segment.write_ipv6(ctx) } else { segment.write_ipv4(ctx) }
}

/// What differs from packet to packet.
struct Segment {
    source: u32,
    source_port: u16,
    port: u16,
    sequence: u32,
}

impl Segment {
    #[inline(always)]
    fn write_ipv4(&self, ctx: &XdpContext) -> Option<()> {
        const ETHERNET: usize = 14;
        let frame = template::<8>(ctx)?;
        put(frame, ETHERNET + 10, checksum(IP_SUM.load() + sum(self.source)));
        put_long(frame, ETHERNET + 12, self.source);
        self.write_tcp(frame, ETHERNET + 20);
        Some(())
    }

    #[inline(always)]
    fn write_ipv6(&self, ctx: &XdpContext) -> Option<()> {
        const ETHERNET: usize = 14;
        let frame = template::<10>(ctx)?;
        put_long(frame, ETHERNET + 20, self.source);
        self.write_tcp(frame, ETHERNET + 40);
        Some(())
    }

    #[inline(always)]
    fn write_tcp(&self, frame: *mut u16, offset: usize) {
        let varying =
            sum(self.source) + u32::from(self.source_port) + u32::from(self.port) + sum(self.sequence);
        put(frame, offset, self.source_port);
        put(frame, offset + 2, self.port);
        put_long(frame, offset + 4, self.sequence);
        put(frame, offset + 16, checksum(TCP_SUM.load() + varying));
    }
}

/// Writes the constant bytes over the packet: what a gateway did to it the last time is gone.
#[inline(always)]
fn template<const WORDS: usize>(ctx: &XdpContext) -> Option<*mut u16> {
    if ctx.data() + WORDS * 8 > ctx.data_end() {
        return None;
    }
    let (frame, bytes) = (ctx.data() as *mut u64, FRAME.load());
    for (i, word) in bytes.iter().take(WORDS).enumerate() {
        // SAFETY: the packet is that long, and the kernel lays a test run's packet on a multiple of 8.
        unsafe { frame.add(i).write(*word) };
    }
    Some(frame.cast())
}

/// Writes a number in network order; `offset` is even and inside what `template` has written.
#[inline(always)]
fn put(frame: *mut u16, offset: usize, value: u16) {
    // SAFETY: callers pass offsets inside the template, whose length was checked.
    unsafe { frame.add(offset / 2).write(value.to_be()) };
}

#[inline(always)]
fn put_long(frame: *mut u16, offset: usize, value: u32) {
    put(frame, offset, (value >> 16) as u16);
    put(frame, offset + 2, value as u16);
}

#[inline(always)]
fn sum(value: u32) -> u32 {
    (value >> 16) + (value & 0xffff)
}

/// RFC 1071; the sums here are far below 2^32.
#[inline(always)]
fn checksum(sum: u32) -> u16 {
    let once = (sum >> 16) + (sum & 0xffff);
    !((once >> 16) + once) as u16
}

#[inline(always)]
fn count(slot: u32) -> Option<u64> {
    let counter = MADE.get_ptr_mut(slot)?;
    // SAFETY: a per-CPU slot, and one processor makes all packets.
    unsafe {
        let before = *counter;
        *counter = before + 1;
        Some(before)
    }
}

/// Stands in the driver of the inside interface, which a test run takes for the source of its packets only then.
#[xdp]
pub fn driver(_: XdpContext) -> u32 {
    XDP_PASS
}

/// What a program costs that does nothing.
#[classifier]
pub fn empty(_: TcContext) -> i32 {
    TCX_NEXT
}

/// The floor: nothing can drop a packet at this hook for less.
#[classifier]
pub fn discard(_: TcContext) -> i32 {
    TCX_DROP
}

/// TCP packets that have reached a sink.
#[map]
pub static ARRIVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Where a packet's way ends: counts the generator's packets, and lets alone what the kernel itself has to say.
#[classifier]
pub fn sink(ctx: TcContext) -> i32 {
    const TCP: u8 = 6;
    let protocol = match ctx.load::<u16>(12).map(u16::from_be) {
        Ok(0x0800) => ctx.load::<u8>(14 + 9),
        Ok(0x86dd) => ctx.load::<u8>(14 + 6),
        _ => return TCX_NEXT,
    };
    if protocol != Ok(TCP) {
        return TCX_NEXT;
    }
    if let Some(counter) = ARRIVED.get_ptr_mut(0) {
        // SAFETY: a per-CPU slot; a classifier is not preempted by another one on the same processor.
        unsafe { *counter += 1 };
    }
    TCX_DROP
}

/// Nothing here panics.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
