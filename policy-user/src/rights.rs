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

use std::fmt::Display;
use std::io;
use std::sync::Once;
use std::thread;

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
    told("the thread with capabilities can start programs", system_calls::start_no_programs());
    Ok(runtime)
}

/// Gives up what the process does not need for its work. Call it before there is a second thread.
pub fn confine() {
    told("programs can get rights that the agent has not", set_no_new_privs(true));
    // The memory of a thread without capabilities is open to every other process of root without any.
    told(
        "processes of root can read the agent's memory",
        set_dumpable_behavior(DumpableBehavior::NotDumpable),
    );
    told("the bounding set is not reduced", bound());
    told("the capabilities are not reduced", keep(NEEDED));
    told("system calls are not filtered", system_calls::forbid_dangerous());
}

/// A thread that holds no capability.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let renounced = || {
        renounce();
        work();
    };
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(renounced);
    if let Err(error) = spawned {
        log::error!(
            "the thread {name} can't be started: {error}; start the agent again, enforcement goes on meanwhile"
        );
    }
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
    /// What one thread can't do no other can.
    static TOLD: Once = Once::new();
    let filtered = system_calls::only_look_up().map_err(|error| error.to_string());
    let reduced = keep(CapabilitySet::empty()).map_err(|error| error.to_string());
    if let Err(error) = reduced.and(filtered) {
        TOLD.call_once(|| told("threads that need no rights hold some", Err(error)));
    }
}

/// Keeps these and no others; with nothing to inherit there is no ambient set either.
fn keep(wanted: CapabilitySet) -> io::Result<()> {
    let permitted = capabilities(None)?.permitted.intersection(wanted);
    let sets = CapabilitySets { effective: permitted, permitted, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

fn told<E: Display>(what: &str, result: Result<(), E>) {
    if let Err(error) = result {
        log::error!("{what}: {error}; enforcement goes on, `smtpfence status` shows what the agent holds");
    }
}
