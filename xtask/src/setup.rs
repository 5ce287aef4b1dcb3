//! `cargo xtask setup`: finds what a machine lacks for building, testing and showing smtpfence, and installs it.

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::command::{self, as_typed};
use crate::packages::{self, Package};
use crate::toolchain::{self, Toolchain};

/// Make this machine able to build (and test, and show) smtpfence
#[derive(clap::Args)]
pub struct Arguments {
    /// What the machine shall be able to do
    #[arg(long = "for", value_enum, default_value = "build")]
    purpose: Purpose,
    /// Print the commands and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    Build,
    Test,
    Demo,
    Bench,
    Package,
    Vm,
}

/// Something is missing that we may not, or can't, install.
#[derive(Debug)]
pub struct MachineLacks(String);

impl MachineLacks {
    pub fn new(what: &str) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for MachineLacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MachineLacks {}

/// What there is to do, in order.
struct Step {
    why: String,
    needs_root: bool,
    commands: Vec<Command>,
}

pub fn run(arguments: Arguments) -> Result<()> {
    let steps = plan(arguments.purpose)?;
    if steps.is_empty() {
        println!("setup: this machine has all it takes to {}", what_for(arguments.purpose));
        return Ok(());
    }
    carry_out(&steps, arguments.dry_run)
}

/// Sets the machine up without a word if there is nothing to do.
pub fn ensure(purpose: Purpose) -> Result<()> {
    carry_out(&plan(purpose)?, false)
}

fn what_for(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Build => "build smtpfence",
        Purpose::Test => "build and test smtpfence",
        Purpose::Demo => "build smtpfence and run the demo",
        Purpose::Bench => "build smtpfence and measure it",
        Purpose::Package => "build the Debian package",
        Purpose::Vm => "boot other kernels",
    }
}

fn plan(purpose: Purpose) -> Result<Vec<Step>> {
    let toolchains = toolchain::installed();
    let nightly = toolchains.iter().find(|t| t.is_nightly_with_source());
    let linker = toolchain::bpf_linker();
    if let (Some(nightly), None) = (nightly, &linker) {
        refuse_newer_llvm(nightly)?;
    }
    let missing = packages::missing(wanted(purpose, nightly.is_some(), linker.is_some()));
    let mut steps = Vec::new();
    if !missing.is_empty() {
        steps.push(install_packages(&missing)?);
    }
    if nightly.is_none() && !toolchains.iter().any(Toolchain::is_debian_with_bpf) {
        steps.push(link_debian_toolchain());
    }
    if linker.is_none() {
        steps.push(install_linker());
    }
    if purpose == Purpose::Package {
        steps.extend(PACKAGERS.iter().filter(|tool| tool.is_missing()).map(CargoTool::install));
    }
    if purpose == Purpose::Test {
        steps.extend(toolchains.iter().find(|t| t.active).and_then(add_components));
    }
    Ok(steps)
}

fn wanted(purpose: Purpose, has_nightly: bool, has_linker: bool) -> Vec<&'static Package> {
    let mut wanted: Vec<&Package> = packages::BUILD.iter().collect();
    if !has_nightly && !toolchain::has_bpf_core(Path::new("/usr")) {
        wanted.extend(packages::COMPILER);
    }
    if !has_linker {
        wanted.extend(packages::LINKER);
    }
    if purpose == Purpose::Package {
        wanted.extend(packages::PACKAGE);
    } else if purpose != Purpose::Build {
        wanted.extend(packages::LAB);
    }
    if purpose == Purpose::Demo {
        wanted.extend(packages::MAIL);
    }
    if purpose == Purpose::Test {
        wanted.extend(packages::JUDGES);
    }
    if purpose == Purpose::Vm {
        wanted.extend(packages::EMULATOR);
    }
    if purpose == Purpose::Bench {
        wanted.extend(packages::PEERS);
    }
    if purpose == Purpose::Test && !has_nightly {
        wanted.extend(packages::LINTER);
    }
    wanted
}

/// An object made by a newer LLVM than bpf-linker's can't be linked, and the error then speaks of neither.
fn refuse_newer_llvm(nightly: &Toolchain) -> Result<()> {
    let newest = toolchain::LLVM;
    match nightly.llvm() {
        Some(llvm) if llvm > newest => Err(MachineLacks(format!(
            "the toolchain {} has LLVM {llvm}, and the bpf-linker that would be built here has LLVM {newest}, which \
             can't read what it makes.\n       Install a bpf-linker with LLVM {llvm}, or let Debian's compiler be used: \
             rustup component remove rust-src --toolchain nightly",
            nightly.name
        ))
        .into()),
        _ => Ok(()),
    }
}

