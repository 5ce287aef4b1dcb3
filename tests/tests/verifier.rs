//! How far the kernel programs are from the verifier's limits, so that a change that eats the headroom is seen here and not
//! on somebody's kernel.

use anyhow::{Result, ensure};
use lab::require_root_or_skip;
use policy_common::abi::Net;
use policy_common::{Addr, LinkType};
use policy_user::datapath::{Generation, Hook, NameTap};
use policy_user::policy::compile::Prefix;

#[path = "../scenarios/mod.rs"]
mod scenarios;

/// Instructions that the verifier looks at before it gives up (`BPF_COMPLEXITY_LIMIT_INSNS`).
const LIMIT: u32 = 1_000_000;
/// Kernels prune differently: what takes a quarter here still loads on one that is four times worse at it.
const ALLOWED: u32 = LIMIT / 4;

/// The stack needs no test of its own: a program that needs more than 512 bytes in a chain of calls does not load.
#[test]
fn the_programs_stay_far_below_the_verifier_s_limit() -> Result<()> {
    require_root_or_skip!();
    let mut tables = scenarios::policy::tables(0, |_| 1);
    let mut table = String::new();
    let mut most = 0;
    for list in ["short", "long"] {
        let mut generation = Generation::load_unpinned(&tables)?;
        for hook in [Hook::Door, Hook::Guard] {
            for link in [LinkType::Ethernet, LinkType::Ip] {
                let looked_at = generation.verified_instructions(hook, link)?;
                ensure!(looked_at > 0, "the kernel does not tell for {hook:?}, {link:?}");
                let share = f64::from(looked_at) * 100.0 / f64::from(LIMIT);
                table +=
                    &format!("{hook:?} {link:?}, {list} list: {looked_at} instructions ({share:.1} %)\n");
                most = most.max(looked_at);
            }
        }
        // The verifier cuts out of the programs what only long lists need.
        let far = |n| Prefix { addr: Addr::v4([192, 88, 99, n]), len: 32, value: Net::default() };
        tables.nets.extend((0..=255).map(far));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut tap, _answers) = runtime.block_on(async { NameTap::load(&[[203, 0, 113, 53].into()]) })?;
    for link in [LinkType::Ethernet, LinkType::Ip] {
        let looked_at = tap.verified_instructions(link)?;
        ensure!(looked_at > 0, "the kernel does not tell for names, {link:?}");
        table += &format!("Names {link:?}: {looked_at} of {LIMIT} instructions\n");
        most = most.max(looked_at);
    }
    println!("{table}");
    ensure!(most < ALLOWED, "less headroom than {ALLOWED} instructions leave:\n{table}");
    Ok(())
}
