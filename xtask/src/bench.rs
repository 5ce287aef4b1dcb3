//! `cargo xtask bench`: builds the benchmark and runs it.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::command::{self, cargo};
use crate::setup::{self, Purpose};
use crate::workspace;

/// Measure smtpfence beside what a user would pick instead (`bench --help` tells more)
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// For the benchmark itself
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub fn run(arguments: Arguments) -> Result<()> {
    setup::ensure(Purpose::Bench)?;
    // What is measured is the kernel's work. A quick run takes what a test run has built already.
    let release = !arguments.arguments.iter().any(|argument| argument == "--quick");
    let mut build = cargo();
    build.args(["build", "--package", "smtpfence-bench"]).current_dir(workspace::root()?);
    if release {
        build.arg("--release");
    }
    command::run(&mut build)?;
    let target = workspace::target_directory()?;
    let program = target.join(if release { "release" } else { "debug" }).join("smtpfence-bench");
    command::run(Command::new(program).arg("--out").arg(target.join("bench")).args(arguments.arguments))
}
