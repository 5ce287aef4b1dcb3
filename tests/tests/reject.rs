//! `on_block: reject` answers a blocked segment so that a real client fails at once; receiving kernels judge the answer.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::frame::{Frame, Ipv4, Ipv6, Tcp, flags};
use lab::{Agent, Host, Lab, RawSocket, built_binary, require_root_or_skip};

const POLICY: &str = r#"version: 1
name: reject
interfaces: { inside: [lan0], outside: [wan0] }
networks:
  clients: [10.25.0.0/24, "fd25::/64"]
  internal: [10.0.0.0/8, "fd00::/8"]
mode: enforce
on_block: reject
mail_servers:
  - { name: mx1, address: [10.25.0.25, "fd25::25"], mac: "02:00:00:00:00:25" }
end: true
"#;

/// Flags, sequence and acknowledgement number of an answer.
type Answer = (u8, u32, u32);

const PROVIDER4: [u8; 4] = [203, 0, 113, 25];
const SEQ: u32 = 1_000_000;

fn provider6() -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x25])
}

/// Sends one frame from the client and returns the TCP reset that comes back within a short time, if any.
fn answer_to(socket: &RawSocket, frame: &Frame) -> Result<Option<lab::Captured>> {
    socket.send(&frame.build())?;
    let is_reset = |captured: &lab::Captured| {
        captured.view().and_then(|view| view.tcp).is_some_and(|tcp| tcp.flags & flags::RST != 0)
    };
    socket.receive_matching(is_reset, Duration::from_millis(300))
}

fn from_client(lab: &Lab) -> Frame {
    Frame::new(lab.client(0).mac(), lab.gateway().mac())
}

/// What a reset must say: flags, sequence, acknowledgement.
#[track_caller]
fn check(captured: Option<lab::Captured>, want: Option<Answer>, what: &str) -> Result<()> {
    let got = captured.and_then(|c| c.view()).and_then(|view| view.tcp);
    if let Some(tcp) = &got {
        ensure!(tcp.checksum_ok, "{what}: the checksum of the answer is wrong");
    }
    let got = got.map(|tcp| (tcp.flags, tcp.sequence, tcp.acknowledgement));
    ensure!(got == want, "{what}: answered {got:?}, should be {want:?}");
    Ok(())
}

#[test]
fn a_blocked_connect_is_refused_within_milliseconds() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().nat(true).build()?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    for address in [IpAddr::from(PROVIDER4), provider6()] {
        let to = SocketAddr::new(address, 25);
        let _listener = lab.internet().listen(to)?;
        ensure!(lab.mail_server().connect(to, Duration::from_secs(1)).is_ok(), "the mail server is blocked");
        // The first packet of a client has to resolve the gateway's MAC; that is not what is timed.
        let _ = lab.client(0).connect(SocketAddr::new(address, 587), Duration::from_millis(200));
        let begun = Instant::now();
        let error = lab.client(0).connect(to, Duration::from_secs(2)).err().context("connected")?;
        let took = begun.elapsed();
        ensure!(error.kind() == ErrorKind::ConnectionRefused, "{address}: {error}");
        ensure!(took < Duration::from_millis(50), "{address}: refused only after {took:?}");
    }
    let attempt = agent.wait_for_attempt(|attempt| attempt["client"] == "10.25.0.77")?;
    ensure!(attempt["verdict"] == "reject", "{attempt:#}");
    ensure!(agent.counted("not-a-mail-server", "packets")? == 2, "one refused connect is one packet");
    Ok(())
}

