//! `smtpfence apply`: a policy in force without an agent, for the early boot.

use super::run::Start;
use crate::agent::{self, Format};
use crate::datapath::KernelLog;
use crate::failure::Failure;
use crate::rights;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    start: Start,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let config = args.start.config(Format::Json, KernelLog::Off);
    rights::confine();
    let in_force = super::block_on(agent::apply(&config))?;
    let name = in_force.policy.escape_debug();
    super::say(format_args!(
        "policy {name} is in force: revision {}, mode {}",
        in_force.revision, in_force.mode
    ))?;
    for place in &in_force.interfaces {
        super::say(format_args!("  {:<15} {:?}", place.interface.escape_debug().to_string(), place.hook))?;
    }
    super::say(format_args!(
        "interfaces that appear from now on wait for an agent: start one with `smtpfence run`; it adopts all of this"
    ))
}
