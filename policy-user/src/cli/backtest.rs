//! `smtpfence backtest` and `smtpfence calibrate`: recorded attempts through the detector, without waiting a week.

mod replay;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{OutputFormat, printed, when};
use crate::detect::{Change, HostKey, Key, Limits, Preset, Providers, Rules, Verdict};
use crate::failure::Failure;
use replay::{Input, Replay, Summary};

#[derive(clap::Args)]
struct Source {
    /// Recorded attempts, one JSON object a line, also compressed with gzip; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    events: Option<PathBuf>,
    /// The agent's own block log: what is read where no file is named.
    #[arg(long)]
    store: bool,
    /// From then on: how long ago (`24h`, `7d`), a date, or a time.
    #[arg(long, value_name = "WHEN", value_parser = when::ago_or_at)]
    since: Option<Timestamp>,
    /// Directory of what must outlive a restart, with the block log.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/smtpfence")]
    state_dir: PathBuf,
    /// Providers beside the shipped ones: lines `prefix,group`.
    #[arg(long, value_name = "FILE")]
    providers: Option<PathBuf>,
    /// What hosts are told apart by.
    #[arg(long, value_enum, value_name = "KEY", default_value = "auto")]
    host_key: HostKey,
}

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[arg(long, value_enum, default_value = "balanced")]
    preset: Preset,
    /// Change a number of the preset, such as sites_hour=20; may be given more than once.
    #[arg(long = "set", value_name = "NAME=NUMBER")]
    set: Vec<String>,
    /// Also tell which hosts the other presets would have flagged.
    #[arg(long)]
    compare: bool,
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

#[derive(clap::Args)]
pub struct CalibrateArgs {
    #[command(flatten)]
    source: Source,
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let mut limits = Limits::of(args.preset);
    for change in &args.set {
        set(&mut limits, change)
            .map_err(|why| Failure::Rejected(format!("--set {}: {why}", change.escape_debug())))?;
    }
    let providers = args.source.providers()?;
    let mut detectors = vec![args.source.rules(limits, &providers)];
    if args.compare {
        let others = Preset::ALL.into_iter().filter(|preset| *preset != args.preset);
        detectors.extend(others.map(|preset| args.source.rules(Limits::of(preset), &providers)));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let mut replay = Replay::new(detectors, args.source.host_key);
    let summary = replay.run(&args.source.input(), args.source.since, |index, stamp, change| {
        if index == 0 && written.is_ok() {
            written = match args.format {
                OutputFormat::Json => writeln!(out, "{}", line(stamp, change)),
                OutputFormat::Human => writeln!(out, "{}", told(stamp, change)),
            };
        }
    })?;
    printed(written.and_then(|()| {
        if args.compare {
            compare(&mut out, args, &replay)?;
        }
        if args.format == OutputFormat::Human {
            writeln!(out, "{}", replay.told(&summary))?;
        }
        out.flush()
    }))?;
    warn(&summary);
    Ok(())
}

pub fn calibrate(args: &CalibrateArgs) -> Result<(), Failure> {
    let providers = args.source.providers()?;
    let rules = Preset::ALL.map(|preset| args.source.rules(Limits::of(preset), &providers));
    let mut replay = Replay::new(rules.into(), args.source.host_key);
    let summary = replay.run(&args.source.input(), args.source.since, |_, _, _| {})?;
    let days = replay.host_days();
    let rows: Vec<Value> = Preset::ALL
        .iter()
        .zip(replay.flagged())
        .map(|(preset, flagged)| {
            let count = |verdict| flagged.values().filter(|reached| **reached >= verdict).count();
            let [infected, suspect] = [Verdict::Infected, Verdict::Suspect].map(count);
            let rate = |hosts: usize| if days == 0 { 0.0 } else { 1000.0 * hosts as f64 / days as f64 };
            json!({
                "preset": preset.label(), "host_days": days,
                "infected": infected, "infected_per_1000_host_days": rate(infected),
                "suspect_or_infected": suspect, "suspect_or_infected_per_1000_host_days": rate(suspect),
            })
        })
        .collect();
    let mut out = io::stdout().lock();
    printed(match args.format {
        OutputFormat::Json => writeln!(out, "{:#}", json!(rows)),
        OutputFormat::Human => table(&mut out, &rows, &replay.told(&summary)),
    })?;
    warn(&summary);
    Ok(())
}

impl Source {
    fn input(&self) -> Input<'_> {
        match &self.events {
            Some(path) => Input::File(path),
            None => Input::Store(&self.state_dir),
        }
    }

