//! `smtpfence diff`: what changes from one policy to another in meaning, and for attempts that a log has.

mod stored;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::OutputFormat;
use crate::control;
use crate::failure::Failure;
use crate::policy::diff::{self, Change, Changed, Kind, Replay, Sign};
use crate::policy::explain::{Paper, Verdict};
use crate::policy::{self, LoadedPolicy, Strictness};

/// Say what changes from one policy to another, in meaning and not in text. Needs no root.
///
/// Exit code: 0 they were compared; 1 one of them is not valid, or, with --exit-code, they differ; 2 one could not be read.
#[derive(clap::Args)]
pub struct Args {
    /// The old policy file and the new one; with --running only the new one
    #[arg(value_names = ["OLD", "NEW"], num_args = 1..=2, required = true)]
    files: Vec<PathBuf>,
    /// Compare with the policy that the running agent has in force
    #[arg(long)]
    running: bool,
    /// Also list the blocked attempts of this log, as written to `log.file`, that would get another verdict
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Also list those that the block log has since then: so long ago (`7d`), a date, or a time
    #[arg(long, value_name = "WHEN", value_parser = super::when::ago_or_at, conflicts_with = "log")]
    since: Option<Timestamp>,
    /// Directory of what must outlive a restart
    #[arg(long, value_name = "DIR", default_value = "/var/lib/smtpfence")]
    state_dir: PathBuf,
    /// Exit with 1 if the policies differ, as git does
    #[arg(long)]
    exit_code: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    format: OutputFormat,
    /// Unix socket of the agent
    #[arg(long, value_name = "SOCKET", default_value = "/run/smtpfence/agent.sock")]
    control: PathBuf,
}

/// What was found, with what it is about.
struct Comparison<'a> {
    old: &'a LoadedPolicy,
    new: &'a LoadedPolicy,
    changes: Vec<Change>,
    replay: Option<Replay>,
}

pub fn run(args: &Args) -> ExitCode {
    match compare(args) {
        Ok(differ) => ExitCode::from(u8::from(differ && args.exit_code)),
        Err(failure) => failure.report(),
    }
}

/// Whether they differ.
fn compare(args: &Args) -> Result<bool, Failure> {
    let (old, new) = match (args.files.as_slice(), args.running) {
        ([new], true) => (running(&args.control)?, load(new)?),
        ([old, new], false) => (load(old)?, load(new)?),
        (_, running) => {
            let how = if running { "`smtpfence diff --running NEW`" } else { "`smtpfence diff OLD NEW`" };
            return Err(Failure::Rejected(format!("one file too many or too few; write {how}")));
        }
    };
    let at = Timestamp::now();
    let before = Paper::new(&old.policy, old.revision)?;
    let after = Paper::new(&new.policy, new.revision)?;
    let changes = diff::differences(&before, &after, at);
    let replay = match (&args.log, args.since) {
        (Some(log), _) => Some(replay(log, &after, at)?),
        (None, Some(since)) => Some(stored::replay(&args.state_dir, since, &after, at)?),
        (None, None) => None,
    };
    let differ = !changes.is_empty();
    let comparison = Comparison { old: &old, new: &new, changes, replay };
    let out = &mut io::stdout().lock();
    super::printed(match args.format {
        OutputFormat::Json => writeln!(out, "{:#}", comparison.as_json(at)),
        OutputFormat::Human => comparison.print(out),
    })?;
    Ok(differ)
}

fn load(file: &Path) -> Result<LoadedPolicy, Failure> {
    Ok(policy::load(file, Strictness::Advisory)?.0)
}

/// The policy in force, as text from the agent: its file may have been edited since.
fn running(socket: &Path) -> Result<LoadedPolicy, Failure> {
    let answer = super::block_on(control::request(socket, hyper::Method::GET, "/v1/policy", None))?;
    let answer = answer.ok_or_else(|| {
        Failure::CouldNotRun(format!(
            "no agent answers on {}, and only it knows the running policy; compare two files instead: \
             `smtpfence diff OLD NEW`",
            socket.display()
        ))
    })?;
    let text = answer["text"].as_str().ok_or_else(|| {
        Failure::CouldNotRun(
            "the agent does not tell its policy's text; is it of an older version?".to_owned(),
        )
    })?;
    Ok(policy::load_text(Path::new("running policy"), text.to_owned())?.0)
}

fn replay(log: &Path, after: &Paper<'_>, at: Timestamp) -> Result<Replay, Failure> {
    let file = File::open(log).map_err(|error| Failure::io("read", log, &error))?;
    diff::replay(&mut after.examiner(), &mut BufReader::new(file), at)
        .map_err(|error| Failure::io("read", log, &error))
}

/// Changes of one kind and lines of a log that are shown; JSON has them all.
const SHOWN: usize = 40;
/// Networks of one change that are shown.
const SHOWN_NETS: usize = 6;

