//! `smtpfence status`: what is in force and what it has counted.

mod interfaces;

use std::io::{self, Write};

use serde_json::Value;

use super::{OutputFormat, Places, ago, printed, text};
use crate::control;
use crate::failure::Failure;
use crate::status::Status;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    places: Places,
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let status =
        super::block_on(control::request(&args.places.control, hyper::Method::GET, "/v1/status", None))?;
    let status = match status {
        Some(status) => status,
        None => {
            let mut status = Status::without_agent(&args.places.bpffs, &args.places.state_dir)?;
            interfaces::look(&mut status)?;
            serde_json::to_value(status)
                .map_err(|error| Failure::CouldNotRun(format!("the status is not JSON: {error}")))?
        }
    };
    let mut out = io::stdout().lock();
    printed(match args.format {
        OutputFormat::Json => writeln!(out, "{status:#}"),
        OutputFormat::Human => print(&mut out, &status),
    })
}

fn print(out: &mut impl Write, status: &Value) -> io::Result<()> {
    match &status["agent"] {
        Value::Null => {
            writeln!(out, "agent       not running; the kernel goes on enforcing what is listed here")?;
        }
        agent => writeln!(
            out,
            "agent       process {}, version {}, since {}",
            agent["pid"],
            text(&agent["version"]),
            ago(&agent["since"])
        )?,
    }
    print_rights(out, &status["rights"])?;
    let policy = &status["in_force"];
    if policy.is_null() {
        writeln!(out, "policy      unknown: the state directory does not tell")?;
    } else {
        writeln!(
            out,
            "policy      {}, revision {}, mode {}, since {}",
            text(&policy["policy"]),
            text(&policy["revision"]),
            text(&policy["mode"]),
            ago(&policy["since"])
        )?;
        writeln!(out, "file        {}", text(&policy["file"]))?;
    }
    print_changes(out, status)?;
    interfaces::print(out, status)?;
    interfaces::print_early(out, status)?;
    let quarantine = status["quarantine"].as_array().map_or(0, Vec::len);
    if quarantine > 0 {
        writeln!(
            out,
            "quarantine  {quarantine} {}; `smtpfence quarantine` lists them",
            if quarantine == 1 { "client" } else { "clients" }
        )?;
    }
    print_flags(out, &status["flags"])?;
    print_port(out, &status["metrics"])?;
    print_names(out, &status["names"])?;
    print_failing_receivers(out, &status["notify"])?;
    print_counters(out, status)
}

fn print_rights(out: &mut impl Write, rights: &Value) -> io::Result<()> {
    /// More than these are not what the agent needs; the other format names them all.
    const FEW: usize = 5;
    if rights.is_null() {
        return Ok(());
    }
    let held: Vec<_> =
        rights["capabilities"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let held = match held.len() {
        0 => "no capability".to_owned(),
        1..=FEW => held.join(", "),
        many => format!("{many} capabilities"),
    };
    let threads = format!("{held} in {} of {} threads", rights["privileged_threads"], rights["threads"]);
    if rights["reduced"] == true {
        return writeln!(out, "rights      {threads}; system calls are filtered");
    }
    writeln!(
        out,
        "rights      MORE THAN NEEDED: {threads}; system calls are filtered in {}; the agent's log says why",
        rights["filtered_threads"]
    )
}

fn print_names(out: &mut impl Write, names: &Value) -> io::Result<()> {
    if names.is_null() {
        return Ok(());
    }
    let [hosts, addresses, left_out] =
        ["hosts", "addresses", "left_out"].map(|key| names[key].as_u64().unwrap_or_default());
    writeln!(out, "names       {addresses} addresses of {hosts} hosts; {left_out} DNS answers left out")
}

fn print_flags(out: &mut impl Write, flags: &Value) -> io::Result<()> {
    let [infected, suspect, misconfigured] =
        ["infected", "suspect", "misconfigured"].map(|key| flags[key].as_u64().unwrap_or_default());
    if infected + suspect + misconfigured == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "flags       {infected} infected, {suspect} suspect, {misconfigured} misconfigured; `smtpfence flags` says why"
    )
}

fn print_port(out: &mut impl Write, port: &Value) -> io::Result<()> {
    match (port["listen"].as_str(), port["error"].as_str()) {
        (None, _) => Ok(()),
        (Some(address), None) => writeln!(out, "metrics     http://{address}/metrics"),
        (Some(address), Some(error)) => {
            writeln!(
                out,
                "metrics     CAN'T BE ASKED FOR on {address}: {}; tried again",
                error.escape_debug()
            )
        }
    }
}

