//! Random policies and questions about them, the same ones from the same seed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use policy_user::policy::explain::{InQuarantine, Question, Sender, SourceMac};
use policy_user::policy::{
    Datapath, Detection, Exception, Group, InsideEntry, InterfaceGlob, MailServer, Mode, OnBlock, Policy,
    Quarantine, Scope, Treatment,
};

use super::{ELSEWHERE, HERE};

/// Few addresses, so that entries meet: 16 of each family on either side, and networks around them.
pub struct Dice(pub u64);

impl Dice {
    pub fn policy(&mut self, now: Timestamp) -> Policy {
        let servers = self.below(4);
        let exceptions = self.below(5);
        let clients = 1 + self.below(3);
        let mut inside: Vec<InsideEntry> = [HERE.0, ELSEWHERE.0]
            .map(|name| InsideEntry {
                glob: InterfaceGlob(name.to_owned()),
                treatment: self.treatment(),
                datapath: Datapath::Tc,
            })
            .into();
        if self.one_in(2) {
            inside.reverse();
        }
        Policy {
            name: "random".to_owned(),
            inside,
            outside: vec![InterfaceGlob("wan0".to_owned())],
            clients: (0..clients).map(|_| self.source_net()).collect(),
            internal: self.list(1, Self::destination_net),
            blocked_ports: if self.one_in(3) { vec![25, 2525] } else { vec![25] },
            submission_ports: vec![587],
            quarantine: Quarantine {
                scope: self.of(&[Scope::Mail, Scope::All]),
                except: self.list(1, Self::destination_net),
                except_ports: if self.one_in(4) { vec![443] } else { Vec::new() },
                ..Quarantine::default()
            },
            mode: self.of(&[Mode::Enforce, Mode::Enforce, Mode::Audit]),
            on_block: self.of(&[OnBlock::Drop, OnBlock::Reject]),
            groups: self.list(2, |dice| Group {
                name: "group".to_owned(),
                clients: vec![dice.source_net()],
                treatment: dice.treatment(),
                file: None,
                detection: None,
                line: 1,
            }),
            gateway_mail: self.one_in(2),
            mail_servers: (0..servers).map(|index| self.mail_server(index)).collect(),
            exceptions: (0..exceptions).map(|index| self.exception(index, now)).collect(),
            log_file: None,
            log_targets: Vec::new(),
            retention: Default::default(),
            metrics: None,
            lease_files: Vec::new(),
            receivers: Vec::new(),
            detection: Detection::default(),
        }
    }

    /// A policy with long lists: what lies in a hash table behind a sieve must mean what it means in the trie.
    pub fn long_policy(&mut self, now: Timestamp) -> Policy {
        let mut policy = self.policy(now);
        let (clients, servers) = (self.below(400), 70 + self.below(100));
        policy.clients.extend((0..clients).map(|_| IpNet::from(self.far(0))));
        policy.internal.extend((0..clients / 2).map(|_| IpNet::from(self.far(1))));
        let addresses = (0..servers).map(|_| self.far(2)).collect();
        policy.mail_servers.push(MailServer { addresses, ..self.mail_server(9) });
        policy
    }

    /// `mac` is stated half of the time where it is the one that the policy wants anyway.
    pub fn question(&mut self, policy: &Policy, now: Timestamp) -> Question {
        let (client, to) = self.ends(policy);
        let local = self.one_in(10);
        Question {
            from: if local { Sender::Gateway } else { Sender::Client(client) },
            mac: SourceMac::Is(self.mac()),
            interface: (!local).then(|| HERE.0.to_owned()),
            to,
            port: self.of(&[25, 25, 25, 25, 2525, 587, 443, 80]),
            at: now,
            quarantined: if !local && self.one_in(4) {
                self.of(&[
                    InQuarantine::AsThePolicySays,
                    InQuarantine::Of(Scope::Mail),
                    InQuarantine::Of(Scope::All),
                ])
            } else {
                InQuarantine::No
            },
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % end
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }

    fn list<T>(&mut self, most: u64, mut entry: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| entry(self)).collect()
    }

    fn client(&mut self, v6: bool) -> IpAddr {
        let host = self.below(16) as u8;
        if v6 {
            Ipv6Addr::new(0xfd25, 0, 0, 0, 0, 0, 0, host.into()).into()
        } else {
            Ipv4Addr::new(10, 25, 0, host).into()
        }
    }

