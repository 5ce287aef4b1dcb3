//! What kernel and agent exchange: map keys and values, events, counter slots.
//!
//! Rules: `#[repr(C)]`, integers as byte arrays in network order behind constructors and getters, no padding, no `bool`,
//! no Rust `enum`; sizes asserted here. A change of any of it raises [`ABI_VERSION`], which is part of the pin path, so
//! that an agent never adopts maps of another layout.

use crate::flow::{Addr, Flow};
use crate::reason::{REASON_SLOTS, Reason};

/// Version of everything in this file.
pub const ABI_VERSION: u32 = 1;

/// Ports a generation can block; an unused slot holds 0.
pub const MAX_BLOCKED_PORTS: usize = 8;

/// Whether denied packets are stopped.
pub mod mode {
    /// The action applies.
    pub const ENFORCE: u8 = 0;
    /// Denied packets go on and are reported as `would_block`.
    pub const AUDIT: u8 = 1;
}

/// What is done with a denied packet in enforce mode.
pub mod action {
    /// It vanishes; the client tries for a while and gives up.
    pub const DROP: u8 = 0;
    /// It is answered with a TCP reset, so that the client fails at once; dropped where no answer is possible.
    pub const REJECT: u8 = 1;
}

/// What happened to a reported packet.
pub mod verdict {
    pub const DROP: u8 = 1;
    pub const WOULD_BLOCK: u8 = 2;
    pub const REJECT: u8 = 3;
}

/// Slots of the per-CPU counter array.
pub mod counter {
    use super::{REASON_SLOTS, Reason};

    const SLOTS_PER_REASON: u32 = REASON_SLOTS as u32;

    /// Packets with this reason, whatever became of them.
    #[inline(always)]
    pub const fn packets(reason: Reason) -> u32 {
        reason as u32
    }

    /// Denied attempts with this reason, each counted once.
    #[inline(always)]
    pub const fn attempts(reason: Reason) -> u32 {
        SLOTS_PER_REASON + reason as u32
    }

    /// Packets with this reason that audit mode let go on.
    #[inline(always)]
    pub const fn would_block(reason: Reason) -> u32 {
        2 * SLOTS_PER_REASON + reason as u32
    }

    /// Attempts that have no event, because the ring buffer was full.
    pub const LOST_EVENTS: u32 = 3 * SLOTS_PER_REASON;
    pub const SLOTS: u32 = LOST_EVENTS + 1;
}

/// Value of the settings table: how denied packets of some clients are treated. Entry 0 is the policy's default, the others
/// belong to client groups and interfaces and may leave things to their surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    mode: u8,
    action: u8,
}

const _: () = assert!(size_of::<Settings>() == 2);

impl Settings {
    const INHERIT: u8 = 0xff;

    /// Leaves everything to the surroundings.
    pub const UNSET: Self = Self { mode: Self::INHERIT, action: Self::INHERIT };

    /// `mode` is one of [`mode`], `action` one of [`action`].
    pub const fn new(mode: Option<u8>, action: Option<u8>) -> Self {
        let mode = match mode {
            Some(mode) => mode,
            None => Self::INHERIT,
        };
        let action = match action {
            Some(action) => action,
            None => Self::INHERIT,
        };
        Self { mode, action }
    }

    /// These settings, completed by those around them.
    #[inline(always)]
    pub const fn within(self, outer: Self) -> Self {
        Self {
            mode: if self.mode == Self::INHERIT { outer.mode } else { self.mode },
            action: if self.action == Self::INHERIT { outer.action } else { self.action },
        }
    }

    /// Whether denied packets go on. Nothing but a clear "audit" opens the gate.
    #[inline(always)]
    pub const fn is_audit(&self) -> bool {
        self.mode == mode::AUDIT
    }

    /// Whether denied packets are answered.
    #[inline(always)]
    pub const fn is_reject(&self) -> bool {
        self.action == action::REJECT
    }
}

/// Value of the network map: everything the policy says about the addresses of one prefix.
///
/// The map holds for each prefix what *all* prefixes around it say, so that one longest-prefix look-up is the whole answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Net {
    roles: u8,
    reserved: u8,
    group: [u8; 2],
    mail_server: [u8; 4],
    exceptions: [u8; 4],
}

const _: () = assert!(size_of::<Net>() == 12 && align_of::<Net>() == 1);

impl Net {
    const CLIENT: u8 = 1;
    const INTERNAL: u8 = 2;
    const MAIL_SERVER: u8 = 4;

    /// Addresses that clients may have.
    pub const fn with_client(mut self) -> Self {
        self.roles |= Self::CLIENT;
        self
    }

    /// Destinations that are not outbound.
    pub const fn with_internal(mut self) -> Self {
        self.roles |= Self::INTERNAL;
        self
    }

    /// Addresses of the mail server at `index` of the mail server table.
    pub const fn with_mail_server(mut self, index: u32) -> Self {
        self.roles |= Self::MAIL_SERVER;
        self.mail_server = index.to_be_bytes();
        self
    }

    /// Clients of the group with these settings; 0 is no group.
    pub const fn with_group(mut self, settings: u16) -> Self {
        self.group = settings.to_be_bytes();
        self
    }

    /// Sources whose exceptions are the entries of `scope` in the scope map; scope 0 is none.
    pub const fn with_exceptions(mut self, scope: u32) -> Self {
        self.exceptions = scope.to_be_bytes();
        self
    }

    #[inline(always)]
    pub const fn is_client(&self) -> bool {
        self.roles & Self::CLIENT != 0
    }

    #[inline(always)]
    pub const fn is_internal(&self) -> bool {
        self.roles & Self::INTERNAL != 0
    }