/// Those that can be told need no line.
fn print_failing_receivers(out: &mut impl Write, receivers: &Value) -> io::Result<()> {
    for receiver in receivers.as_array().into_iter().flatten().filter(|it| !it["failing"].is_null()) {
        writeln!(
            out,
            "notify      {} CAN'T BE TOLD: {}; `smtpfence notify` says more",
            text(&receiver["name"]),
            text(&receiver["failing"]["why"])
        )?;
    }
    Ok(())
}

/// What is not as the policy file says, and what is about to change.
fn print_changes(out: &mut impl Write, status: &Value) -> io::Result<()> {
    let (pending, rolled_back) = (&status["pending"], &status["rolled_back"]);
    let (file, in_force) = (&status["file_revision"], &status["in_force"]["revision"]);
    if in_force.is_string() && file.is_null() {
        writeln!(out, "            it can't be read any more; what is in force stays")?;
    } else if in_force.is_string() && file != in_force {
        let next = if rolled_back["revision"] == *file {
            "correct it, then `smtpfence reload --confirm 5m`"
        } else {
            "`smtpfence reload` puts it in force"
        };
        writeln!(
            out,
            "            it DIFFERS from what is in force: it holds revision {}; {next}",
            text(file)
        )?;
    }
    if !pending.is_null() {
        writeln!(
            out,
            "ON TRIAL    revision {} comes back at {}, unless `smtpfence confirm` comes first ({} {})",
            text(&pending["previous"]),
            ago(&pending["until"]),
            text(&pending["how"]),
            pending["user"].as_str().map(|_| format!("by {}", text(&pending["user"]))).unwrap_or_default()
        )?;
    }
    if !rolled_back.is_null() {
        writeln!(
            out,
            "ROLLED BACK revision {} at {}: {}",
            text(&rolled_back["revision"]),
            ago(&rolled_back["at"]),
            text(&rolled_back["why"])
        )?;
    }
    if let Some(error) = status["reload_error"].as_str() {
        writeln!(out, "reload      REFUSED, the policy above stays: {error}")?;
    }
    Ok(())
}

fn print_counters(out: &mut impl Write, status: &Value) -> io::Result<()> {
    let counters = status["counters"].as_array().map(Vec::as_slice).unwrap_or_default();
    writeln!(out)?;
    writeln!(out, "{:<24}  {:>12}  {:>12}  {:>12}", "reason", "attempts", "packets", "would block")?;
    for count in counters {
        let denies = count["denies"].as_bool().unwrap_or(false);
        let attempts = if denies { count["attempts"].to_string() } else { "passed".to_owned() };
        writeln!(
            out,
            "{:<24}  {attempts:>12}  {:>12}  {:>12}",
            text(&count["reason"]),
            count["packets"].to_string(),
            count["would_block_packets"].to_string()
        )?;
    }
    if counters.is_empty() {
        writeln!(out, "nothing counted yet")?;
    }
    writeln!(
        out,
        "\nlost        {} events: attempts that are counted, and not in the log",
        status["lost_events"]
    )?;
    print_hosts(out, &status["hosts"])?;
    print_store(out, &status["store"])
}

fn print_hosts(out: &mut impl Write, hosts: &Value) -> io::Result<()> {
    writeln!(
        out,
        "hosts       {} with an account of their own; {} of {} accounts are used",
        hosts["tracked"], hosts["accounts"], hosts["capacity"]
    )?;
    writeln!(
        out,
        "unlisted    {} attempts of hosts that made too many: counted, without rows of their own",
        hosts["unlisted"]
    )?;
    if hosts["overflow_packets"] == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "overflow    {} attempts, {} packets in no host's account, because the map was full",
        hosts["overflow_attempts"], hosts["overflow_packets"]
    )
}

fn print_store(out: &mut impl Write, store: &Value) -> io::Result<()> {
    if store.is_null() {
        return Ok(());
    }
    writeln!(
        out,
        "block log   {} attempts written since the agent started, {} waiting, {} missed, in {}",
        store["rows"],
        store["waiting"],
        store["missed"],
        text(&store["directory"])
    )?;
    match store["error"].as_str() {
        Some(error) => writeln!(out, "block log   CAN'T BE WRITTEN: {}", error.escape_debug()),
        None => Ok(()),
    }
}