    fn destination(&mut self, v6: bool) -> IpAddr {
        let host = self.below(16) as u8;
        if v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()).into()
        } else {
            Ipv4Addr::new(203, 0, 113, host).into()
        }
    }

    fn around(&mut self, address: IpAddr) -> IpNet {
        let bits = if address.is_ipv6() { 128 } else { 32 };
        let len = if self.one_in(8) { 0 } else { bits - self.below(6) as u8 };
        IpNet::new(address, len).unwrap().trunc()
    }

    fn source_net(&mut self) -> IpNet {
        let v6 = self.one_in(3);
        let client = self.client(v6);
        self.around(client)
    }

    fn destination_net(&mut self) -> IpNet {
        let v6 = self.one_in(3);
        let destination = self.destination(v6);
        self.around(destination)
    }

    fn mac(&mut self) -> [u8; 6] {
        [2, 0, 0, 0, 0, self.below(3) as u8 + 1]
    }

    fn treatment(&mut self) -> Treatment {
        Treatment {
            mode: self.of(&[None, Some(Mode::Enforce), Some(Mode::Audit)]),
            on_block: self.of(&[None, Some(OnBlock::Drop), Some(OnBlock::Reject)]),
        }
    }

    fn mail_server(&mut self, index: u64) -> MailServer {
        let v6 = self.one_in(3);
        MailServer {
            name: format!("mx{index}"),
            // Each address belongs to one entry, as the validator has it.
            addresses: vec![match self.client(v6) {
                IpAddr::V4(a) => Ipv4Addr::from((u32::from(a) & !3) + index as u32).into(),
                IpAddr::V6(a) => Ipv6Addr::from((u128::from(a) & !3) + u128::from(index)).into(),
            }],
            mac: self.one_in(2).then(|| self.mac()),
            interface: self.of(&[None, None, Some(HERE.0.to_owned()), Some(ELSEWHERE.0.to_owned())]),
            to: self.one_in(2).then(|| (0..2).map(|_| self.destination_net()).collect()),
            file: None,
            line: 1,
        }
    }

    fn exception(&mut self, index: u64, now: Timestamp) -> Exception {
        Exception {
            name: format!("exception{index}"),
            from: (0..2).map(|_| self.source_net()).collect(),
            to: (0..2).map(|_| self.destination_net()).collect(),
            until: now + SignedDuration::from_hours(self.of(&[-2, -1, 1, 2])),
            reason: "random".to_owned(),
            owner: None,
            file: None,
            line: 1,
        }
    }

    /// One of 16 Ki addresses in each family, and in the one that only looks like IPv4.
    fn far(&mut self, list: u8) -> IpAddr {
        let host = self.below(1 << 14) as u16;
        let v4 = Ipv4Addr::from_bits(0x0a80_0000 | u32::from(list) << 16 | u32::from(host));
        match self.below(3) {
            0 => v4.into(),
            1 => v4.to_ipv6_mapped().into(),
            // The part that varies is in the upper half of some.
            _ if host.is_multiple_of(2) => Ipv6Addr::new(0xfd80, list.into(), 0, host, 0, 0, 0, 1).into(),
            _ => Ipv6Addr::new(0xfd80, list.into(), 0, 0, 0, 0, 0, host).into(),
        }
    }

    /// One of the policy's long lists or right beside it, if it has any.
    fn listed(&mut self, nets: &[IpNet]) -> Option<IpAddr> {
        let far = |net: &IpNet| match net.addr() {
            IpAddr::V4(a) => a.octets()[1] == 0x80,
            IpAddr::V6(a) => a.segments()[0] == 0xfd80 || a.to_ipv4_mapped().is_some(),
        };
        let all: Vec<IpNet> = nets.iter().filter(|net| far(net)).copied().collect();
        let address = (!all.is_empty()).then(|| self.of(&all).addr())?;
        let beside = u32::from(self.one_in(2));
        Some(match address {
            IpAddr::V4(a) if self.one_in(4) => a.to_ipv6_mapped().into(),
            IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits() ^ beside).into(),
            IpAddr::V6(a) if self.one_in(4) => a.to_ipv4_mapped().map_or(a.into(), IpAddr::V4),
            IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits() ^ u128::from(beside)).into(),
        })
    }

    /// Client and destination of one family, of long lists where the policy has them.
    fn ends(&mut self, policy: &Policy) -> (IpAddr, IpAddr) {
        let servers = policy.mail_servers.iter().flat_map(|server| &server.addresses);
        let senders: Vec<IpNet> =
            servers.map(|address| (*address).into()).chain(policy.clients.iter().copied()).collect();
        let from = if self.one_in(2) { self.listed(&senders) } else { None };
        let v6 = from.map_or_else(|| self.one_in(3), |from| from.is_ipv6());
        let to = if self.one_in(4) { self.listed(&policy.internal) } else { None };
        let to = to.filter(|to| to.is_ipv6() == v6).unwrap_or_else(|| self.destination(v6));
        (from.unwrap_or_else(|| self.client(v6)), to)
    }
}
