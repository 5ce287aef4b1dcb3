//! From a valid policy to the tables of one generation, in the kernel's own types.

use std::collections::BTreeMap;

use ipnet::IpNet;
use policy_common::Addr;
use policy_common::abi::{self, MAX_BLOCKED_PORTS, MAX_SPARED_PORTS, MAX_SUBMISSION_PORTS, Net, Permit};

use super::model::{Datapath, Exception, Mode, OnBlock, Policy, Revision, Treatment};

/// Everything the kernel programs of one generation read.
#[derive(Clone, Debug)]
pub struct Tables {
    pub revision: Revision,
    /// How denied packets are treated: the default, then one entry for each of the policy's inside interface entries, then
    /// one for each of its groups.
    pub settings: Vec<abi::Settings>,
    /// Whether processes of the gateway itself may use blocked ports.
    pub gateway_mail: bool,
    /// Host order; unused slots are 0.
    pub blocked_ports: [u16; MAX_BLOCKED_PORTS],
    pub submission_ports: [u16; MAX_SUBMISSION_PORTS],
    /// Ports that stay open in quarantine.
    pub spared_ports: [u16; MAX_SPARED_PORTS],
    /// Each prefix with what all prefixes around it say.
    pub nets: Vec<Prefix<Net>>,
    /// Permitted destinations by scope number, which is never 0.
    pub permits: Vec<(u32, Prefix<Permit>)>,
    pub mail_servers: Vec<abi::MailServer>,
    /// Whether any inside interface is to have XDP in front of its door.
    pub early: bool,
    /// Policy entries by rule number, which counts from 1.
    pub rules: Vec<Rule>,
}

/// A value for all addresses that share the first `len` bits of `addr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix<V> {
    pub addr: Addr,
    pub len: u8,
    pub value: V,
}

impl<V> Prefix<V> {
    /// Whether it is one address and no network.
    pub const fn is_single(&self) -> bool {
        self.len == self.addr.bits()
    }
}

/// A policy entry that can decide about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub name: String,
    /// Line of the entry in the policy file, from 1.
    pub line: usize,
}

/// One instant on both clocks: the kernel compares with the one that no clock step changes.
#[derive(Clone, Copy, Debug)]
pub struct Instant {
    pub wall: jiff::Timestamp,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub boot: u64,
}

/// A valid policy that can't be laid out on this machine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CompileError {
    #[error(
        "mail server {server:?} ({place}) is bound to interface {interface:?}, which does not exist; \
         `ip link` lists the interfaces"
    )]
    NoSuchInterface { server: String, place: String, interface: String },
}

/// Lays out `policy`; `ifindex` finds an interface's index by its name.
pub fn compile(
    policy: &Policy,
    revision: Revision,
    now: Instant,
    ifindex: impl Fn(&str) -> Option<u32>,
) -> Result<Tables, CompileError> {
    let mut layout = Layout::default();
    layout.mail_servers(policy, &ifindex)?;
    layout.exceptions(&policy.exceptions, now);
    for net in &policy.clients {
        layout.claim(*net, Claim { client: true, ..Claim::default() });
    }
    for net in &policy.internal {
        layout.claim(*net, Claim { internal: true, ..Claim::default() });
    }
    for net in &policy.quarantine.except {
        layout.claim(*net, Claim { spared: true, ..Claim::default() });
    }
    for (index, group) in policy.groups.iter().enumerate() {
        // Entries are capped far below 65,536 groups by the loader; an index that does not fit would be the default.
        let settings = u16::try_from(inside_settings(policy.inside.len()) + index).unwrap_or(0);
        for net in &group.clients {
            layout.claim(*net, Claim { group: Some(settings), ..Claim::default() });
        }
    }
    let nets = layout.nets();
    Ok(Tables {
        revision,
        settings: settings(policy),
        gateway_mail: policy.gateway_mail,
        blocked_ports: in_slots(&policy.blocked_ports),
        submission_ports: in_slots(&policy.submission_ports),
        spared_ports: in_slots(&policy.quarantine.except_ports),
        nets,
        permits: layout.permits,
        mail_servers: layout.mail_servers,
        early: policy.inside.iter().any(|entry| entry.datapath != Datapath::Tc),
        rules: layout.rules,
    })
}

