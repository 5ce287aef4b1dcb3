//! What can go wrong between agent and kernel, each with the next step for the admin.

use std::error::Error;
use std::iter;
use std::path::PathBuf;

/// A failure of the kernel side. None of them leaves a half-changed policy behind.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    #[error(
        "kernel {found} is too old: smtpfence needs Linux {needed} or newer (TCX); boot a newer kernel \
         (Debian 12: linux-image-amd64 from bookworm-backports)"
    )]
    KernelTooOld { found: String, needed: String },
    #[error(
        "no rights: loading a packet filter takes CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; start smtpfence as root"
    )]
    NoRights,
    #[error("{path} is not a BPF file system; mount one: mount -t bpf -o mode=0700 bpf {path}")]
    NoBpffs { path: PathBuf },
    #[error(
        "{path} can't be trusted: {why}; somebody else may remove our pins. Remove it, and mount the file system with \
         mode=0700"
    )]
    UntrustedPins { path: PathBuf, why: String },
    #[error("can't {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the kernel refused the program {program}: {}", with_causes(source))]
    Load { program: &'static str, source: Box<aya::programs::ProgramError> },
    #[error("can't set up the kernel objects: {0}")]
    Object(String),
    #[error("the policy does not fit into the kernel map {map}: {}", with_causes(source))]
    Fill { map: &'static str, source: aya::maps::MapError },
    #[error(
        "{interface} carries packets in a way smtpfence can't read (neither Ethernet nor plain IP); cover another interface"
    )]
    UnsupportedLink { interface: String },
    #[error("can't attach to {interface}: {}", with_causes(source))]
    Attach { interface: String, source: Box<aya::programs::ProgramError> },
    #[error("can't {doing} the state map {map}: {source}")]
    State { doing: &'static str, map: &'static str, source: Box<aya::maps::MapError> },
    #[error("the kernel has no random numbers for the map of attempts: {0}")]
    Random(std::io::Error),
    #[error("can't {doing} the pin {path}: {why}")]
    Pin { doing: &'static str, path: PathBuf, why: String },
    #[error("nothing is attached from {path}: no agent of this version has run with it")]
    NothingPinned { path: PathBuf },
}

/// aya's errors name the call that failed; the kernel's reason is a cause of theirs.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
