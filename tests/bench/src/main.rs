//! Measures smtpfence beside what a user would pick instead; `cargo xtask bench` runs it.

mod clock;
mod filters;
mod floods;
mod generator;
mod lists;
mod machine;
mod micro;
mod program_time;
mod programs;
mod report;
mod results;
mod scenarios;
mod stage;
mod streams;
mod targets;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use floods::Effort;
use machine::Machine;
use report::Report;
use scenarios::Wanted;

/// Measure smtpfence on a gateway of namespaces, beside plain forwarding, nftables and iptables
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// Less than two minutes: ratios, no judgement
    #[arg(long)]
    quick: bool,
    /// Rounds; 12 unless told, 3 in a quick run
    #[arg(long)]
    rounds: Option<usize>,
    /// Packets of one measurement; 1,000,000 unless told, 200,000 in a quick run
    #[arg(long)]
    packets: Option<u32>,
    /// Where the random order begins; a run tells its own
    #[arg(long)]
    seed: Option<u64>,
    /// Measure only these (and plain forwarding)
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Measure only these kinds of traffic
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    scenario: Vec<String>,
    /// Where results.json and report.html go
    #[arg(long, default_value = "target/bench", value_name = "DIRECTORY", overrides_with = "out")]
    out: PathBuf,
    /// Time the kernel programs alone, path by path
    #[arg(long, conflicts_with_all = ["quick", "rounds", "packets", "seed", "only", "scenario"])]
    micro: bool,
    /// Print how the figures have changed since those of this file
    #[arg(long, requires = "micro", value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Write the figures to this file
    #[arg(long, requires = "micro", value_name = "FILE")]
    save: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(lab::is_root(), "a gateway of namespaces takes root: start it as root");
    if arguments.micro {
        return print(&micro::run(arguments.compare.as_deref(), arguments.save.as_deref())?);
    }
    for name in &arguments.only {
        filters::Contender::named(name)?;
    }
    scenarios::check(&arguments.scenario)?;
    let effort = Effort {
        quick: arguments.quick,
        rounds: arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 12 }),
        packets: arguments.packets.unwrap_or(if arguments.quick { 200_000 } else { 1_000_000 }),
    };
    ensure!(effort.rounds > 0 && effort.packets >= 1_000, "it takes a round at least, and 1,000 packets");
    let wanted = Wanted { contenders: &arguments.only, scenarios: &arguments.scenario };
    let report = measure(effort, wanted, arguments.seed.unwrap_or_else(|| fastrand::u64(..)))?;
    report.write(&arguments.out)?;
    print(&format!("{}\nresults.json and report.html are in {}\n", report.text(), arguments.out.display()))
}

fn measure(effort: Effort, wanted: Wanted<'_>, seed: u64) -> Result<Report> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut machine = Machine::now();
    eprintln!("seed {seed}");
    let mut all = floods::run(effort, wanted, &mut random)?;
    all.extend(streams::run(effort, wanted, &mut random)?);
    machine.finish();
    let Effort { quick, rounds, packets } = effort;
    let targets = if quick { Vec::new() } else { targets::judge(&all) };
    Ok(Report { version: 1, machine, seed, rounds, packets, scenarios: report::scenarios(&all), targets })
}

fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Who reads our output no longer does; files are written all the same.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        told => told.context("could not write to standard output"),
    }
}
