//! `cargo xtask package`: the Debian package, and its life on a clean Debian.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::command::{self, ask, cargo};
use crate::setup::{self, Purpose};
use crate::{build, elsewhere, supply, workspace};

/// Build the Debian package
#[derive(clap::Args)]
pub struct Arguments {
    /// Try it on a clean Debian: install, enforce, break, upgrade, remove (needs root; 3 minutes the first time)
    #[arg(long)]
    verify: bool,
}

/// How long the whole life may take; it takes well under a minute on an idle machine.
const LIFE: Duration = Duration::from_secs(300);

pub fn run(arguments: Arguments) -> Result<()> {
    setup::ensure(Purpose::Package)?;
    ensure!(!arguments.verify || setup::is_root(), "trying the package takes root");
    let binary = build::smtpfence(true)?;
    if arguments.verify {
        // Before anything is written beside the sources: cargo would take it for a change, and build the agent again.
        supply::check()?;
        elsewhere::check(&binary)?;
    }
    write_pages(&binary)?;
    let package = make(None)?;
    println!("packaged {}", package.display());
    if arguments.verify {
        lint(&package)?;
        verify(&package, &make(Some("999"))?)?;
    }
    Ok(())
}

/// Makes the package of what is built; `version` only where it is to be another one than the crate's.
fn make(version: Option<&str>) -> Result<PathBuf> {
    // cargo-deb removes other versions beside its own.
    let output = workspace::target_directory()?.join("debian").join(version.unwrap_or("package"));
    fs::create_dir_all(&output).with_context(|| format!("could not make {}", output.display()))?;
    let mut deb = cargo();
    // The profile strips nothing, so that a crash of the agent tells where; the package has no need for it.
    deb.args(["deb", "--package", "policy-user", "--no-build", "--strip", "--quiet"])
        .current_dir(workspace::root()?);
    if let Some(version) = version {
        deb.args(["--deb-version", version, "--fast"]);
    }
    let printed = ask(deb.arg("--output").arg(&output)).context("`cargo deb` failed; run it to see why")?;
    let path = printed.lines().last().context("`cargo deb` names no package")?;
    Ok(path.into())
}

/// Manual pages and completions, by the binary that they describe, and what it is made of, where Cargo.toml's list of files finds them.
fn write_pages(binary: &Path) -> Result<()> {
    let directory = binary.with_file_name("packaging");
    let pages = directory.join("man");
    if pages.exists() {
        fs::remove_dir_all(&pages)?;
    }
    fs::create_dir_all(&pages).with_context(|| format!("could not make {}", pages.display()))?;
    command::run(Command::new(binary).arg("man").arg(&pages))?;
    // Without name and time in them two builds make the same bytes.
    let written = fs::read_dir(&pages)?.map(|page| page.map(|page| page.path()));
    command::run(
        Command::new("gzip").args(["-9", "-n"]).args(written.collect::<std::io::Result<Vec<_>>>()?),
    )?;
    for (shell, file) in [("bash", "smtpfence.bash"), ("zsh", "_smtpfence"), ("fish", "smtpfence.fish")] {
        let text = ask(Command::new(binary).args(["completions", shell])).context("no completions")?;
        fs::write(directory.join(file), text)?;
    }
    supply::write_bill(&directory.join("bill-of-materials.cdx.json"))
}

/// Runs packaging/verify.sh on a copy of a clean Debian that has a systemd of its own.
fn verify(package: &Path, later: &Path) -> Result<()> {
    let root = fresh_debian()?;
    for (file, name) in [(package, "new.deb"), (later, "later.deb")] {
        fs::copy(file, root.join("srv").join(name))?;
    }
    let packaging = workspace::root()?.join("packaging");
    fs::copy(packaging.join("verify.sh"), root.join("srv/verify.sh"))?;
    fs::write(root.join("etc/systemd/system/verify.service"), UNIT)?;
    let mut machine = Machine::boot(&packaging.join("boot.sh"), &root)?;
    let told = machine.wait_for(&root.join("srv/verify.log"))?;
    drop(machine);
    fs::remove_dir_all(&root)?;
    ensure!(told.lines().any(|line| line == "VERIFIED"), "the package does not live as it should");
    Ok(())
}

/// What Debian's own judge says of the package; a warning fails as well, since one that stays is one that nobody reads.
fn lint(package: &Path) -> Result<()> {
    let mut lintian = Command::new("lintian");
    command::run(lintian.args(["--allow-root", "--fail-on", "error,warning"]).arg(package))
        .context("the package is not as Debian wants it")
}

const UNIT: &str = "[Unit]\nDefaultDependencies=no\nWants=systemd-journald.service\n\
    After=systemd-journald.service\nRequires=dbus.service\n\
    [Service]\nType=oneshot\nExecStart=/bin/bash /srv/verify.sh /srv/new.deb /srv/later.deb\n\
    Environment=DEBIAN_FRONTEND=noninteractive HOME=/srv\n\
    ExecStopPost=/bin/sh -c 'echo END'\n\
    StandardOutput=append:/srv/verify.log\nStandardError=inherit\n";

/// A copy of a clean Debian of the release that runs here, which the binary is linked for.
fn fresh_debian() -> Result<PathBuf> {
    let directory = workspace::target_directory()?.join("debian");
    let (base, root) = (directory.join("base"), directory.join("root"));
    if !base.join("done").exists() {
        let release = fs::read_to_string("/etc/os-release")?;
        let suite =
            release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).context("no Debian")?;
        if base.exists() {
            fs::remove_dir_all(&base)?;
        }
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=minbase", "--include=systemd,dbus,iproute2,nftables", suite]).arg(&base);
        command::run(debootstrap.stdout(Stdio::null()))?;
        fs::write(base.join("done"), "")?;
    }
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    command::run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&base).arg(&root))?;
    Ok(root)
}

/// A systemd in namespaces of its own; killed, with all that it started, when dropped.
struct Machine(Child);

impl Machine {
    fn boot(script: &Path, root: &Path) -> Result<Self> {
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"])
            .arg(script)
            .arg(root);
        Ok(Self(unshare.stdin(Stdio::null()).spawn().context("could not start unshare")?))
    }

    /// Prints what is written to `log` until it is complete.
    fn wait_for(&mut self, log: &Path) -> Result<String> {
        let begun = Instant::now();
        let mut printed = 0;
        loop {
            let text =
                fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            print!("{}", text.get(printed..).unwrap_or_default());
            printed = text.len();
            if text.ends_with("END\n") {
                return Ok(text);
            }
            ensure!(begun.elapsed() < LIFE, "it did not end within {LIFE:?}");
            if let Some(status) = self.0.try_wait()? {
                bail!("the Debian in namespaces ended by itself: {status}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