#[test]
fn resets_follow_rfc_9293() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let socket = lab.client(0).raw_socket("eth0")?;
    let v4 = || from_client(&lab).ipv4(Ipv4::new([10, 25, 0, 77], PROVIDER4));
    let client6: IpAddr = lab.client(0).addr6().into();
    let v6 = || from_client(&lab).ip(client6, provider6());
    let segment = |flags| Tcp::new(40_000, 25, flags).sequence(SEQ).acknowledgement(77);
    let acknowledged = flags::RST | flags::ACK;
    let rows: [(&str, Tcp, Option<Answer>); 7] = [
        ("SYN", segment(flags::SYN), Some((acknowledged, 0, SEQ + 1))),
        ("SYN with data", segment(flags::SYN).payload(b"EHLO x"), Some((acknowledged, 0, SEQ + 7))),
        ("mid-stream data", segment(flags::ACK | flags::PSH).payload(b"DATA"), Some((flags::RST, 77, 0))),
        ("FIN without ACK", segment(flags::FIN), Some((acknowledged, 0, SEQ + 1))),
        ("no flags", segment(0).payload(&[0; 3]), Some((acknowledged, 0, SEQ + 3))),
        ("a reset is never answered", segment(flags::RST), None),
        ("SYN with options", segment(flags::SYN).options(&[2, 4, 5, 0xb4]), Some((acknowledged, 0, SEQ + 1))),
    ];
    for (what, tcp, want) in rows {
        check(answer_to(&socket, &v4().tcp(tcp.clone()))?, want, &format!("IPv4, {what}"))?;
        check(answer_to(&socket, &v6().tcp(tcp))?, want, &format!("IPv6, {what}"))?;
    }
    Ok(())
}

#[test]
fn odd_framing_is_answered_too() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let socket = lab.client(0).raw_socket("eth0")?;
    let want = Some((flags::RST | flags::ACK, 0, SEQ + 1));
    let syn = || Tcp::syn(40_000, 25).sequence(SEQ);
    let ipv4 = || Ipv4::new([10, 25, 0, 77], PROVIDER4);
    let ipv6 = || {
        let IpAddr::V6(to) = provider6() else { unreachable!("an IPv6 address") };
        Ipv6::new(lab.client(0).addr6(), to)
    };
    let rows = [
        ("IPv4 options", from_client(&lab).ipv4(ipv4().options(&[1; 8])).tcp(syn())),
        ("padded to the Ethernet minimum", from_client(&lab).ipv4(ipv4()).tcp(syn()).pad_to(60)),
        ("priority tag", from_client(&lab).vlan(0).ipv4(ipv4()).tcp(syn())),
        ("two priority tags", from_client(&lab).vlan(0).vlan(0).ipv4(ipv4()).tcp(syn())),
        ("destination options", from_client(&lab).ipv6(ipv6().destination_options(0)).tcp(syn())),
        ("wrong TCP checksum", from_client(&lab).ipv4(ipv4()).tcp(syn().checksum(0x1234))),
    ];
    for (what, frame) in rows {
        check(answer_to(&socket, &frame)?, want, what)?;
    }
    let broadcast = Frame::new(lab.client(0).mac(), lab::Mac::BROADCAST).ipv4(ipv4()).tcp(syn());
    check(answer_to(&socket, &broadcast)?, None, "a broadcast is never answered")?;
    let unreadable = from_client(&lab).ipv4(ipv4()).raw(6, &[0x9c, 0x40]);
    check(answer_to(&socket, &unreadable)?, None, "without a port there is nothing to answer")
}

#[test]
fn a_session_opened_before_the_policy_ends_with_it() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().nat(true).build()?;
    let to = SocketAddr::from((PROVIDER4, 25));
    let listener = lab.internet().listen(to)?;
    let mut session = lab.client(0).connect(to, Duration::from_secs(2))?;
    ensure!(listener.wait_for(1, Duration::from_secs(2)));
    let _agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let before = listener.received();
    ended(&mut session)?;
    ensure!(listener.received() == before, "data of an old session still left");
    Ok(())
}

/// Writes until the reset has arrived.
fn ended(session: &mut std::net::TcpStream) -> Result<()> {
    use std::io::Write;
    for _ in 0..50 {
        if session.write_all(b"NOOP\r\n").is_err() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("the session went on for half a second")
}

#[test]
fn other_hosts_ports_and_directions_are_not_answered() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let connects = |host: &Host, to: SocketAddr| host.connect(to, Duration::from_secs(1)).is_ok();
    for port in [587, 465, 443, 26] {
        let to = SocketAddr::from((PROVIDER4, port));
        let _listener = lab.internet().listen(to)?;
        ensure!(connects(lab.client(0), to), "port {port} is blocked");
    }
    let inbound = SocketAddr::new(lab.mail_server().addr4().into(), 25);
    let _mail = lab.mail_server().listen(inbound)?;
    ensure!(connects(lab.internet(), inbound), "inbound mail is blocked");
    Ok(())
}
