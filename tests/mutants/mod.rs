//! The mutation run: plants one bug at a time in a copy of the workspace and expects a named test to fail.
//!
//! Needs nothing of the project, so that other tools can include it.

mod decision;
mod kernel;
mod parser;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// One planted bug.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    pub name: &'static str,
    /// Path in the workspace.
    pub file: &'static str,
    /// Occurs exactly once in the file.
    pub find: &'static str,
    pub replace: &'static str,
    pub test: Catcher,
}

/// Every mutant, those that need no kernel first.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    [parser::MUTANTS, decision::MUTANTS, kernel::MUTANTS].into_iter().flatten()
}

const fn mutant(
    name: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
    test: Catcher,
) -> Mutant {
    Mutant { name, file, find, replace, test }
}

/// The test that must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Catcher {
    Decide(&'static str),
    Properties(&'static str),
    LongLists(&'static str),
    TestRun(&'static str),
    Lab(&'static str),
    Differential(&'static str),
    Glance(&'static str),
    Accounting(&'static str),
}

impl Catcher {
    const fn target(self) -> &'static str {
        match self {
            Self::Decide(_) => "decide",
            Self::Properties(_) => "properties",
            Self::LongLists(_) => "long_lists",
            Self::TestRun(_) => "test_run",
            Self::Lab(_) => "scenarios_lab",
            Self::Differential(_) => "differential",
            Self::Glance(_) => "glance",
            Self::Accounting(_) => "accounting",
        }
    }

    const fn case(self) -> &'static str {
        match self {
            Self::Decide(case)
            | Self::Properties(case)
            | Self::LongLists(case)
            | Self::TestRun(case)
            | Self::Lab(case)
            | Self::Differential(case)
            | Self::Glance(case)
            | Self::Accounting(case) => case,
        }
    }

    /// Whether the kernel programs take part.
    pub const fn needs_kernel(self) -> bool {
        matches!(self, Self::TestRun(_) | Self::Lab(_) | Self::Accounting(_))
    }
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Caught,
    Survived,
    /// It does not compile, or the verifier refuses it: nobody has to catch it, and it proves nothing.
    Stillborn,
}

pub struct Verdict {
    pub mutant: &'static Mutant,
    pub outcome: Outcome,
    pub took: Duration,
    /// What the test said, or why there is nothing to say.
    pub told: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mutant { name, test, .. } = self.mutant;
        let outcome = format!("{:?}", self.outcome);
        write!(f, "{outcome:<9} {:>5.1} s  {name:<52} {}", self.took.as_secs_f64(), test.case())
    }
}

impl Mutant {
    /// The file's text with the bug in it.
    pub fn apply(&self, text: &str) -> Result<String> {
        let found = text.matches(self.find).count();
        ensure!(found == 1, "{}: {:?} occurs {found} times in {}, not once", self.name, self.find, self.file);
        ensure!(self.find != self.replace, "{}: nothing is changed", self.name);
        Ok(text.replacen(self.find, self.replace, 1))
    }
}

/// A copy of the workspace, with build results of its own that the next run uses again.
pub struct Nursery {
    workspace: PathBuf,
    target: PathBuf,
}

impl Nursery {
    /// Copies what cargo needs from the workspace at `root` to `place`.
    pub fn prepare(root: &Path, place: &Path) -> Result<Self> {
        let nursery = Self { workspace: place.join("workspace"), target: place.join("target") };
        for part in [
            "Cargo.toml",
            "Cargo.lock",
            ".cargo",
            "policy-common",
            "policy-ebpf",
            "policy-user",
            "policies",
            "tests",
            "xtask",
        ] {
            copy(&root.join(part), &nursery.workspace.join(part))?;
        }
        // Once with the kernel programs, whose object later builds take as it is.
        let mut all = nursery.cargo(Catcher::TestRun(""));
        succeed(all.args(["build", "--package", "policy-user"]))?;
        Ok(nursery)
    }

    /// The test must pass before it can be said to catch anything.
    pub fn check_sound(&self, test: Catcher) -> Result<()> {
        self.build(test)?;
        let output = self.run(test)?;
        ensure!(output.status.success(), "{} fails without a mutant:\n{}", test.case(), text(&output));
        Ok(())
    }

    /// Plants one bug, runs its test and takes the bug out again.
    pub fn judge(&self, mutant: &'static Mutant) -> Result<Verdict> {
        let begun = Instant::now();
        let path = self.workspace.join(mutant.file);
        let original =
            fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        fs::write(&path, mutant.apply(&original)?)?;
        let result = self.try_out(mutant.test);
        fs::write(&path, original)?;
        let (outcome, told) = result?;
        Ok(Verdict { mutant, outcome, took: begun.elapsed(), told })
    }

    fn try_out(&self, test: Catcher) -> Result<(Outcome, String)> {
        if let Err(error) = self.build(test) {
            return Ok((Outcome::Stillborn, format!("{error:#}")));
        }
        let output = self.run(test)?;
        let told = text(&output);
        let outcome = if output.status.success() {
            Outcome::Survived
        } else if told.contains("the kernel refused the program") {
            Outcome::Stillborn
        } else {
            Outcome::Caught
        };
        Ok((outcome, told))
    }

    fn build(&self, test: Catcher) -> Result<()> {
        if matches!(test, Catcher::Lab(_) | Catcher::Accounting(_)) {
            let mut agent = self.cargo(test);
            succeed(agent.args(["build", "--package", "policy-user", "--bin", "smtpfence"]))?;
        }
        succeed(self.cargo(test).args([
            "test",
            "--no-run",
            "--package",
            "smtpfence-tests",
            "--test",
            test.target(),
        ]))
    }

    fn run(&self, test: Catcher) -> Result<Output> {
        let mut cargo = self.cargo(test);
        cargo.args([
            "test",
            "--package",
            "smtpfence-tests",
            "--test",
            test.target(),
            "--",
            "--exact",
            test.case(),
        ]);
        // A skipped test would look as if the mutant had survived.
        cargo.env("REQUIRE_KERNEL_TESTS", "1");
        let output = cargo.output().context("could not start cargo")?;
        ensure!(
            text(&output).contains("running 1 test\n"),
            "there is no test {}:\n{}",
            test.case(),
            text(&output)
        );
        Ok(output)
    }

    fn cargo(&self, test: Catcher) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.workspace).env("CARGO_TARGET_DIR", &self.target).env("RUST_BACKTRACE", "0");
        if !test.needs_kernel() {
            // The kernel programs of the build before lie there still, and nobody loads them.
            cargo.env("AYA_BUILD_SKIP", "1");
        }
        cargo
    }
}

fn succeed(cargo: &mut Command) -> Result<()> {
    let output = cargo.output().context("could not start cargo")?;
    ensure!(output.status.success(), "it does not compile:\n{}", text(&output));
    Ok(())
}

fn text(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Copies a file or a directory; what is equal already stays untouched, so that cargo builds only what has changed.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        let bytes = fs::read(from).with_context(|| format!("could not read {}", from.display()))?;
        if fs::read(to).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        return fs::write(to, bytes).with_context(|| format!("could not write {}", to.display()));
    }
    let failed = || format!("could not list {}", from.display());
    for entry in fs::read_dir(from).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