fn install_packages(missing: &[&Package]) -> Result<Step> {
    let names: Vec<_> = missing.iter().map(|p| format!("\n    {:<24} {}", p.name, p.why)).collect();
    let names = names.concat();
    if !packages::apt_is_here() {
        let what = "this is not Debian, so its packages can't be installed. Install what corresponds to";
        return Err(MachineLacks(format!("{what}:{names}")).into());
    }
    Ok(Step {
        why: format!("Debian packages that are missing:{names}"),
        needs_root: true,
        commands: packages::install(missing),
    })
}

fn link_debian_toolchain() -> Step {
    let mut link = Command::new("rustup");
    link.args(["toolchain", "link", toolchain::DEBIAN, "/usr"]);
    Step {
        why: "rustup must know Debian's compiler, which can build for the BPF target \
              (no nightly toolchain with rust-src is installed)"
            .into(),
        needs_root: false,
        commands: vec![link],
    }
}

fn install_linker() -> Step {
    let (version, llvm) = (toolchain::BPF_LINKER, toolchain::LLVM);
    let mut install = Command::new("cargo");
    install
        .args(["install", &format!("bpf-linker@{version}"), "--locked", "--no-default-features"])
        .args(["--features", &format!("llvm-{llvm}")])
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"));
    Step {
        why: format!("bpf-linker {version}, which links eBPF programs (about a minute)"),
        needs_root: false,
        commands: vec![install],
    }
}

/// A subcommand of cargo.
struct CargoTool {
    verb: &'static str,
    version: &'static str,
    why: &'static str,
}

/// What makes and checks the package.
const PACKAGERS: [CargoTool; 3] = [
    CargoTool { verb: "deb", version: toolchain::CARGO_DEB, why: "makes Debian packages (a minute)" },
    CargoTool {
        verb: "cyclonedx",
        version: toolchain::CARGO_CYCLONEDX,
        why: "writes the bill of materials (two minutes)",
    },
    CargoTool {
        verb: "deny",
        version: toolchain::CARGO_DENY,
        why: "judges licences and sources (some minutes)",
    },
];

impl CargoTool {
    fn is_missing(&self) -> bool {
        command::ask(Command::new("cargo").args([self.verb, "--version"])).is_none()
    }

    fn install(&self) -> Step {
        let Self { verb, version, why } = self;
        let mut install = Command::new("cargo");
        install.args(["install", &format!("cargo-{verb}@{version}"), "--locked"]);
        let why = format!("cargo-{verb} {version}, which {why}");
        Step { why, needs_root: false, commands: vec![install] }
    }
}

fn add_components(active: &Toolchain) -> Option<Step> {
    let missing: Vec<_> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(program, _)| !active.has_component(program))
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return None;
    }
    let mut add = Command::new("rustup");
    add.args(["component", "add"]).args(&missing);
    Some(Step { why: format!("checks: {}", missing.join(", ")), needs_root: false, commands: vec![add] })
}

fn carry_out(steps: &[Step], dry_run: bool) -> Result<()> {
    if !dry_run && !is_root() && steps.iter().any(|step| step.needs_root) {
        let lines: Vec<_> = steps.iter().flat_map(|s| s.commands.iter().map(|c| typed(s, c))).collect();
        let why: Vec<_> = steps.iter().map(|step| format!("  {}", step.why)).collect();
        let (why, lines) = (why.join("\n"), lines.join("\n  "));
        return Err(MachineLacks(format!(
            "this machine lacks:\n{why}\nand installing it takes root. Run:\n  {lines}\nor this command as root."
        ))
        .into());
    }
    for step in steps {
        println!("setup: {}", step.why);
        let _quiet = (step.needs_root && !dry_run).then(packages::NoDaemons::start).transpose()?;
        for command in &step.commands {
            println!("  {} {}", if dry_run { "would run:" } else { "$" }, as_typed(command));
            if dry_run {
                continue;
            }
            match command::run(&mut fresh(command)) {
                Err(error) if packages::is_update(command) => {
                    println!("  {error:#}; going on with the old lists")
                }
                other => other.context("setup did not finish")?,
            }
        }
        if step.needs_root && !dry_run && step.why.contains("postfix") {
            packages::stop_fresh_postfix();
        }
    }
    Ok(())
}

/// The command for someone who is not root.
fn typed(step: &Step, command: &Command) -> String {
    let line = as_typed(command);
    if step.needs_root { format!("sudo {line}") } else { line }
}

/// A copy that doesn't see what cargo set for us: an installed tool is none of this workspace's crates.
fn fresh(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args()).env_remove("RUSTC_BOOTSTRAP").env_remove("CARGO_TARGET_DIR");
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            copy.env(key, value);
        }
    }
    copy
}

pub fn is_root() -> bool {
    lab::is_root()
}
