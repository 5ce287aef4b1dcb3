//! What the running agent may do, thread by thread, and that it can still do its work.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Lab, built_binary, provider, require_root_or_skip};

#[path = "../../policy-user/tests/dns_message/mod.rs"]
mod dns_message;
mod intruder;

/// `CAP_BPF`, `CAP_NET_ADMIN` and `CAP_PERFMON` as `/proc` writes them.
const NEEDED: &str = "000000c000001000";
const NONE: &str = "0000000000000000";

/// Three for all, of which one is for processors with a second table of calls; one for the thread that holds capabilities,
/// which starts no programs, or one for those that hold none, which only look into maps.
const FILTERS: usize = if cfg!(target_arch = "x86_64") { 4 } else { 3 };

const METRICS: &str = "127.0.0.1:9725";

/// Everything that gives the agent a thread or a task.
const POLICY: &str = r#"version: 1
name: rights
interfaces: { inside: ["lan*"], outside: [wan0] }
networks:
  clients: [10.25.0.0/24, "fd25::/64"]
  internal: [10.0.0.0/8, "fd00::/8"]
mode: enforce
on_block: reject
detection: { names: { resolvers: [203.0.113.25] } }
log: { file: DIR/attempts.json, journal: true, syslog: ["udp://127.0.0.1:5514", "tcp://127.0.0.1:5514"] }
metrics: { listen: "127.0.0.1:9725" }
notify:
  - { name: script, exec: { program: DIR/receiver } }
end: true
"#;

