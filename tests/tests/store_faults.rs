//! A state directory without room, and one that turns read-only: enforcement goes on, nothing is lost silently, and the log
//! resumes by itself.

#[allow(dead_code, reason = "of the accounts only their sender is needed here")]
#[path = "../accounts/mod.rs"]
mod accounts;

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use accounts::{POLICY, Sender};
use anyhow::{Context, Result, ensure};
use lab::{Agent, Lab, built_binary, gate, require_root_or_skip};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use serde_json::Value;

/// The writer's longest pause between two tries, and some.
const RESUMED_WITHIN: Duration = Duration::from_secs(45);

/// Something mounted on a directory, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: &Path, size: &CStr) -> Result<Self> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", at, "tmpfs", flags, Some(size)).context("could not mount a tmpfs")?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: the agent may still have files open there.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// SYNs of so many hosts, each of another one; none may leave.
fn send(lab: &Lab, first: u32, number: u32) -> Result<()> {
    let mut sender = Sender::new(lab, 0)?;
    (first..first + number).try_for_each(|host| sender.send(Some(host), [10, 25, 32, 0], host, 0))
}

/// Waits until the store's status is as `wanted`.
fn store(agent: &Agent<'_>, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + RESUMED_WITHIN;
    loop {
        let status = agent.status()?;
        if wanted(&status["store"]) {
            return Ok(status["store"].clone());
        }
        ensure!(Instant::now() < deadline, "never: {what}; the store is {}", status["store"]);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The rows' numbers and the hosts they tell of, as `log` shows them.
fn rows(agent: &Agent<'_>) -> Result<Vec<(u64, String)>> {
    let output = agent.command("log")?.args(["--format", "json", "--limit", "100000"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout)?;
    let row = |line: &str| -> Result<(u64, String)> {
        let row: Value = serde_json::from_str(line)?;
        let client = row["client"].as_str().context("no client")?;
        Ok((row["sequence"].as_u64().context("no number")?, client.to_owned()))
    };
    lines.lines().map(row).collect()
}

/// What the rows must be: every host once, in the order they were sent.
fn expected(number: u32) -> Vec<(u64, String)> {
    let row = |n: u32| {
        let host = std::net::Ipv4Addr::from_bits(u32::from_be_bytes([10, 25, 32, 0]) + n);
        (u64::from(n) + 1, host.to_string())
    };
    (0..number).map(row).collect()
}

#[test]
fn a_state_directory_of_64_kib_stops_nothing_and_the_log_resumes_when_it_grows() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, POLICY)?;
    let state = agent.state_dir().to_owned();
    let _disk = Mounted::tmpfs(&state, c"size=64k,mode=0700")?;
    agent.run()?;
    let outside = lab.internet().sniff("wan0")?;
    send(&lab, 0, 300)?;
    let full = store(&agent, "it fails", |store| store["error"].is_string() && store["waiting"] == 300)?;
    ensure!(full["missed"] == 0 && full["rows"] == 0, "{full}");
    ensure!(full["lag_ms"].as_u64().is_some_and(|lag| lag < 60_000), "{full}");
    ensure!(agent.counted("not-a-mail-server", "attempts")? == 300, "the kernel counts on");
    let told = agent.process()?.stderr().into_iter().filter(|line| line.contains("can't be written")).count();
    ensure!(told == 1, "the failure is told once, not {told} times");
    // The policy can still be changed.
    agent.write_policy(&POLICY.replace("name: accounting", "name: changed"))?;
    let (accepted, told) = agent.reload()?;
    ensure!(accepted, "a reload is refused: {told}");
    // Nothing new is blocked meanwhile: the writer tries again on its own.
    mount_remount(&state, MountFlags::NOSUID | MountFlags::NODEV, c"size=16m,mode=0700")?;
    let room = store(&agent, "it resumes", |store| store["rows"] == 300)?;
    ensure!(room["error"].is_null() && room["waiting"] == 0 && room["lag_ms"] == 0, "{room}");
    ensure!(rows(&agent)? == expected(300), "other rows than were sent: {:?}", rows(&agent)?.first());
    let files: Vec<_> = fs::read_dir(state.join("attempts"))?
        .map(|it| it.map(|it| it.file_name()))
        .collect::<Result<_, _>>()?;
    let set_aside = files.iter().filter(|name| name.to_string_lossy().ends_with(".damaged")).count();
    ensure!(set_aside == 0, "files that were only begun are taken for damaged: {files:?}");
    ensure!(outside.count(|frame| frame.view().is_some_and(|view| view.is_tcp_to(25))) == 0, "mail has left");
    ensure!(outside.lost()? == 0);
    Ok(())
}

#[test]
fn a_disk_that_turns_read_only_amid_the_log_costs_no_row() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, POLICY)?;
    let state = agent.state_dir().to_owned();
    let Some(_disk) = disk(&lab, &state)? else { return Ok(()) };
    agent.run()?;
    let outside = lab.internet().sniff("wan0")?;
    send(&lab, 0, 100)?;
    store(&agent, "they are written", |store| store["rows"] == 100)?;
    // As after an error of the disk: open files can't be written any more, which a plain remount would refuse.
    let aborted = Command::new("mount").args(["-o", "remount,abort"]).arg(&state).status()?;
    ensure!(aborted.success(), "the disk can't be made read-only");
    send(&lab, 100, 100)?;
    let failed = store(&agent, "it fails", |store| store["error"].is_string() && store["waiting"] == 100)?;
    ensure!(failed["rows"] == 100 && failed["missed"] == 0, "{failed}");
    ensure!(rows(&agent)? == expected(100), "what was written can't be read");
    ensure!(agent.counted("not-a-mail-server", "attempts")? == 200, "the kernel counts on");
    // A good disk in its place, with what was on the bad one.
    let kept = lab.dir().join("kept");
    copy(&state, &kept)?;
    let _good = Mounted::tmpfs(&state, c"size=16m,mode=0700")?;
    copy(&kept, &state)?;
    store(&agent, "it resumes", |store| store["rows"] == 200 && store["error"].is_null())?;
    ensure!(rows(&agent)? == expected(200), "other rows than were sent: {:?}", rows(&agent)?.first());
    ensure!(outside.count(|frame| frame.view().is_some_and(|view| view.is_tcp_to(25))) == 0, "mail has left");
    ensure!(outside.lost()? == 0);
    Ok(())
}

/// A file system of its own, which can fail for itself; none where this machine has no way to make one.
fn disk(lab: &Lab, at: &Path) -> Result<Option<Mounted>> {
    let image = lab.dir().join("disk");
    fs::File::create(&image)?.set_len(16 << 20)?;
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).output();
    let mounted = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(at).output();
    if made.is_ok_and(|made| made.status.success()) && mounted.is_ok_and(|it| it.status.success()) {
        return Ok(Some(Mounted(at.to_owned())));
    }
    gate::skip("no ext4 on a loop device: it needs mkfs.ext4 (e2fsprogs) and the kernel's loop driver");
    Ok(None)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").arg(format!("{}/.", from.display())).arg(to).output()?;
    ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    Ok(())
}
