//! Value of the quarantine map: until when, how far it reaches, and whose it is.

/// How far a quarantine reaches; the wider the higher.
pub mod scope {
    /// Nobody is in quarantine.
    pub const NONE: u8 = 0;
    /// The blocked ports and the submission ports.
    pub const MAIL: u8 = 1;
    /// Everything that would leave, except what the policy spares.
    pub const ALL: u8 = 2;
}

/// One address in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Quarantine {
    until: [u8; 8],
    scope: u8,
    has_mac: u8,
    mac: [u8; 6],
}

const _: () = assert!(size_of::<Quarantine>() == 16 && align_of::<Quarantine>() == 1);

impl Quarantine {
    /// `until` is in nanoseconds of `CLOCK_BOOTTIME`, `scope` one of [`scope`]. With a MAC it holds only for frames that carry
    /// it: a bot may use its neighbour's address, and an address may be another host's tomorrow.
    pub const fn new(until: u64, scope: u8, mac: Option<[u8; 6]>) -> Self {
        let (has_mac, mac) = match mac {
            Some(mac) => (1, mac),
            None => (0, [0; 6]),
        };
        Self { until: until.to_be_bytes(), scope, has_mac, mac }
    }

    #[inline(always)]
    pub const fn until(&self) -> u64 {
        u64::from_be_bytes(self.until)
    }

    #[inline(always)]
    pub const fn scope(&self) -> u8 {
        self.scope
    }

    #[inline(always)]
    pub const fn mac(&self) -> Option<[u8; 6]> {
        if self.has_mac != 0 { Some(self.mac) } else { None }
    }
}
