//! Which of the machine's interfaces the policy means.

use crate::datapath::{EarlyDoor, Inside, Refusal};
use crate::failure::Failure;
use crate::netlink::Interface;
use crate::policy::compile::inside_settings;
use crate::policy::{Datapath, InterfaceGlob, Policy};

/// What to do about interfaces that the policy names and that are not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// At a start or a reload somebody is there to correct the name.
    Refused,
    /// While the policy is in force they may go and come back; until then nothing can come from them.
    Waited,
}

impl Absent {
    /// The same of interfaces that are there and can't be covered.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::Refused => Refusal::TakeBack,
            Self::Waited => Refusal::GoOn,
        }
    }
}

pub fn index_of(name: &str, all: &[Interface]) -> Option<u32> {
    all.iter().find(|interface| interface.name == name).map(|interface| interface.index)
}

pub fn bound_interfaces(policy: &Policy, all: &[Interface]) -> Vec<Option<u32>> {
    policy.mail_servers.iter().filter_map(|server| Some(index_of(server.interface.as_ref()?, all))).collect()
}

/// The inside and outside interfaces that exist; those that the policy names without a wildcard must.
fn named_interfaces(policy: &Policy, all: &[Interface]) -> Result<(Vec<Inside>, Vec<Interface>), Failure> {
    let inside_globs = policy.inside.iter().map(|entry| ("inside", &entry.glob));
    let outside_globs = policy.outside.iter().map(|glob| ("outside", glob));
    for (side, glob) in inside_globs.chain(outside_globs) {
        if glob.is_literal() && !all.iter().any(|interface| interface.name == glob.0) {
            return Err(Failure::CouldNotRun(format!(
                "the policy names the {side} interface {:?}, which does not exist; `ip link` lists the interfaces. \
                 Write a pattern such as \"{}*\" for one that appears later",
                glob.0,
                glob.0.trim_end_matches(|c: char| c.is_ascii_digit())
            )));
        }
    }
    let (inside, outside) = present(policy, all);
    if inside.is_empty() {
        log::warn!("no inside interface of the policy exists yet: nothing is covered until one appears");
    }
    if outside.is_empty() && !policy.outside.is_empty() {
        log::warn!(
            "no outside interface of the policy exists yet: processes of the gateway and interfaces the policy does not name can reach \
             blocked ports until one appears"
        );
    }
    Ok((inside, outside))
}

/// The inside and outside interfaces to attach to now.
pub fn attachable(
    policy: &Policy,
    all: &[Interface],
    absent: Absent,
) -> Result<(Vec<Inside>, Vec<Interface>), Failure> {
    match absent {
        Absent::Refused => named_interfaces(policy, all),
        Absent::Waited => Ok(present(policy, all)),
    }
}

pub fn present(policy: &Policy, all: &[Interface]) -> (Vec<Inside>, Vec<Interface>) {
    let mut inside: Vec<Inside> = Vec::new();
    for (entry, settings) in policy.inside.iter().zip((0..).map(inside_settings)) {
        for interface in all.iter().filter(|interface| means(&entry.glob, interface)) {
            // The first entry that matches counts.
            if !inside.iter().any(|known| known.interface.index == interface.index) {
                // The loader caps the number of entries far below 2^32.
                let settings = u32::try_from(settings).unwrap_or(0);
                let early = match entry.datapath {
                    Datapath::Tc => EarlyDoor::Unasked,
                    Datapath::Xdp => EarlyDoor::Native,
                    Datapath::XdpForced => EarlyDoor::Forced,
                };
                inside.push(Inside { interface: interface.clone(), settings, early });
            }
        }
    }
    let outside = |interface: &&Interface| policy.outside.iter().any(|glob| means(glob, interface));
    (inside, all.iter().filter(outside).cloned().collect())
}

/// A pattern that happens to match the loopback device, or one that carries no IP, does not mean it.
fn means(glob: &InterfaceGlob, interface: &Interface) -> bool {
    let possible = interface.name != "lo" && interface.link.is_some();
    glob.matches(&interface.name) && (glob.is_literal() || possible)
}
