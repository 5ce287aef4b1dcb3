//! Clients in quarantine: what each scope closes, and what stays open.

use lab::frame::{Udp, number};
use policy_common::Reason;

use super::Bare::{Drops, Forwards};
use super::Expect;
use super::identity::{To, aimed, syns};
use super::parties::{CLIENT, CUT_OFF, Family, MAIL, QUARANTINED, QUARANTINED_SCANNER, RELEASED, Shot};
use super::table::{DENIED, FROM_MAIL_SERVER, Table, UNTOUCHED};

const IN_QUARANTINE: Expect = Expect::Deny(Reason::Quarantined);
const CLOSED: Expect = Expect::CutOff;
const INTERNAL: Expect = Expect::Pass(Reason::InternalDestination);

const ORDER: &str =
    "quarantine comes before exceptions, behind internal destinations, and never for a mail server";
const MAIL_SCOPE: &str = "scope mail closes the blocked and the submission ports";
const ALL_SCOPE: &str = "scope all closes everything but the company's own, whatever the protocol";
const SPARED: &str = "what the policy spares stays open, except for mail";

pub fn rows(t: &mut Table) {
    order(t);
    from_mail(t);
    from_everything(t);
    other_protocols(t);
    on_the_link(t);
}

fn order(t: &mut Table) {
    syns(t, "client", ORDER, QUARANTINED, 25, To::Anywhere, IN_QUARANTINE);
    syns(t, "client to an internal host", ORDER, QUARANTINED, 25, To::Internal, INTERNAL);
    let scanner = QUARANTINED_SCANNER;
    syns(t, "scanner to its provider", ORDER, scanner, 25, To::Excepted, IN_QUARANTINE);
    syns(t, "client whose quarantine is over", ORDER, RELEASED, 25, To::Anywhere, DENIED);
    syns(t, "client whose quarantine is over, port 587", ORDER, RELEASED, 587, To::Anywhere, UNTOUCHED);
    syns(t, "mail server that somebody put in it", ORDER, MAIL, 25, To::Anywhere, FROM_MAIL_SERVER);
    syns(t, "mail server that somebody put in it, port 443", ORDER, MAIL, 443, To::Anywhere, UNTOUCHED);
    let impostor = MAIL.with_mac(CLIENT.mac);
    let spoofed = Expect::Deny(Reason::SpoofedMailServer);
    syns(t, "impostor of a mail server", ORDER, impostor, 25, To::Anywhere, spoofed);
}

fn from_mail(t: &mut Table) {
    for (port, expect) in [(587, CLOSED), (465, CLOSED), (586, UNTOUCHED), (443, UNTOUCHED)] {
        let name = format!("client to port {port}");
        syns(t, &name, MAIL_SCOPE, QUARANTINED, port, To::Anywhere, expect);
    }
    syns(t, "client to an internal host, port 587", MAIL_SCOPE, QUARANTINED, 587, To::Internal, UNTOUCHED);
    syns(t, "client to a spared host, port 587", SPARED, QUARANTINED, 587, To::Spared, UNTOUCHED);
    syns(t, "client to a spared host", SPARED, QUARANTINED, 25, To::Spared, IN_QUARANTINE);
}

fn from_everything(t: &mut Table) {
    syns(t, "cut-off client", ALL_SCOPE, CUT_OFF, 25, To::Anywhere, IN_QUARANTINE);
    for port in [587, 443, 53, 8442] {
        let name = format!("cut-off client to port {port}");
        syns(t, &name, ALL_SCOPE, CUT_OFF, port, To::Anywhere, CLOSED);
    }
    for (port, expect) in [(25, INTERNAL), (443, UNTOUCHED), (587, UNTOUCHED)] {
        let name = format!("cut-off client to an internal host, port {port}");
        syns(t, &name, ALL_SCOPE, CUT_OFF, port, To::Internal, expect);
    }
    syns(t, "cut-off client to a spared port", SPARED, CUT_OFF, 8443, To::Anywhere, UNTOUCHED);
    syns(t, "cut-off client to a spared host", SPARED, CUT_OFF, 443, To::Spared, UNTOUCHED);
    syns(t, "cut-off client to a spared host, port 25", SPARED, CUT_OFF, 25, To::Spared, IN_QUARANTINE);
    syns(t, "another client, port 443", "the neighbour", CLIENT, 443, To::Anywhere, UNTOUCHED);
}

/// Each from the cut-off client outside, to a spared host, and from another client.
fn other_protocols(t: &mut Table) {
    type Build = fn(&Shot) -> Vec<u8>;
    let framings: [(&str, Build); 3] = [
        ("UDP", |s| s.ip().udp(Udp::new(4000, 443, b"QUIC")).build()),
        // Ports that are spared are spared for TCP.
        ("UDP to a spared port", |s| s.ip().udp(Udp::new(4000, 8443, b"QUIC")).build()),
        ("GRE", |s| s.ip().raw(47, &s.syn_bytes(0)).build()),
    ];
    for family in Family::BOTH {
        for (name, build) in framings {
            for (from, to, expect) in [
                (CUT_OFF, To::Anywhere, CLOSED),
                (CUT_OFF, To::Spared, UNTOUCHED),
                (CUT_OFF, To::Internal, UNTOUCHED),
                (QUARANTINED, To::Anywhere, UNTOUCHED),
                (RELEASED, To::Anywhere, UNTOUCHED),
            ] {
                let shot = aimed(t, family, from, 443, to);
                let name = format!("{} {name}: {} to {}", family.label(), from.name, to.label());
                t.one(&name, ALL_SCOPE, &shot, build(&shot), expect, Forwards);
            }
        }
    }
    for (from, to, expect) in [
        (CUT_OFF, To::Anywhere, CLOSED),
        (CUT_OFF, To::Spared, Expect::Pass(Reason::LaterFragment)),
        (QUARANTINED, To::Anywhere, Expect::Pass(Reason::LaterFragment)),
    ] {
        let shot = aimed(t, Family::V4, from, 443, to);
        let frame = shot.v4(shot.ipv4().fragment(1480, false)).raw(number::UDP, &shot.syn_bytes(0)).build();
        let name = format!("v4 later fragment: {} to {}", from.name, to.label());
        t.one(&name, ALL_SCOPE, &shot, frame, expect, Forwards);
    }
}

/// What a host needs to keep its address and to find its router is no router's to forward.
fn on_the_link(t: &mut Table) {
    const NEEDED: &str = "DHCP, neighbour and router discovery go on";
    for (name, to4, to6) in [
        ("all routers", [224, 0, 0, 2], [0xff02, 0, 0, 0, 0, 0, 0, 2]),
        ("everybody", [255, 255, 255, 255], [0xff02, 0, 0, 0, 0, 0, 0, 1]),
    ] {
        for family in Family::BOTH {
            let mut shot = t.shot(family, CUT_OFF, 67);
            (shot.to4, shot.to6) = (to4.into(), to6.into());
            let frame = shot.ip().udp(Udp::new(68, 67, b"DHCP")).build();
            let name = format!("{} cut-off client to {name}", family.label());
            t.one(&name, NEEDED, &shot, frame, UNTOUCHED, Drops);
        }
    }
    let mut shot = t.shot(Family::V4, CUT_OFF, 443);
    shot.to4 = [203, 0, 113, 1].into();
    t.one(
        "v4 cut-off client to the gateway",
        NEEDED,
        &shot,
        shot.ip().udp(Udp::new(4000, 53, b"DNS")).build(),
        UNTOUCHED,
        Drops,
    );
}
