//! `smtpfence quarantine` and `smtpfence release`: block a client's mail for a time, whatever the policy permits it.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{OutputFormat, ago, printed, say, seconds, text};
use crate::agent::QuarantineRequest;
use crate::control;
use crate::failure::Failure;
use crate::policy::Scope;

#[derive(clap::Args)]
pub struct Args {
    /// Address of the client; without it, who is in quarantine is listed.
    #[arg(requires = "length", requires = "reason")]
    host: Option<IpAddr>,
    /// How long, such as 2h or 1d 12h.
    #[arg(long = "for", id = "length", value_name = "DURATION", value_parser = seconds)]
    seconds: Option<i64>,
    /// Why, for those who find it in the list.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// What is closed: the ports for mail, or everything outside; without it, as the policy has it.
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// Unix socket of the agent.
    #[arg(long, value_name = "SOCKET", default_value = "/run/smtpfence/agent.sock")]
    control: PathBuf,
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

#[derive(clap::Args)]
pub struct ReleaseArgs {
    /// Address of the client.
    host: IpAddr,
    /// Unix socket of the agent.
    #[arg(long, value_name = "SOCKET", default_value = "/run/smtpfence/agent.sock")]
    control: PathBuf,
}

pub fn run(args: Args) -> Result<(), Failure> {
    match (args.host, args.seconds, args.reason) {
        (Some(host), Some(seconds), Some(reason)) => {
            let request = json!(QuarantineRequest { host, seconds, reason, scope: args.scope });
            let client = ask(&args.control, hyper::Method::POST, "/v1/quarantine", Some(&request))?;
            printed(print(&[client], args.format))
        }
        _ => {
            let status = ask(&args.control, hyper::Method::GET, "/v1/status", None)?;
            let clients = status["quarantine"].as_array().map(Vec::as_slice).unwrap_or_default();
            printed(print(clients, args.format))
        }
    }
}

pub fn release(args: &ReleaseArgs) -> Result<(), Failure> {
    let path = format!("/v1/release/{}", args.host);
    let answer = ask(&args.control, hyper::Method::POST, &path, None)?;
    if answer["released"] == true {
        say(format_args!("{} is released: the policy alone decides about it again", args.host))
    } else {
        say(format_args!("{} was not in quarantine", args.host))
    }
}

fn ask(socket: &Path, method: hyper::Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    super::block_on(control::request(socket, method, path, body))?.ok_or_else(|| {
        Failure::CouldNotRun(format!(
            "no agent answers on {}: start one with `smtpfence run`; what is in quarantine already stays in it",
            socket.display()
        ))
    })
}

fn print(clients: &[Value], format: OutputFormat) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if format == OutputFormat::Json {
        return writeln!(out, "{:#}", json!(clients));
    }
    if clients.is_empty() {
        return writeln!(out, "nobody is in quarantine");
    }
    writeln!(out, "{:<39}  {:<5}  {:<42}  {:<42}  reason", "client", "scope", "since", "until")?;
    for client in clients {
        writeln!(
            out,
            "{:<39}  {:<5}  {:<42}  {:<42}  {}",
            text(&client["host"]),
            text(&client["scope"]),
            ago(&client["since"]),
            ago(&client["until"]),
            text(&client["reason"])
        )?;
    }
    Ok(())
}
