//! Collects scenarios; the shapes that most of them have.

use std::net::{Ipv4Addr, Ipv6Addr};

use lab::frame::Frame;
use policy_common::Reason;

use super::parties::{CLIENT, Family, MAIL, Party, Shot};
use super::{Bare, Expect, Packet, Scenario};

/// The table under construction.
#[derive(Default)]
pub struct Table {
    class: &'static str,
    pub rows: Vec<Scenario>,
}

/// What a packet is to the decision, whoever sends it and wherever to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its port can be read, so who sends it decides.
    Readable,
    Later,
    Ambiguous,
    Unreadable,
    Other,
}

impl Part {
    pub const fn expect(self, readable: Expect) -> Expect {
        match self {
            Self::Readable => readable,
            Self::Later => Expect::Pass(Reason::LaterFragment),
            Self::Ambiguous => Expect::Deny(Reason::AmbiguousFragment),
            Self::Unreadable => Expect::Deny(Reason::Unreadable),
            Self::Other => Expect::Pass(Reason::OtherTraffic),
        }
    }
}

pub const DENIED: Expect = Expect::Deny(Reason::NotAMailServer);
pub const UNTOUCHED: Expect = Expect::Pass(Reason::OtherTraffic);
pub const FROM_MAIL_SERVER: Expect = Expect::Pass(Reason::MailServer);

/// Frame, what it is, what a bare router does with it.
pub type Built = (Vec<u8>, Part, Bare);

impl Table {
    pub fn begin(&mut self, class: &'static str) {
        self.class = class;
    }

    /// A shot whose destination and source port no other scenario has.
    pub fn shot(&self, family: Family, from: Party, port: u16) -> Shot {
        let serial = self.serial();
        let [high, low] = serial.to_be_bytes();
        Shot {
            from,
            family,
            // The networks for benchmarks (RFC 2544) and documentation (RFC 3849): nobody's.
            to4: Ipv4Addr::new(198, 18, high, low),
            to6: Ipv6Addr::new(0x2001, 0xdb8, 0xcafe, 0, 0, 0, 0, serial),
            port,
            source_port: 20_000 + serial,
        }
    }

    /// Number of the next row.
    pub fn serial(&self) -> u16 {
        u16::try_from(self.rows.len()).unwrap()
    }

    pub fn push(&mut self, name: &str, why: &'static str, from: &Party, packets: Vec<Packet>) {
        let name = format!("{}: {name}", self.class);
        self.rows.push(Scenario {
            name,
            why,
            via: from.via,
            packets,
            not_in_lab: None,
            not_behind_nat: None,
        });
    }

    /// Takes the rows since `first` out of the lab.
    pub fn keep_out_of_lab(&mut self, first: u16, reason: &'static str) {
        for row in &mut self.rows[usize::from(first)..] {
            row.not_in_lab = Some(reason);
        }
    }

    /// Takes the rows since `first` out of the lab with NAT.
    pub fn keep_from_nat(&mut self, first: u16, reason: &'static str) {
        for row in &mut self.rows[usize::from(first)..] {
            row.not_behind_nat = Some(reason);
        }
    }

    /// One packet with an expectation of its own.
    pub fn one(
        &mut self,
        name: &str,
        why: &'static str,
        shot: &Shot,
        frame: Vec<u8>,
        expect: Expect,
        bare: Bare,
    ) {
        self.push(name, why, &shot.from, vec![Packet { frame, expect, bare }]);
    }

    /// One framing, three times: a client to port 25 (denied), to port 26 (untouched), the mail server to port 25 (passes).
    pub fn trio(
        &mut self,
        name: &str,
        why: &'static str,
        family: Family,
        bare: Bare,
        build: impl Fn(&Shot) -> Frame,
    ) {
        self.trio_of(name, why, family, |shot| vec![(build(shot).build(), Part::Readable, bare)]);
    }

    /// The same for both families.
    pub fn both(&mut self, name: &str, why: &'static str, bare: Bare, build: impl Fn(&Shot) -> Frame) {
        for family in Family::BOTH {
            self.trio(name, why, family, bare, &build);
        }
    }

    /// A trio of several packets each.
    pub fn trio_of(
        &mut self,
        name: &str,
        why: &'static str,
        family: Family,
        build: impl Fn(&Shot) -> Vec<Built>,
    ) {
        for (from, port, expect) in
            [(CLIENT, 25, DENIED), (CLIENT, 26, UNTOUCHED), (MAIL, 25, FROM_MAIL_SERVER)]
        {
            let shot = self.shot(family, from, port);
            let packets = build(&shot).into_iter().map(|(frame, part, bare)| Packet {
                frame,
                expect: part.expect(expect),
                bare,
            });
            let name = format!("{} {name}: {} to port {port}", family.label(), from.name);
            self.push(&name, why, &from, packets.collect());
        }
    }

    /// Packets that are judged alike whoever sends them; sent by the client to port 25 and by the mail server.
    pub fn whoever(
        &mut self,
        name: &str,
        why: &'static str,
        family: Family,
        build: impl Fn(&Shot) -> Vec<Built>,
    ) {
        for from in [CLIENT, MAIL] {
            let shot = self.shot(family, from, 25);
            let packets = build(&shot).into_iter().map(|(frame, part, bare)| {
                assert!(part != Part::Readable, "{name}: who sends it matters");
                Packet { frame, expect: part.expect(DENIED), bare }
            });
            let name = format!("{} {name}: {}", family.label(), from.name);
            self.push(&name, why, &from, packets.collect());
        }
    }
}
