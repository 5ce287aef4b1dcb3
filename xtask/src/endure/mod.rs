//! `cargo xtask endure`: the worst day at full length, with a table of what was sent, what leaked and what was lost.

mod neighbour;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use lab::endurance::{Binaries, Plan, endure};
use serde_json::json;

use crate::build;
use crate::setup::{self, MachineLacks, Purpose};

/// Kill, upgrade, downgrade and reload smtpfence under a flood, make its interface anew, and count every packet
#[derive(clap::Args)]
pub struct Arguments {
    /// How to print the result
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// Put this smtpfence to the test instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// A smtpfence of another ABI version, for upgrades and downgrades; unless given, one is built from a changed copy
    #[arg(long, value_name = "FILE")]
    other: Option<PathBuf>,
    /// A few rounds of each, as in every test run
    #[arg(long)]
    short: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Human,
    Json,
}

pub fn run(arguments: Arguments) -> Result<()> {
    if !setup::is_root() {
        return Err(MachineLacks::new("this makes network namespaces and loads eBPF: run it as root").into());
    }
    setup::ensure(Purpose::Test)?;
    let other = match arguments.other {
        Some(binary) => std::path::absolute(binary)?,
        None => neighbour::build()?,
    };
    let ours = match arguments.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => build::smtpfence(false)?,
    };
    let binaries = Binaries { ours, other: Some(other) };
    let plan = if arguments.short { Plan::SHORT } else { Plan::FULL };
    let report = endure(&binaries, plan, |phase| {
        eprintln!(
            "{}: {} rounds in {:.0} s, {} leaked, {} of the mail server's lost",
            phase.what, phase.rounds, phase.seconds, phase.leaked, phase.mail_lost
        );
    })?;
    match arguments.format {
        Format::Human => println!("\n{report}"),
        Format::Json => println!("{:#}", json!(report.to_json())),
    }
    ensure!(report.holds(), "the promise does not hold, or the count is incomplete: see above");
    Ok(())
}
