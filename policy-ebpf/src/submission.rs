//! Counting of connections to submission ports: information for admins, no verdict.

#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "passed by value, the constant is copied to the stack, of which a program has 512 bytes"
)]

use core::ptr::null_mut;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use policy_common::abi::{HostKey, Macs, Submissions};
use policy_common::{Addr, Flow};

use crate::maps::SUBMISSIONS;
use crate::policy::Maps;

/// Counts one segment that asks for a connection to a submission port.
///
/// Not inlined, for its share of the stack.
#[inline(never)]
pub fn count(flow: &Flow, ifindex: u32, macs: &Macs) {
    let account = account(&flow.src, ifindex, macs);
    // SAFETY: a pointer that a look-up returned stays valid until the program ends, and the value is this processor's own.
    if let Some(account) = unsafe { account.as_mut() } {
        // SAFETY: takes no argument and only reads the clock.
        account.count(unsafe { bpf_ktime_get_boot_ns() }, &flow.dst);
    }
}

#[inline(always)]
fn account(client: &Addr, ifindex: u32, macs: &Macs) -> *mut Submissions {
    static EMPTY: Submissions = Submissions::EMPTY;
    let key = &HostKey::new(ifindex, macs, client);
    if let Some(account) = SUBMISSIONS.get_ptr_mut(key) {
        return account;
    }
    // Made-up addresses would push out the real ones.
    if !Maps::knows(client) {
        return null_mut();
    }
    let _ = SUBMISSIONS.insert(key, &EMPTY, BPF_NOEXIST.into());
    SUBMISSIONS.get_ptr_mut(key).unwrap_or(null_mut())
}
