//! The command line: one file a verb, each parses, calls the library and prints.

mod allow;
mod apply;
mod backtest;
mod change;
pub mod check;
mod confirm;
mod detach;
mod diff;
mod doctor;
mod explain;
mod flags;
mod history;
mod host;
mod hosts;
mod lines;
mod log;
mod manual;
mod migrate;
mod notify;
mod quarantine;
mod reload;
mod report;
mod restore;
mod run;
mod schema;
mod status;
mod table;
mod test;
mod top;
mod verdicts;
mod version;
mod when;

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{SpanRelativeTo, SpanTotal, Timestamp, Unit};
use serde_json::Value;

use crate::failure::Failure;

#[derive(Parser)]
#[command(
    name = "smtpfence",
    version,
    about = "Keeps everybody but the designated mail servers off outbound port 25, and tells who tried.",
    after_help = "Exit codes: 0 fine, 1 the input was rejected, 2 could not run."
)]
struct Cli {
    /// Tell more on standard error; twice for debugging.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Put a policy in force, and log blocked attempts until told to stop; enforcement outlives this process.
    Run(run::Args),
    /// Put a policy in force and end: enforcement without an agent, as early at boot; the next `run` adopts it.
    Apply(apply::Args),
    /// Judge a policy file without touching the machine.
    Check(check::Args),
    /// Say what a policy decides about one connection, by which steps, and what would let it pass.
    Explain(explain::Args),
    /// Say what changes from one policy to another, in meaning and not in text.
    Diff(diff::Args),
    /// Run unit tests of policies: connections and the verdict that each must get.
    Test(test::Args),
    /// Print the JSON Schema of the policy language, for editors.
    Schema(schema::Args),
    /// Bring a policy file to the current version of the language.
    Migrate(migrate::Args),
    /// Run recorded attempts through the detector: whom it would have flagged, and why.
    Backtest(backtest::Args),
    /// Count the alarms that each preset would have raised on recorded attempts.
    Calibrate(backtest::CalibrateArgs),
    /// Show what is in force, where, and what it has counted; works without an agent too.
    Status(status::Args),
    /// Show blocked attempts, the newest last; works without an agent too.
    Log(log::Args),
    /// List the hosts with blocked attempts, the busiest first; works without an agent too.
    Hosts(hosts::HostsArgs),
    /// Tell all about one client, and what to do next; works without an agent too.
    Host(host::Args),
    /// List what was tried to be reached, the most tried first; works without an agent too.
    Destinations(hosts::Args),
    /// Watch rates, hosts and attempts live, and act on them; works without an agent too.
    Top(top::Args),
    /// Sum up a time for others: text, JSON, or one HTML page with charts; works without an agent too.
    Report(report::Args),
    /// Make the running agent read its policy file again; on any error the policy before stays.
    Reload(reload::Args),
    /// Keep a policy that `reload --confirm` has put in force on trial.
    Confirm(confirm::Args),
    /// Put a policy that has been in force before back into the file and into force.
    Restore(restore::Args),
    /// List the policies that have been in force, or print one of them; works without an agent too.
    History(history::Args),
    /// Add an exception to the policy file, comments and layout kept; list or remove exceptions.
    Allow(allow::Args),
    /// List the hosts that behave like bots or are set up wrongly, with the evidence; acknowledge or release one.
    Flags(flags::Args),
    /// List who is told of flags and alarms, and how that goes; `--test` sends a message.
    Notify(notify::Args),
    /// Cut a client off from mail, or from everything outside, for a time; or list who is cut off.
    Quarantine(quarantine::Args),
    /// End a client's quarantine.
    Release(quarantine::ReleaseArgs),
    /// Examine this machine: what could keep it from being a tight gateway, and what to do.
    Doctor(doctor::Args),
    /// End enforcement: remove every program from every interface.
    Detach(detach::Args),
    /// Show what this binary is: version, and the SHA-256 of the kernel programs in it.
    Version(version::Args),
    /// Write a manual page for every command.
    Man(manual::ManArgs),
    /// Print completions for a shell.
    Completions(manual::CompletionsArgs),
}

/// Where the agent's things are; packages and tests move them.
#[derive(Args, Clone, Debug)]
struct Places {
    /// BPF file system that keeps enforcement alive.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf")]
    bpffs: PathBuf,
    /// Directory of what must outlive a restart.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/smtpfence")]
    state_dir: PathBuf,
    /// Unix socket of the agent.
    #[arg(long, value_name = "SOCKET", default_value = "/run/smtpfence/agent.sock")]
    control: PathBuf,
}

