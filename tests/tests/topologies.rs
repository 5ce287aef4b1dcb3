//! The scenario table through a bridge, in through a tun device, and out through one: 0 leaks and 0 false drops in each.

#[path = "../scenarios/mod.rs"]
mod scenarios;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::frame::{Frame, Ipv4, Mac, Udp};
use lab::{Agent, Lab, Sniffer, Tun, built_binary, require_root_or_skip};
use policy_common::abi::scope;
use scenarios::{Bare, Expect, Scenario, Via, policy};

/// A datagram behind each row: what comes out before it belongs to the row.
const SENTINEL_PORT: u16 = 9;

/// The policy of the table with other interfaces; the guest network is not part of these runs.
fn policy_with(inside: &str, outside: &str) -> String {
    policy::TEXT
        .replace(
            "inside: [lan0, guest0], outside: [wan0]",
            &format!("inside: [{inside}], outside: [{outside}]"),
        )
        .replace(", interface: guest0", "")
}

fn start<'lab>(lab: &'lab Lab, inside: &str, outside: &str) -> Result<Agent<'lab>> {
    let agent = Agent::start(lab, &built_binary()?, &policy_with(inside, outside))?;
    for (address, quarantine) in policy::quarantine(1) {
        if let Some(host) = address.to_ip().filter(|_| quarantine.until() > 1) {
            let wide = if quarantine.scope() == scope::ALL { "all" } else { "mail" };
            // Refused for the mail server that is in the list on purpose.
            let host = host.to_string();
            agent.ask(&["quarantine", &host, "--for", "1h", "--reason", "scenario", "--scope", wide])?;
        }
    }
    Ok(agent)
}

fn rows() -> Vec<Scenario> {
    let in_lan = |row: &Scenario| {
        // Without a guest interface the binding to it can't be run.
        row.via == Via::Lan && row.not_in_lab.is_none() && !row.name.contains("guest mail server")
    };
    scenarios::all().into_iter().filter(in_lan).collect()
}

fn sentinel(lab: &Lab, number: usize) -> Frame {
    // The number travels in the length of the payload, where no NAT and no checksum touches it.
    let datagram = Udp::new(SENTINEL_PORT, SENTINEL_PORT, &vec![0; 8 + number % 1000]);
    let mail = lab.mail_server();
    Frame::new(mail.mac(), lab.gateway().mac())
        .ipv4(Ipv4::new(mail.addr4(), [198, 19, 255, 254]))
        .udp(datagram)
}

/// Whether an IP packet is a sentinel: to its address, which no scenario uses.
fn is_sentinel(packet: &[u8]) -> bool {
    packet.first() == Some(&0x45) && packet.get(16..20) == Some(&[198, 19, 255, 254])
}

/// Sends every row and compares what comes out with what must.
fn run(
    rows: &[Scenario],
    expect: impl Fn(&scenarios::Packet) -> Option<Expect>,
    mut send_and_collect: impl FnMut(usize, &Scenario) -> Result<Vec<Vec<u8>>>,
) -> Result<()> {
    let (mut leaks, mut false_drops, mut checked) = (Vec::new(), Vec::new(), 0);
    for (number, row) in rows.iter().enumerate() {
        let expects: Option<Vec<Expect>> = row.packets.iter().map(&expect).collect();
        let Some(expects) = expects else { continue };
        checked += 1;
        let out = send_and_collect(number, row).with_context(|| row.name.clone())?.len();
        let may = expects.iter().filter(|expect| !expect.denies()).count();
        let must = row
            .packets
            .iter()
            .zip(&expects)
            .filter(|(packet, expect)| !expect.denies() && packet.bare == Bare::Forwards)
            .count();
        if out > may {
            leaks.push(&row.name);
        }
        if out < must {
            false_drops.push(&row.name);
        }
    }
    println!("{checked} rows: {} leaks, {} false drops", leaks.len(), false_drops.len());
    ensure!(checked > 100, "only {checked} rows could be run");
    if leaks.is_empty() && false_drops.is_empty() {
        return Ok(());
    }
    bail!("leaks: {leaks:#?}\nfalse drops: {false_drops:#?}")
}

