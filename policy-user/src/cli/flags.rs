//! `smtpfence flags`: the hosts the agent has flagged, why, and what to do; acknowledging and releasing them.

use std::io::{self, Write};
use std::path::PathBuf;

use hyper::Method;
use serde_json::{Value, json};

use super::{OutputFormat, ago, printed, text};
use crate::control;
use crate::detect::Key;
use crate::failure::Failure;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Unix socket of the agent.
    #[arg(long, global = true, value_name = "SOCKET", default_value = "/run/smtpfence/agent.sock")]
    control: PathBuf,
    #[arg(long, global = true, value_enum, default_value = "human")]
    format: OutputFormat,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Note that somebody has seen a flag; the host stays flagged.
    Acknowledge {
        /// MAC or address.
        host: Key,
        /// What is done about it, for those who find it in the list.
        #[arg(long, value_name = "TEXT")]
        note: String,
    },
    /// Take a flag back, after the host was cleaned; if it does it again, it is flagged again.
    Release {
        /// MAC or address.
        host: Key,
    },
}

pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        None => list(args),
        Some(Action::Acknowledge { host, note }) => {
            let path = format!("/v1/flags/{host}/acknowledge");
            changed(args, &ask(args, Method::POST, &path, Some(&json!({ "note": note })))?)
        }
        Some(Action::Release { host }) => {
            changed(args, &ask(args, Method::POST, &format!("/v1/flags/{host}/release"), None)?)
        }
    }
}

fn list(args: &Args) -> Result<(), Failure> {
    let flags = ask(args, Method::GET, "/v1/flags", None)?;
    let mut out = io::stdout().lock();
    if args.format == OutputFormat::Json {
        return printed(writeln!(out, "{flags:#}"));
    }
    let flags = flags.as_array().map(Vec::as_slice).unwrap_or_default();
    if flags.is_empty() {
        return printed(writeln!(out, "no host is flagged"));
    }
    printed(flags.iter().try_for_each(|flag| print(&mut out, flag)))
}

/// One flagged host with its evidence.
pub fn print(out: &mut impl Write, flag: &Value) -> io::Result<()> {
    writeln!(
        out,
        "{:<13}  {:<17}  {:<15}  since {}",
        text(&flag["verdict"]),
        text(&flag["host"]),
        text(&flag["client"]),
        ago(&flag["since"])
    )?;
    writeln!(out, "    {}", text(&flag["evidence"]["sentence"]))?;
    writeln!(out, "    {}", text(&flag["evidence"]["remedy"]))?;
    let note = &flag["acknowledged"];
    if !note.is_null() {
        let by = note["by"].as_str().map_or_else(String::new, |_| format!(" by {}", text(&note["by"])));
        writeln!(out, "    acknowledged{by}: {}", text(&note["text"]))?;
    }
    Ok(())
}

fn changed(args: &Args, event: &Value) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if args.format == OutputFormat::Json {
        return printed(writeln!(out, "{event:#}"));
    }
    let (host, client, verdict) = (text(&event["host"]), text(&event["client"]), text(&event["verdict"]));
    printed(match event["change"].as_str() {
        Some("released") => writeln!(out, "{host} ({client}) is released: it is no longer {verdict}"),
        _ => writeln!(out, "{host} ({client}) stays {verdict}, which is acknowledged"),
    })
}

fn ask(args: &Args, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    super::block_on(control::request(&args.control, method, path, body))?.ok_or_else(|| {
        Failure::CouldNotRun(format!(
            "no agent answers on {}: start one with `smtpfence run`; it remembers who was flagged",
            args.control.display()
        ))
    })
}