/// Ports in the slots that a generation has for them, which validation keeps to.
fn in_slots<const N: usize>(ports: &[u16]) -> [u16; N] {
    let mut slots = [0; N];
    slots.iter_mut().zip(ports).for_each(|(slot, port)| *slot = *port);
    slots
}

/// What the policy says about the addresses of one prefix itself, before its surroundings are merged in.
#[derive(Clone, Debug, Default)]
struct Claim {
    client: bool,
    internal: bool,
    /// Reachable from quarantine.
    spared: bool,
    /// Index of a group's settings.
    group: Option<u16>,
    mail_server: Option<u32>,
    /// Indices into the policy's exceptions.
    exceptions: Vec<u32>,
}

/// An exception as the permits need it: its rule number, its end on the kernel's clock, its destinations.
struct Exemption {
    rule: u32,
    until: u64,
    to: Vec<IpNet>,
}

#[derive(Default)]
struct Layout {
    claims: BTreeMap<(Addr, u8), Claim>,
    exemptions: Vec<Exemption>,
    /// Scope number of each set of exceptions that applies to some source.
    exception_scopes: BTreeMap<Vec<u32>, u32>,
    scopes: u32,
    permits: Vec<(u32, Prefix<Permit>)>,
    mail_servers: Vec<abi::MailServer>,
    rules: Vec<Rule>,
}

impl Layout {
    fn mail_servers(
        &mut self,
        policy: &Policy,
        ifindex: &impl Fn(&str) -> Option<u32>,
    ) -> Result<(), CompileError> {
        for (index, server) in (0..).zip(&policy.mail_servers) {
            let rule = self.rule(&server.name, server.line);
            let interface = match &server.interface {
                None => None,
                Some(name) => Some(ifindex(name).ok_or_else(|| CompileError::NoSuchInterface {
                    server: server.name.clone(),
                    place: match &server.file {
                        Some(file) => format!("{file}:{}", server.line),
                        None => format!("line {}", server.line),
                    },
                    interface: name.clone(),
                })?),
            };
            let scope = match &server.to {
                None => 0,
                Some(to) => self.scope(to.iter().map(|net| (*net, Permit::new(rule, Permit::FOREVER)))),
            };
            self.mail_servers.push(abi::MailServer::new(rule, scope, server.mac, interface));
            for address in &server.addresses {
                self.claim(IpNet::from(*address), Claim { mail_server: Some(index), ..Claim::default() });
            }
        }
        Ok(())
    }

    fn exceptions(&mut self, exceptions: &[Exception], now: Instant) {
        for (index, exception) in (0..).zip(exceptions) {
            let rule = self.rule(&exception.name, exception.line);
            let until = boot_time_of(exception.until, now);
            self.exemptions.push(Exemption { rule, until, to: exception.to.clone() });
            for net in &exception.from {
                self.claim(*net, Claim { exceptions: vec![index], ..Claim::default() });
            }
        }
    }

    fn claim(&mut self, net: IpNet, claim: Claim) {
        let net = net.trunc();
        let entry = self.claims.entry((net.addr().into(), net.prefix_len())).or_default();
        entry.client |= claim.client;
        entry.internal |= claim.internal;
        entry.spared |= claim.spared;
        entry.group = claim.group.or(entry.group);
        entry.mail_server = claim.mail_server.or(entry.mail_server);
        entry.exceptions.extend(claim.exceptions);
    }

    /// Merges into each prefix what all prefixes around it say.
    fn nets(&mut self) -> Vec<Prefix<Net>> {
        let claims = std::mem::take(&mut self.claims);
        nested(claims, |outer: Option<&Claim>, mut claim| {
            if let Some(outer) = outer {
                claim.client |= outer.client;
                claim.internal |= outer.internal;
                claim.spared |= outer.spared;
                claim.group = claim.group.or(outer.group);
                claim.mail_server = claim.mail_server.or(outer.mail_server);
                claim.exceptions.extend(&outer.exceptions);
            }
            claim.exceptions.sort_unstable();
            claim.exceptions.dedup();
            claim
        })
        .into_iter()
        .map(|Prefix { addr, len, value }| Prefix { addr, len, value: self.net(&value) })
        .collect()
    }

