//! `cargo xtask test`: every check of the repository, with a table of what ran and how long it took.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::{as_typed, cargo};
use crate::setup::{self, Purpose};
use crate::{build, toolchain, workspace};

/// Check format, lints, tests on the host, tests in the kernel, and the shipped policies
#[derive(clap::Args)]
pub struct Arguments {
    /// Leave out the tests that need root and a kernel
    #[arg(long)]
    quick: bool,
}

/// What has run so far.
#[derive(Default)]
struct Report {
    steps: Vec<(&'static str, Duration, &'static str)>,
    tally: Tally,
}

/// Tests counted from the output of the test harness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

pub fn run(arguments: Arguments) -> Result<()> {
    let mut report = Report::default();
    let result = all(&arguments, &mut report);
    println!("\n{report}");
    result
}

fn all(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let required = std::env::var_os(lab::gate::REQUIRE).is_some_and(|v| v == "1");
    // Who is not root can't run the part for which the rest of the set-up would be.
    let purpose = if setup::is_root() || required { Purpose::Test } else { Purpose::Build };
    report.step("setup", || setup::ensure(purpose))?;
    report.cargo("format", &["fmt", "--all", "--check"])?;
    report.cargo("clippy", &["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"])?;
    lint_kernel_programs(report)?;
    report.step("build", || build::smtpfence(false).map(drop))?;
    let host =
        ["policy-common", "policy-user", "smtpfence-bench", "xtask"].map(|name| ["--package", name]).concat();
    report.cargo("host tests", &[&["test"], &host[..]].concat())?;
    check_policies(report)?;
    if arguments.quick {
        report.left_out("kernel tests", "left out: --quick");
    } else if !setup::is_root() && !required {
        report.left_out("kernel tests", "left out: they need root");
    } else {
        report.cargo("kernel tests", &["test", "--package", "smtpfence-tests"])?;
    }
    Ok(())
}

/// Host clippy compiles only the empty libraries of these crates: their programs exist for the BPF target alone.
fn lint_kernel_programs(report: &mut Report) -> Result<()> {
    const STEP: &str = "clippy (kernel)";
    let toolchains = toolchain::installed();
    let usable = |t: &&toolchain::Toolchain| {
        (t.is_nightly_with_source() || t.is_debian_with_bpf()) && t.has_component("clippy")
    };
    let Some(chosen) = toolchains.iter().find(usable) else {
        report.left_out(STEP, "left out: no clippy in the toolchain for the BPF target");
        return Ok(());
    };
    let mut clippy = Command::new("rustup");
    clippy
        .args(["run", &chosen.name, "cargo", "clippy", "--quiet"])
        .args(["--package", "policy-ebpf", "--package", "bench-ebpf"])
        .args(["--target", "bpfel-unknown-none", "--bins"])
        // Kept apart, or the two compilers would throw away each other's work.
        .arg("--target-dir")
        .arg(workspace::target_directory()?.join("clippy-kernel"))
        .env("RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH))
        .env_remove("RUSTC");
    if chosen.is_nightly_with_source() {
        clippy.args(["-Z", "build-std=core"]);
    }
    clippy.args(["--", "-D", "warnings"]);
    report.command(STEP, clippy)
}

fn check_policies(report: &mut Report) -> Result<()> {
    let binary = workspace::target_directory()?.join("debug/smtpfence");
    for policy in workspace::policies()? {
        let mut check = Command::new(&binary);
        check.arg("check").arg(&policy);
        report.command("policies", check)?;
    }
    Ok(())
}

impl Report {
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.steps.last().is_none_or(|(last, ..)| *last != name) {
            println!("\n── {name}");
        }
        let start = Instant::now();
        let result = work();
        let outcome = if result.is_ok() { "ok" } else { "FAILED" };
        // One row for a step that consists of several commands.
        match self.steps.last_mut().filter(|(last, ..)| *last == name) {
            Some((_, duration, last_outcome)) => {
                *duration += start.elapsed();
                *last_outcome = outcome;
            }
            None => self.steps.push((name, start.elapsed(), outcome)),
        }
        result.with_context(|| format!("step `{name}` failed"))
    }

    fn cargo(&mut self, name: &'static str, arguments: &[&str]) -> Result<()> {
        let mut command = cargo();
        command.args(arguments);
        self.command(name, command)
    }

    fn command(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        if std::io::stdout().is_terminal() {
            command.env("CARGO_TERM_COLOR", "always");
        }
        let mut tally = Tally::default();
        let result = self.step(name, || {
            command.current_dir(workspace::root()?);
            println!("$ {}", as_typed(&command));
            watched(&mut command, &mut tally)
        });
        self.tally.passed += tally.passed;
        self.tally.failed += tally.failed;
        self.tally.skipped += tally.skipped;
        result
    }

    fn left_out(&mut self, name: &'static str, why: &'static str) {
        self.steps.push((name, Duration::ZERO, why));
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, duration, outcome) in &self.steps {
            writeln!(f, "{name:<16} {:>7.1} s  {outcome}", duration.as_secs_f64())?;
        }
        let Tally { passed, failed, skipped } = self.tally;
        write!(f, "\n{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Runs `command`, passes its output on, and counts the tests that it speaks of.
fn watched(command: &mut Command, tally: &mut Tally) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{}`", as_typed(command)))?;
    let counted = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        if let Some(stdout) = child.stdout.take() {
            scope.spawn(|| pass_on(stdout, std::io::stdout(), &counted));
        }
        if let Some(stderr) = child.stderr.take() {
            scope.spawn(|| pass_on(stderr, std::io::stderr(), &counted));
        }
    });
    let status = child.wait()?;
    *tally = *counted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // A test that skipped itself counts as passed for the harness.
    tally.passed = tally.passed.saturating_sub(tally.skipped);
    if !status.success() {
        bail!("`{}` failed ({status})", as_typed(command));
    }
    Ok(())
}

fn pass_on(from: impl Read, mut to: impl Write, counted: &Mutex<Tally>) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        count(&String::from_utf8_lossy(&line), &mut counted.lock().unwrap_or_else(|e| e.into_inner()));
        // With our own output gone there is nobody to tell; the exit code still counts.
        let _ = to.write_all(&line).and_then(|()| to.write_all(b"\n"));
    }
}

/// Reads `test result: ok. 9 passed; 0 failed; …`, colours or not, and the lab's `SKIPPED test: reason`.
fn count(line: &str, tally: &mut Tally) {
    if line.starts_with("SKIPPED ") {
        tally.skipped += 1;
    } else if line.starts_with("test result: ") {
        let number = |word: &str| {
            let before = line.split_once(word)?.0;
            before.rsplit(' ').next()?.parse::<usize>().ok()
        };
        tally.passed += number(" passed").unwrap_or(0);
        tally.failed += number(" failed").unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harness_is_counted_and_skips_are_not_passes() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "SKIPPED a_test: not root",
            "test result: \x1b[32mok\x1b(B\x1b[m. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.44s",
        ] {
            count(line, &mut tally);
        }
        assert_eq!(tally, Tally { passed: 13, failed: 2, skipped: 1 });
    }
}
