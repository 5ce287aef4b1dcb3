//! `smtpfence confirm`: a policy on trial stays in force.

use std::path::PathBuf;

use crate::control;
use crate::failure::Failure;

#[derive(clap::Args)]
pub struct Args {
    /// Unix socket of the agent.
    #[arg(long, value_name = "SOCKET", default_value = "/run/smtpfence/agent.sock")]
    control: PathBuf,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let answer = super::block_on(control::request(&args.control, hyper::Method::POST, "/v1/confirm", None))?;
    let Some(answer) = answer else {
        return Err(Failure::CouldNotRun(format!(
            "no agent answers on {}: start one with `smtpfence run`, then confirm; once the time is over it rolls back when \
             it starts",
            args.control.display()
        )));
    };
    super::say(format_args!("{}", answer["result"].as_str().unwrap_or("confirmed")))
}
