//! Who sends: mail servers and who pretends to be one, exceptions.

use std::net::{Ipv4Addr, Ipv6Addr};

use policy_common::Reason;

use super::Bare::Forwards;
use super::parties::{CLIENT, FAX, Family, GUEST, GUEST_MAIL, MAIL, Party, RELAY, SCANNER, Shot};
use super::table::{DENIED, FROM_MAIL_SERVER, Table, UNTOUCHED};
use super::{Expect, Via};

const SPOOFED: Expect = Expect::Deny(Reason::SpoofedMailServer);
const NOT_ALLOWED: Expect = Expect::Deny(Reason::DestinationNotAllowed);
const EXCEPTION: Expect = Expect::Pass(Reason::Exception);
const INTERNAL: Expect = Expect::Pass(Reason::InternalDestination);

/// Where a packet goes.
#[derive(Clone, Copy)]
pub enum To {
    Anywhere,
    /// The networks the relay may send to.
    Relayed,
    /// The networks that exceptions open.
    Excepted,
    Internal,
    /// The networks that stay open in quarantine.
    Spared,
}

pub fn rows(t: &mut Table) {
    bindings(t);
    destinations(t);
    exceptions(t);
}

impl To {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Anywhere => "outside",
            Self::Relayed => "the relay's networks",
            Self::Excepted => "networks of an exception",
            Self::Internal => "an internal host",
            Self::Spared => "a spared host",
        }
    }
}

/// A shot to there.
pub fn aimed(t: &Table, family: Family, from: Party, port: u16, to: To) -> Shot {
    let mut shot = t.shot(family, from, port);
    let [high, low] = t.serial().to_be_bytes();
    // Each destination is used by one scenario, so that arrivals can be told apart.
    let host6 = u128::from(t.serial());
    let (to4, net6) = match to {
        To::Anywhere => return shot,
        To::Relayed => (Ipv4Addr::new(198, 51, 100, low), 0x2001_0db8_bbbb),
        To::Excepted => (Ipv4Addr::new(203, 0, 113, 128 | low), 0x2001_0db8_aaaa),
        To::Internal => (Ipv4Addr::new(10, 99, high, low), 0xfd25_0099_0000),
        To::Spared => (Ipv4Addr::new(192, 0, 2, low), 0x2001_0db8_dddd),
    };
    (shot.to4, shot.to6) = (to4, Ipv6Addr::from_bits(net6 << 80 | host6));
    shot
}

/// One SYN for each family.
pub fn syns(t: &mut Table, name: &str, why: &'static str, from: Party, port: u16, to: To, expect: Expect) {
    for family in Family::BOTH {
        let shot = aimed(t, family, from, port, to);
        t.one(&format!("{} {name}", family.label()), why, &shot, shot.syn_frame().build(), expect, Forwards);
    }
}

