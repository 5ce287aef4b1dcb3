//! What the detector goes by: limits for all and for groups, how hosts are told apart, and the providers.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{HostKey, Limits, Preset, Providers};

#[derive(Clone, Debug)]
pub struct Rules {
    pub host_key: HostKey,
    pub providers: Providers,
    /// Seconds that names of destinations are believed; none where they are not learnt.
    pub names: Option<u32>,
    limits: Limits,
    /// The narrowest first.
    groups: Vec<(IpNet, Limits)>,
}

impl Rules {
    pub fn new(limits: Limits, host_key: HostKey, providers: Providers) -> Self {
        Self { host_key, providers, names: None, limits, groups: Vec::new() }
    }

    /// The shipped presets and providers.
    pub fn of(preset: Preset) -> Self {
        Self::new(Limits::of(preset), HostKey::Auto, Providers::shipped())
    }

    /// Goes by the names of destinations as well, which are believed for so many seconds.
    pub fn with_names(mut self, keep: Option<u32>) -> Self {
        self.names = keep;
        self
    }

    /// Judges clients of these networks by limits of their own; of two networks around a client the narrower counts.
    pub fn with_groups(mut self, mut groups: Vec<(IpNet, Limits)>) -> Self {
        groups.sort_by_key(|(net, _)| (std::cmp::Reverse(net.prefix_len()), *net));
        self.groups = groups;
        self
    }

    pub fn limits(&self, client: IpAddr) -> &Limits {
        let group = self.groups.iter().find(|(net, _)| net.contains(&client));
        group.map_or(&self.limits, |(_, limits)| limits)
    }
}
