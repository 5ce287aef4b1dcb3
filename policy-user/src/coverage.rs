//! Which of the machine's interfaces carry our programs, and why the others don't.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::datapath::Hook;
use crate::netlink::{Device, Interface, Netlink, NetlinkError};
use crate::status::InForce;

/// The machine's network at one moment.
#[derive(Clone, Debug, Default)]
pub struct Network {
    pub devices: Vec<Device>,
    /// Indices of the interfaces that default routes leave through.
    pub exits: Vec<u32>,
}

/// One interface; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceStatus {
    pub interface: String,
    /// None where it does not exist.
    pub ifindex: Option<u32>,
    pub up: bool,
    pub hooks: Vec<Hook>,
    /// Whether a default route leaves through it, and past a guard.
    pub default_route: Option<Exit>,
    /// Why there is no hook; none where there is one.
    pub uncovered: Option<Uncovered>,
    /// The same for people.
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    Guarded,
    Unguarded,
}

/// Why an interface carries none of our programs. The labels are a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Uncovered {
    Loopback,
    /// The policy means others.
    NotNamed,
    /// A bridge or bond takes its packets.
    Port,
    /// Its packets begin in a way that the programs can't read.
    UnsupportedLink,
    /// The policy names it, and it does not exist yet.
    Awaited,
    /// The policy means it, and the kernel refused.
    Failed,
    /// The policy means it, and no agent was there when it came.
    NoAgent,
}

impl Uncovered {
    pub const ALL: [Self; 7] = [
        Self::Loopback,
        Self::NotNamed,
        Self::Port,
        Self::UnsupportedLink,
        Self::Awaited,
        Self::Failed,
        Self::NoAgent,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::NotNamed => "not-named",
            Self::Port => "port",
            Self::UnsupportedLink => "unsupported-link",
            Self::Awaited => "awaited",
            Self::Failed => "failed",
            Self::NoAgent => "no-agent",
        }
    }
}

impl Network {
    pub async fn look(netlink: &Netlink) -> Result<Self, NetlinkError> {
        Ok(Self { devices: netlink.devices().await?, exits: netlink.exits().await? })
    }

    pub fn interfaces(&self) -> Vec<Interface> {
        self.devices.iter().map(|device| device.interface.clone()).collect()
    }

    fn named(&self, index: u32) -> Option<&str> {
        let found = self.devices.iter().find(|device| device.interface.index == index);
        found.map(|device| device.interface.name.as_str())
    }
}

impl InterfaceStatus {
    /// Whether what leaves through it by a default route passes no guard.
    pub fn is_unguarded_exit(&self) -> bool {
        self.default_route == Some(Exit::Unguarded)
    }
}

/// Every interface, and those the policy waits for. `failed` has what the kernel refused, by name; `None` where no agent is.
pub fn survey(
    in_force: &InForce,
    network: &Network,
    failed: Option<&BTreeMap<String, String>>,
) -> Vec<InterfaceStatus> {
    let survey = Survey { in_force, network, failed };
    let mut found: Vec<InterfaceStatus> =
        network.devices.iter().map(|device| survey.interface(device)).collect();
    let names: BTreeSet<&str> = network.devices.iter().map(|device| device.interface.name.as_str()).collect();
    let literal = in_force.inside.iter().chain(&in_force.outside).filter(|glob| glob.is_literal());
    for glob in literal.filter(|glob| !names.contains(glob.0.as_str())) {
        found.push(awaited(&glob.0));
    }
    found
}

struct Survey<'a> {
    in_force: &'a InForce,
    network: &'a Network,
    failed: Option<&'a BTreeMap<String, String>>,
}

impl Survey<'_> {
    fn interface(&self, device: &Device) -> InterfaceStatus {
        let index = device.interface.index;
        let hooks = self.hooks(index);
        let exit = self.network.exits.contains(&index).then_some(match hooks.contains(&Hook::Guard) {
            true => Exit::Guarded,
            false => Exit::Unguarded,
        });
        let (uncovered, detail) = hooks.is_empty().then(|| self.why_not(device)).unzip();
        InterfaceStatus {
            interface: device.interface.name.clone(),
            ifindex: Some(index),
            up: device.up,
            hooks,
            default_route: exit,
            uncovered,
            detail,
        }
    }

    fn hooks(&self, index: u32) -> Vec<Hook> {
        let covered = self.in_force.interfaces.iter().filter(|place| place.ifindex == index);
        covered.map(|place| place.hook).collect()
    }

    fn why_not(&self, device: &Device) -> (Uncovered, String) {
        let interface = &device.interface;
        let globs = || self.in_force.inside.iter().chain(&self.in_force.outside);
        let meant = globs().any(|glob| glob.matches(&interface.name));
        let literally = globs().any(|glob| glob.is_literal() && glob.0 == interface.name);
        if let Some(error) = self.failed.and_then(|failed| failed.get(&interface.name)) {
            return (Uncovered::Failed, error.clone());
        }
        if interface.name == "lo" && !literally {
            return (Uncovered::Loopback, "no packet comes in or leaves there".to_owned());
        }
        if interface.link.is_none() {
            let told = "its packets are neither Ethernet nor plain IP; what comes in there is ";
            return (Uncovered::UnsupportedLink, format!("{told}{}", self.fate()));
        }
        if meant && self.failed.is_none() {
            let told = "the policy means it, but no agent was there when it came";
            return (Uncovered::NoAgent, told.to_owned());
        }
        if meant {
            return (Uncovered::Failed, "the policy means it, and it is about to be covered".to_owned());
        }
        if let Some(controller) = device.controller {
            return (Uncovered::Port, self.port_of(controller));
        }
        (Uncovered::NotNamed, format!("the policy does not name it; what comes in there is {}", self.fate()))
    }

    fn port_of(&self, controller: u32) -> String {
        let name = self.network.named(controller).unwrap_or("?").escape_debug();
        match self.hooks(controller).first() {
            Some(hook) => format!("a port of {name}, where the {} is", hook.label()),
            None => format!("a port of {name}, which is not covered; what comes in there is {}", self.fate()),
        }
    }

    /// What becomes of packets to blocked ports that pass no door.
    fn fate(&self) -> &'static str {
        match self.in_force.interfaces.iter().any(|place| place.hook == Hook::Guard) {
            true => "stopped at the guard",
            false => "NOT stopped: there is no guard",
        }
    }
}

fn awaited(name: &str) -> InterfaceStatus {
    InterfaceStatus {
        interface: name.to_owned(),
        ifindex: None,
        up: false,
        hooks: Vec::new(),
        default_route: None,
        uncovered: Some(Uncovered::Awaited),
        detail: Some("the policy names it; it is covered when it appears".to_owned()),
    }
}
