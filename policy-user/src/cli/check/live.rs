//! `smtpfence check --live`: whether the policy fits this machine as it is now. Changes nothing on it.

use std::fmt::{self, Display};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::summary::shown;
use crate::cli::block_on;
use crate::datapath::{self, DatapathError};
use crate::failure::Failure;
use crate::netlink::{Interface, Netlink};
use crate::policy::{Diagnostic, InterfaceGlob, Policy, Severity};

/// What the machine has of what a policy speaks of.
pub struct Machine {
    pub interfaces: Vec<Interface>,
    pub addresses: Vec<IpAddr>,
    /// Names of the interfaces that the default routes leave through.
    pub default_routes: Vec<String>,
    /// What keeps `run` from enforcing anything here, whatever the policy.
    pub obstacles: Vec<(&'static str, DatapathError)>,
}

/// A policy held against the machine.
pub struct Live {
    pub warnings: Vec<Diagnostic>,
    inside: Vec<Matches>,
    outside: Vec<Matches>,
}

/// A name or pattern of the policy, and the interfaces that it stands for now.
struct Matches {
    glob: String,
    interfaces: Vec<String>,
}

/// Looks at the machine.
pub fn look(bpffs: &Path) -> Result<Machine, Failure> {
    let (interfaces, addresses) = block_on(async {
        let (netlink, _changes) = Netlink::connect()?;
        Ok((netlink.interfaces().await?, netlink.addresses().await?))
    })?;
    let mut obstacles = Vec::new();
    if let Err(error) = datapath::check_machine() {
        let too_old = matches!(error, DatapathError::KernelTooOld { .. });
        obstacles.push((if too_old { "kernel-too-old" } else { "no-rights" }, error));
    }
    if !is_bpffs(bpffs) {
        obstacles.push(("no-bpffs", DatapathError::NoBpffs { path: bpffs.to_owned() }));
    }
    Ok(Machine { interfaces, addresses, default_routes: default_routes(), obstacles })
}

fn is_bpffs(path: &Path) -> bool {
    /// `BPF_FS_MAGIC` of linux/magic.h.
    const MAGIC: rustix::fs::FsWord = 0xcafe_4a11;
    rustix::fs::statfs(path).is_ok_and(|info| info.f_type == MAGIC)
}

/// From the main tables of both families. A machine without IPv6 lacks the second file.
fn default_routes() -> Vec<String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut names: Vec<String> = default_routes_v4(&read("/proc/net/route"));
    names.extend(default_routes_v6(&read("/proc/net/ipv6_route")));
    names.sort_unstable();
    names.dedup();
    names
}

/// Columns: interface, destination, gateway, flags, three numbers, mask.
fn default_routes_v4(table: &str) -> Vec<String> {
    let route = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let default = columns.get(1) == Some(&"00000000") && columns.get(7) == Some(&"00000000");
        columns.first().filter(|_| default).map(|name| (*name).to_owned())
    };
    table.lines().skip(1).filter_map(route).collect()
}

/// Columns: destination, its length, source, its length, next hop, metric, two numbers, flags, interface. Every machine
/// has default routes through `lo`: they are those that refuse.
fn default_routes_v6(table: &str) -> Vec<String> {
    let route = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let zero = columns.first().is_some_and(|to| to.bytes().all(|digit| digit == b'0'));
        let default = zero && columns.get(1) == Some(&"00");
        columns.get(9).filter(|name| default && **name != "lo").map(|name| (*name).to_owned())
    };
    table.lines().filter_map(route).collect()
}

/// Holds the policy against the machine.
pub fn judge(policy: &Policy, machine: &Machine) -> Live {
    let mut warnings = Vec::new();
    for (code, error) in &machine.obstacles {
        let sentence = error.to_string();
        let (message, help) = sentence.rsplit_once("; ").unwrap_or((&sentence, "see the message"));
        warnings.push(warning(code, message, help));
    }
    let inside_globs: Vec<&InterfaceGlob> = policy.inside.iter().map(|entry| &entry.glob).collect();
    let outside_globs: Vec<&InterfaceGlob> = policy.outside.iter().collect();
    let inside = matches("inside", &inside_globs, machine, &mut warnings);
    let outside = matches("outside", &outside_globs, machine, &mut warnings);
    judge_mail_servers(policy, machine, &mut warnings);
    judge_addresses(policy, machine, &mut warnings);
    judge_default_routes(&inside, &outside, machine, &mut warnings);
    Live { warnings, inside, outside }
}

