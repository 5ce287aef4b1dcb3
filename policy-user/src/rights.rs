//! What the agent may do: given up at the start, before anything is read that somebody else has written.
//!
//! The thread that loads and attaches keeps three capabilities. Every other thread keeps none: they parse DNS answers,
//! speak HTTP, SMTP and SQL, and start the admin's programs. Threads share memory, so whoever runs code of their own in one
//! can get at the first; what this ends is every shorter way, such as a call that was talked into doing something else or a
//! program that is started with the agent's rights. A process of its own for the parsers would end that one too, at the
//! price of a second life cycle between the kernel's ring and the detector; they are Rust without `unsafe` of ours.
//!
//! A right that can't be given up is told, and enforcement goes on: it matters more.

mod held;
mod system_calls;

use std::io;
use std::thread;

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use tokio::runtime::{Builder, Runtime};

pub use held::Rights;

/// What loading, attaching and asking for the order at a hook take. Without PERFMON the verifier takes precautions against
/// speculation that refuse the door's arithmetic on pointers.
pub const NEEDED: CapabilitySet =
    CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::PERFMON);

/// Whether the calling thread may load and attach.
pub fn enough() -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(NEEDED))
}

/// The runtime of the agent. The calling thread keeps what it needs for the kernel and runs what it is asked to block on,
/// which tasks never move to; the runtime's own threads keep nothing.
pub fn runtime() -> io::Result<Runtime> {
    confine();
    // All workers start here, so those who may start the admin's programs do not inherit what follows.
    let runtime =
        Builder::new_multi_thread().enable_all().thread_name("worker").on_thread_start(renounce).build()?;
    told("can't forbid the thread with capabilities to start programs", system_calls::start_no_programs());
    Ok(runtime)
}

/// Gives up what the process does not need for its work. Call it before there is a second thread.
pub fn confine() {
    told("can't give up rights that are not needed", try_confine());
}

/// A thread that holds no capability.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let renounced = || {
        renounce();
        work();
    };
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(renounced);
    told("can't start a thread", spawned.map(drop).with_context(|| name.to_owned()));
}

fn try_confine() -> anyhow::Result<()> {
    set_no_new_privs(true).context("no_new_privs")?;
    // The memory of a thread without capabilities would be open to every other process of root without any.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("not dumpable")?;
    bound().context("bounding set")?;
    let held = capabilities(None).context("capabilities")?.permitted.intersection(NEEDED);
    hold(held).context("capabilities")?;
    system_calls::forbid_dangerous().context("system calls")
}

/// Takes everything else from what a program could ever get that this process starts.
fn bound() -> io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !NEEDED.contains(capability) => remove_capability_from_bounding_set(capability)?,
            Ok(_) => {}
            // The kernel knows no more.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Gives up every capability of the calling thread, for good.
fn renounce() {
    let try_renounce = || {
        system_calls::only_look_up().context("system calls")?;
        hold(CapabilitySet::empty()).context("capabilities")
    };
    told("a thread can't give up its rights", try_renounce());
}

/// With nothing to inherit there is no ambient set either.
fn hold(permitted: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets { effective: permitted, permitted, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

fn told(what: &str, result: anyhow::Result<()>) {
    if let Err(error) = result {
        log::error!(
            "{what}: {error:#}; enforcement goes on, `smtpfence status` shows what the agent still holds"
        );
    }
}