    fn net(&mut self, claim: &Claim) -> Net {
        let mut net = Net::default().with_exceptions(self.exception_scope(&claim.exceptions));
        if claim.client {
            net = net.with_client();
        }
        if claim.internal {
            net = net.with_internal();
        }
        if claim.spared {
            net = net.with_spared();
        }
        if let Some(settings) = claim.group {
            net = net.with_group(settings);
        }
        match claim.mail_server {
            Some(index) => net.with_mail_server(index),
            None => net,
        }
    }

    fn exception_scope(&mut self, exceptions: &[u32]) -> u32 {
        if exceptions.is_empty() {
            return 0;
        }
        if let Some(scope) = self.exception_scopes.get(exceptions) {
            return *scope;
        }
        let permits: Vec<_> = exceptions
            .iter()
            .map(|index| &self.exemptions[*index as usize])
            .flat_map(|e| e.to.iter().map(|net| (*net, Permit::new(e.rule, e.until))))
            .collect();
        let scope = self.scope(permits.into_iter());
        self.exception_scopes.insert(exceptions.to_vec(), scope);
        scope
    }

    /// Adds a scope of these destinations. The longest prefix answers for all around it, so each carries the permit that
    /// lasts longest among them.
    fn scope(&mut self, permits: impl Iterator<Item = (IpNet, Permit)>) -> u32 {
        let longer = |a: Permit, b: Permit| if b.until() > a.until() { b } else { a };
        let mut prefixes = BTreeMap::new();
        for (net, permit) in permits {
            let net = net.trunc();
            prefixes
                .entry((Addr::from(net.addr()), net.prefix_len()))
                .and_modify(|known| *known = longer(*known, permit))
                .or_insert(permit);
        }
        self.scopes += 1;
        let scope = self.scopes;
        let merged = nested(prefixes, |outer: Option<&Permit>, own| outer.map_or(own, |o| longer(own, *o)));
        self.permits.extend(merged.into_iter().map(|prefix| (scope, prefix)));
        scope
    }

    fn rule(&mut self, name: &str, line: usize) -> u32 {
        self.rules.push(Rule { name: name.to_owned(), line });
        // Files are capped at 16 MiB, so there are far fewer than 2^32 entries.
        u32::try_from(self.rules.len()).unwrap_or(u32::MAX)
    }
}

/// Walks prefixes from outer to inner and merges each with the already merged one right around it.
///
/// The order of the map (address, then length) puts every prefix directly behind those that contain it.
fn nested<V>(prefixes: BTreeMap<(Addr, u8), V>, merge: impl Fn(Option<&V>, V) -> V) -> Vec<Prefix<V>> {
    let mut merged: Vec<Prefix<V>> = Vec::with_capacity(prefixes.len());
    let mut around: Vec<usize> = Vec::new();
    for ((addr, len), own) in prefixes {
        while let Some(outer) = around.last().map(|i| &merged[*i])
            && addr.masked(outer.len) != outer.addr
        {
            around.pop();
        }
        let value = merge(around.last().map(|i| &merged[*i].value), own);
        around.push(merged.len());
        merged.push(Prefix { addr, len, value });
    }
    merged
}

/// Index of the settings of the policy's inside interface entry number `entry`.
pub fn inside_settings(entry: usize) -> usize {
    1 + entry
}

fn settings(policy: &Policy) -> Vec<abi::Settings> {
    let default = Treatment { mode: Some(policy.mode), on_block: Some(policy.on_block) };
    let inside = policy.inside.iter().map(|entry| entry.treatment);
    let groups = policy.groups.iter().map(|group| group.treatment);
    [default].into_iter().chain(inside).chain(groups).map(in_kernel_terms).collect()
}

fn in_kernel_terms(treatment: Treatment) -> abi::Settings {
    let mode = treatment.mode.map(|mode| match mode {
        Mode::Enforce => abi::mode::ENFORCE,
        Mode::Audit => abi::mode::AUDIT,
    });
    let action = treatment.on_block.map(|action| match action {
        OnBlock::Drop => abi::action::DROP,
        OnBlock::Reject => abi::action::REJECT,
    });
    abi::Settings::new(mode, action)
}

/// The instant `until` on the kernel's clock; 0 where it lies before the machine's start.
pub fn boot_time_of(until: jiff::Timestamp, now: Instant) -> u64 {
    let boot = i128::from(now.boot) + (until.as_nanosecond() - now.wall.as_nanosecond());
    u64::try_from(boot.max(0)).unwrap_or(Permit::FOREVER)
}
