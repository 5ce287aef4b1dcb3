//! What the agent writes: for people, into a file, to a full disk, and from the kernel's own diagnostics.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::frame::{Frame, Ipv4};
use lab::{Agent, Lab, built_binary, require_root_or_skip};
use serde_json::Value;

fn policy(log: &str) -> String {
    format!(
        r#"version: 1
name: output
interfaces: {{ inside: [lan0], outside: [wan0] }}
networks: {{ clients: [10.25.0.0/24], internal: [10.0.0.0/8] }}
mode: enforce
on_block: reject
log: {log}
end: true
"#
    )
}

fn blocked_attempt(lab: &Lab) {
    let provider = SocketAddr::from(([203, 0, 113, 25], 25));
    let _refused = lab.client(0).connect(provider, Duration::from_millis(300));
}

/// Waits until a condition on the text of a file holds.
fn wait_for_text(path: &Path, what: &str, holds: impl Fn(&str) -> bool) -> Result<String> {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if holds(&text) {
            return Ok(text);
        }
        ensure!(begun.elapsed() < Duration::from_secs(3), "{what}: {} has {text:?}", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn people_get_one_aligned_line_an_attempt() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, &policy("{}"))?;
    agent.run_with(&["--format", "human"])?;
    blocked_attempt(&lab);
    let line = agent.process()?.wait_for_line("not-a-mail-server", Duration::from_secs(2))?;
    for part in ["reject", "10.25.0.77:", "02:00:00:00:00:77", "lan0", "-> 203.0.113.25:25"] {
        ensure!(line.contains(part), "no {part:?} in {line:?}");
    }
    Ok(())
}

#[test]
fn a_log_file_survives_rotation_without_a_signal() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let log = lab.dir().join("attempts.jsonl");
    let agent = Agent::start(&lab, &built_binary()?, &policy(&format!("{{ file: {} }}", log.display())))?;
    blocked_attempt(&lab);
    let text = wait_for_text(&log, "first attempt", |text| text.ends_with('\n'))?;
    let attempt: Value = serde_json::from_str(text.trim())?;
    ensure!(attempt["client"] == "10.25.0.77", "{attempt:#}");
    ensure!(agent.attempts().is_empty(), "also on standard output");
    fs::rename(&log, log.with_extension("1"))?;
    blocked_attempt(&lab);
    wait_for_text(&log, "after rotation", |text| text.lines().count() == 1)?;
    Ok(())
}

#[test]
fn a_full_disk_stops_the_log_and_nothing_else() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let small = lab.dir().join("small");
    fs::create_dir(&small)?;
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(&small)
        .status()
        .context("mount")?;
    ensure!(mount.success());
    let _unmount = Unmount(&small);
    let filler = small.join("filler");
    let log = small.join("attempts.jsonl");
    let mut agent = Agent::start(&lab, &built_binary()?, &policy(&format!("{{ file: {} }}", log.display())))?;
    // Fails when the disk is full, which is the point.
    let _full = fs::write(&filler, vec![0; 1 << 20]);
    blocked_attempt(&lab);
    agent.process()?.wait_for_line("the log can't be written", Duration::from_secs(2))?;
    ensure!(agent.counted("not-a-mail-server", "attempts")? == 1, "the counters stopped with the log");
    fs::remove_file(&filler)?;
    blocked_attempt(&lab);
    wait_for_text(&log, "after there is room again", |text| text.lines().count() == 1)?;
    agent.process()?.wait_for_line("can be written again", Duration::from_secs(2))?;
    Ok(())
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l"]).arg(self.0).status();
    }
}

#[test]
fn the_kernel_side_tells_about_odd_framing_only_when_asked() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let cut_off = Frame::new(lab.client(0).mac(), lab.gateway().mac())
        .ipv4(Ipv4::new([10, 25, 0, 77], [203, 0, 113, 25]))
        .raw(6, &[0x9c, 0x40]);
    let mut agent = Agent::prepare(&lab, &built_binary()?, &policy("{}"))?;
    for (level, told) in [("debug", true), ("off", false)] {
        agent.run_with(&["--kernel-log", level])?;
        lab.client(0).raw_socket("eth0")?.send(&cut_off.build())?;
        let line = agent.process()?.wait_for_line("port hidden or cut off", Duration::from_millis(700));
        ensure!(line.is_ok() == told, "--kernel-log {level}: {line:?}");
        agent.terminate()?;
    }
    ensure!(agent.counted("unreadable", "packets")? == 2);
    Ok(())
}

#[test]
fn a_service_manager_is_told_when_the_policy_is_in_force_and_not_before() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let socket = std::os::unix::net::UnixDatagram::bind(lab.dir().join("notify"))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let agent = Agent::prepare(&lab, &built_binary()?, &policy("{}"))?;
    let mut command = agent.command("run")?;
    command.arg("--policy").arg(agent.policy_file()).env("NOTIFY_SOCKET", lab.dir().join("notify"));
    let _process = lab.gateway().spawn(command)?;
    let mut message = [0; 256];
    let length = socket.recv(&mut message)?;
    ensure!(message[..length].starts_with(b"READY=1"), "{:?}", String::from_utf8_lossy(&message[..length]));
    ensure!(agent.status()?["coverage"][0]["position"] == "first", "told before it was true");
    Ok(())
}

/// `smtpfence status | head -0`.
#[test]
fn a_reader_that_has_gone_is_no_error() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, &policy("{}"))?;
    for (verb, options) in [
        ("status", &[][..]),
        ("status", &["--format", "json"]),
        ("history", &[]),
        ("history", &["--format", "json"]),
        ("reload", &[]),
    ] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut command = agent.command(verb)?;
        command.args(options).stdout(writer).stderr(std::process::Stdio::piped());
        let output = command.output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(0) && !told.contains("panicked"), "{verb} {options:?}: {told}");
    }
    for words in [&["quarantine"][..], &["quarantine", "--format", "json"], &["release", "10.25.0.77"]] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut command = lab.gateway().command(&built_binary()?.to_string_lossy());
        command.args(words).arg("--control").arg(agent.socket()).stdout(writer);
        let output = command.stderr(std::process::Stdio::piped()).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(0), "{words:?}: {told}");
    }
    Ok(())
}
