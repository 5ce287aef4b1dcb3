//! Which entry of the map of hosts a denied packet counts on: its host's own, its MAC's, or its interface's.

#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "passed by value, constants are copied to the stack, which costs the verifier 110,000 instructions more"
)]

use core::ptr::null_mut;

use aya_ebpf::bindings::BPF_NOEXIST;
use policy_common::Flow;
use policy_common::abi::{HOSTS_PER_INTERFACE, HOSTS_PER_MAC, HostCounts, HostKey, Macs};

use crate::maps::{HOST_SHARES, HOSTS};

/// The account of a sender on this processor; null where the map is full. Who is `known` has one of their own: other
/// addresses are free for a sender to make up.
///
/// A raw pointer: the verifier knows it as "map value or null", which it may lose in what the compiler makes of an `Option`.
#[inline(never)]
pub fn account(flow: &Flow, known: bool, ifindex: u32, macs: &Macs) -> *mut HostCounts {
    // By reference, like `EMPTY` below: filling an address with zeros is a loop in BPF.
    static NOBODY: Flow = Flow::OTHER;
    let key = &HostKey::new(ifindex, macs, &if known { flow } else { &NOBODY }.src);
    if let Some(host) = HOSTS.get_ptr_mut(key) {
        return host;
    }
    let of_mac = &key.without_address();
    let may_have_own = known && (key.mac().is_none() || is_free(of_mac, HOSTS_PER_MAC));
    if known && !may_have_own {
        // Here a flood of addresses ends, so it comes before anything that only first packets need.
        if let Some(host) = HOSTS.get_ptr_mut(of_mac) {
            return host;
        }
    }
    let of_interface = &HostKey::of_interface(ifindex);
    // The first one at an interface makes the interface's entry, while there is room.
    if HOST_SHARES.get_ptr_mut(of_interface).is_none() {
        make(of_interface);
        let _ = HOST_SHARES.insert(of_interface, &0, BPF_NOEXIST.into());
    }
    let room = is_free(of_interface, HOSTS_PER_INTERFACE);
    if may_have_own && room {
        let host = make(key);
        if !host.is_null() {
            take(of_interface);
            if key.mac().is_some() {
                take(of_mac);
            }
            return host;
        }
    }
    if key.mac().is_some() {
        if let Some(host) = HOSTS.get_ptr_mut(of_mac) {
            return host;
        }
        let host = if room { make(of_mac) } else { null_mut() };
        if !host.is_null() {
            take(of_interface);
            return host;
        }
    }
    HOSTS.get_ptr_mut(of_interface).unwrap_or(null_mut())
}

/// A new entry, or the one that another processor has made meanwhile.
#[inline(always)]
fn make(key: &HostKey) -> *mut HostCounts {
    // Read-only data: on the stack it would take 64 bytes.
    static EMPTY: HostCounts = HostCounts::EMPTY;
    let _ = HOSTS.insert(key, &EMPTY, BPF_NOEXIST.into());
    HOSTS.get_ptr_mut(key).unwrap_or(null_mut())
}

/// Whether an interface or a MAC has used up the entries that it may have.
#[inline(always)]
fn is_free(of: &HostKey, limit: u32) -> bool {
    // SAFETY: the value is one aligned u32, which the agent replaces as a whole.
    unsafe { HOST_SHARES.get(of) }.is_none_or(|taken| *taken < limit)
}

/// Counts one entry more.
#[inline(always)]
fn take(of: &HostKey) {
    match HOST_SHARES.get_ptr_mut(of) {
        // SAFETY: a pointer that a look-up returned stays valid until the program ends; the map tells what a race does.
        Some(taken) => unsafe { *taken += 1 },
        // No room for another MAC's number: its interface's limit holds all the same.
        None => drop(HOST_SHARES.insert(of, &1, BPF_NOEXIST.into())),
    }
}
