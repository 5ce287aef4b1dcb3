//! `cargo xtask fuzz`: coverage-guided fuzzing on a stable compiler, and the long differential run in the lab.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::command::{self, as_typed, ask, cargo};
use crate::{build, workspace};

/// Look for packets and policies that break a promise
#[derive(clap::Args)]
pub struct Arguments {
    /// What is fuzzed; both packet and policy unless told
    #[arg(long, value_enum)]
    target: Option<Target>,
    /// How long each coverage-guided target runs
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// How many packet sequences the lab compares
    #[arg(long, default_value_t = 100_000)]
    sequences: u64,
    /// Where the lab's random numbers begin; a run tells its own
    #[arg(long)]
    seed: Option<u64>,
    /// Number of the lab's first sequence
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Afterwards make tests/corpus the smallest set that reaches all that was reached
    #[arg(long)]
    minimise: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    /// The parser, the decision and the reset
    Packet,
    /// The policy loader
    Policy,
    /// A gateway with smtpfence against one without (needs root)
    Lab,
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Policy => "policy",
            Self::Lab => "lab",
        }
    }

    /// Longest input. A packet needs room for the parser's limits, a policy for a few entries of each kind.
    const fn longest(self) -> u32 {
        match self {
            Self::Packet => 512,
            _ => 2048,
        }
    }

    /// How a small corpus is made. The parser has few branches, so how often an input takes them counts too; of policies
    /// there would be thousands then.
    const fn smallest_set(self) -> &'static [&'static str] {
        match self {
            Self::Packet => &["-merge=1"],
            _ => &["-set_cover_merge=1", "-use_counters=0"],
        }
    }
}

/// Coverage of code that is compiled by a stable compiler: LLVM's own pass, no sanitizer, nothing unstable.
const INSTRUMENTED: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

pub fn run(arguments: Arguments) -> Result<()> {
    if arguments.target == Some(Target::Lab) {
        return differential(&arguments);
    }
    let programs = build_targets()?;
    let targets = match arguments.target {
        Some(target) => vec![target],
        None => vec![Target::Packet, Target::Policy],
    };
    let mut table = String::new();
    for target in targets {
        let places = Places::of(target, &programs)?;
        let outcome = fuzz(target, &places, arguments.seconds)?;
        table += &format!("{:<8} {outcome}\n", target.name());
        if arguments.minimise {
            minimise(target, &places)?;
        }
    }
    print!("\n{table}");
    Ok(())
}

/// Builds both targets and returns the directory they lie in.
fn build_targets() -> Result<PathBuf> {
    ensure!(
        ask(Command::new("c++").arg("--version")).is_some(),
        "libFuzzer is C++ and there is no `c++`: apt-get install g++"
    );
    let host = host_triple()?;
    let target_directory = workspace::target_directory()?.join("fuzz");
    let mut build = cargo();
    build
        .args(["build", "--release", "--bins", "--manifest-path", "tests/fuzz/Cargo.toml"])
        // Named, so that build scripts and macros, which run here as well, are not instrumented.
        .args(["--target", &host, "--target-dir"])
        .arg(&target_directory)
        .env("RUSTFLAGS", INSTRUMENTED)
        .current_dir(workspace::root()?);
    command::run(&mut build)?;
    Ok(target_directory.join(host).join("release"))
}

fn host_triple() -> Result<String> {
    let version = ask(Command::new("rustc").arg("-vV")).context("`rustc -vV` failed")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// Where one target reads and writes.
struct Places {
    program: PathBuf,
    /// In the repository: small, where every run begins.
    committed: PathBuf,
    /// What runs on this machine have found, where later ones go on.
    found: PathBuf,
    /// Inputs that failed.
    failures: PathBuf,
    dictionary: PathBuf,
}

impl Places {
    fn of(target: Target, programs: &Path) -> Result<Self> {
        let corpus = workspace::root()?.join("tests/corpus");
        let work = workspace::target_directory()?.join("fuzz");
        let name = target.name();
        let places = Self {
            program: programs.join(name),
            committed: corpus.join(name),
            found: work.join("corpus").join(name),
            failures: work.join("failures"),
            dictionary: corpus.join(format!("{name}.dict")),
        };
        for directory in [&places.found, &places.failures] {
            fs::create_dir_all(directory)
                .with_context(|| format!("could not make {}", directory.display()))?;
        }
        Ok(places)
    }

    fn command(&self, target: Target) -> Command {
        let mut fuzzer = Command::new(&self.program);
        let mut failures = OsString::from("-artifact_prefix=");
        failures.push(self.failures.join(format!("{}-", target.name())));
        let mut dictionary = OsString::from("-dict=");
        dictionary.push(&self.dictionary);
        fuzzer.arg(failures).arg(dictionary).arg(format!("-max_len={}", target.longest()));
        // An input that takes seconds is a finding too: the loader promises bounded time and memory.
        fuzzer.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        fuzzer
    }
}

/// What a run reached.
#[derive(Default)]
struct Outcome {
    executions: u64,
    per_second: u64,
    /// Branches, of the product and of what it is compared with.
    coverage: u64,
    inputs: usize,
    duration: Duration,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { executions, per_second, coverage, inputs, duration } = self;
        let seconds = duration.as_secs();
        write!(
            f,
            "{executions} runs in {seconds} s ({per_second}/s), {coverage} branches, from {inputs} inputs: ok"
        )
    }
}