impl Comparison<'_> {
    fn as_json(&self, at: Timestamp) -> Value {
        let policy = |loaded: &LoadedPolicy| {
            json!({
                "name": loaded.policy.name,
                "file": loaded.path,
                "revision": loaded.revision.to_string(),
            })
        };
        json!({
            "old": policy(self.old),
            "new": policy(self.new),
            "at": at,
            "differ": !self.changes.is_empty(),
            "changes": self.changes,
            "log": self.replay,
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let shown = |loaded: &LoadedPolicy| {
            format!("{} (revision {})", loaded.path.display().to_string().escape_debug(), loaded.revision)
        };
        writeln!(out, "{} -> {}", shown(self.old), shown(self.new))?;
        match (self.changes.is_empty(), self.old.text == self.new.text) {
            (true, true) => writeln!(out, "no difference: the same text")?,
            (true, false) => writeln!(out, "no difference in meaning")?,
            (false, _) => self.print_changes(out)?,
        }
        match &self.replay {
            Some(replay) => print_replay(out, replay),
            None => Ok(()),
        }
    }

    fn print_changes(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out)?;
        for kind in self.changes.chunk_by(|a, b| a.kind == b.kind) {
            let rows: Vec<(&Change, String)> =
                kind.iter().take(SHOWN).map(|change| (change, subject(change))).collect();
            let width = rows.iter().map(|(_, subject)| subject.chars().count()).max().unwrap_or(0).min(64);
            for (change, subject) in rows {
                let (symbol, label, about) = (change.sign.symbol(), change.kind.label(), self.about(change));
                writeln!(out, "{}", format!("{symbol} {label:<12}  {subject:<width$}  {about}").trim_end())?;
            }
            if kind.len() > SHOWN {
                writeln!(out, "  … and {} more; `--format json` lists all", kind.len() - SHOWN)?;
            }
        }
        let count = |sign| self.changes.iter().filter(|change| change.sign == sign).count();
        let (gains, losses, others) = (count(Sign::Gain), count(Sign::Loss), count(Sign::Change));
        writeln!(out, "\n+ opens {gains}, - closes {losses}, ~ changes {others}")
    }

    /// What was and what is, and by which entry.
    fn about(&self, change: &Change) -> String {
        let mut about = match (&change.before, &change.after) {
            (Some(before), Some(after)) => format!("{after} (was {before})"),
            (Some(before), None) => format!("was {before}"),
            (None, Some(after)) => after.clone(),
            (None, None) => String::new(),
        };
        if let Some(entry) = &change.entry {
            let of = if change.sign == Sign::Loss { self.old } else { self.new };
            let separator = if about.is_empty() { "" } else { ", " };
            about = format!("{about}{separator}{}", entry.shown(&of.path));
        }
        about.escape_debug().to_string()
    }
}

/// Whom it is about: "10.25.0.77 -> 203.0.113.25".
fn subject(change: &Change) -> String {
    let mut subject = match (change.sources.is_empty(), change.kind) {
        (false, _) => shown(&change.sources),
        (true, Kind::Port | Kind::Internal | Kind::Treatment) => "everybody".to_owned(),
        (true, _) => String::new(),
    };
    if let Some(interface) = &change.interface {
        let through = if subject.is_empty() { "" } else { " through " };
        subject = format!("{subject}{through}{interface}");
    }
    if !change.destinations.is_empty() {
        subject = format!("{subject} -> {}", shown(&change.destinations));
    }
    subject
}

fn shown(nets: &[String]) -> String {
    let first = nets.iter().take(SHOWN_NETS).map(String::as_str).collect::<Vec<_>>().join(", ");
    match nets.len().saturating_sub(SHOWN_NETS) {
        0 => first,
        more => format!("{first}, … and {more} more"),
    }
}

fn print_replay(out: &mut impl Write, replay: &Replay) -> io::Result<()> {
    let Replay { attempts, changed_attempts, unreadable_lines, changed } = replay;
    writeln!(
        out,
        "\nOf {attempts} blocked attempts in the log, {changed_attempts} would get another verdict."
    )?;
    if *unreadable_lines > 0 {
        writeln!(out, "{unreadable_lines} lines of it are no attempts and were left out.")?;
    }
    let rows = by_client(changed);
    let width = rows.iter().map(|row| row.ends.len()).max().unwrap_or(0);
    for row in rows.iter().take(SHOWN) {
        let attempts = if row.attempts == 1 { "attempt" } else { "attempts" };
        writeln!(out, "  {:<width$}  {}  {} {attempts}", row.ends, row.what, row.attempts)?;
    }
    if rows.len() > SHOWN {
        writeln!(out, "  … and {} more; `--format json` lists all", rows.len() - SHOWN)?;
    }
    Ok(())
}

/// What changes for one client, to however many destinations.
struct Row {
    ends: String,
    what: String,
    attempts: u64,
}

/// Those that would pass come first: they are what a change is made for, or what it must not do.
fn by_client(changed: &[Changed]) -> Vec<Row> {
    let mut clients: BTreeMap<_, Vec<&Changed>> = BTreeMap::new();
    for row in changed {
        let (client, interface, before) = (&row.client, &row.interface, &row.before);
        clients.entry((row.after, row.reason, client, interface, before)).or_default().push(row);
    }
    let row = |((after, reason, client, interface, before), rows): (
        (Verdict, _, &String, &String, &String),
        Vec<&Changed>,
    )| {
        let to = match rows.as_slice() {
            [only] => format!("{} port {}", only.destination, only.destination_port),
            several => format!("{} destinations", several.len()),
        };
        let (interface, before) = (interface.escape_debug(), before.escape_debug());
        let what = format!("{interface}  {before} -> {} ({reason})", after.label());
        let attempts = rows.iter().map(|row| row.attempts).sum();
        (after, Row { ends: format!("{client} -> {to}"), what, attempts })
    };
    let mut rows: Vec<(Verdict, Row)> = clients.into_iter().map(row).collect();
    rows.sort_by_key(|(after, row)| (*after, std::cmp::Reverse(row.attempts)));
    rows.into_iter().map(|(_, row)| row).collect()
}
