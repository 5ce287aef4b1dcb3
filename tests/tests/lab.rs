//! The lab itself: a plain network that forwards, hides with NAT what it should, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may the functions it calls")]

use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::frame::{Frame, Tcp, flags};
use lab::{Lab, Mac, listener, require_root_or_skip};

const SOON: Duration = Duration::from_secs(3);
const EVERYWHERE: &str = "[::]:25";

fn both_families() -> [SocketAddr; 2] {
    ["203.0.113.25:25", "[2001:db8:ff::25]:25"].map(|a| a.parse().unwrap())
}

#[test]
fn without_smtpfence_port_25_is_open_and_the_source_is_seen() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(2).build()?;
    let server = lab.internet().listen(EVERYWHERE.parse()?)?;
    for to in both_families() {
        for host in [lab.client(0), lab.client(1), lab.mail_server()] {
            let mut stream = host.connect(to, SOON).with_context(|| format!("{host:?} to {to}"))?;
            let mut greeting = vec![0; listener::GREETING.len()];
            stream.read_exact(&mut greeting)?;
            assert_eq!(greeting, listener::GREETING);
            assert_eq!(server.peers().last().unwrap().ip().to_canonical(), host.addr_like(to.ip()));
        }
    }
    assert_eq!(server.accepted(), 6);
    Ok(())
}

#[test]
fn nat_hides_the_source_in_both_families() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().nat(true).build()?;
    let server = lab.internet().listen(EVERYWHERE.parse()?)?;
    for to in both_families() {
        lab.client(0).connect(to, SOON)?;
    }
    assert!(server.wait_for(2, SOON));
    let peers: Vec<IpAddr> = server.peers().iter().map(|p| p.ip().to_canonical()).collect();
    assert_eq!(peers, ["203.0.113.1".parse::<IpAddr>()?, "2001:db8:ff::1".parse()?]);
    Ok(())
}

#[test]
fn the_internet_answers_for_many_addresses_and_the_clients_have_their_own() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(25).internet_address("100.64.9.9".parse()?).build()?;
    let server = lab.internet().listen(EVERYWHERE.parse()?)?;
    for to in ["198.51.100.7:25", "192.0.2.250:25", "[2001:db8:aaaa:9::1]:25", "100.64.9.9:25"] {
        lab.client(24).connect(to.parse()?, SOON).with_context(|| to)?;
    }
    assert!(server.wait_for(4, SOON));
    assert_eq!(lab.client(0).mac().to_string(), "02:00:00:00:00:77");
    assert_eq!(lab.client(24).mac().to_string(), "02:00:00:00:01:01");
    assert_eq!(lab.client(24).addr6().to_string(), "fd25::101");
    assert_eq!(lab.mail_server().mac(), "02:00:00:00:00:25".parse::<Mac>()?);
    assert!(lab.gateway().ip("link show lan0")?.contains("02:00:00:00:00:01"));
    assert_ne!(lab.gateway().ifindex("lan0")?, lab.gateway().ifindex("wan0")?);
    Ok(())
}

#[test]
fn a_source_address_can_be_chosen() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let server = lab.internet().listen("203.0.113.25:25".parse()?)?;
    let from: SocketAddr = "10.25.0.77:41234".parse()?;
    lab.client(0).connect_from(from, server.address(), SOON)?;
    assert!(server.wait_for(1, SOON));
    assert_eq!(server.peers(), [from]);
    Ok(())
}

#[test]
fn whole_frames_go_out_and_come_in_with_their_tags() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let (client, gateway) = (lab.client(0), lab.gateway());
    let _server = lab.internet().listen(EVERYWHERE.parse()?)?;
    let inside = gateway.sniff("lan0")?;
    let outside = gateway.sniff("wan0")?;
    let socket = client.raw_socket("eth0")?;
    for to in both_families() {
        let frame = Frame::new(client.mac(), gateway.mac())
            .vlan(0)
            .ip(client.addr_like(to.ip()), to.ip())
            .tcp(Tcp::syn(40_000, 25).sequence(77));
        socket.send(&frame.build())?;
        // The kernel routes a priority-tagged packet, so the answer of the server comes back.
        let answer =
            socket.receive_matching(|f| f.view().is_some_and(|v| v.ports == Some((25, 40_000))), SOON)?;
        let tcp = answer.and_then(|f| f.view()?.tcp).with_context(|| format!("no answer from {to}"))?;
        assert_eq!((tcp.flags, tcp.acknowledgement), (flags::SYN | flags::ACK, 78));

        let sent = inside.wait_for(|f| f.bytes == frame.build(), SOON);
        assert!(sent.is_some_and(|f| !f.outgoing), "the gateway's inside saw the frame, tag and all");
        let forwarded = outside.wait_for(
            |f| f.outgoing && f.view().is_some_and(|v| v.is_syn_to(25) && v.destination == Some(to.ip())),
            SOON,
        );
        assert!(forwarded.is_some_and(|f| f.view().unwrap().tags.is_empty()));
    }
    assert_eq!((inside.lost()?, outside.lost()?), (0, 0));
    assert_eq!(outside.count(|f| f.outgoing && f.view().is_some_and(|v| v.is_syn_to(25))), 2);
    Ok(())
}

