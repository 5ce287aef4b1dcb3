//! The policy as the kernel sees it: look-ups in the maps of this generation and in the state maps.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::maps::lpm_trie::Key;
use policy_common::abi::{DOOR_AWAITED, MailServer, Net, Permit, Quarantine, ScopeKey, Settings, scope};
use policy_common::decide::Origin;
use policy_common::first_bytes::FirstByte;
use policy_common::sieve::Place;
use policy_common::{Addr, PolicyView};

use crate::maps::{
    BLOCKED_PORTS, DOORS, GATEWAY_ADDRS, LISTED, MAIL_SERVERS, NETS, NETS_FIRST_BYTES, ONE_TREATMENT,
    QUARANTINE, SCOPES, SETTINGS, SIEVE, SIEVE_WORDS, SPARED_PORTS, SUBMISSION_PORTS, WIDEST_SCOPE,
};

/// This generation's maps.
pub struct Maps;

impl PolicyView for Maps {
    #[inline(always)]
    fn is_blocked(&self, port: u16) -> bool {
        is_among(&BLOCKED_PORTS.load(), port)
    }

    #[inline(always)]
    fn is_submission(&self, port: u16) -> bool {
        is_among(&SUBMISSION_PORTS.load(), port)
    }

    #[inline(always)]
    fn is_spared(&self, port: u16) -> bool {
        is_among(&SPARED_PORTS.load(), port)
    }

    #[inline(always)]
    fn net(&self, addr: &Addr) -> Option<Net> {
        listed(addr).or_else(|| in_trie(addr))
    }

    #[inline(always)]
    fn is_gateway(&self, addr: &Addr) -> bool {
        GATEWAY_ADDRS.get_ptr(addr).is_some()
    }

    #[inline(always)]
    fn widest_quarantine(&self) -> u8 {
        // A look-up of a slot that exists can't fail; "all" would then ask on, so that no quarantine is missed.
        WIDEST_SCOPE.get(0).map_or(scope::ALL, |widest| *widest as u8)
    }

    #[inline(always)]
    fn quarantine(&self, addr: &Addr) -> Option<Quarantine> {
        // SAFETY: the agent replaces an entry as a whole.
        unsafe { QUARANTINE.get(addr) }.copied()
    }

    #[inline(always)]
    fn mail_server(&self, index: u32) -> Option<MailServer> {
        MAIL_SERVERS.get(index).copied()
    }

    #[inline(always)]
    fn permit(&self, scope: u32, addr: &Addr) -> Option<Permit> {
        SCOPES.get(Key::new(ScopeKey::PREFIX_BITS + ADDR_BITS, ScopeKey::new(scope, *addr))).copied()
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: takes no argument and only reads the clock.
        unsafe { bpf_ktime_get_boot_ns() }
    }
}

impl Maps {
    /// How a denied packet is treated: as its client's group says, else as its interface says, else as the policy says.
    #[inline(always)]
    pub fn settings(source: &Net, ifindex: u32) -> Settings {
        if ONE_TREATMENT.load() != 0 {
            return Self::default_settings();
        }
        let group = Self::setting(source.group().into());
        // SAFETY: the value is one aligned u32, which the agent replaces as a whole.
        let door = unsafe { DOORS.get(ifindex) }.copied().unwrap_or(0);
        let interface = Self::setting(door & !DOOR_AWAITED);
        group.within(interface).within(Self::default_settings())
    }

    /// What the policy says where neither group nor interface do.
    #[inline(always)]
    pub fn default_settings() -> Settings {
        SETTINGS.get(0).copied().unwrap_or(Settings::UNSET)
    }

    /// Entry 0 is the default, which comes last anyway.
    #[inline(always)]
    fn setting(index: u32) -> Settings {
        match index {
            0 => Settings::UNSET,
            index => SETTINGS.get(index).copied().unwrap_or(Settings::UNSET),
        }
    }

    /// Whether the policy or the gateway knows whose address this is.
    #[inline(always)]
    pub fn knows(addr: &Addr) -> bool {
        Maps.net(addr).unwrap_or_default().is_known() || Maps.is_gateway(addr)
    }

    /// Whether packets that came in through this interface have passed a door; index 0 is the gateway itself.
    #[inline(always)]
    pub fn origin(ingress_ifindex: u32) -> Origin {
        if ingress_ifindex == 0 {
            Origin::Local
        } else if Self::is_door(ingress_ifindex) {
            Origin::Door
        } else {
            Origin::Elsewhere
        }
    }

    #[inline(always)]
    fn is_door(ifindex: u32) -> bool {
        // SAFETY: the value is one aligned u32, which the agent replaces as a whole.
        let door = unsafe { DOORS.get(ifindex) };
        door.is_some_and(|door| door & DOOR_AWAITED == 0)
    }
}

/// What the policy says about an address of its long list.
#[inline(always)]
fn listed(addr: &Addr) -> Option<Net> {
    let words = SIEVE_WORDS.load();
    if words == 0 {
        return None;
    }
    let Place { word, bits } = Place::of(addr, words);
    // A look-up of a word that exists can't fail.
    if SIEVE.get(word).is_none_or(|word| word & bits != bits) {
        return None;
    }
    // SAFETY: policy maps are filled before attach and never written after, so no slot is reused while we read it.
    unsafe { LISTED.get(addr) }.copied()
}

/// What the policy says about the networks around an address.
#[inline(always)]
fn in_trie(addr: &Addr) -> Option<Net> {
    let FirstByte { word, bit } = FirstByte::of(addr);
    // A look-up of a word that exists can't fail.
    if NETS_FIRST_BYTES.get(word).is_some_and(|word| word & bit == 0) {
        return None;
    }
    NETS.get(Key::new(FULL_ADDR, *addr)).copied()
}

/// Whether a list of the generation has the port.
#[inline(always)]
fn is_among(ports: &[u16; 8], port: u16) -> bool {
    // 0 is an unused slot, behind all others; port 0 itself can't be listed, the agent refuses it. The slots are constants to
    // the verifier, so it cuts the program off at the first unused one.
    for slot in *ports {
        if slot == 0 {
            return false;
        }
        if slot == port {
            return true;
        }
    }
    false
}

/// Bits of an address without its family byte. IPv4 keys are shorter and padded with zeros, so asking with the full
/// length finds their longest prefix too.
const ADDR_BITS: u32 = 128;
const FULL_ADDR: u32 = 8 + ADDR_BITS;
