//! What kernel and agent exchange: map keys and values, events, counter slots.
//!
//! Rules: `#[repr(C)]`, integers as byte arrays in network order behind constructors and getters, no padding, no `bool`,
//! no Rust `enum`; sizes asserted here. Numbers that the kernel counts in place are in host order instead. A change of any of it or of `Addr` raises [`ABI_VERSION`], which is part of the pin path, so
//! that an agent never adopts maps of another layout.

mod answer;
mod attempt;
mod event;
mod host;
mod policy;
mod quarantine;
mod submission;

pub use answer::{ANSWER_BYTES, Answer, AnswerHead};
pub use attempt::{ATTEMPT_ENTRIES, ATTEMPT_SETS, AttemptKey, AttemptSalt, AttemptSet, Place};
pub use event::{Event, EventContext, Macs};
pub use host::{HOST_ENTRIES, HOSTS_PER_INTERFACE, HOSTS_PER_MAC, HostCounts, HostKey};
pub use policy::{DOOR_AWAITED, MailServer, Net, Permit, ScopeKey, Settings};
pub use quarantine::{Quarantine, scope};
pub use submission::{SERVER_BITS, SUBMITTERS, Submissions};

use crate::reason::{REASON_SLOTS, Reason};

/// Version of everything in this file.
pub const ABI_VERSION: u32 = 4;

/// Ports a generation can block; an unused slot holds 0.
pub const MAX_BLOCKED_PORTS: usize = 8;
/// The same for submission ports, and for ports that stay open in quarantine.
pub const MAX_SUBMISSION_PORTS: usize = 8;
pub const MAX_SPARED_PORTS: usize = 8;

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
    /// Attempts that have no event, because their host had used up its budget.
    pub const UNLISTED: u32 = LOST_EVENTS + 1;
    /// Packets and attempts that found no entry in the map of hosts, not even their interface's.
    pub const OVERFLOW_PACKETS: u32 = UNLISTED + 1;
    pub const OVERFLOW_ATTEMPTS: u32 = OVERFLOW_PACKETS + 1;
    pub const SLOTS: u32 = OVERFLOW_ATTEMPTS + 1;
}

// SAFETY (all): repr(C), only integers and byte arrays, no padding (sizes asserted above), so every bit pattern is valid
// and no uninitialised byte reaches the kernel.
#[cfg(feature = "aya")]
mod pod {
    use crate::flow::Addr;

    use super::{
        AttemptSalt, AttemptSet, HostCounts, HostKey, MailServer, Net, Permit, Quarantine, ScopeKey,
        Settings, Submissions,
    };

    // SAFETY: see the module.
    unsafe impl aya::Pod for Addr {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for AttemptSalt {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for AttemptSet {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for HostCounts {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for HostKey {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for MailServer {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Net {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Permit {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Quarantine {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for ScopeKey {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Settings {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Submissions {}
}
