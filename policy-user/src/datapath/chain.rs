//! Which programs stand at a hook, and in which order.
//!
//! aya looks up every program it finds, which takes `CAP_SYS_ADMIN`; their numbers alone take `CAP_NET_ADMIN`, and an agent
//! without more must still notice a program in front of ours.

use std::io;

use aya_obj::generated::bpf_attach_type::{self, BPF_TCX_EGRESS, BPF_TCX_INGRESS};
use aya_obj::generated::{bpf_attr, bpf_cmd};

use super::links::Hook;

/// A hook takes 64 programs at most (`BPF_MPROG_MAX`).
const MOST: usize = 64;

/// Numbers of the programs at a hook of an interface, in the order in which they run.
pub fn programs_at(ifindex: u32, hook: Hook) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; MOST];
    let count = query(ifindex, attach_type(hook), &mut ids)?;
    Ok(ids.into_iter().take(count).collect())
}

const fn attach_type(hook: Hook) -> bpf_attach_type {
    match hook {
        Hook::Door => BPF_TCX_INGRESS,
        Hook::Guard => BPF_TCX_EGRESS,
    }
}

fn query(ifindex: u32, attach_type: bpf_attach_type, ids: &mut [u32; MOST]) -> io::Result<usize> {
    // SAFETY: the union consists of integers, for which all zeros are valid; bpf(2) wants unused bytes to be zero.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.query.__bindgen_anon_1.target_ifindex = ifindex;
    attr.query.attach_type = attach_type as u32;
    attr.query.__bindgen_anon_2.count = MOST as u32;
    attr.query.prog_ids = ids.as_mut_ptr() as u64;
    // SAFETY: `attr` is as long as said, and `ids` has room for as many numbers as `count` says.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, bpf_cmd::BPF_PROG_QUERY as u32, &raw mut attr, size_of::<bpf_attr>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has written a number into either name of this field.
    Ok(unsafe { attr.query.__bindgen_anon_2.count } as usize)
}
