//! `smtpfence doctor`: what keeps this machine from being a tight gateway, and what to do about it.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{OutputFormat, Places, block_on, printed};
use crate::control;
use crate::policy::{self, Strictness};
use crate::status::Status;

mod enforcement;
mod finding;
mod machine;
mod network;
mod storage;

use finding::{Finding, Level};

/// Examine this machine: kernel, rights, policy, interfaces, what could bypass the hooks, clock, disk.
///
/// Exit code: 0 nothing fails; 1 something does; 2 the examination could not be made. Says most as root.
#[derive(clap::Args)]
pub struct Args {
    /// The policy file.
    #[arg(long, value_name = "FILE", default_value = "/etc/smtpfence/policy.yaml")]
    policy: PathBuf,
    #[command(flatten)]
    places: Places,
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

const FAILED: u8 = 1;

pub fn run(args: &Args) -> ExitCode {
    let findings = examine(args);
    let fails = findings.iter().any(|finding| finding.level == Level::Fail);
    let mut out = io::stdout().lock();
    let told = match args.format {
        OutputFormat::Json => writeln!(out, "{:#}", json!({ "healthy": !fails, "checks": findings })),
        OutputFormat::Human => print(&mut out, &findings),
    };
    match printed(told) {
        Err(failure) => failure.report(),
        Ok(()) => ExitCode::from(if fails { FAILED } else { 0 }),
    }
}

/// Everything, in the order in which one would repair it.
fn examine(args: &Args) -> Vec<Finding> {
    let Places { bpffs, state_dir, control } = &args.places;
    let status = ask_status(args);
    let loaded = policy::load(&args.policy, Strictness::Strict);
    let mut findings = machine::examine(bpffs);
    findings.push(storage::policy_file(&args.policy, &loaded));
    findings.extend(enforcement::examine(control, status.as_ref()));
    match &loaded {
        Ok((loaded, _)) => findings.extend(network::examine(&loaded.policy, bpffs)),
        Err(_) => findings.push(Finding::warn(
            "interfaces",
            "not examined: there is no valid policy that names them",
            "correct the policy file, then run this again",
        )),
    }
    findings.extend(storage::examine(state_dir, status.as_ref()));
    findings
}

/// The agent's status, or what the kernel tells without one; none where nothing is in force.
fn ask_status(args: &Args) -> Option<Value> {
    let answer = block_on(control::request(&args.places.control, hyper::Method::GET, "/v1/status", None));
    if let Ok(Some(status)) = answer {
        return Some(status);
    }
    let status = Status::without_agent(&args.places.bpffs, &args.places.state_dir).ok()?;
    serde_json::to_value(status).ok()
}

fn print(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    let colour =
        io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    for Finding { check, level, found, advice } in findings {
        let label = level.label(colour);
        writeln!(out, "{label}  {check:<width$}  {}", found.replace('\n', "\n        "))?;
        if let Some(advice) = advice {
            writeln!(out, "      {:<width$}  -> {advice}", "")?;
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    writeln!(
        out,
        "\n{} ok, {} to look at, {} failed",
        count(Level::Ok),
        count(Level::Warn),
        count(Level::Fail)
    )
}
