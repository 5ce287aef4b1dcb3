//! Starts that must be refused: one clear sentence, the right exit code, and nothing attached.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use lab::{Lab, built_binary, require_root_or_skip};
use policy_common::abi::ABI_VERSION;

const POLICY: &str = r#"version: 1
name: startup
interfaces: { inside: [lan0], outside: [wan0] }
networks: { clients: [10.25.0.0/24], internal: [10.0.0.0/8] }
mode: enforce
end: true
"#;

/// One attempt to start: what is put in front of the command, which policy, which places.
struct Start<'lab> {
    lab: &'lab Lab,
    prefix: &'static [&'static str],
    policy: PathBuf,
    bpffs: PathBuf,
}

impl<'lab> Start<'lab> {
    fn new(lab: &'lab Lab) -> Result<Self> {
        let policy = lab.dir().join("policy.yaml");
        write_private(&policy, POLICY)?;
        Ok(Self { lab, prefix: &[], policy, bpffs: lab.bpffs()? })
    }

    fn with_text(lab: &'lab Lab, text: &str) -> Result<Self> {
        let start = Self::new(lab)?;
        write_private(&start.policy, text)?;
        Ok(start)
    }

    fn command(&self) -> Result<Command> {
        let binary = built_binary()?.to_string_lossy().into_owned();
        // A start that should be refused and is not would run for ever.
        let mut command = self.lab.gateway().command("timeout");
        command.arg("20").args(self.prefix).arg(binary).arg("run").arg("--policy").arg(&self.policy);
        command.arg("--bpffs").arg(&self.bpffs).arg("--state-dir").arg(self.lab.dir().join("state"));
        command.arg("--control").arg(self.lab.dir().join("socket"));
        Ok(command)
    }

    /// Must end with this code and say all of these, and must have attached nothing.
    #[track_caller]
    fn is_refused(&self, code: i32, says: &[&str]) -> Result<()> {
        let output = self.command()?.output()?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let at = std::panic::Location::caller();
        ensure!(
            output.status.code() == Some(code),
            "line {}: ended with {}: {told}",
            at.line(),
            output.status
        );
        for words in says {
            ensure!(told.contains(words), "line {}: does not say {words:?}: {told}", at.line());
        }
        ensure!(!told.contains("panicked"), "line {}: {told}", at.line());
        ensure!(output.stdout.is_empty(), "line {}: READY although refused", at.line());
        let hooks = self.lab.gateway().command("bpftool").args(["net", "show", "dev", "lan0"]).output()?;
        let hooks = String::from_utf8_lossy(&hooks.stdout).into_owned();
        ensure!(!hooks.contains("door"), "line {}: attached although refused: {hooks}", at.line());
        Ok(())
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

#[test]
fn unusable_policy_files_are_rejected() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let at = |policy: PathBuf| -> Result<Start<'_>> { Ok(Start { policy, ..Start::new(&lab)? }) };
    at(lab.dir().join("no-such-file.yaml"))?.is_refused(1, &["no-such-file.yaml", "no such file"])?;
    at(lab.dir().to_owned())?.is_refused(1, &["is a directory"])?;
    Start::with_text(&lab, "")?.is_refused(1, &["empty", "policies/README.md"])?;
    Start::with_text(&lab, &POLICY.replace("mode:", "mdoe:"))?
        .is_refused(1, &["policy.yaml:5:1", "mdoe", "`mode`"])?;
    Start::with_text(&lab, &POLICY.replace("enforce", "[1]"))?.is_refused(1, &["policy.yaml:5:7", "list"])?;
    Start::with_text(&lab, &POLICY.replace("10.25.0.0/24", "10.25.0.7/24"))?
        .is_refused(1, &["policy.yaml:4:23", "10.25.0.0/24"])?;
    Start::with_text(&lab, &POLICY.replace("end: true\n", ""))?.is_refused(1, &["end: true"])?;
    let open = Start::new(&lab)?;
    fs::set_permissions(&open.policy, fs::Permissions::from_mode(0o666))?;
    open.is_refused(1, &["policy.yaml", "chmod"])
}

#[test]
fn missing_interfaces_are_named() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    Start::with_text(&lab, &POLICY.replace("lan0", "lan9"))?
        .is_refused(2, &["lan9", "does not exist", "lan*"])?;
    Start::with_text(&lab, &POLICY.replace("wan0", "wan9"))?.is_refused(2, &["wan9", "outside"])?;
    let bound = "mail_servers:\n  - { name: mx1, address: 10.25.0.25, interface: lan7 }\nend: true";
    let glob = POLICY.replace("[lan0]", "[\"lan*\"]").replace("end: true", bound);
    Start::with_text(&lab, &glob)?.is_refused(2, &["mx1", "lan7", "does not exist"])
}