    /// Index into the mail server table.
    #[inline(always)]
    pub const fn mail_server(&self) -> Option<u32> {
        if self.roles & Self::MAIL_SERVER != 0 { Some(u32::from_be_bytes(self.mail_server)) } else { None }
    }

    /// Index of the group's settings; 0 for clients of no group.
    #[inline(always)]
    pub const fn group(&self) -> u16 {
        u16::from_be_bytes(self.group)
    }

    /// The scope that holds this source's exceptions; 0 for none.
    #[inline(always)]
    pub const fn exceptions(&self) -> u32 {
        u32::from_be_bytes(self.exceptions)
    }
}

/// Key of the scope map below its prefix length: a scope's number, then an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct ScopeKey {
    scope: [u8; 4],
    addr: Addr,
}

const _: () = assert!(size_of::<ScopeKey>() == 21);

impl ScopeKey {
    /// Bits in front of the address: the scope's number and the family.
    pub const PREFIX_BITS: u32 = 32 + 8;

    #[inline(always)]
    pub const fn new(scope: u32, addr: Addr) -> Self {
        Self { scope: scope.to_be_bytes(), addr }
    }
}

/// Value of the scope map: a permitted destination, the rule that permits it and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Permit {
    until: [u8; 8],
    rule: [u8; 4],
}

const _: () = assert!(size_of::<Permit>() == 12 && align_of::<Permit>() == 1);

impl Permit {
    /// The end of a permit that has none.
    pub const FOREVER: u64 = u64::MAX;

    /// `until` is in nanoseconds of `CLOCK_BOOTTIME`, which no clock step changes.
    pub const fn new(rule: u32, until: u64) -> Self {
        Self { until: until.to_be_bytes(), rule: rule.to_be_bytes() }
    }

    #[inline(always)]
    pub const fn until(&self) -> u64 {
        u64::from_be_bytes(self.until)
    }

    #[inline(always)]
    pub const fn rule(&self) -> u32 {
        u32::from_be_bytes(self.rule)
    }
}

/// Value of the mail server table: what binds a designated sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct MailServer {
    mac: [u8; 6],
    bound: u8,
    reserved: u8,
    ifindex: [u8; 4],
    scope: [u8; 4],
    rule: [u8; 4],
}

const _: () = assert!(size_of::<MailServer>() == 20 && align_of::<MailServer>() == 1);

impl MailServer {
    const MAC: u8 = 1;
    const INTERFACE: u8 = 2;

    /// A mail server that may send to the destinations of `scope`; scope 0 is everywhere.
    pub const fn new(rule: u32, scope: u32, mac: Option<[u8; 6]>, ifindex: Option<u32>) -> Self {
        let mut bound = 0;
        let mac = match mac {
            Some(mac) => {
                bound |= Self::MAC;
                mac
            }
            None => [0; 6],
        };
        let ifindex = match ifindex {
            Some(ifindex) => {
                bound |= Self::INTERFACE;
                ifindex
            }
            None => 0,
        };
        Self {
            mac,
            bound,
            reserved: 0,
            ifindex: ifindex.to_be_bytes(),
            scope: scope.to_be_bytes(),
            rule: rule.to_be_bytes(),
        }
    }

    #[inline(always)]
    pub const fn mac(&self) -> Option<[u8; 6]> {
        if self.bound & Self::MAC != 0 { Some(self.mac) } else { None }
    }

    #[inline(always)]
    pub const fn ifindex(&self) -> Option<u32> {
        if self.bound & Self::INTERFACE != 0 { Some(u32::from_be_bytes(self.ifindex)) } else { None }
    }

    #[inline(always)]
    pub const fn scope(&self) -> u32 {
        u32::from_be_bytes(self.scope)
    }

    #[inline(always)]
    pub const fn rule(&self) -> u32 {
        u32::from_be_bytes(self.rule)
    }
}

/// Key of the attempt map: one TCP connection attempt, however many packets it takes.
///
/// Segments without SYN have no initial sequence number: all of a 4-tuple's count as one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct AttemptKey {
    src: Addr,
    dst: Addr,
    src_port: [u8; 2],
    dst_port: [u8; 2],
    isn: [u8; 4],
    ifindex: [u8; 4],
    reserved: [u8; 2],
}

const _: () = assert!(size_of::<AttemptKey>() == 48);

impl AttemptKey {
    #[inline(always)]
    pub fn new(flow: &Flow, ifindex: u32) -> Self {
        let syn = flow.tcp_flags & crate::flow::tcp_flags::SYN != 0;
        Self {
            src: flow.src,
            dst: flow.dst,
            src_port: flow.src_port.to_be_bytes(),
            dst_port: flow.dst_port.to_be_bytes(),
            isn: if syn { flow.seq.to_be_bytes() } else { [0; 4] },
            ifindex: ifindex.to_be_bytes(),
            reserved: [0; 2],
        }
    }
}

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
    reserved: [u8; 4],
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
    /// One of [`verdict`].
    pub verdict: u8,
    pub macs: Macs,
    /// VLAN id of the outermost tag; 0 for none.
    pub vlan: u16,
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
            reserved: [0; 4],
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
    /// Number of the reason; see [`Reason::from_number`].
    pub const fn reason(&self) -> u8 {
        self.reason
    }
    /// One of [`verdict`].
    pub const fn verdict(&self) -> u8 {
        self.verdict
    }
}

// SAFETY (all): repr(C), only integers and byte arrays, no padding (sizes asserted above), so every bit pattern is valid
// and no uninitialised byte reaches the kernel.
#[cfg(feature = "aya")]
mod pod {
    use super::{Addr, AttemptKey, MailServer, Net, Permit, ScopeKey, Settings};

    // SAFETY: see the module.
    unsafe impl aya::Pod for Addr {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for AttemptKey {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for MailServer {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Net {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Permit {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for ScopeKey {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Settings {}
}