fn warning(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code,
        message: message.into(),
        help: help.into(),
        place: None,
        related: None,
    }
}

/// Of several that match an interface the first counts.
fn matches(
    side: &str,
    globs: &[&InterfaceGlob],
    machine: &Machine,
    warnings: &mut Vec<Diagnostic>,
) -> Vec<Matches> {
    let mut all = Vec::new();
    for (index, glob) in globs.iter().enumerate() {
        let name = glob.0.escape_debug();
        let matching: Vec<&Interface> = machine.interfaces.iter().filter(|it| means(glob, it)).collect();
        if matching.is_empty() && glob.is_literal() {
            let help = "see `ip link`; `run` refuses to start without it, but waits for what a pattern such as \"lan*\" names";
            warnings.push(warning("interface-missing", format!("there is no {side} interface {name}"), help));
        } else if matching.is_empty() {
            let message = format!("no interface matches the {side} pattern {name}");
            let help = "see `ip link`; an interface that appears later is covered then";
            warnings.push(warning("pattern-without-interface", message, help));
        }
        for interface in matching.iter().filter(|interface| interface.link.is_none()) {
            let name = interface.name.escape_debug();
            let message = format!("{name} carries neither Ethernet nor plain IP: it can't be guarded");
            warnings.push(warning("unsupported-interface", message, "cover another interface"));
        }
        let counts = |it: &&&Interface| !globs[..index].iter().any(|before| means(before, it));
        let interfaces =
            matching.iter().filter(counts).map(|it| it.name.escape_debug().to_string()).collect();
        all.push(Matches { glob: name.to_string(), interfaces });
    }
    all
}

/// As the agent sees it: a pattern that happens to match the loopback device, or one that carries no IP, does not mean it.
fn means(glob: &InterfaceGlob, interface: &Interface) -> bool {
    let possible = interface.name != "lo" && interface.link.is_some();
    glob.matches(&interface.name) && (glob.is_literal() || possible)
}

fn judge_mail_servers(policy: &Policy, machine: &Machine, warnings: &mut Vec<Diagnostic>) {
    for server in &policy.mail_servers {
        if let Some(bound) = &server.interface
            && !machine.interfaces.iter().any(|interface| interface.name == *bound)
        {
            let message = format!(
                "mail server {} may send only through {}, which doesn't exist",
                server.name,
                bound.escape_debug()
            );
            warnings.push(warning("interface-missing", message, "see `ip link`; correct its `interface`"));
        }
        for own in server.addresses.iter().filter(|address| machine.addresses.contains(address)) {
            let message = format!("{own} of mail server {} is an address of this gateway", server.name);
            let help = "mail of the gateway itself is governed by `gateway_mail`; write the mail server's own address";
            warnings.push(warning("mail-server-is-gateway", message, help));
        }
    }
}

/// A gateway has an address in at least one of its clients' networks: it is their next hop.
fn judge_addresses(policy: &Policy, machine: &Machine, warnings: &mut Vec<Diagnostic>) {
    let client = |address: &IpAddr| policy.clients.iter().any(|net: &IpNet| net.contains(address));
    if !machine.addresses.iter().any(client) {
        let message = "none of this gateway's own addresses is in the clients' networks";
        let help =
            "check `networks.clients` against `ip address`; hosts in no client network are denied as unknown";
        warnings.push(warning("gateway-outside-clients", message, help));
    }
}

fn judge_default_routes(
    inside: &[Matches],
    outside: &[Matches],
    machine: &Machine,
    warnings: &mut Vec<Diagnostic>,
) {
    let holds = |side: &[Matches], name: &String| side.iter().any(|it| it.interfaces.contains(name));
    for name in machine.default_routes.iter().map(|name| name.escape_debug().to_string()) {
        if holds(inside, &name) {
            let message = format!("a default route leaves through {name}, which is an inside interface");
            let help = "check that `inside` and `outside` aren't exchanged";
            warnings.push(warning("default-route-inside", message, help));
        } else if !holds(outside, &name) {
            let message =
                format!("a default route leaves through {name}, which is neither inside nor outside");
            let help = format!("add it to `interfaces.outside`, so that the guard is there: [{name}]");
            warnings.push(warning("default-route-unguarded", message, help));
        }
    }
}

impl Live {
    /// The interfaces that the policy's inside entries stand for now, escaped.
    pub fn inside_names(&self) -> Vec<String> {
        self.inside.iter().flat_map(|it| it.interfaces.clone()).collect()
    }