#[test]
fn a_machine_that_cannot_enforce_is_refused() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let plain = lab.dir().join("plain");
    fs::create_dir(&plain)?;
    Start { bpffs: plain, ..Start::new(&lab)? }.is_refused(2, &["not a BPF file system", "mount -t bpf"])?;
    let powerless: &[&str] = &["setpriv", "--bounding-set=-all"];
    Start { prefix: powerless, ..Start::new(&lab)? }.is_refused(2, &["CAP_BPF", "as root"])?;
    let without_one: &[&str] = &["setpriv", "--bounding-set=-all,+bpf,+net_admin"];
    Start { prefix: without_one, ..Start::new(&lab)? }.is_refused(2, &["CAP_PERFMON"])?;
    // UNAME26 makes any kernel call itself 2.6.
    let old: &[&str] = &["setarch", "--uname-2.6"];
    Start { prefix: old, ..Start::new(&lab)? }.is_refused(2, &["kernel 2.6", "6.6 or newer"])
}

#[test]
fn pins_that_others_could_remove_are_refused() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let squatted = lab.bpffs()?.join("smtpfence");
    fs::DirBuilder::new().mode(0o777).create(&squatted)?;
    fs::set_permissions(&squatted, fs::Permissions::from_mode(0o777))?;
    Start::new(&lab)?.is_refused(2, &["can't be trusted", "lets others write"])?;
    fs::set_permissions(&squatted, fs::Permissions::from_mode(0o700))?;
    std::os::unix::fs::chown(&squatted, Some(65534), None)?;
    Start::new(&lab)?.is_refused(2, &["belongs to user 65534"])?;
    // A link of somebody else's may lead to a directory that could be trusted.
    fs::remove_dir(&squatted)?;
    fs::DirBuilder::new().mode(0o700).create(lab.bpffs()?.join("theirs"))?;
    std::os::unix::fs::symlink(lab.bpffs()?.join("theirs"), &squatted)?;
    Start::new(&lab)?.is_refused(2, &["it is no directory"])
}

#[test]
fn a_state_map_of_another_shape_is_replaced_not_adopted() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let maps = lab.bpffs()?.join(format!("smtpfence/v{ABI_VERSION}/maps"));
    fs::DirBuilder::new().mode(0o700).recursive(true).create(&maps)?;
    // With keys of four bytes a look-up of any client would hit an entry for 0.0.0.0.
    let stale = maps.join("QUARANTINE").to_string_lossy().into_owned();
    let create = "map create STALE type hash key 4 value 8 entries 16384 name QUARANTINE";
    let create: Vec<&str> =
        create.split(' ').map(|word| if word == "STALE" { &stale } else { word }).collect();
    let made = Command::new("bpftool").args(create).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut agent = lab::Agent::start(&lab, &built_binary()?, POLICY)?;
    let warned =
        agent.process()?.wait_for_line("not the map this version expects", std::time::Duration::from_secs(1));
    ensure!(warned.is_ok_and(|line| line.contains("QUARANTINE")), "adopted in silence");
    let shown = Command::new("bpftool").args(["map", "show", "pinned", &stale]).output()?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains("key 17B"), "{shown}");
    Ok(())
}
