//! `cargo xtask build`: the kernel programs, the agent, and everything else.

use std::path::PathBuf;

use anyhow::Result;

use crate::command::{self, cargo};
use crate::setup::{self, Purpose};
use crate::workspace;

/// Build the kernel programs and the agent
#[derive(clap::Args)]
pub struct Arguments {
    /// Optimise, as for an installation
    #[arg(long)]
    release: bool,
}

pub fn run(arguments: Arguments) -> Result<()> {
    setup::ensure(Purpose::Build)?;
    let binary = smtpfence(arguments.release)?;
    println!("built {}", binary.display());
    Ok(())
}

/// Builds the agent, which contains the kernel programs, and says where it is.
pub fn smtpfence(release: bool) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--package", "policy-user", "--bin", "smtpfence"]).current_dir(workspace::root()?);
    if release {
        build.arg("--release");
    }
    command::run(&mut build)?;
    Ok(workspace::target_directory()?.join(if release { "release" } else { "debug" }).join("smtpfence"))
}
