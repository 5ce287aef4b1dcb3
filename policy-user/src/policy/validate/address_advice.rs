//! What somebody meant who wrote a text that is no IP address.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::diagnostics::quoted;
use super::address_text::Refusal;

/// Judges a text that doesn't parse; `rest` is what followed it (`/24` or nothing), for the advice.
pub fn advise(text: &str, rest: &str) -> Refusal {
    let shown = quoted(text);
    if text.is_empty() {
        return Refusal::new(
            "not-an-address",
            "an address is missing here",
            "write an address, such as 10.25.0.25",
        );
    }
    if text.contains(char::is_whitespace) {
        let help = "write one entry a line, each after its own `- `, or separate them with commas in `[ ]`";
        return Refusal::new("not-an-address", format!("{shown} is more than one address"), help);
    }
    if let Some((address, _)) = text.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        let message = format!("{shown} has a zone, which packets don't have");
        return Refusal::new("zone-id", message, format!("write {address}{rest}"));
    }
    if let Some(refusal) = joined(text).or_else(|| dotted(text, rest)) {
        return refusal;
    }
    if text.contains(|c: char| c.is_ascii_alphabetic()) && !text.contains(':') {
        let help = "names are not looked up; write the host's address";
        return Refusal::new("host-name", format!("{shown} is a name, an address is expected"), help);
    }
    let help = "write an address, such as 10.25.0.25 or fd25::25";
    Refusal::new("not-an-address", format!("{shown} is not an IP address"), help)
}

/// An IPv4 address with something behind it: a port, or the end of a range where none can stand.
fn joined(text: &str) -> Option<Refusal> {
    let shown = quoted(text);
    if let Some((address, port)) = text.split_once(':')
        && address.parse::<Ipv4Addr>().is_ok()
        && is_number(port)
    {
        return Some(Refusal::new(
            "address-with-port",
            format!("{shown} has a port"),
            format!("write {address}"),
        ));
    }
    let (from, to) = text.split_once('-')?;
    let (_, _): (Ipv4Addr, Ipv4Addr) = (from.parse().ok()?, to.parse().ok()?);
    let message = format!("{shown} is a range, one address is expected");
    Some(Refusal::new("address-range", message, "write each address as an entry of its own"))
}

/// Numbers (or `*`) and dots.
fn dotted(text: &str, rest: &str) -> Option<Refusal> {
    let octets: Vec<&str> = text.split('.').collect();
    let shaped =
        (2..=4).contains(&octets.len()) && octets.iter().all(|octet| is_number(octet) || *octet == "*");
    if !shaped {
        return None;
    }
    let shown = quoted(text);
    let fixed = octets.iter().take_while(|octet| **octet != "*").count();
    if fixed < octets.len() {
        let help = format!("write {}/{}", filled(&octets[..fixed]), fixed * 8);
        return Some(Refusal::new("address-wildcard", format!("{shown} has a wildcard"), help));
    }
    if octets.iter().any(|octet| octet.len() > 1 && octet.starts_with('0')) {
        let decimal: Vec<String> =
            octets.iter().filter_map(|octet| octet.parse::<u64>().ok()).map(|n| n.to_string()).collect();
        let message = format!("{shown} has a leading zero, which some programs read as octal");
        return Some(Refusal::new("leading-zero", message, format!("write {}{rest}", decimal.join("."))));
    }
    if let Some(octet) = octets.iter().find(|octet| octet.parse::<u8>().is_err()) {
        let message = format!("{shown} is not an IPv4 address: {octet} is more than 255");
        return Some(Refusal::new("not-an-address", message, "write four numbers from 0 to 255"));
    }
    let message = format!("{shown} is not an IPv4 address: it has {} of 4 numbers", octets.len());
    let prefix = if rest.is_empty() { format!("/{}", octets.len() * 8) } else { rest.to_owned() };
    let help = format!("if you mean the network, write {}{prefix}", filled(&octets));
    Some(Refusal::new("not-an-address", message, help))
}

/// The numbers, and zeros up to four of them.
fn filled(octets: &[&str]) -> String {
    let mut octets = octets.to_vec();
    octets.resize(4, "0");
    octets.join(".")
}

/// Few enough digits that it parses.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit())
}
