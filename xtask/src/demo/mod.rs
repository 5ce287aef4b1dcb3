//! `cargo xtask demo`: real mail programs, real packets, and smtpfence between them.

mod agent;
mod errand;
mod interrupt;
mod postfix;
mod scenes;
mod screen;
mod spray;
mod stage;
mod swaks;
mod tally;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};

use self::tally::Tally;
use crate::build;
use crate::setup::{self, MachineLacks, Purpose};

/// Show smtpfence at work in a network of namespaces, with Postfix and swaks
#[derive(clap::Args)]
pub struct Arguments {
    /// Show this smtpfence instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> Result<()> {
    if !setup::is_root() {
        return Err(
            MachineLacks::new("the demo makes network namespaces and loads eBPF: run it as root").into()
        );
    }
    setup::ensure(Purpose::Demo)?;
    let binary = match arguments.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => build::smtpfence(false)?,
    };
    interrupt::watch()?;
    let start = Instant::now();
    let mut tally = Tally::default();
    let result = scenes::play(&binary, &mut tally);
    screen::title("What was sent, what arrived, what was blocked");
    print!("{tally}");
    let seconds = start.elapsed().as_secs_f64();
    println!("\n{seconds:.0} seconds; everything the demo made is gone again.");
    result?;
    ensure!(tally.all_as_expected(), "the demo did not go as it should: see the table above");
    Ok(())
}
