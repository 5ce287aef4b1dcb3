//! `smtpfence explain`: what a policy decides about one connection, by which steps, and what would let it pass.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::OutputFormat;
use crate::failure::Failure;
use crate::policy::explain::{
    Asked, DecidedAt, Explanation, InQuarantine, Misasked, Paper, Remedy, Step, Treated, Verdict, moment,
};
use crate::policy::{self, LoadedPolicy, Scope, Strictness};

/// Explain what a policy decides about one connection. Needs no root, and asks no running agent.
///
/// Exit code: 0 it is explained, whatever the verdict; 1 policy or question is not valid; 2 the file could not be read.
#[derive(clap::Args)]
pub struct Args {
    /// The policy file
    #[arg(long, value_name = "FILE", default_value = "/etc/smtpfence/policy.yaml")]
    policy: PathBuf,
    /// Address of the client, or `gateway` for a process of the gateway itself
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// Its MAC, or `none` behind an interface without a link layer; without it, the one that the policy wants
    #[arg(long)]
    mac: Option<String>,
    /// The interface it comes in through; without it, the one that the policy wants
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Address it connects to
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// TCP port it connects to
    #[arg(long, default_value_t = 25)]
    port: u64,
    /// When: 2026-12-31 (its noon) or 2026-12-31T18:00:00+01:00; without it, now
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// As if the client were in quarantine, as the policy has it or in this scope
    #[arg(long, value_name = "SCOPE", num_args = 0..=1, require_equals = true)]
    quarantined: Option<Option<Scope>>,
    /// An address of the gateway itself, which the policy doesn't tell; may be given several times
    #[arg(long = "gateway-address", value_name = "ADDRESS")]
    gateway_addresses: Vec<IpAddr>,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let at = match &args.at {
        Some(text) => moment(text, &TimeZone::system()).map_err(misasked)?,
        None => Timestamp::now(),
    };
    let asked = Asked {
        from: &args.from,
        to: &args.to,
        port: args.port,
        mac: args.mac.as_deref(),
        interface: args.interface.as_deref(),
        at,
        quarantined: match args.quarantined {
            None => InQuarantine::No,
            Some(None) => InQuarantine::AsThePolicySays,
            Some(Some(scope)) => InQuarantine::Of(scope),
        },
    };
    let question = asked.question().map_err(misasked)?;
    let (loaded, _) = policy::load(&args.policy, Strictness::Advisory)?;
    let paper = Paper::new(&loaded.policy, loaded.revision)?;
    let mut examiner = paper.examiner();
    examiner.set_gateway_addresses(args.gateway_addresses.iter().copied());
    let explanation = examiner.explain(&question);
    let out = &mut io::stdout().lock();
    super::printed(match args.format {
        OutputFormat::Json => writeln!(out, "{:#}", as_json(&asked, &loaded, &explanation)),
        OutputFormat::Human => print(out, &asked, &loaded, &explanation),
    })
}

fn misasked(why: Misasked) -> Failure {
    Failure::Rejected(format!("--{}: {}; {}", why.key, why.message, why.help))
}

fn as_json(asked: &Asked<'_>, loaded: &LoadedPolicy, explanation: &Explanation) -> serde_json::Value {
    json!({
        "policy": {
            "name": loaded.policy.name,
            "file": loaded.path,
            "revision": loaded.revision.to_string(),
        },
        "question": {
            "from": asked.from,
            "mac": asked.mac,
            "interface": asked.interface,
            "to": asked.to,
            "port": asked.port,
            "at": asked.at,
            "quarantined": asked.quarantined.scope(&loaded.policy),
        },
        "explanation": explanation,
    })
}

fn print(
    out: &mut impl Write,
    asked: &Asked<'_>,
    loaded: &LoadedPolicy,
    explanation: &Explanation,
) -> io::Result<()> {
    let verdict = explanation.verdict.label();
    writeln!(out, "{verdict}: {} -> {} port {}\n", asked.from, asked.to, asked.port)?;
    print_facts(out, loaded, explanation)?;
    if !explanation.steps.is_empty() {
        writeln!(out, "\nHow it is decided, where it {}:", decided_at(explanation.decided_at))?;
    }
    for line in step_lines(&explanation.steps) {
        writeln!(out, "  {line}")?;
    }
    match (explanation.remedies.is_empty(), explanation.verdict) {
        (true, _) => {}
        (false, Verdict::WouldBlock) => writeln!(out, "\nWhat would let it pass in enforce mode too:")?,
        (false, _) => writeln!(out, "\nWhat would let it pass:")?,
    }
    explanation.remedies.iter().try_for_each(|remedy| print_remedy(out, remedy, &loaded.path))
}

fn print_facts(out: &mut impl Write, loaded: &LoadedPolicy, explanation: &Explanation) -> io::Result<()> {
    writeln!(out, "  reason     {}: {}", explanation.reason, explanation.sentence)?;
    writeln!(out, "  policy     {}, revision {}", loaded.policy.name, loaded.revision)?;
    match &explanation.entry {
        Some(entry) => writeln!(out, "  entry      {}", entry.shown(&loaded.path))?,
        None => writeln!(out, "  entry      none, a general rule decides")?,
    }
    if let Some(treatment) = &explanation.treatment {
        writeln!(out, "  treatment  {}", treated(treatment))?;
    }
    for (row, assumed) in explanation.assumed.iter().enumerate() {
        writeln!(out, "  {:<9}  {assumed}", if row == 0 { "assumed" } else { "" })?;
    }
    for elsewhere in &explanation.elsewhere {
        writeln!(out, "             through {}: {}", elsewhere.interface, elsewhere.verdict.label())?;
    }
    Ok(())
}

/// "mode enforce (group tills), on_block reject (policy)".
fn treated(treatment: &Treated) -> String {
    let Treated { mode, on_block } = treatment;
    format!("mode {} ({}), on_block {} ({})", mode.value, mode.by, on_block.value, on_block.by)
}

const fn decided_at(place: DecidedAt) -> &'static str {
    match place {
        DecidedAt::Door => "comes in",
        DecidedAt::Guard | DecidedAt::Nowhere => "leaves",
    }
}

/// One line a step, the questions aligned.
pub(super) fn step_lines(steps: &[Step]) -> impl Iterator<Item = String> {
    let width = steps.iter().map(|step| step.question.len()).max().unwrap_or(0);
    steps.iter().map(move |step| format!("{:>2}  {:<width$}  {}", step.number, step.question, step.answer))
}

fn print_remedy(out: &mut impl Write, remedy: &Remedy, file: &Path) -> io::Result<()> {
    match &remedy.entry {
        Some(entry) => writeln!(out, "  {}: {}", entry.shown(file), remedy.sentence)?,
        None => writeln!(out, "  {}", remedy.sentence)?,
    }
    let Some(yaml) = &remedy.yaml else { return Ok(()) };
    writeln!(out)?;
    yaml.lines().try_for_each(|line| writeln!(out, "      {line}"))?;
    writeln!(out)
}