/// A receiver that says what it is, and which memory of the agent it can open.
const RECEIVER: &str = r#"#!/bin/bash
exec >DIR/saying
cat /proc/self/status
for memory in /proc/$PPID/mem /proc/$PPID/task/*/mem; do
    if { exec 3<"$memory"; } 2>/dev/null; then echo "OPEN $memory"; exec 3<&-; fi
done
mv DIR/saying DIR/said
"#;

/// The policy for a lab, with its receiver in place.
fn policy(lab: &Lab) -> Result<String> {
    let directory = lab.dir().to_string_lossy();
    let receiver = lab.dir().join("receiver");
    fs::write(&receiver, RECEIVER.replace("DIR", &directory))?;
    fs::set_permissions(&receiver, fs::Permissions::from_mode(0o700))?;
    Ok(POLICY.replace("DIR", &directory))
}

/// A thread as `/proc` shows it.
struct Thread {
    id: u32,
    status: String,
    /// Nanoseconds on a processor.
    worked: u64,
}

impl Thread {
    fn get(&self, name: &str) -> Option<&str> {
        field(&self.status, name)
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

fn threads(pid: u32) -> Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path: PathBuf = entry?.path();
        let id = path.file_name().context("no name")?.to_string_lossy().parse()?;
        // A thread of the pool may end meanwhile.
        let Ok(status) = fs::read_to_string(path.join("status")) else { continue };
        let worked = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        let worked = worked.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0);
        threads.push(Thread { id, status, worked });
    }
    Ok(threads)
}

fn until(what: &str, mut reached: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !reached()? {
        ensure!(begun.elapsed() < Duration::from_secs(10), "not reached: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn one_thread_holds_three_capabilities_and_all_others_none() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, &policy(&lab)?)?;
    // Outputs begin anew when a policy names others: also those threads hold nothing.
    agent.write_policy(&policy(&lab)?.replace("udp://127.0.0.1:5514", "udp://127.0.0.1:5515"))?;
    let (accepted, told) = agent.reload()?;
    ensure!(accepted, "{told}");
    ensure!(!lab.client(0).can_connect(provider(25)));
    agent.wait_for_attempt(|_| true).err().context("attempts go to the file")?;
    let pid = agent.process()?.pid();
    let threads = threads(pid)?;
    let names: Vec<_> = threads.iter().filter_map(|thread| thread.get("Name")).collect();
    for name in ["smtpfence", "worker", "log", "store", "store-pulse", "output"] {
        ensure!(names.contains(&name), "no thread {name}: {names:?}");
    }
    for thread in &threads {
        let held = if thread.id == pid { NEEDED } else { NONE };
        for (name, expected) in [
            ("CapPrm", held),
            ("CapEff", held),
            ("CapInh", NONE),
            ("CapAmb", NONE),
            ("CapBnd", NEEDED),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            ensure!(thread.get(name) == Some(expected), "{name} is not {expected}:\n{}", thread.status);
        }
        let filters: usize = thread.get("Seccomp_filters").context("no filters")?.parse()?;
        ensure!(filters >= FILTERS, "{filters} filters:\n{}", thread.status);
    }
    let rights = agent.status()?["rights"].clone();
    ensure!(rights["reduced"] == true && rights["privileged_threads"] == 1, "{rights:#}");
    ensure!(rights["threads"] == rights["filtered_threads"], "{rights:#}");
    ensure!(rights["capabilities"].as_array().is_some_and(|held| held.len() == 3), "{rights:#}");
    let shown = agent.ask(&["status"])?;
    ensure!(shown.contains("rights      cap_net_admin, cap_perfmon, cap_bpf in 1 of "), "{shown}");
    ensure!(agent.get("/metrics")?.contains("smtpfence_agent_rights_reduced 1"), "no metric");
    Ok(())
}

#[test]
fn what_strangers_send_is_read_by_threads_that_hold_nothing() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, &policy(&lab)?)?;
    let pid = agent.process()?.pid();
    let resolver = lab.internet().run(|| UdpSocket::bind(provider(53)))??;
    let client = lab.client(0).run(|| UdpSocket::bind((lab.client(0).addr4(), 5300)))??;
    let to = client.local_addr()?;
    let before: BTreeMap<u32, u64> = threads(pid)?.iter().map(|it| (it.id, it.worked)).collect();
    for nth in 0..4000u16 {
        let server = std::net::Ipv4Addr::from(0xc633_6400 + u32::from(nth % 250) + 1);
        resolver.send_to(&dns_message::found(&format!("n{nth}.example"), server.into()), to)?;
        if nth % 50 == 0 {
            nonsense_by_http(&lab, &agent)?;
        }
    }
    until("the names are learnt", || {
        Ok(agent.status()?["names"]["addresses"].as_u64().is_some_and(|known| known > 50))
    })?;
    let (mut holding, mut nothing) = (0, 0);
    for thread in threads(pid)? {
        let worked = thread.worked - before.get(&thread.id).copied().unwrap_or(0);
        *(if thread.id == pid { &mut holding } else { &mut nothing }) += worked;
    }
    println!("with capabilities {holding} ns, without {nothing} ns");
    // It has looked at its hooks meanwhile, and answered for its status.
    ensure!(nothing > 4 * holding, "with capabilities {holding} ns, without {nothing} ns");
    Ok(())
}

/// To the control socket and to the port for metrics.
fn nonsense_by_http(lab: &Lab, agent: &Agent<'_>) -> Result<()> {
    const NONSENSE: &[u8] = b"GET /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    let mut socket = UnixStream::connect(agent.socket())?;
    socket.write_all(NONSENSE)?;
    socket.read_to_end(&mut answer)?;
    let mut port = lab.gateway().run(|| TcpStream::connect(METRICS))??;
    port.write_all(NONSENSE)?;
    port.read_to_end(&mut answer)?;
    ensure!(answer.windows(4).filter(|part| part == b" 404").count() == 2, "it was understood");
    Ok(())
}

#[test]
fn a_receivers_program_is_root_without_capabilities_and_can_not_open_the_agents_memory() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, &policy(&lab)?)?;
    let told = agent.ask(&["notify", "--test", "script"])?;
    let said = fs::read_to_string(lab.dir().join("said")).with_context(|| told.clone())?;
    for (name, expected) in
        [("Uid", "0\t0\t0\t0"), ("CapPrm", NONE), ("CapEff", NONE), ("NoNewPrivs", "1"), ("Seccomp", "2")]
    {
        ensure!(field(&said, name) == Some(expected), "{name} is not {expected}:\n{said}");
    }
    ensure!(!said.contains("OPEN"), "{said}");
    Ok(())
}

#[test]
fn it_reloads_covers_quarantines_and_defends_its_place_with_what_is_left() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listeners = [lab.internet().listen(provider(25))?, lab.internet().listen(provider(443))?];
    let mut agent = Agent::start(&lab, &built_binary()?, &policy(&lab)?)?;
    let client = lab.client(0);
    ensure!(!client.can_connect(provider(25)) && client.can_connect(provider(443)));

    agent.write_policy(&policy(&lab)?.replace("mode: enforce", "mode: audit"))?;
    let (accepted, told) = agent.reload()?;
    ensure!(accepted && client.can_connect(provider(25)), "{told}");
    agent.write_policy(&policy(&lab)?)?;
    ensure!(agent.reload()?.0 && !client.can_connect(provider(25)), "the way back");

    let address = client.addr4().to_string();
    let told = agent.ask(&["quarantine", &address, "--for", "1h", "--scope", "all", "--reason", "test"])?;
    ensure!(!client.can_connect(provider(443)), "no quarantine: {told}");
    let told = agent.ask(&["release", &address])?;
    ensure!(client.can_connect(provider(443)), "no release: {told}");

    lab.gateway().ip("link add lan5 type veth peer name far5")?;
    until("lan5 is covered", || Ok(agent.status()?["coverage"].to_string().contains("lan5")))?;

    let _intruder = intruder::put_in_front(lab.gateway(), "lan0")?;
    agent.process()?.wait_for_line("ALARM", Duration::from_secs(5))?;
    until("ours is first again", || {
        let status = agent.status()?;
        let places = status["coverage"].as_array().context("no coverage")?;
        Ok(places.iter().all(|place| place["position"] == "first"))
    })?;
    ensure!(!client.can_connect(provider(25)), "the program in front lets port 25 out");
    Ok(())
}