fn bindings(t: &mut Table) {
    let impostor = MAIL.with_mac(CLIENT.mac);
    const BOUND: &str = "the address alone does not make a mail server: its MAC must be the entry's";
    syns(t, "mail server's address from the client's MAC", BOUND, impostor, 25, To::Anywhere, SPOOFED);
    syns(t, "impostor to port 26", "the neighbour: not blocked", impostor, 26, To::Anywhere, UNTOUCHED);
    syns(t, "impostor to port 10025", BOUND, impostor, 10_025, To::Anywhere, SPOOFED);
    syns(t, "impostor to an internal host", "not outbound", impostor, 25, To::Internal, INTERNAL);
    for bit in [0x0100_0000_0000u64, 0x0001_0000, 1] {
        let mac = u64::from_be_bytes([0, 0, 2, 0, 0, 0, 0, 0x25]) ^ bit << 1;
        let [_, _, mac @ ..] = mac.to_be_bytes();
        let name = format!("mail server's address, one bit of the MAC wrong ({bit:#x})");
        syns(t, &name, BOUND, MAIL.with_mac(lab::Mac(mac)), 25, To::Anywhere, SPOOFED);
    }
    let borrowed = CLIENT.with_mac(MAIL.mac);
    syns(
        t,
        "client's address from the mail server's MAC",
        "both must match",
        borrowed,
        25,
        To::Anywhere,
        DENIED,
    );
    syns(t, "mail server", "the neighbour: itself", MAIL, 25, To::Anywhere, FROM_MAIL_SERVER);

    const INTERFACE: &str =
        "an entry bound to an interface holds there alone; IPv6 has no reverse path filter";
    syns(t, "guest mail server on its interface", INTERFACE, GUEST_MAIL, 25, To::Anywhere, FROM_MAIL_SERVER);
    syns(
        t,
        "guest mail server's address on the LAN",
        INTERFACE,
        GUEST_MAIL.via(Via::Lan),
        25,
        To::Anywhere,
        SPOOFED,
    );
    syns(
        t,
        "guest mail server's address on the LAN, port 443",
        "the neighbour",
        GUEST_MAIL.via(Via::Lan),
        443,
        To::Anywhere,
        UNTOUCHED,
    );
    syns(t, "guest", "a client like others", GUEST, 25, To::Anywhere, DENIED);
    syns(t, "guest to port 587", "the neighbour", GUEST, 587, To::Anywhere, UNTOUCHED);
    let elsewhere = MAIL.with_mac(GUEST.mac).via(Via::Guest);
    syns(t, "mail server's address on the guest interface", BOUND, elsewhere, 25, To::Anywhere, SPOOFED);

    for number in [24, 26] {
        let digits = 0x20 | (number % 10) as u16;
        let next = CLIENT.at([10, 25, 0, number], [0xfd25, 0, 0, 0, 0, 0, 0, digits]);
        syns(
            t,
            &format!("the address next to the mail server's, {number}"),
            "one address is one",
            next,
            25,
            To::Anywhere,
            DENIED,
        );
    }
    let temporary = MAIL.at([10, 25, 0, 200], [0xfd25, 0, 0, 0, 0x1234, 0x5678, 0x9abc, 0x25]);
    syns(
        t,
        "another address of the mail server",
        "privacy addresses are not listed",
        temporary,
        25,
        To::Anywhere,
        DENIED,
    );
}

fn destinations(t: &mut Table) {
    const LIMITED: &str =
        "a mail server with a `to` may send there alone (xdp-filter opens every port of an address)";
    syns(t, "relay to its networks", LIMITED, RELAY, 25, To::Relayed, FROM_MAIL_SERVER);
    syns(t, "relay elsewhere", LIMITED, RELAY, 25, To::Anywhere, NOT_ALLOWED);
    syns(t, "relay to networks of an exception", LIMITED, RELAY, 25, To::Excepted, NOT_ALLOWED);
    syns(t, "relay to an internal host", "not outbound", RELAY, 25, To::Internal, INTERNAL);
    syns(t, "relay elsewhere, port 26", "the neighbour", RELAY, 26, To::Anywhere, UNTOUCHED);
    syns(t, "relay elsewhere, second blocked port", LIMITED, RELAY, 10_025, To::Anywhere, NOT_ALLOWED);
    syns(
        t,
        "relay from another MAC",
        "not bound",
        RELAY.with_mac(CLIENT.mac),
        25,
        To::Relayed,
        FROM_MAIL_SERVER,
    );
    syns(t, "client to the relay's networks", LIMITED, CLIENT, 25, To::Relayed, DENIED);
    syns(
        t,
        "mail server to the relay's networks",
        "it may send anywhere",
        MAIL,
        25,
        To::Relayed,
        FROM_MAIL_SERVER,
    );
}

fn exceptions(t: &mut Table) {
    const BOTH_ENDS: &str = "an exception covers source and destination, until its end";
    syns(t, "scanner to its provider", BOTH_ENDS, SCANNER, 25, To::Excepted, EXCEPTION);
    syns(t, "scanner elsewhere", BOTH_ENDS, SCANNER, 25, To::Anywhere, DENIED);
    syns(t, "scanner to the relay's networks", BOTH_ENDS, SCANNER, 25, To::Relayed, DENIED);
    syns(t, "scanner elsewhere, port 465", "the neighbour", SCANNER, 465, To::Anywhere, UNTOUCHED);
    syns(t, "client to the scanner's provider", BOTH_ENDS, CLIENT, 25, To::Excepted, DENIED);
    syns(t, "fax, whose exception has expired", BOTH_ENDS, FAX, 25, To::Excepted, DENIED);
    syns(t, "fax to port 587", "the neighbour", FAX, 587, To::Excepted, UNTOUCHED);
    syns(
        t,
        "scanner from another MAC",
        "exceptions are bound to addresses",
        SCANNER.with_mac(CLIENT.mac),
        25,
        To::Excepted,
        EXCEPTION,
    );
}
