//! `smtpfence status`: what is in force and what it has counted.

use serde_json::Value;

use super::{OutputFormat, Places, ago, text};
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
            let status = Status::without_agent(&args.places.bpffs, &args.places.state_dir)?;
            serde_json::to_value(status)
                .map_err(|error| Failure::CouldNotRun(format!("the status is not JSON: {error}")))?
        }
    };
    match args.format {
        OutputFormat::Json => println!("{status:#}"),
        OutputFormat::Human => print(&status),
    }
    Ok(())
}

fn print(status: &Value) {
    match &status["agent"] {
        Value::Null => println!("agent       not running; the kernel goes on enforcing what is listed here"),
        agent => println!(
            "agent       process {}, version {}, since {}",
            agent["pid"],
            text(&agent["version"]),
            ago(&agent["since"])
        ),
    }
    let policy = &status["in_force"];
    if policy.is_null() {
        println!("policy      unknown: the state directory does not tell");
    } else {
        println!(
            "policy      {}, revision {}, mode {}, since {}",
            text(&policy["policy"]),
            text(&policy["revision"]),
            text(&policy["mode"]),
            ago(&policy["since"])
        );
        println!("file        {}", text(&policy["file"]));
    }
    print_changes(status);
    print_coverage(status);
    let quarantine = status["quarantine"].as_array().map_or(0, Vec::len);
    if quarantine > 0 {
        println!("quarantine  {quarantine} clients; `smtpfence quarantine` lists them");
    }
    print_flags(&status["flags"]);
    print_counters(status);
}

fn print_flags(flags: &Value) {
    let [infected, suspect, misconfigured] =
        ["infected", "suspect", "misconfigured"].map(|key| flags[key].as_u64().unwrap_or_default());
    if infected + suspect + misconfigured > 0 {
        println!(
            "flags       {infected} infected, {suspect} suspect, {misconfigured} misconfigured; `smtpfence flags` says why"
        );
    }
}

/// What is not as the policy file says, and what is about to change.
fn print_changes(status: &Value) {
    let (pending, rolled_back) = (&status["pending"], &status["rolled_back"]);
    let (file, in_force) = (&status["file_revision"], &status["in_force"]["revision"]);
    if in_force.is_string() && file.is_null() {
        println!("            it can't be read any more; what is in force stays");
    } else if in_force.is_string() && file != in_force {
        let next = if rolled_back["revision"] == *file {
            "correct it, then `smtpfence reload --confirm 5m`"
        } else {
            "`smtpfence reload` puts it in force"
        };
        println!("            it DIFFERS from what is in force: it holds revision {}; {next}", text(file));
    }
    if !pending.is_null() {
        println!(
            "ON TRIAL    revision {} comes back at {}, unless `smtpfence confirm` comes first ({} {})",
            text(&pending["previous"]),
            ago(&pending["until"]),
            text(&pending["how"]),
            pending["user"].as_str().map(|_| format!("by {}", text(&pending["user"]))).unwrap_or_default()
        );
    }
    if !rolled_back.is_null() {
        println!(
            "ROLLED BACK revision {} at {}: {}",
            text(&rolled_back["revision"]),
            ago(&rolled_back["at"]),
            text(&rolled_back["why"])
        );
    }
    if let Some(error) = status["reload_error"].as_str() {
        println!("reload      REFUSED, the policy above stays: {error}");
    }
}

fn print_coverage(status: &Value) {
    let coverage = status["coverage"].as_array().map(Vec::as_slice).unwrap_or_default();
    if coverage.is_empty() {
        println!("interfaces  NONE is covered");
    }
    for (row, place) in coverage.iter().enumerate() {
        let told = match place["position"].as_str() {
            Some("first") => "covered",
            Some("behind") => "NOT SAFE: another program stands in front of ours and can let packets out",
            Some("missing") => "NOT COVERED: our program is not on it",
            _ => "covered, as far as can be told without more rights",
        };
        let label = if row == 0 { "interfaces" } else { "" };
        println!("{label:<10}  {:<15} {:<5} {told}", text(&place["interface"]), text(&place["hook"]));
    }
}

fn print_counters(status: &Value) {
    let counters = status["counters"].as_array().map(Vec::as_slice).unwrap_or_default();
    println!();
    println!("{:<24}  {:>12}  {:>12}  {:>12}", "reason", "attempts", "packets", "would block");
    for count in counters {
        let denies = count["denies"].as_bool().unwrap_or(false);
        let attempts = if denies { count["attempts"].to_string() } else { "passed".to_owned() };
        println!(
            "{:<24}  {attempts:>12}  {:>12}  {:>12}",
            text(&count["reason"]),
            count["packets"].to_string(),
            count["would_block_packets"].to_string()
        );
    }
    if counters.is_empty() {
        println!("nothing counted yet");
    }
    println!("lost events: {}", status["lost_events"]);
}
