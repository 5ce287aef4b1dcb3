//! What the kernel reports: the record of an attempt.

use crate::flow::{Addr, Flow};
use crate::reason::Reason;

/// Ring-buffer record: the first packet of a denied attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Event {
    time: [u8; 8],
    revision: [u8; 8],
    ifindex: [u8; 4],
    rule: [u8; 4],
    seq: [u8; 4],
    src_port: [u8; 2],
    dst_port: [u8; 2],
    src: Addr,
    dst: Addr,
    src_mac: [u8; 6],
    dst_mac: [u8; 6],
    vlan: [u8; 2],
    tcp_flags: u8,
    reason: u8,
    verdict: u8,
    has_mac: u8,
    unlisted: [u8; 4],
}

const _: () = assert!(size_of::<Event>() == 88);

/// What an [`Event`] says beside its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventContext {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    /// First eight bytes of the SHA-256 of the policy text.
    pub revision: [u8; 8],
    pub ifindex: u32,
    /// Number of the rule that decided; 0 for none.
    pub rule: u32,
    pub reason: Reason,
    /// One of [`super::verdict`].
    pub verdict: u8,
    pub macs: Macs,
    /// VLAN id of the outermost tag; 0 for none.
    pub vlan: u16,
    /// Attempts of the same host that got no event of their own since its last one.
    pub unlisted: u32,
}

/// The MACs of a frame.
///
/// Not an `Option`: the verifier refuses code that copies the payload of a `None`, which the compiler is free to emit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Macs {
    /// 0 on interfaces without a link layer; the rest is zero then.
    pub known: u8,
    pub src: [u8; 6],
    pub dst: [u8; 6],
}

impl Macs {
    pub const NONE: Self = Self { known: 0, src: [0; 6], dst: [0; 6] };
}

impl Event {
    #[inline(always)]
    pub fn new(flow: &Flow, context: &EventContext) -> Self {
        Self {
            time: context.time.to_be_bytes(),
            revision: context.revision,
            ifindex: context.ifindex.to_be_bytes(),
            rule: context.rule.to_be_bytes(),
            seq: flow.seq.to_be_bytes(),
            src_port: flow.src_port.to_be_bytes(),
            dst_port: flow.dst_port.to_be_bytes(),
            src: flow.src,
            dst: flow.dst,
            src_mac: context.macs.src,
            dst_mac: context.macs.dst,
            vlan: context.vlan.to_be_bytes(),
            tcp_flags: flow.tcp_flags,
            reason: context.reason as u8,
            verdict: context.verdict,
            has_mac: context.macs.known,
            unlisted: context.unlisted.to_be_bytes(),
        }
    }

    /// The event in a ring-buffer record; `None` where the record has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != size_of::<Self>() {
            return None;
        }
        // SAFETY: the length was checked, every bit pattern is a valid Event (only byte arrays), read_unaligned needs no
        // alignment.
        Some(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }

    pub const fn time(&self) -> u64 {
        u64::from_be_bytes(self.time)
    }
    pub const fn revision(&self) -> [u8; 8] {
        self.revision
    }
    pub const fn ifindex(&self) -> u32 {
        u32::from_be_bytes(self.ifindex)
    }
    pub const fn rule(&self) -> u32 {
        u32::from_be_bytes(self.rule)
    }
    pub const fn seq(&self) -> u32 {
        u32::from_be_bytes(self.seq)
    }
    pub const fn src(&self) -> Addr {
        self.src
    }
    pub const fn dst(&self) -> Addr {
        self.dst
    }
    pub const fn src_port(&self) -> u16 {
        u16::from_be_bytes(self.src_port)
    }
    pub const fn dst_port(&self) -> u16 {
        u16::from_be_bytes(self.dst_port)
    }
    pub const fn src_mac(&self) -> Option<[u8; 6]> {
        if self.has_mac != 0 { Some(self.src_mac) } else { None }
    }
    pub const fn dst_mac(&self) -> Option<[u8; 6]> {
        if self.has_mac != 0 { Some(self.dst_mac) } else { None }
    }
    /// VLAN id of the outermost tag; none for an untagged or priority-tagged frame.
    pub const fn vlan(&self) -> Option<u16> {
        match u16::from_be_bytes(self.vlan) {
            0 => None,
            id => Some(id),
        }
    }
    pub const fn tcp_flags(&self) -> u8 {
        self.tcp_flags
    }
    /// Attempts of the same host since its last event that have none of their own, because it used up its budget.
    pub const fn unlisted(&self) -> u32 {
        u32::from_be_bytes(self.unlisted)
    }
    /// Number of the reason; see [`Reason::from_number`].
    pub const fn reason(&self) -> u8 {
        self.reason
    }
    /// One of [`super::verdict`].
    pub const fn verdict(&self) -> u8 {
        self.verdict
    }
}
