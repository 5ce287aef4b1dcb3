//! Made-up hosts, honest and not, and what each does on port 25; the same seed makes the same hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy_user::attempt::Mac;
use policy_user::detect::{Observation, Verdict};

pub const HOUR: u32 = 3600;
pub const DAY: u32 = 24 * HOUR;
/// A Monday, 00:00 UTC.
pub const START: u32 = 1_750_032_000;

/// SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u32) -> u32 {
        (self.roll() % u64::from(end.max(1))) as u32
    }

    pub fn between(&mut self, from: u32, to: u32) -> u32 {
        from + self.below(to - from + 1)
    }

    /// Exponentially distributed around a mean, at least a second.
    pub fn wait(&mut self, mean: u32) -> u32 {
        let uniform = (self.roll() >> 11) as f64 / (1u64 << 53) as f64;
        ((-(1.0 - uniform).ln() * f64::from(mean)) as u32).max(1)
    }

    pub fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// An address of no provider in the shipped table.
    pub fn anywhere(&mut self) -> IpAddr {
        IpAddr::from([130 + self.below(5) as u8, self.below(256) as u8, self.below(256) as u8, 25])
    }

    /// One of a large provider's many.
    pub fn provider(&mut self) -> IpAddr {
        let [a, b] = [self.below(256) as u8, self.below(250) as u8];
        match self.below(3) {
            0 => IpAddr::from([74, 125, a, b]),
            1 => IpAddr::from([40, 92 + (a & 1), b, 25]),
            _ => IpAddr::from([98, 136 + (a & 3), b, 25]),
        }
    }
}

/// One host and its attempts.
pub struct Host {
    pub kind: &'static str,
    pub index: u32,
    pub ports: u32,
    pub events: Vec<Observation>,
}

impl Host {
    pub fn new(kind: &'static str, index: u32) -> Self {
        Self { kind, index, ports: 20_000, events: Vec::new() }
    }

    pub fn mac(&self) -> Mac {
        let [_, _, a, b] = self.index.to_be_bytes();
        Mac([2, 0, 0, 0, a, b])
    }

    pub fn v4(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a19_0000 + self.index))
    }

    /// One connection, as a fresh port each.
    pub fn tries(&mut self, time: u32, destination: IpAddr) {
        let source = match destination {
            IpAddr::V4(_) => self.v4(),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits((0xfd25 << 112) | u128::from(self.index))),
        };
        self.tries_from(time, source, destination);
    }

    pub fn tries_from(&mut self, time: u32, source: IpAddr, destination: IpAddr) {
        self.ports = 20_000 + (self.ports + 1) % 40_000;
        let source_port = self.ports as u16;
        self.events.push(Observation {
            time,
            mac: Some(self.mac()),
            source,
            source_port,
            destination,
            unlisted: 0,
        });
    }
}

/// What a kind of host may be called in the end.
pub struct Kind {
    pub name: &'static str,
    pub right: &'static [Option<Verdict>],
    /// For bots: by when half of them must be known, in seconds.
    pub by: Option<u32>,
    pub make: fn(&mut Host, &mut Dice),
}

const TICKET: &[Option<Verdict>] = &[Some(Verdict::Misconfigured)];
const NO_ALARM: &[Option<Verdict>] = &[None, Some(Verdict::Misconfigured), Some(Verdict::Suspect)];
const LOOK: &[Option<Verdict>] = &[Some(Verdict::Suspect), Some(Verdict::Infected)];
const ALARM: &[Option<Verdict>] = &[Some(Verdict::Infected)];

pub const KINDS: &[Kind] = &[
    Kind { name: "bot, 100 a minute", right: ALARM, by: Some(120), make: |h, d| bot(h, d, 1, 2 * HOUR, 50) },
    Kind {
        name: "bot, 1 a minute",
        right: ALARM,
        by: Some(2 * HOUR),
        make: |h, d| bot(h, d, 60, 2 * DAY, 50),
    },
    Kind {
        name: "bot, 1 in 5 minutes",
        right: ALARM,
        by: Some(4 * HOUR),
        make: |h, d| bot(h, d, 300, 3 * DAY, 50),
    },
    Kind {
        name: "bot, 1 in 20 minutes",
        right: ALARM,
        by: Some(16 * HOUR),
        make: |h, d| bot(h, d, 1200, 5 * DAY, 50),
    },
    Kind { name: "bot in bursts", right: ALARM, by: Some(DAY), make: bursts },
    Kind { name: "bot that pads with retries", right: ALARM, by: Some(DAY), make: padding },
    Kind { name: "bot, IPv6 only", right: ALARM, by: Some(2 * HOUR), make: v6_bot },
    Kind { name: "prober", right: LOOK, by: None, make: prober },
    Kind { name: "printer", right: TICKET, by: None, make: printer },
    Kind { name: "laptop", right: TICKET, by: None, make: laptop },
    Kind { name: "monitor", right: TICKET, by: None, make: monitor },
    Kind { name: "daily report to 3 sites", right: TICKET, by: None, make: daily },
    Kind { name: "client of a rotating provider", right: TICKET, by: None, make: rotating },
    Kind { name: "client of a CDN", right: TICKET, by: None, make: cdn },
    Kind { name: "unregistered mail server", right: NO_ALARM, by: None, make: |h, d| queue(h, d, 16) },
    Kind { name: "access point with NAT", right: NO_ALARM, by: None, make: nat },
];