#[test]
fn programs_run_inside_and_end_when_told() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    fs::write(lab.dir().join("seen"), "x")?;
    let output = lab.gateway().command("ip").args(["-brief", "address", "show", "wan0"]).output()?;
    assert!(String::from_utf8_lossy(&output.stdout).contains("203.0.113.1/24"));

    let mut shell = lab.gateway().command("sh");
    shell.arg("-c").arg("echo hello; echo trouble >&2; exec sleep 60");
    let mut child = lab.gateway().spawn(shell)?;
    assert_eq!(child.wait_for_line("hel", SOON)?, "hello");
    child.wait_for_line("trouble", SOON)?;
    assert_eq!((child.stdout(), child.stderr()), (vec!["hello".into()], vec!["trouble".into()]));
    assert!(child.wait_for_line("never", Duration::from_millis(50)).is_err());
    assert!(!child.terminate(SOON)?.success());
    let error = child.wait_for_line("never", SOON).unwrap_err();
    assert!(format!("{error:#}").contains("has ended"), "{error:#}");
    Ok(())
}

#[test]
fn a_bpffs_is_seen_from_inside_a_namespace() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let path = lab.bpffs()?;
    assert_eq!(path, lab.bpffs()?);
    let output = lab.gateway().command("stat").args(["-f", "-c", "%T"]).arg(&path).output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "bpf_fs");
    Ok(())
}

/// All traces of labs whose names begin with `tag`.
fn traces(tag: &str) -> Vec<String> {
    let names = |directory: &str| -> Vec<String> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    };
    let mut found: Vec<String> = names("/run/netns").into_iter().filter(|n| n.starts_with(tag)).collect();
    let temporary = std::env::temp_dir();
    found.extend(names(&temporary.to_string_lossy()).into_iter().filter(|n| n.starts_with(tag)));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    found.extend(mounts.lines().filter(|l| l.contains(tag)).map(String::from));
    found
}

fn tag_of(lab: &Lab) -> String {
    lab.gateway().namespace().trim_end_matches("gateway").to_string()
}

#[test]
fn nothing_is_left_behind_not_even_after_a_panic() -> Result<()> {
    require_root_or_skip!();
    let mut tag = String::new();
    let mut daemon = None;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::builder().nat(true).build().unwrap();
        tag = tag_of(&lab);
        lab.bpffs().unwrap();
        // A daemon that no guard knows, as a program leaves it that forks away.
        let mut shell = lab.gateway().command("sh");
        shell.args(["-c", "echo inside; exec sleep 60"]).stdout(std::process::Stdio::piped());
        let child = daemon.insert(shell.spawn().unwrap());
        // Only now is it surely in the namespace and no longer on its way there.
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 7]).unwrap();
        assert!(traces(&tag).len() >= 7, "{:?}", traces(&tag));
        lab.gateway().run(|| panic!("in the namespace")).unwrap();
    }));
    let panic = result.unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"in the namespace"));
    assert_eq!(traces(&tag), Vec::<String>::new());
    let status = daemon.context("the daemon was started")?.wait()?;
    ensure!(!status.success(), "the daemon was killed");
    Ok(())
}

#[test]
fn what_a_killed_process_left_behind_is_swept() -> Result<()> {
    require_root_or_skip!();
    const ROLE: &str = "SMTPFENCE_LAB_TEST_LEAVE_BEHIND";
    if std::env::var_os(ROLE).is_some() {
        // We are the process that will be killed in the middle of its work.
        let lab = Lab::builder().build()?;
        lab.bpffs()?;
        println!("\nTAG {}", tag_of(&lab));
        std::thread::sleep(Duration::from_secs(60));
        return Ok(());
    }
    let lab = Lab::builder().build()?;
    let mut again = std::process::Command::new(std::env::current_exe()?);
    again.args(["--exact", "what_a_killed_process_left_behind_is_swept", "--nocapture"]).env(ROLE, "1");
    let mut victim = lab.client(0).spawn(again)?;
    let line = victim.wait_for_line("TAG ", Duration::from_secs(20))?;
    let tag = line.trim_start_matches("TAG ").to_string();
    victim.kill9()?;
    assert!(!traces(&tag).is_empty());

    // The sweep runs once a process, before its first lab: start one more.
    let mut third = std::process::Command::new(std::env::current_exe()?);
    third.args(["--exact", "a_source_address_can_be_chosen"]);
    assert!(third.output()?.status.success());
    assert_eq!(traces(&tag), Vec::<String>::new());
    Ok(())
}
