//! Sources that no client has, and addresses of one family that look like one of the other.

use std::net::{Ipv4Addr, Ipv6Addr};

use policy_common::Reason;

use super::Bare::{self, Drops, Forwards};
use super::Expect;
use super::parties::{CLIENT, Family, MAIL, Party};
use super::table::{FROM_MAIL_SERVER, Table, UNTOUCHED};

const UNKNOWN: Expect = Expect::Deny(Reason::UnknownSource);

pub fn rows(t: &mut Table) {
    unknown_sources(t);
    families_apart(t);
}

fn unknown_sources(t: &mut Table) {
    const FOREIGN: &str = "no client has this address: counted by interface and MAC, never let out";
    let mut row = |family: Family, name: &str, source: Party, bare: Bare| {
        for (port, expect) in [(25, UNKNOWN), (26, UNTOUCHED)] {
            let shot = t.shot(family, source, port);
            let name = format!("{} from {name} to port {port}", family.label());
            t.one(&name, FOREIGN, &shot, shot.syn_frame().build(), expect, bare);
        }
    };
    for (source, bare) in [
        ([192, 168, 1, 7], Forwards),
        ([8, 8, 8, 8], Forwards),
        ([10, 25, 1, 77], Forwards),
        ([203, 0, 113, 25], Forwards),
        ([0, 0, 0, 0], Drops),
        ([127, 0, 0, 1], Drops),
        ([169, 254, 3, 4], Forwards),
        ([224, 0, 0, 1], Drops),
        ([240, 0, 0, 1], Forwards),
        ([255, 255, 255, 255], Drops),
        ([203, 0, 113, 1], Drops),
    ] {
        let name = Ipv4Addr::from(source).to_string();
        row(Family::V4, &name, CLIENT.at(source, CLIENT.v6), bare);
    }
    for (source, bare) in [
        ("2001:db8:77::1", Forwards),
        ("fd25:0:0:1::77", Forwards),
        ("fd99::25", Forwards),
        ("::", Drops),
        ("::1", Drops),
        ("fe80::77", Drops),
        ("ff02::1", Drops),
        ("ff0e::1", Drops),
        ("::ffff:10.25.0.77", Forwards),
        ("64:ff9b::a19:4d", Forwards),
    ] {
        row(Family::V6, source, CLIENT.at(CLIENT.v4, source.parse::<Ipv6Addr>().unwrap()), bare);
    }
}

fn families_apart(t: &mut Table) {
    const APART: &str =
        "IPv4 keys and IPv6 keys must not meet: the bytes of one are not the address of the other";
    let mut row = |name: &str, source: &str, expect: Expect| {
        let from = MAIL.at(MAIL.v4, source.parse::<Ipv6Addr>().unwrap());
        let shot = t.shot(Family::V6, from, 25);
        t.one(&format!("v6 {name}"), APART, &shot, shot.syn_frame().build(), expect, Forwards);
    };
    row("IPv4-mapped address of the mail server", "::ffff:10.25.0.25", UNKNOWN);
    row("IPv4-compatible address of the mail server", "::10.25.0.25", UNKNOWN);
    row("address that begins with the mail server's bytes", "a19:19::", UNKNOWN);
    row("address that begins with a client's bytes", "a19:4d::", UNKNOWN);
    row("the mail server itself", "fd25::25", FROM_MAIL_SERVER);
}
