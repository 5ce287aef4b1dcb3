//! Reloads without end and policies without measure: nothing leaks, nothing is lost, nothing grows.
//!
//! `SMTPFENCE_FLIPS=1000 SMTPFENCE_ENTRIES=1000000 cargo test --release --test reload_storm -- --nocapture` runs all of it.

#[path = "../long_policy/mod.rs"]
mod long_policy;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::frame::{Frame, Tcp};
use lab::{Agent, Host, Lab, Sniffer, built_binary, require_root_or_skip};
use long_policy::{POLICY, large, number};

fn second() -> String {
    let more = "  - { name: mx2, address: 10.25.0.26 }\nexceptions:\n  - { name: scanner, from: [10.25.0.90], \
                to: [203.0.113.25], until: 2999-12-31, reason: test, owner: test }\nend: true";
    POLICY.replace("name: first", "name: second").replace("end: true", more)
}

/// Sends SYNs to port 25 until told to stop, each with a sequence number of its own; returns how many.
fn send_syns(lab: &Lab, from: &Host, stop: &AtomicBool) -> Result<usize> {
    let socket = from.raw_socket("eth0")?;
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..10 {
            let syn = Tcp::syn(20_000 + (sent % 40_000) as u16, 25).sequence(sent as u32);
            let frame = Frame::new(from.mac(), lab.gateway().mac())
                .ip(from.addr4().into(), "203.0.113.25".parse()?)
                .tcp(syn);
            socket.send(&frame.build())?;
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(sent)
}

/// SYNs of a host to port 25 that were seen outside.
fn syns_of(outside: &Sniffer, host: &Host) -> usize {
    let address = host.addr4().into();
    outside.count(|frame| frame.view().is_some_and(|view| view.is_syn_to(25) && view.source == Some(address)))
}

/// A line of `/proc/PID/status`, in KiB.
fn memory(agent: &mut Agent<'_>, what: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent_pid(agent)?))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)).context("no such line")?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?)
}

fn open_files(agent: &mut Agent<'_>) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", agent_pid(agent)?))?.count())
}

/// The agent itself, not the program that has led it into its namespace.
fn agent_pid(agent: &mut Agent<'_>) -> Result<u64> {
    agent.status()?["agent"]["pid"].as_u64().context("no agent")
}

#[test]
fn flipping_between_two_policies_leaks_nothing_and_loses_no_mail() -> Result<()> {
    require_root_or_skip!();
    let flips = number("SMTPFENCE_FLIPS", 60);
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let outside = lab.internet().sniff("wan0")?;
    let (second, stop) = (second(), AtomicBool::new(false));
    let files_before = open_files(&mut agent)?;
    let mut memory_at = Vec::with_capacity(flips);
    let begun = Instant::now();
    let (from_client, from_mail) = std::thread::scope(|scope| -> Result<(usize, usize)> {
        let client = scope.spawn(|| send_syns(&lab, lab.client(0), &stop));
        let mail = scope.spawn(|| send_syns(&lab, lab.mail_server(), &stop));
        let flipped = (0..flips).try_for_each(|flip| -> Result<()> {
            agent.write_policy(if flip % 2 == 0 { &second } else { POLICY })?;
            let (accepted, told) = agent.reload()?;
            ensure!(accepted && told.contains("is in force"), "flip {flip}: {told}");
            memory_at.push(memory(&mut agent, "VmRSS")?);
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        let sent =
            (client.join().expect("the client's thread")?, mail.join().expect("the mail server's thread")?);
        flipped.map(|()| sent)
    })?;
    let took = begun.elapsed();
    std::thread::sleep(Duration::from_millis(300));
    ensure!(outside.lost()? == 0, "the capture is incomplete");
    let (leaked, passed) = (syns_of(&outside, lab.client(0)), syns_of(&outside, lab.mail_server()));
    // The least of many: the allocator gives back what a reload took when it likes, which moves single figures by megabytes,
    // while what is lost stays in all of them. The first third fills what the agent keeps.
    let least = |figures: &[u64]| figures.iter().min().copied().unwrap_or(0);
    let (memory_before, memory_after) =
        (least(&memory_at[flips / 3..flips * 2 / 3]), least(&memory_at[flips * 2 / 3..]));
    let files_after = open_files(&mut agent)?;
    println!(
        "{flips} flips in {took:?}: client {from_client} sent, {leaked} out; mail server {from_mail} sent, {passed} out; \
         RSS {memory_before} -> {memory_after} KiB, files {files_before} -> {files_after}"
    );
    ensure!(leaked == 0 && passed == from_mail, "leaked {leaked}, lost {}", from_mail - passed);
    ensure!(files_after <= files_before + 4, "files stay open: {files_before} -> {files_after}");
    ensure!(memory_after < memory_before + 4 * 1024, "memory grows: {memory_before} -> {memory_after} KiB");
    Ok(())
}

#[test]
fn a_thousand_hangups_are_few_reloads() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let files_before = open_files(&mut agent)?;
    let pid = agent_pid(&mut agent)?.to_string();
    agent.write_policy(&second())?;
    let begun = Instant::now();
    for _ in 0..1000 {
        let pid = rustix::process::Pid::from_raw(pid.parse()?).context("no PID")?;
        rustix::process::kill_process(pid, rustix::process::Signal::HUP)?;
        // Slow enough that the kernel does not fold them all into one.
        std::thread::sleep(Duration::from_micros(100));
    }
    let storm = begun.elapsed();
    ensure!(agent.reload()?.0);
    std::thread::sleep(Duration::from_millis(500));
    // Those during the storm, one that waited behind it, and our own.
    let reloads =
        agent.process()?.stderr().iter().filter(|line| line.contains("is in force: revision")).count();
    println!("1000 hangups in {storm:?}: {reloads} reloads");
    ensure!((2..200).contains(&reloads), "{reloads} reloads");
    let files_after = open_files(&mut agent)?;
    ensure!(files_after <= files_before + 4, "files stay open: {files_before} -> {files_after}");
    ensure!(agent.status()?["in_force"]["policy"] == "second");
    Ok(())
}

/// Asks for a plain reload as `curl` does, and returns the whole answer.
fn post_reload(socket: &Path) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(
        b"POST /v1/reload HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn two_hundred_requests_at_once_are_few_reloads_and_all_are_answered() -> Result<()> {
    const REQUESTS: usize = 200;
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let outside = lab.internet().sniff("wan0")?;
    agent.write_policy(&second())?;
    let (stop, socket) = (AtomicBool::new(false), agent.socket().to_owned());
    let begun = Instant::now();
    let (answers, from_client, from_mail) = std::thread::scope(|scope| -> Result<_> {
        let client = scope.spawn(|| send_syns(&lab, lab.client(0), &stop));
        let mail = scope.spawn(|| send_syns(&lab, lab.mail_server(), &stop));
        let asking: Vec<_> = (0..REQUESTS).map(|_| scope.spawn(|| post_reload(&socket))).collect();
        let answers: Vec<Result<String>> =
            asking.into_iter().map(|it| it.join().expect("a thread that asks")).collect();
        stop.store(true, Ordering::Relaxed);
        let client = client.join().expect("the client's thread")?;
        Ok((answers, client, mail.join().expect("the mail server's thread")?))
    })?;
    let took = begun.elapsed();
    for answer in answers {
        let answer = answer?;
        ensure!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("policy second is in force"),
            "{answer}"
        );
    }
    std::thread::sleep(Duration::from_millis(300));
    let reloads =
        agent.process()?.stderr().iter().filter(|line| line.contains("is in force: revision")).count();
    println!(
        "{REQUESTS} requests in {took:?}: {reloads} reloads; {from_mail} packets of mail, {from_client} of a client"
    );
    ensure!((1..=REQUESTS / 10).contains(&reloads), "{reloads} reloads");
    ensure!(outside.lost()? == 0, "the capture is incomplete");
    let (leaked, passed) = (syns_of(&outside, lab.client(0)), syns_of(&outside, lab.mail_server()));
    ensure!(leaked == 0 && passed == from_mail, "leaked {leaked}, lost {}", from_mail - passed);
    ensure!(agent.status()?["in_force"]["policy"] == "second");
    Ok(())
}

#[test]
fn a_policy_without_measure_is_reloaded_in_bounded_time_and_memory() -> Result<()> {
    require_root_or_skip!();
    let entries = number("SMTPFENCE_ENTRIES", 20_000);
    let lab = Lab::builder().build()?;
    let provider = SocketAddr::from(([203, 0, 113, 25], 25));
    let _listener = lab.internet().listen(provider)?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    agent.write_policy(&large(entries))?;
    let begun = Instant::now();
    let (code, told) = agent.told("reload", &["--confirm", "10m"])?;
    let took = begun.elapsed();
    ensure!(code == Some(0), "{told}");
    let can_send = |host: &Host| host.connect(provider, Duration::from_millis(300)).is_ok();
    ensure!(can_send(lab.mail_server()) && !can_send(lab.client(0)), "wrong verdicts");
    let peak = memory(&mut agent, "VmHWM")?;
    println!("{entries} entries: reload in {took:?}, at most {} MiB", peak / 1024);
    ensure!(took < Duration::from_secs(10) && peak < 600 * 1024, "{took:?}, {peak} KiB");
    let begun = Instant::now();
    let (code, told) = agent.told("reload", &["--cancel"])?;
    ensure!(code == Some(0) && begun.elapsed() < Duration::from_secs(10), "{told}");
    // From large to large: both are in memory.
    ensure!(agent.reload()?.0);
    agent.write_policy(&large(entries).replace("name: large", "name: larger"))?;
    let begun = Instant::now();
    let (code, told) = agent.told("reload", &["--confirm", "10m"])?;
    ensure!(code == Some(0), "{told}");
    let (took, peak) = (begun.elapsed(), memory(&mut agent, "VmHWM")?);
    println!(
        "{entries} entries in place of as many, on trial: reload in {took:?}, at most {} MiB",
        peak / 1024
    );
    ensure!(took < Duration::from_secs(10) && peak < 600 * 1024, "{took:?}, {peak} KiB");
    Ok(())
}