/// How a listing is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Human,
    Json,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.verbose {
        0 => ::log::LevelFilter::Info,
        1 => ::log::LevelFilter::Debug,
        _ => ::log::LevelFilter::Trace,
    };
    env_logger::Builder::new()
        .filter_level(::log::LevelFilter::Warn)
        // Our own modules and the kernel programs, which aya-log names by their crate.
        .filter_module("policy_user", level)
        .filter_module("policy_ebpf", ::log::LevelFilter::Trace)
        .parse_default_env()
        .init();
    match cli.verb {
        Verb::Run(args) => finish(run::run(args)),
        Verb::Apply(args) => finish(apply::run(args)),
        Verb::Check(args) => check::run(&args),
        Verb::Explain(args) => finish(explain::run(&args)),
        Verb::Diff(args) => diff::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Schema(args) => finish(schema::run(&args)),
        Verb::Migrate(args) => finish(migrate::run(&args)),
        Verb::Backtest(args) => finish(backtest::run(&args)),
        Verb::Calibrate(args) => finish(backtest::calibrate(&args)),
        Verb::Status(args) => finish(status::run(&args)),
        Verb::Log(args) => finish(log::run(&args)),
        Verb::Hosts(args) => finish(hosts::hosts(&args)),
        Verb::Host(args) => finish(host::run(&args)),
        Verb::Destinations(args) => finish(hosts::destinations(&args)),
        Verb::Top(args) => finish(top::run(&args)),
        Verb::Report(args) => finish(report::run(&args)),
        Verb::Reload(args) => finish(reload::run(&args)),
        Verb::Confirm(args) => finish(confirm::run(&args)),
        Verb::History(args) => finish(history::run(&args)),
        Verb::Restore(args) => finish(restore::run(&args)),
        Verb::Allow(args) => finish(allow::run(&args)),
        Verb::Flags(args) => finish(flags::run(&args)),
        Verb::Notify(args) => finish(notify::run(&args)),
        Verb::Quarantine(args) => finish(quarantine::run(args)),
        Verb::Release(args) => finish(quarantine::release(&args)),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Detach(args) => finish(detach::run(&args)),
        Verb::Version(args) => finish(version::run(&args)),
        Verb::Man(args) => finish(manual::man(&args)),
        Verb::Completions(args) => finish(manual::completions(&args)),
    }
}

fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// What printing came to: a reader that closed its end, such as `head`, has seen enough.
fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::CouldNotRun(format!("can't write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a line.
fn say(line: fmt::Arguments<'_>) -> Result<(), Failure> {
    printed(writeln!(io::stdout().lock(), "{line}"))
}

/// Runs a future that needs nothing but one thread.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::CouldNotRun(format!("can't start the runtime: {error}")))?
        .block_on(future)
}

/// The lease files of the policy that was put in force last, as its file is now; none where that can't be read.
fn lease_files(state_dir: &Path) -> Vec<PathBuf> {
    verdicts::policy_in_force(state_dir).map(|policy| policy.lease_files).unwrap_or_default()
}

/// A string of the agent, made harmless for a terminal: interface names are anybody's.
fn text(value: &Value) -> String {
    harmless(value.as_str().unwrap_or("?"))
}

/// A text that nobody has judged yet, so that it can't act on a terminal. Quotes stay as they are.
fn harmless(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\'' => c.to_string(),
        c => c.escape_debug().to_string(),
    };
    text.chars().map(escaped).collect()
}

/// Absolute local time and how far away it is.
fn ago(value: &Value) -> String {
    let Some(time) = value.as_str().and_then(|time| time.parse::<Timestamp>().ok()) else {
        return "?".to_owned();
    };
    let zoned = time.to_zoned_datetime(jiff::tz::TimeZone::system());
    format!("{} ({})", zoned.strftime("%Y-%m-%d %H:%M:%S %Z"), relative(time))
}

/// How far away a time is.
fn relative(time: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(time).as_secs();
    let (amount, unit) = match seconds.abs() {
        seconds @ 0..=119 => (seconds, "s"),
        seconds @ 120..=7199 => (seconds / 60, "min"),
        seconds @ 7200..=172_799 => (seconds / 3600, "h"),
        seconds => (seconds / 86_400, "days"),
    };
    if seconds < 0 { format!("in {amount} {unit}") } else { format!("{amount} {unit} ago") }
}

/// A duration in whole seconds; a day is 24 hours.
fn seconds(text: &str) -> Result<i64, String> {
    let span: jiff::Span = text.parse().map_err(|error| format!("{error}; write 30m, 2h or 7d"))?;
    let total = SpanTotal::from(Unit::Second).relative(SpanRelativeTo::days_are_24_hours());
    span.total(total).map(|seconds| seconds as i64).map_err(|error| format!("{error}; write 30m, 2h or 7d"))
}
