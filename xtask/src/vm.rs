//! `cargo xtask vm`: the kernel tests under other kernels than this machine's, in an emulated machine that has its files.

mod image;
mod kernel;

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::command::{self, cargo};
use crate::setup::{self, Purpose};
use crate::{build, workspace};
use kernel::Unpacked;

/// Boot Debian's kernels under qemu: the tests must pass on 6.12, and 6.1 must be refused
#[derive(clap::Args)]
pub struct Arguments {
    /// Boot only this kernel
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
    /// Run these test files instead of those that need no speed
    #[arg(long, value_name = "NAME")]
    test: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kernel {
    /// Debian 13's
    #[value(name = "6.12")]
    Supported,
    /// Debian 12's, too old
    #[value(name = "6.1")]
    TooOld,
}

/// Tests that hold however slow the machine is; the others bound a load in time.
const TESTS: &[&str] = &["startup", "test_run", "lifecycle", "guard", "devices"];

/// An emulated processor is ten to thirty times slower than this one.
const LIMIT_S: u32 = 900;

/// Something to run in the emulated machine, and how it must end.
struct Job {
    name: String,
    command: String,
    code: i32,
}

pub fn run(arguments: Arguments) -> Result<()> {
    setup::ensure(Purpose::Vm)?;
    let binary = build::smtpfence(false)?;
    let kernels = arguments.kernel.map_or(Kernel::value_variants().to_vec(), |kernel| vec![kernel]);
    for kernel in kernels {
        let jobs = match kernel {
            Kernel::Supported => test_jobs(&arguments.test)?,
            Kernel::TooOld => vec![refusal(&binary)?],
        };
        let unpacked = kernel::unpacked(kernel.suite())?;
        println!("booting Linux {}", unpacked.release);
        work(&unpacked, &jobs)?;
    }
    Ok(())
}

impl Kernel {
    const fn suite(self) -> &'static str {
        match self {
            Self::Supported => "trixie",
            Self::TooOld => "bookworm",
        }
    }
}

/// The built tests, so that the emulated machine compiles nothing.
fn test_jobs(names: &[String]) -> Result<Vec<Job>> {
    let names: Vec<&str> =
        if names.is_empty() { TESTS.to_vec() } else { names.iter().map(String::as_str).collect() };
    let mut build = cargo();
    build
        .args([
            "test",
            "--package",
            "smtpfence-tests",
            "--no-run",
            "--message-format",
            "json-render-diagnostics",
        ])
        .args(names.iter().flat_map(|name| ["--test", name]))
        .current_dir(workspace::root()?);
    let output = build.stderr(Stdio::inherit()).output().context("could not start cargo")?;
    ensure!(output.status.success(), "the tests don't build");
    let messages = String::from_utf8_lossy(&output.stdout);
    let built: Vec<serde_json::Value> =
        messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    names
        .iter()
        .map(|name| {
            let of_test = |message: &&serde_json::Value| message["target"]["name"] == *name;
            let program = built.iter().filter(of_test).find_map(|message| message["executable"].as_str());
            let command = program.with_context(|| format!("cargo names no program of the test {name}"))?;
            // What is left out elsewhere for want of a device that this kernel has.
            Ok(Job { name: (*name).to_owned(), command: format!("{command} --include-ignored"), code: 0 })
        })
        .collect()
}

/// A kernel that is too old is refused as a whole, before anything is attached.
fn refusal(binary: &Path) -> Result<Job> {
    let policy = workspace::policies()?.into_iter().next().context("no policies")?;
    let command = format!(
        "{program} run --policy {policy}; code=$?; ls -A /sys/fs/bpf; exit $code",
        program = binary.display(),
        policy = policy.display()
    );
    Ok(Job { name: "refusal".to_owned(), command, code: 2 })
}

/// Boots, runs the jobs, and holds how they ended against how they must.
fn work(kernel: &Unpacked, jobs: &[Job]) -> Result<()> {
    let guest = write_guest(kernel, jobs)?;
    let image = image::make(kernel, &guest)?;
    let mut machine = Machine(emulator(kernel, &image, &guest).spawn().context("could not start qemu")?);
    let console = machine.0.stdout.take().context("qemu has no console")?;
    let mut ended: Vec<(String, i32)> = Vec::new();
    for line in BufReader::new(console).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        println!("{line}");
        std::io::stdout().flush()?;
        if let Some((name, code)) = line.strip_prefix("ENDED ").and_then(|rest| rest.split_once(' ')) {
            ended.push((name.to_owned(), code.parse().unwrap_or(-1)));
        }
    }
    for job in jobs {
        match ended.iter().find(|(name, _)| *name == job.name) {
            Some((_, code)) if *code == job.code => {}
            Some((name, code)) => bail!("{name} ended with {code} under Linux {}", kernel.release),
            None => bail!("{} did not end under Linux {}", job.name, kernel.release),
        }
    }
    println!("Linux {}: {} of {} as they must be", kernel.release, jobs.len(), jobs.len());
    Ok(())
}

/// The directory that tests/vm/guest.sh works from.
fn write_guest(kernel: &Unpacked, jobs: &[Job]) -> Result<PathBuf> {
    let guest = kernel.directory.join("guest");
    fs::create_dir_all(&guest)?;
    let tests = workspace::root()?.join("tests");
    fs::copy(tests.join("vm/guest.sh"), guest.join("guest.sh"))?;
    let lines: Vec<_> =
        jobs.iter().map(|job| format!("{}\t{LIMIT_S}\t{}\n", job.name, job.command)).collect();
    fs::write(guest.join("jobs"), lines.concat())?;
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let variables = format!(
        "PATH={path}\nHOME=/root\nDIRECTORY='{0}'\nCARGO_MANIFEST_DIR='{0}'\n{1}=1\nRUST_BACKTRACE=0\n",
        tests.display(),
        lab::gate::REQUIRE
    );
    fs::write(guest.join("variables"), variables)?;
    let modules = guest.join("modules");
    if !modules.exists() {
        std::os::unix::fs::symlink(kernel.modules_parent(), &modules)?;
    }
    Ok(guest)
}

fn emulator(kernel: &Unpacked, image: &Path, guest: &Path) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    if can_virtualise() {
        qemu.args(["-enable-kvm", "-cpu", "host"]);
    } else {
        println!("this processor can't virtualise: emulated, so slow");
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max"]);
    }
    qemu.args(["-m", "4G", "-smp", "2", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"])
        .args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"])
        .args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image)
        .args(["-append", &format!("console=ttyS0 quiet panic=-1 guest={}", guest.display())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    qemu
}

/// A device file alone says nothing: it is there in many a machine that can't.
fn can_virtualise() -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let able = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    able && fs::File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Switched off when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command` without its chatter, which its failure shows.
fn quietly(command: &mut Command) -> Result<()> {
    let output =
        command.output().with_context(|| format!("could not start `{}`", command::as_typed(command)))?;
    if !output.status.success() {
        bail!("`{}` failed:\n{}", command::as_typed(command), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
