//! The lab as the scenarios need it: a second inside interface, large frames, and every packet told apart on its way out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::frame::{Frame, Mac, Udp};
use lab::{Captured, Lab, RawSocket, Sniffer};

use super::parties::GATEWAY_MAC;
use super::{Scenario, Via};

/// What tells one forwarded packet from all others: routers change TTL, checksum and some options, nothing behind them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    pub to: IpAddr,
    fragment: [u8; 2],
    payload: Vec<u8>,
}

impl Mark {
    /// The mark that a router leaves on this frame; `None` for what is no IP packet.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let mut at = 12;
        while matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
            at += 4;
        }
        let packet = frame.get(at + 2..)?;
        let u16_at = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
        match packet.first()? >> 4 {
            4 => {
                let to = <[u8; 4]>::try_from(packet.get(16..20)?).ok()?;
                let header = usize::from(packet[0] & 15) * 4;
                let end = packet.len().min(usize::from(u16_at(2)?));
                let payload = packet.get(header..end).unwrap_or_default().to_vec();
                Some(Self { to: Ipv4Addr::from(to).into(), fragment: [packet[6], packet[7]], payload })
            }
            6 => {
                let to = <[u8; 16]>::try_from(packet.get(24..40)?).ok()?;
                let end = packet.len().min(40 + usize::from(u16_at(4)?));
                Some(Self {
                    to: Ipv6Addr::from(to).into(),
                    fragment: [0; 2],
                    payload: packet[40..end].to_vec(),
                })
            }
            _ => None,
        }
    }
}

/// The lab with a second inside interface and room for large frames.
pub struct Stage {
    pub lab: Lab,
}

/// Ways into the gateway and what comes out of it.
pub struct Wires {
    client: RawSocket,
    mail_server: RawSocket,
    guest: RawSocket,
    outside: Sniffer,
}

pub const WHILE: Duration = Duration::from_secs(10);

impl Stage {
    pub fn new(nat: bool) -> Result<Self> {
        let lab = Lab::builder().nat(nat).build()?;
        let (gateway, client) = (lab.gateway(), lab.client(0));
        let peer = format!("peer name eth1 netns {}", client.namespace());
        gateway.ip(&format!("link add guest0 address 02:00:00:00:00:01 type veth {peer}"))?;
        gateway.ip("link set guest0 up")?;
        gateway.ip("addr add 10.26.0.1/24 dev guest0")?;
        gateway.ip("addr add fd26::1/64 dev guest0 nodad")?;
        client.ip("link set eth1 up")?;
        for (host, interfaces) in [
            (lab.internet(), &["wan0"][..]),
            (gateway, &["wan0", "lan0", "guest0"]),
            (lab.switch(), &["gateway", "mail", "client0", "lan"]),
            (lab.mail_server(), &["eth0"]),
            (client, &["eth0", "eth1"]),
        ] {
            for interface in interfaces {
                host.ip(&format!("link set {interface} mtu 9000"))?;
            }
        }
        // Where the kernel has bridge netfilter, the switch would trim and drop malformed packets before they reach the gateway.
        for family in ["iptables", "ip6tables"] {
            if std::path::Path::new("/proc/sys/net/bridge").exists() {
                lab.switch().sysctl(&format!("bridge/bridge-nf-call-{family}"), "0")?;
            }
        }
        // Spoofed sources must get as far as they can without smtpfence.
        for interface in ["all", "lan0", "guest0"] {
            gateway.sysctl(&format!("ipv4/conf/{interface}/rp_filter"), "0")?;
        }
        Ok(Self { lab })
    }

    pub fn wires(&self) -> Result<Wires> {
        let (lab, client) = (&self.lab, self.lab.client(0));
        let wires = Wires {
            client: client.raw_socket("eth0")?,
            mail_server: lab.mail_server().raw_socket("eth0")?,
            guest: client.raw_socket("eth1")?,
            outside: lab.internet().sniff("wan0")?,
        };
        // Neighbours are resolved and bridges have learnt before it counts.
        wires.flush(0)?;
        wires.outside.clear();
        Ok(wires)
    }
}

impl Wires {
    /// Sends one frame of each kind through each way and waits until all have come out, and so everything before them.
    fn flush(&self, round: u16) -> Result<()> {
        let mut port = 50_000 + round * 10;
        for (way, from, host) in [
            (&self.client, Mac([2, 0, 0, 0, 0, 0x77]), 77u8),
            (&self.mail_server, Mac([2, 0, 0, 0, 0, 0x25]), 25),
            (&self.guest, Mac([2, 0, 0, 0, 0x26, 0x50]), 50),
        ] {
            for (from_ip, to) in [
                (IpAddr::from([10, 25, 0, host]), IpAddr::from([198, 51, 100, 254])),
                (
                    IpAddr::from([0xfd25, 0, 0, 0, 0, 0, 0, 0xff00 | u16::from(host)]),
                    IpAddr::from([0x2001, 0xdb8, 0xbbbb, 0, 0, 0, 0, 0xffff]),
                ),
            ] {
                port += 1;
                way.send(
                    &Frame::new(from, GATEWAY_MAC).ip(from_ip, to).udp(Udp::new(7, port, b"flush")).build(),
                )?;
                let seen = self
                    .outside
                    .wait_for(|f| f.view().is_some_and(|v| v.ports.is_some_and(|p| p.1 == port)), WHILE);
                seen.with_context(|| format!("the gateway forwards nothing from {from_ip} to {to}"))?;
            }
        }
        Ok(())
    }

    fn inject(&self, scenario: &Scenario) -> Result<()> {
        for packet in &scenario.packets {
            let way = match scenario.via {
                Via::Guest => &self.guest,
                Via::Lan if packet.frame[6..12] == [2, 0, 0, 0, 0, 0x25] => &self.mail_server,
                Via::Lan => &self.client,
            };
            way.send(&packet.frame).with_context(|| scenario.name.clone())?;
        }
        Ok(())
    }

    /// Everything that comes out of the gateway while the whole table goes in.
    pub fn run(&self, rows: &[Scenario]) -> Result<Vec<Captured>> {
        for (i, row) in rows.iter().enumerate() {
            self.inject(row)?;
            // The queues hold a few hundred frames.
            if i % 16 == 15 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.flush(1)?;
        std::thread::sleep(Duration::from_millis(200));
        ensure!(self.outside.lost()? == 0, "the capture lost frames");
        let flushed =
            |f: &Captured| f.view().is_some_and(|v| v.ports.is_some_and(|p| p.0 == 7 && p.1 > 50_000));
        Ok(self.outside.frames().into_iter().filter(|f| !f.outgoing && !flushed(f)).collect())
    }
}
