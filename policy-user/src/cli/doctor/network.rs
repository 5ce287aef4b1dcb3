//! The network as the policy means it: interfaces, forwarding, and what carries packets past our hooks.

use std::fs;
use std::path::Path;
use std::process::Command;

use policy_common::LinkType;

use super::finding::{Finding, Level};
use crate::agent::present;
use crate::cli::block_on;
use crate::cli::check::live::{self, Machine};
use crate::datapath::EarlyDoor;
use crate::netlink::Netlink;
use crate::policy::Policy;

pub fn examine(policy: &Policy, bpffs: &Path) -> Vec<Finding> {
    let machine = match live::look(bpffs) {
        // What keeps us from enforcing has been told already.
        Ok(machine) => Machine { obstacles: Vec::new(), ..machine },
        Err(error) => return vec![Finding::worded("interfaces", Level::Warn, &error.to_string())],
    };
    let live = live::judge(policy, &machine);
    let (inside, outside) = (live.inside_names(), live.outside_names());
    let mut findings: Vec<Finding> =
        live.warnings.iter().map(|it| Finding::warn("interfaces", &*it.message, &*it.help)).collect();
    if findings.is_empty() {
        let told = format!("inside {}; outside {}", inside.join(", "), outside.join(", "));
        findings.push(Finding::ok("interfaces", told));
    }
    findings.extend(early_doors(policy));
    findings.extend(forwarding());
    findings.push(reverse_path(policy, &inside));
    let covered: Vec<String> = inside.into_iter().chain(outside).collect();
    findings.push(flowtables(&covered, run("nft", &["list", "flowtables"])));
    findings.extend(offload(&covered));
    findings
}

/// Whether XDP in front of doors would spare work; nothing where no inside interface is a network card.
fn early_doors(policy: &Policy) -> Option<Finding> {
    let look = async {
        let (netlink, _changes) = Netlink::connect()?;
        Ok((netlink.interfaces().await?, netlink.against_xdp().await?))
    };
    let (all, against) = block_on(look).ok()?;
    let inside = present(policy, &all).0.into_iter();
    let cards = inside.filter(|place| {
        place.early == EarlyDoor::Unasked && place.interface.link == Some(LinkType::Ethernet)
    });
    let cards = cards.filter(|place| !against.contains_key(&place.interface.index));
    let names: Vec<String> = cards.map(|place| place.interface.name.escape_debug().to_string()).collect();
    let told = "may drop in front of the network stack, if the driver has XDP: `datapath: xdp` tries it, `status` tells";
    (!names.is_empty()).then(|| Finding::ok("xdp", format!("{} {told}", names.join(", "))))
}

fn forwarding() -> Option<Finding> {
    let setting = |path| fs::read_to_string(path).is_ok_and(|text| text.trim() != "0");
    if setting("/proc/sys/net/ipv4/ip_forward") || setting("/proc/sys/net/ipv6/conf/all/forwarding") {
        return None;
    }
    let found = "this machine forwards nothing, so clients can't go through it";
    Some(Finding::warn("forwarding", found, "sysctl net.ipv4.ip_forward=1, if it is to be their gateway"))
}

/// Without a binding a mail server is known by its address alone, which a client behind another interface can write into
/// its packets unless the kernel compares it with the routes.
fn reverse_path(policy: &Policy, inside: &[String]) -> Finding {
    let unbound = policy
        .mail_servers
        .iter()
        .filter(|server| server.mac.is_none() && server.interface.is_none())
        .count();
    let strict = |name: &str| {
        let value = |of: &str| -> u8 {
            let text =
                fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{of}/rp_filter")).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        };
        value("all").max(value(name)) == 1
    };
    let loose: Vec<&str> = inside.iter().map(String::as_str).filter(|name| !strict(name)).collect();
    if unbound == 0 || loose.is_empty() {
        return Finding::ok("rp-filter", "nobody can send as a mail server from another interface");
    }
    Finding::warn(
        "rp-filter",
        format!(
            "{unbound} mail servers are known by address alone, and {} take packets with any source address",
            loose.join(", ")
        ),
        format!(
            "add `mac:` or `interface:` to the mail servers, or sysctl net.ipv4.conf.{}.rp_filter=1",
            loose[0]
        ),
    )
}

/// What a program prints; none where it is missing or refuses.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A flowtable in software hands packets on behind the door and before the guard; one in hardware is seen by neither.
fn flowtables(covered: &[String], listed: Option<String>) -> Finding {
    let Some(listed) = listed else {
        let found = "not examined: nft is missing or may not list them";
        return Finding::warn(
            "flowtables",
            found,
            "run this as root, with nftables installed, if there may be any",
        );
    };
    let mut offloaded = Vec::new();
    for table in listed.split("flowtable ").skip(1) {
        let name = table.split_whitespace().next().unwrap_or("?");
        let words: Vec<&str> = table.split(|c: char| c.is_whitespace() || ",;{}\"".contains(c)).collect();
        let ours = covered.iter().any(|interface| words.contains(&interface.as_str()));
        if ours && table.lines().any(|line| line.trim().starts_with("flags") && line.contains("offload")) {
            offloaded.push(name.escape_debug().to_string());
        }
    }
    if offloaded.is_empty() {
        return Finding::ok("flowtables", "none in hardware");
    }
    Finding::fail(
        "flowtables",
        format!(
            "{} forward in hardware, past our hooks: sessions there are judged no more",
            offloaded.join(", ")
        ),
        "take `flags offload` out of the flowtable, or our interfaces out of its devices",
    )
}

fn offload(covered: &[String]) -> Option<Finding> {
    let on = |name: &&String| {
        let features = run("ethtool", &["-k", name])?;
        Some(features.lines().any(|line| line.trim_start().starts_with("hw-tc-offload: on")))
    };
    let known: Vec<(&String, Option<bool>)> = covered.iter().map(|name| (name, on(&name))).collect();
    if known.iter().all(|(_, on)| on.is_none()) {
        let found = "not examined: ethtool is missing";
        return Some(Finding::warn(
            "offload",
            found,
            "apt install ethtool, if a network card may forward by itself",
        ));
    }
    let names: Vec<&str> =
        known.iter().filter(|(_, on)| *on == Some(true)).map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        return Some(Finding::ok("offload", "no network card forwards by itself"));
    }
    Some(Finding::warn(
        "offload",
        format!("{} may carry out tc rules in hardware, where our hooks see nothing", names.join(", ")),
        format!("ethtool -K {} hw-tc-offload off, unless you know the rules", names[0]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flowtables_in_hardware_on_our_interfaces_fail() {
        let listed = |flags: &str, devices: &str| {
            Some(format!(
                "table inet gw {{\n\tflowtable fast {{\n\t\thook ingress priority filter\n\t\tdevices = {{ {devices} }}{flags}\n\t}}\n}}\n"
            ))
        };
        let covered = ["lan0".to_owned(), "wan0".to_owned()];
        let level = |listed| flowtables(&covered, listed).level;
        let hardware = "\n\t\tflags offload";
        assert_eq!(level(listed(hardware, "lan0, wan0")), Level::Fail);
        assert_eq!(level(listed(hardware, "lan0x, \"other\"")), Level::Ok);
        assert_eq!(level(listed("", "lan0, wan0")), Level::Ok);
        assert_eq!(level(Some(String::new())), Level::Ok);
        assert_eq!(level(None), Level::Warn);
    }
}