    /// The same for the outside ones.
    pub fn outside_names(&self) -> Vec<String> {
        self.outside.iter().flat_map(|it| it.interfaces.clone()).collect()
    }

    pub fn to_json(&self) -> Value {
        let side = |side: &[Matches]| {
            side.iter()
                .map(|it| json!({ "match": it.glob, "interfaces": it.interfaces }))
                .collect::<Vec<Value>>()
        };
        json!({ "inside": side(&self.inside), "outside": side(&self.outside) })
    }
}

/// Which interfaces the patterns stand for, for people.
impl Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  on this machine")?;
        for (side, all) in [("inside", &self.inside), ("outside", &self.outside)] {
            for Matches { glob, interfaces } in all {
                writeln!(f, "    {side:<8}{glob}: {}", shown(interfaces, String::clone))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        let text = format!(
            "version: 1\nname: live\nmode: enforce\nnetworks: {{ clients: [10.25.0.0/24] }}\n{text}end: true\n"
        );
        let read = crate::policy::parse(&text, jiff::Timestamp::UNIX_EPOCH, &jiff::tz::TimeZone::UTC);
        read.unwrap_or_else(|errors| panic!("{}", errors[0])).0
    }

    fn machine() -> Machine {
        let link = Some(policy_common::LinkType::Ethernet);
        let names = ["lo", "lan0", "vlan10", "vlan20", "wan0"];
        let interface = |(name, index): (&&str, u32)| Interface { name: (*name).to_owned(), index, link };
        Machine {
            interfaces: names.iter().zip(1..).map(interface).collect(),
            addresses: vec!["127.0.0.1".parse().unwrap(), "10.25.0.1".parse().unwrap()],
            default_routes: vec!["wan0".to_owned()],
            obstacles: Vec::new(),
        }
    }

    fn codes(policy: &Policy, machine: &Machine) -> Vec<&'static str> {
        judge(policy, machine).warnings.iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn a_policy_that_fits_has_no_warning_and_shows_what_its_patterns_mean() {
        let fits = policy("interfaces: { inside: [vlan10, \"*lan*\"], outside: [wan0] }\n");
        let live = judge(&fits, &machine());
        assert!(live.warnings.is_empty(), "{:?}", live.warnings);
        assert_eq!(
            live.to_string(),
            "  on this machine\n    inside  vlan10: vlan10\n    inside  *lan*: lan0, vlan20\n    outside wan0: wan0\n"
        );
    }

    #[test]
    fn what_the_machine_lacks_is_named() {
        let other = policy(
            "interfaces: { inside: [lan1, \"guest*\", vlan30], outside: [wan1] }\n\
             mail_servers: [{ name: mx1, address: 10.25.0.1, interface: vlan30 }]\n",
        );
        assert_eq!(
            codes(&other, &machine()),
            [
                "interface-missing",
                "pattern-without-interface",
                "interface-missing",
                "interface-missing",
                "interface-missing",
                "mail-server-is-gateway",
                "default-route-unguarded",
            ]
        );
    }

    #[test]
    fn sides_that_are_exchanged_are_noticed() {
        let exchanged = policy("interfaces: { inside: [wan0], outside: [lan0] }\n");
        assert_eq!(codes(&exchanged, &machine()), ["default-route-inside"]);
        let moved = Machine { addresses: vec!["10.26.0.1".parse().unwrap()], ..machine() };
        assert_eq!(codes(&exchanged, &moved), ["gateway-outside-clients", "default-route-inside"]);
    }

    #[test]
    fn obstacles_keep_their_advice() {
        let rights = Machine { obstacles: vec![("no-rights", DatapathError::NoRights)], ..machine() };
        let live = judge(&policy("interfaces: { inside: [lan0], outside: [wan0] }\n"), &rights);
        assert_eq!(live.warnings[0].help, "start smtpfence as root");
    }

    #[test]
    fn default_routes_are_read_from_the_kernels_tables() {
        let v4 = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                  ppp0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n\
                  tun0 00000000 00000000 0001 0 0 0 00000080 0 0 0\n\
                  eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        assert_eq!(default_routes_v4(v4), ["ppp0"]);
        let zero = "0".repeat(32);
        let route = |to: &str, length: &str, name: &str| {
            format!("{to} {length} {zero} 00 {zero} 00000400 00000002 00000000 00000003 {name}\n")
        };
        let v6 = route(&zero, "00", "eth0") + &route(&zero, "00", "lo") + &route(&zero, "40", "eth1");
        assert_eq!(default_routes_v6(&v6), ["eth0"]);
    }
}
