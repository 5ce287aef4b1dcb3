//! Values and keys of the policy maps: what one generation is filled with.

use super::{action, mode};
use crate::flow::Addr;

/// Set in a value of the doors' list, beside the index of the settings, while the door's program is not on the interface yet:
/// it has its settings from the first packet on, and the guard does not believe in it before.
pub const DOOR_AWAITED: u32 = 1 << 31;

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
    const SPARED: u8 = 8;

    /// What the policy says about addresses that it doesn't know.
    pub const NONE: Self =
        Self { roles: 0, reserved: 0, group: [0; 2], mail_server: [0; 4], exceptions: [0; 4] };

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

    /// Destinations that clients in quarantine may still reach.
    pub const fn with_spared(mut self) -> Self {
        self.roles |= Self::SPARED;
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

    #[inline(always)]
    pub const fn is_spared(&self) -> bool {
        self.roles & Self::SPARED != 0
    }

    /// Whether these are addresses of clients or mail servers, not such as a sender makes up.
    #[inline(always)]
    pub const fn is_known(&self) -> bool {
        self.roles & (Self::CLIENT | Self::MAIL_SERVER) != 0
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