/// IP packets that left the gateway before the newest sentinel.
fn until_sentinel(outside: &Sniffer) -> Result<Vec<Vec<u8>>> {
    let is_end = |frame: &lab::Captured| frame.bytes.get(14..).is_some_and(is_sentinel);
    outside.wait_for(is_end, Duration::from_secs(2)).context("the sentinel did not arrive")?;
    let frames = outside.frames();
    outside.clear();
    let is_ip = |bytes: &[u8]| matches!(bytes.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]));
    let from_gateway = frames.into_iter().filter(|frame| !frame.outgoing && is_ip(&frame.bytes));
    let packets = from_gateway.map(|frame| frame.bytes[14..].to_vec());
    Ok(packets.filter(|packet| !is_sentinel(packet) && !is_of_the_kernels(packet)).collect())
}

/// What the kernels say by themselves: on the link (to a multicast group, from a link-local address), and the gateway's own
/// errors about answers to hosts that do not exist.
fn is_of_the_kernels(packet: &[u8]) -> bool {
    let own = |bytes: Option<&[u8]>| {
        let own = policy::gateway_addresses();
        bytes.is_some_and(|bytes| {
            own.iter().any(|addr| &addr.bytes()[..usize::from(addr.bits() / 8)] == bytes)
        })
    };
    match packet.first().map(|first| first >> 4) {
        Some(4) => own(packet.get(12..16)),
        Some(6) => {
            let on_link = packet.get(24) == Some(&0xff) || packet.get(8..10) == Some(&[0xfe, 0x80]);
            on_link || own(packet.get(8..24))
        }
        _ => false,
    }
}

/// A frame of the gateway: some rows come from its MAC, and the switch would look for it at the client's port afterwards.
struct Greeting {
    socket: lab::RawSocket,
    frame: Vec<u8>,
}

impl Greeting {
    fn new(lab: &Lab, interface: &str) -> Result<Self> {
        let frame = Frame::new(lab.gateway().mac(), lab.mail_server().mac()).pad_to(60).build();
        Ok(Self { socket: lab.gateway().raw_socket(interface)?, frame })
    }

    fn send(&self) -> Result<()> {
        self.socket.send(&self.frame)
    }
}

/// Some rows are jumbo frames.
fn with_jumbo_frames(lab: &Lab, interfaces: &[&str]) -> Result<()> {
    let on_gateway = interfaces.iter().chain(["lan0", "wan0"].iter()).map(|name| (lab.gateway(), *name));
    let ports = ["lan", "gateway", "client0"].map(|name| (lab.switch(), name));
    let ends = [(lab.client(0), "eth0"), (lab.internet(), "wan0")];
    for (host, name) in ports.into_iter().chain(ends).chain(on_gateway) {
        host.ip(&format!("link set {name} mtu 9000"))?;
    }
    Ok(())
}

fn without_source_check(lab: &Lab, interface: &str) -> Result<()> {
    lab.gateway().sysctl("ipv4/conf/all/rp_filter", "0")?;
    lab.gateway().sysctl(&format!("ipv4/conf/{interface}/rp_filter"), "0")
}

