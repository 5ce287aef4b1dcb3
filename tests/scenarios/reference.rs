//! A second opinion on the policy: the decision order of the design written down straight from the model, list by list,
//! without tables or prefix look-ups. Slow and plain on purpose.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use policy_common::Reason;
use policy_user::policy::{Exception, MailServer, Policy, Scope, Treatment};

use super::Via;
use super::arbitrary::Probe;

/// What the kernel keeps beside the policy.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub gateway: Vec<IpAddr>,
    pub quarantine: HashMap<IpAddr, Confined>,
    pub now: Timestamp,
}

/// A client's quarantine.
#[derive(Clone, Copy, Debug)]
pub struct Confined {
    pub until: Timestamp,
    pub scope: Scope,
    /// The machine that it is for.
    pub mac: Option<[u8; 6]>,
}

/// The reason, and the names of the entries that may be told as the deciding rule.
pub fn judge(policy: &Policy, around: &Surroundings, probe: &Probe) -> (Reason, Vec<usize>) {
    let Probe { from, to, .. } = probe;
    let server = policy.mail_servers.iter().enumerate().find(|(_, server)| server.addresses.contains(from));
    let confined = around.quarantine.get(from).filter(|it| {
        server.is_none() && around.now < it.until && (it.mac.is_none() || it.mac == probe.src_mac())
    });
    if !policy.blocked_ports.contains(&probe.port) {
        let stopped = confined.is_some_and(|it| reaches(policy, around, it.scope, probe));
        return (if stopped { Reason::Quarantined } else { Reason::OtherTraffic }, Vec::new());
    }
    if covers(&policy.internal, to) {
        return (Reason::InternalDestination, Vec::new());
    }
    if around.gateway.contains(to) {
        return (Reason::GatewayAddress, Vec::new());
    }
    if confined.is_some() {
        return (Reason::Quarantined, Vec::new());
    }
    if let Some((index, server)) = server {
        return (as_mail_server(server, probe), vec![index + 1]);
    }
    let live = |(_, exception): &(usize, &Exception)| {
        around.now < exception.until && covers(&exception.from, from) && covers(&exception.to, to)
    };
    // Rules count on behind the mail servers.
    let first = policy.mail_servers.len() + 1;
    let permits: Vec<usize> =
        policy.exceptions.iter().enumerate().filter(live).map(|(index, _)| first + index).collect();
    if !permits.is_empty() {
        return (Reason::Exception, permits);
    }
    if covers(&policy.clients, from) {
        (Reason::NotAMailServer, Vec::new())
    } else {
        (Reason::UnknownSource, Vec::new())
    }
}

/// Whether a quarantine stops what is not to a blocked port.
fn reaches(policy: &Policy, around: &Surroundings, scope: Scope, probe: &Probe) -> bool {
    let open = covers(&policy.internal, &probe.to)
        || around.gateway.contains(&probe.to)
        || covers(&policy.quarantine.except, &probe.to)
        || policy.quarantine.except_ports.contains(&probe.port);
    !open && (scope == Scope::All || policy.submission_ports.contains(&probe.port))
}

fn as_mail_server(server: &MailServer, probe: &Probe) -> Reason {
    let interface = match probe.via {
        Via::Lan => "lan0",
        Via::Guest => "guest0",
    };
    if server.interface.as_deref().is_some_and(|bound| bound != interface) {
        return Reason::SpoofedMailServer;
    }
    if server.mac.is_some() && server.mac != probe.src_mac() {
        return Reason::SpoofedMailServer;
    }
    match &server.to {
        Some(to) if !covers(to, &probe.to) => Reason::DestinationNotAllowed,
        _ => Reason::MailServer,
    }
}

/// The treatment of a client's group: the one with the narrowest network around it.
pub fn group_treatment(policy: &Policy, client: &IpAddr) -> Option<Treatment> {
    let networks = policy.groups.iter().flat_map(|group| group.clients.iter().map(move |net| (net, group)));
    networks
        .filter(|(net, _)| net.contains(client))
        .max_by_key(|(net, _)| net.prefix_len())
        .map(|(_, group)| group.treatment)
}

fn covers(networks: &[IpNet], address: &IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}
