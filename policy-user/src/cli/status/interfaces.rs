//! The part of `status` about interfaces: those with our programs, and why the others have none.

use std::io::{self, Write};

use serde_json::Value;

use crate::cli::text;
use crate::coverage::{Network, survey};
use crate::failure::Failure;
use crate::netlink::Netlink;
use crate::status::Status;

/// A machine full of containers has hundreds that nobody wants to read of.
const SHOWN: usize = 20;

/// Looks at the machine, where no agent does.
pub fn look(status: &mut Status) -> Result<(), Failure> {
    let Some(in_force) = &status.in_force else { return Ok(()) };
    let network = crate::cli::block_on(async {
        let (netlink, _changes) = Netlink::connect()?;
        Ok(Network::look(&netlink).await?)
    })?;
    status.interfaces = survey(in_force, &network, None);
    Ok(())
}

pub fn print(out: &mut impl Write, status: &Value) -> io::Result<()> {
    let coverage = status["coverage"].as_array().map(Vec::as_slice).unwrap_or_default();
    let all = status["interfaces"].as_array().map(Vec::as_slice).unwrap_or_default();
    if coverage.is_empty() {
        writeln!(out, "interfaces  NONE is covered")?;
    }
    let mut label = if coverage.is_empty() { "" } else { "interfaces" };
    for place in coverage {
        let told = match place["position"].as_str() {
            Some("first") => "covered",
            Some("behind") => "NOT SAFE: another program stands in front of ours and can let packets out",
            Some("missing") => "NOT COVERED: our program is not on it",
            _ => "covered, as far as can be told without more rights",
        };
        let of = all.iter().find(|it| it["ifindex"] == place["ifindex"]).unwrap_or(&Value::Null);
        let down = if of["up"] == false { " (down)" } else { "" };
        let hook = text(&place["hook"]);
        writeln!(
            out,
            "{label:<10}  {:<15} {hook:<5} {told}{down}{}",
            text(&place["interface"]),
            exit(of, status)
        )?;
        label = "";
    }
    let uncovered: Vec<&Value> = all.iter().filter(|it| !it["uncovered"].is_null()).collect();
    for interface in uncovered.iter().take(SHOWN) {
        let told = if interface["uncovered"] == "failed" { "NOT COVERED" } else { "not covered" };
        let why = text(&interface["detail"]);
        let name = text(&interface["interface"]);
        writeln!(out, "{:<10}  {name:<15} {:<5} {told}: {why}{}", "", "-", exit(interface, status))?;
    }
    if uncovered.len() > SHOWN {
        let more = uncovered.len() - SHOWN;
        writeln!(out, "{:<10}  {more} more are not covered; --format json lists them all", "")?;
    }
    Ok(())
}

/// XDP in front of doors, where the policy asks for it.
pub fn print_early(out: &mut impl Write, status: &Value) -> io::Result<()> {
    for place in status["in_force"]["early"].as_array().into_iter().flatten() {
        let told = match place["refused"].as_str() {
            None => "XDP in front of the door".to_owned(),
            Some(why) => format!("no XDP in front of the door: {why}"),
        };
        writeln!(out, "{:<10}  {:<15} {:<5} {told}", "", text(&place["interface"]), "early")?;
    }
    Ok(())
}

/// What is said of a default route without a guard; nothing where the policy wants no guard at all.
fn exit(interface: &Value, status: &Value) -> &'static str {
    let wanted = status["in_force"]["outside"].as_array().is_some_and(|globs| !globs.is_empty());
    if wanted && interface["default_route"] == "unguarded" {
        "; NOT GUARDED, and a default route leaves here: add it to `interfaces.outside`"
    } else {
        ""
    }
}
