//! `smtpfence reload`: the agent reads its policy file again, if asked so only on trial.

use std::path::PathBuf;

use serde_json::json;

use super::seconds;
use crate::agent::ReloadRequest;
use crate::control;
use crate::failure::Failure;

#[derive(clap::Args)]
pub struct Args {
    /// Roll back by itself after this time, such as 5m, unless `smtpfence confirm` follows.
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    confirm: Option<i64>,
    /// End a trial at once: put back what was in force before it.
    #[arg(long, conflicts_with = "confirm")]
    cancel: bool,
    /// Unix socket of the agent.
    #[arg(long, value_name = "SOCKET", default_value = "/run/smtpfence/agent.sock")]
    control: PathBuf,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let request = json!(ReloadRequest { confirm_seconds: args.confirm, ..ReloadRequest::default() });
    let (path, body) = if args.cancel { ("/v1/cancel", None) } else { ("/v1/reload", Some(&request)) };
    let answer = super::block_on(control::request(&args.control, hyper::Method::POST, path, body))?;
    let Some(answer) = answer else {
        return Err(Failure::CouldNotRun(format!(
            "no agent answers on {}: start one with `smtpfence run`, it reads the policy when it starts",
            args.control.display()
        )));
    };
    super::say(format_args!("{}", answer["result"].as_str().unwrap_or("reloaded")))
}