#[test]
fn bridge_as_inside() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let gateway = lab.gateway();
    let Mac([a, b, c, d, e, f]) = gateway.mac();
    gateway.ip(&format!(
        "link add br0 address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} type bridge mcast_snooping 0 stp_state 0 \
         forward_delay 0"
    ))?;
    gateway.ip("addr del 10.25.0.1/24 dev lan0")?;
    gateway.ip("addr del fd25::1/64 dev lan0")?;
    gateway.ip("link set lan0 master br0")?;
    gateway.ip("link set br0 up")?;
    gateway.ip("addr add 10.25.0.1/24 dev br0")?;
    gateway.ip("addr add fd25::1/64 dev br0 nodad")?;
    // A gateway with br_netfilter on would judge frames before the door does.
    for family in ["iptables", "ip6tables"] {
        let _absent_without_br_netfilter = gateway.sysctl(&format!("bridge/bridge-nf-call-{family}"), "0");
    }
    without_source_check(&lab, "br0")?;
    with_jumbo_frames(&lab, &["br0"])?;
    let _agent = start(&lab, "br0", "wan0")?;
    let socket = lab.client(0).raw_socket("eth0")?;
    let greeting = Greeting::new(&lab, "br0")?;
    let outside = lab.internet().sniff("wan0")?;
    run(
        &rows(),
        |packet| Some(packet.expect),
        |number, row| {
            for packet in &row.packets {
                socket.send(&packet.frame)?;
            }
            greeting.send()?;
            socket.send(&sentinel(&lab, number).build())?;
            until_sentinel(&outside)
        },
    )
}

#[test]
fn tun_as_inside() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let tun = lab.gateway().tun("tun0")?;
    without_source_check(&lab, "tun0")?;
    with_jumbo_frames(&lab, &["tun0"])?;
    let _agent = start(&lab, "tun0", "wan0")?;
    let outside = lab.internet().sniff("wan0")?;
    let expect =
        |packet: &scenarios::Packet| packet.without_ethernet().map(|_| packet.expect_without_ethernet());
    run(&rows(), expect, |number, row| {
        for packet in row.packets.iter().filter_map(|packet| packet.without_ethernet()) {
            tun.send(packet)?;
        }
        tun.send(&sentinel(&lab, number).packet())?;
        until_sentinel(&outside)
    })
}

#[test]
fn tun_as_outside() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let tun = lab.gateway().tun("tun9")?;
    lab.gateway().ip("addr add 192.168.9.1/32 dev tun9")?;
    lab.gateway().ip("link set wan0 down")?;
    lab.gateway().ip("route replace default dev tun9")?;
    lab.gateway().ip("-6 route replace default dev tun9")?;
    without_source_check(&lab, "lan0")?;
    with_jumbo_frames(&lab, &["tun9"])?;
    let agent = start(&lab, "lan0", "tun9")?;
    let socket = lab.client(0).raw_socket("eth0")?;
    let greeting = Greeting::new(&lab, "lan0")?;
    run(
        &rows(),
        |packet| Some(packet.expect),
        |number, row| {
            for packet in &row.packets {
                socket.send(&packet.frame)?;
            }
            greeting.send()?;
            socket.send(&sentinel(&lab, number).build())?;
            out_of(&tun)
        },
    )?;
    // The guard on a device without a link layer.
    let to = SocketAddr::from(([198, 18, 0, 1], 25));
    ensure!(lab.gateway().connect(to, Duration::from_millis(200)).is_err());
    ensure!(agent.counted("local-process", "packets")? > 0, "the guard on tun9 saw nothing");
    ensure!(out_of_quiet(&tun)?.is_empty(), "a local process reached port 25 through tun9");
    Ok(())
}

/// Packets that came out of the device before the next sentinel.
fn out_of(tun: &Tun) -> Result<Vec<Vec<u8>>> {
    let mut packets = Vec::new();
    for _ in 0..200 {
        for packet in tun.receive_until_quiet(Duration::from_millis(5))? {
            if is_sentinel(&packet) {
                return Ok(packets);
            }
            packets.extend((!is_of_the_kernels(&packet)).then_some(packet));
        }
    }
    bail!("the sentinel did not come out of the device")
}

fn out_of_quiet(tun: &Tun) -> Result<Vec<Vec<u8>>> {
    let packets = tun.receive_until_quiet(Duration::from_millis(100))?;
    Ok(packets.into_iter().filter(|packet| !is_of_the_kernels(packet)).collect())
}
