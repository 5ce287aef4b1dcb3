//! `smtpfence notify`: who is told of flags and alarms, how that goes, and a message to try it.

use std::io::{self, Write as _};
use std::path::PathBuf;

use hyper::Method;
use serde_json::{Value, json};

use super::table::Table;
use super::{OutputFormat, ago, block_on, printed, text};
use crate::control;
use crate::failure::Failure;
use crate::notify::{self, TestRequest};
use crate::policy::{self, Policy, Receiver, Strictness};

#[derive(clap::Args)]
pub struct Args {
    /// Send a test message to this receiver, or to all, and tell what became of it.
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    test: Option<Option<String>>,
    /// Policy that is read where no agent runs.
    #[arg(long, value_name = "FILE", default_value = "/etc/smtpfence/policy.yaml")]
    policy: PathBuf,
    /// Unix socket of the agent.
    #[arg(long, value_name = "SOCKET", default_value = "/run/smtpfence/agent.sock")]
    control: PathBuf,
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.test {
        None => list(args),
        Some(receiver) => test(args, receiver.clone()),
    }
}

fn list(args: &Args) -> Result<(), Failure> {
    let answer = block_on(control::request(&args.control, Method::GET, "/v1/notify", None))?;
    let agent = answer.is_some();
    let receivers = match answer {
        Some(receivers) => receivers,
        None => load(args)?.receivers.iter().map(planned).collect(),
    };
    let mut out = io::stdout().lock();
    if args.format == OutputFormat::Json {
        return printed(writeln!(out, "{receivers:#}"));
    }
    let receivers = receivers.as_array().map(Vec::as_slice).unwrap_or_default();
    if receivers.is_empty() {
        return printed(writeln!(out, "nobody is told: the policy's `notify` names no receivers"));
    }
    let mut table = Table::new(&["receiver", "by", "to", "events", "digest", ">waiting", ">sent", ">failed"]);
    for it in receivers {
        let events = it["events"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        let digest = it["digest"].as_str().map_or_else(|| "-".to_owned(), |_| text(&it["digest"]));
        let [waiting, sent, failed] = ["waiting", "sent", "failed"]
            .map(|key| it[key].as_u64().map_or("-".to_owned(), |n| n.to_string()));
        let events = if events.is_empty() { "-".to_owned() } else { events.join(",") };
        let (name, by, to) = (text(&it["name"]), text(&it["kind"]), text(&it["to"]));
        table.row([name, by, to, events, digest, waiting, sent, failed]);
    }
    printed((|| {
        table.print(&mut out)?;
        if !agent {
            writeln!(out, "\nno agent answers: this is what the policy file says")?;
        }
        receivers.iter().filter(|it| !it["failing"].is_null()).try_for_each(|it| {
            let trouble = &it["failing"];
            writeln!(out, "\n{} can't be told since {}:", text(&it["name"]), ago(&it["failing_at"]))?;
            writeln!(out, "    {}", text(&trouble["why"]))?;
            writeln!(out, "    {}", text(&trouble["next"]))
        })
    })())
}

/// A receiver as the file has it, in the fields that the agent tells.
fn planned(receiver: &Receiver) -> Value {
    json!({
        "name": receiver.name,
        "kind": receiver.way.label(),
        "to": receiver.way.to_string(),
        "events": receiver.topics,
        "digest": receiver.digest.map(|time| time.strftime("%H:%M").to_string()),
    })
}

fn test(args: &Args, receiver: Option<String>) -> Result<(), Failure> {
    let request = json!(TestRequest { receiver: receiver.clone() });
    let asked = control::request(&args.control, Method::POST, "/v1/notify/test", Some(&request));
    let results = match block_on(asked)? {
        Some(results) => results,
        None => {
            let receivers = notify::chosen(&load(args)?, receiver.as_deref())?;
            json!(block_on(async { Ok(notify::test(receivers).await) })?)
        }
    };
    let all = results.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = io::stdout().lock();
    printed(match args.format {
        OutputFormat::Json => writeln!(out, "{results:#}"),
        OutputFormat::Human => all.iter().try_for_each(|it| {
            let (name, kind, to, trouble) =
                (text(&it["name"]), text(&it["kind"]), text(&it["to"]), &it["trouble"]);
            if it["delivered"] == true {
                return writeln!(out, "{name}: delivered by {kind} to {to} in {} ms", it["milliseconds"]);
            }
            writeln!(out, "{name}: NOT DELIVERED by {kind} to {to} (stage: {})", text(&trouble["stage"]))?;
            writeln!(out, "    {}", text(&trouble["why"]))?;
            writeln!(out, "    {}", text(&trouble["next"]))
        }),
    })?;
    let failed = all.iter().filter(|it| it["delivered"] != true).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::CouldNotRun(format!("{failed} of {} receivers could not be told", all.len())))
}

fn load(args: &Args) -> Result<Policy, Failure> {
    Ok(policy::load(&args.policy, Strictness::Strict)?.0.policy)
}