/// Recipients everywhere, some of them with large providers.
fn bot(host: &mut Host, dice: &mut Dice, mean: u32, length: u32, providers: u32) {
    let begin = START + dice.below(DAY);
    let mut time = begin;
    while time < begin + length {
        time += if mean == 1 { dice.below(2) } else { dice.wait(mean) };
        let to = if dice.percent(providers) { dice.provider() } else { dice.anywhere() };
        host.tries(time, to);
    }
}

fn v6_bot(host: &mut Host, dice: &mut Dice) {
    let mut time = START + dice.below(DAY);
    for _ in 0..400 {
        time += dice.wait(30);
        let network = u128::from(dice.below(500));
        host.tries(time, IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | (network << 80) | 0x25)));
    }
}

fn bursts(host: &mut Host, dice: &mut Dice) {
    let mut time = START + dice.below(HOUR);
    for _ in 0..12 {
        for _ in 0..dice.between(20, 60) {
            time += dice.wait(4);
            let to = if dice.percent(50) { dice.provider() } else { dice.anywhere() };
            host.tries(time, to);
        }
        time += dice.between(4 * HOUR, 10 * HOUR);
    }
}

fn padding(host: &mut Host, dice: &mut Dice) {
    let mut time = START + dice.below(HOUR);
    for _ in 0..150 {
        let to = dice.anywhere();
        for _ in 0..12 {
            time += dice.between(2, 15);
            host.tries(time, to);
        }
        time += dice.wait(1200);
    }
}

fn prober(host: &mut Host, dice: &mut Dice) {
    let sites: Vec<_> = (0..dice.between(3, 6)).map(|_| dice.anywhere()).collect();
    let mut time = START + dice.below(HOUR);
    while time < START + 7 * DAY {
        for site in &sites {
            for _ in 0..dice.between(1, 2) {
                time += dice.between(20, 110);
                host.tries(time, *site);
            }
        }
        time += dice.between(4 * HOUR, 11 * HOUR);
    }
}

fn printer(host: &mut Host, dice: &mut Dice) {
    let to = dice.anywhere();
    let every = [30, 60, 300, 600][dice.below(4) as usize];
    for day in 0..5 {
        for _ in 0..dice.between(1, 8) {
            let mut time = START + day * DAY + 8 * HOUR + dice.below(9 * HOUR);
            for _ in 0..dice.between(3, 12) {
                host.tries(time, to);
                time += every;
            }
        }
    }
}

/// A mail program with some accounts that tries again while it is open.
fn laptop(host: &mut Host, dice: &mut Dice) {
    let sites: Vec<_> = (0..dice.between(1, 3)).map(|_| dice.anywhere()).collect();
    for day in 0..5 {
        let mut time = START + day * DAY + 8 * HOUR + dice.below(2 * HOUR);
        for _ in 0..dice.between(5, 40) {
            for site in &sites {
                host.tries(time + dice.below(5), *site);
            }
            time += 600 + dice.below(30);
        }
    }
}

fn monitor(host: &mut Host, dice: &mut Dice) {
    let sites: Vec<_> = (0..dice.between(1, 9)).map(|_| dice.anywhere()).collect();
    let every = [60, 300, 900, HOUR][dice.below(4) as usize];
    let mut time = START + dice.below(DAY);
    while time < START + 4 * DAY {
        for (nth, site) in sites.iter().enumerate() {
            host.tries(time + nth as u32, *site);
        }
        time += every;
    }
}

fn daily(host: &mut Host, dice: &mut Dice) {
    let sites: Vec<_> = (0..3).map(|_| dice.anywhere()).collect();
    let at = dice.below(DAY);
    for day in 0..7 {
        for (nth, site) in sites.iter().enumerate() {
            host.tries(START + day * DAY + at + nth as u32, *site);
        }
    }
}

fn rotating(host: &mut Host, dice: &mut Dice) {
    let mut time = START + dice.below(DAY);
    while time < START + 5 * DAY {
        let last = dice.below(250) as u8;
        host.tries(time, IpAddr::from([40, 92 + (last & 1), dice.below(250) as u8, last]));
        time += 150 + dice.below(60);
    }
}

fn cdn(host: &mut Host, dice: &mut Dice) {
    let networks = [dice.anywhere(), dice.anywhere()];
    let mut time = START + dice.below(DAY);
    while time < START + 3 * DAY {
        if let IpAddr::V4(ip) = networks[dice.below(2) as usize] {
            let [a, b, _, _] = ip.octets();
            host.tries(time, IpAddr::from([a, b, dice.below(8) as u8, 25]));
        }
        time += 40 + dice.below(40);
    }
}

/// Postfix: after 5 minutes, then twice as long each time, up to 4000 seconds.
fn queue(host: &mut Host, dice: &mut Dice, messages: u32) {
    for day in 0..5 {
        for _ in 0..dice.between(1, messages) {
            let to = dice.anywhere();
            let mut time = START + day * DAY + 8 * HOUR + dice.below(9 * HOUR);
            let mut pause = 300;
            for _ in 0..dice.between(10, 40) {
                host.tries(time, to);
                time += pause;
                pause = (pause * 2).min(4000);
            }
        }
    }
}

fn nat(host: &mut Host, dice: &mut Dice) {
    for day in 0..5 {
        for _ in 0..dice.between(1, 6) {
            let to = if dice.percent(50) { dice.provider() } else { dice.anywhere() };
            let mut time = START + day * DAY + 8 * HOUR + dice.below(9 * HOUR);
            for _ in 0..dice.between(2, 12) {
                host.tries(time, to);
                time += 300 + dice.below(60);
            }
        }
    }
}