fn fuzz(target: Target, places: &Places, seconds: u32) -> Result<Outcome> {
    let inputs = fs::read_dir(&places.committed).map_or(0, Iterator::count);
    let mut fuzzer = places.command(target);
    fuzzer.arg(format!("-max_total_time={seconds}")).args([&places.found, &places.committed]);
    println!("$ {}", as_typed(&fuzzer));
    let start = Instant::now();
    let mut child =
        fuzzer.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("could not start the fuzzer")?;
    let mut outcome = Outcome { inputs, ..Outcome::default() };
    let stderr = child.stderr.take().context("the fuzzer has no output")?;
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        outcome.note(&line);
        // A line for every new input, and words for a dictionary, would drown what matters.
        if !["NEW ", "REDUCE", "\" # Uses: ", "######"].iter().any(|noise| line.contains(noise)) {
            eprintln!("{line}");
        }
    }
    let status = child.wait()?;
    outcome.duration = start.elapsed();
    if !status.success() {
        let failures = places.failures.display();
        bail!("the target `{}` failed ({status}); the input lies in {failures}", target.name());
    }
    ensure!(outcome.executions > 0, "the fuzzer has run nothing");
    Ok(outcome)
}

impl Outcome {
    /// Reads `#4711 DONE   cov: 12 ft: …` and `stat::average_exec_per_sec:     815`.
    fn note(&mut self, line: &str) {
        let last = |line: &str| line.rsplit(' ').next().and_then(|word| word.parse().ok());
        if line.starts_with("stat::number_of_executed_units") {
            self.executions = last(line).unwrap_or(0);
        } else if line.starts_with("stat::average_exec_per_sec") {
            self.per_second = last(line).unwrap_or(0);
        } else if line.starts_with('#') && line.contains("DONE") {
            let coverage = line.split(" cov: ").nth(1).and_then(|rest| rest.split(' ').next());
            self.coverage = coverage.and_then(|number| number.parse().ok()).unwrap_or(0);
        }
    }
}

/// Replaces the committed corpus by as few inputs as reach what it and all that was found reach.
fn minimise(target: Target, places: &Places) -> Result<()> {
    let fresh = places.committed.with_extension("new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir(&fresh)?;
    let mut merge = Command::new(&places.program);
    merge.args(target.smallest_set()).args([&fresh, &places.committed, &places.found]);
    command::run(&mut merge)?;
    if places.committed.exists() {
        fs::remove_dir_all(&places.committed)?;
    }
    fs::rename(&fresh, &places.committed).context("could not put the new corpus in its place")
}

/// The long run of what `tests/tests/differential.rs` does for a few seconds.
fn differential(arguments: &Arguments) -> Result<()> {
    // The lab runs the agent that lies beside the test.
    build::smtpfence(false)?;
    let mut test = cargo();
    test.args(["test", "--package", "smtpfence-tests", "--test", "differential", "--"])
        .args(["--nocapture", "--test-threads=1"])
        .env(lab::gate::REQUIRE, "1")
        .env("DIFFERENTIAL_SEQUENCES", arguments.sequences.to_string())
        .env("DIFFERENTIAL_SEED", arguments.seed.unwrap_or_else(fresh_seed).to_string())
        .env("DIFFERENTIAL_FIRST", arguments.first.to_string())
        .current_dir(workspace::root()?);
    command::run(&mut test)
}

/// Another one at every run.
fn fresh_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuzzers_numbers_are_read() {
        let mut outcome = Outcome::default();
        for line in [
            "#10253615\tDONE   cov: 412 ft: 1933 corp: 305/18Kb lim: 512 exec/s: 250088 rss: 30Mb",
            "stat::number_of_executed_units: 10253615",
            "stat::average_exec_per_sec:     250088",
        ] {
            outcome.note(line);
        }
        assert_eq!((outcome.executions, outcome.per_second, outcome.coverage), (10_253_615, 250_088, 412));
    }
}