    fn providers(&self) -> Result<Providers, Failure> {
        let Some(path) = &self.providers else { return Ok(Providers::shipped()) };
        let text = fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error))?;
        Providers::with(&text).map_err(|why| Failure::Rejected(format!("{}: {why}", path.display())))
    }

    fn rules(&self, limits: Limits, providers: &Providers) -> Rules {
        Rules::new(limits, self.host_key, providers.clone())
    }
}

fn set(limits: &mut Limits, change: &str) -> Result<(), String> {
    let (name, number) = change.split_once('=').ok_or("write NAME=NUMBER")?;
    limits.set(name, number.parse().map_err(|_| format!("{:?} is no number", number))?)
}

/// The fields `t`, `mac`, `verdict` and `attempts` are a contract.
fn line(stamp: f64, change: &Change) -> Value {
    let report = &change.report;
    json!({
        "t": stamp,
        "host": report.key.to_string(),
        "mac": report.mac,
        "address": report.address,
        "verdict": report.verdict,
        "attempts": report.evidence.attempts,
        "evidence": report.evidence,
    })
}

fn told(stamp: f64, change: &Change) -> String {
    let report = &change.report;
    let time = jiff::Timestamp::from_second(stamp as i64).unwrap_or_default();
    format!(
        "{}  {:<13}  {:<17}  {}\n    {}\n    {}",
        time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%:z"),
        report.verdict,
        report.key.to_string(),
        report.address,
        report.evidence.sentence,
        report.evidence.remedy
    )
}

/// Hosts on which the presets differ.
fn compare(out: &mut impl Write, args: &Args, replay: &Replay) -> io::Result<()> {
    let others = Preset::ALL.into_iter().filter(|preset| *preset != args.preset);
    let mut hosts: BTreeMap<Key, Vec<Option<Verdict>>> = BTreeMap::new();
    for (index, flagged) in replay.flagged().enumerate() {
        for (key, verdict) in flagged {
            let row = hosts.entry(*key).or_insert_with(|| vec![None; 3]);
            if let Some(place) = row.get_mut(index) {
                *place = Some(*verdict);
            }
        }
    }
    hosts.retain(|_, row| row.iter().any(|verdict| *verdict != row[0]));
    let names: Vec<_> = std::iter::once("as asked").chain(others.map(Preset::label)).collect();
    let label = |verdict: &Option<Verdict>| verdict.map_or("none", Verdict::label);
    if args.format == OutputFormat::Json {
        for (key, row) in &hosts {
            let verdicts: serde_json::Map<_, _> =
                names.iter().zip(row).map(|(name, v)| (name.replace(' ', "_"), json!(label(v)))).collect();
            writeln!(out, "{}", json!({ "compare": key.to_string(), "verdicts": verdicts }))?;
        }
        return Ok(());
    }
    writeln!(out, "\nhosts that other presets judge otherwise: {}", hosts.len())?;
    if hosts.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "{:<39}  {}",
        "host",
        names.iter().map(|n| format!("{n:<13}")).collect::<Vec<_>>().join("  ")
    )?;
    for (key, row) in &hosts {
        let row: Vec<_> = row.iter().map(|verdict| format!("{:<13}", label(verdict))).collect();
        writeln!(out, "{:<39}  {}", key.to_string(), row.join("  "))?;
    }
    Ok(())
}

fn table(out: &mut impl Write, rows: &[Value], summary: &str) -> io::Result<()> {
    writeln!(
        out,
        "alarms per 1,000 host-days; a host-day is a day (UTC) on which a host has tried at least once"
    )?;
    writeln!(
        out,
        "{:<10}  {:>10}  {:>12}  {:>10}  {:>12}",
        "preset", "infected", "per 1,000", "+ suspect", "per 1,000"
    )?;
    for row in rows {
        writeln!(
            out,
            "{:<10}  {:>10}  {:>12.2}  {:>10}  {:>12.2}",
            row["preset"].as_str().unwrap_or_default(),
            row["infected"],
            row["infected_per_1000_host_days"].as_f64().unwrap_or_default(),
            row["suspect_or_infected"],
            row["suspect_or_infected_per_1000_host_days"].as_f64().unwrap_or_default()
        )?;
    }
    writeln!(out, "{summary}")
}

fn warn(summary: &Summary) {
    if let Some((line, why)) = &summary.unreadable {
        log::warn!("{} lines could not be read; the first is line {line}: {why}", summary.skipped);
    }
}
