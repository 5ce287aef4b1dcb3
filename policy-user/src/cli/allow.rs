//! `smtpfence allow`: exceptions added to, listed from and removed from the policy file, comments and layout kept.

mod from_log;
mod listing;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::change::{Change, PolicyFile};
use super::{OutputFormat, seconds};
use crate::agent::history::How;
use crate::failure::Failure;
use crate::policy::edit::{self, EditError, Edited, NewException};
use crate::policy::{self, Diagnostic, Exception, diagnostics};

const ADDING: [&str; 2] = ["list", "remove"];

#[derive(clap::Args)]
pub struct Args {
    /// Clients the exception is for: addresses or networks.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',',
          required_unless_present_any = ["list", "remove", "from_log"])]
    from: Vec<String>,
    /// Mail servers outside that they may reach: addresses or networks.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',',
          required_unless_present_any = ["list", "remove", "from_log"])]
    to: Vec<String>,
    /// Take client and destination from a blocked attempt: its `id` in the log, or FILE:LINE.
    #[arg(long, value_name = "ID", conflicts_with_all = ADDING)]
    from_log: Option<String>,
    /// Log to look for the attempt in; unless told, the store, then `log.file` of the policy.
    #[arg(long, value_name = "FILE", requires = "from_log")]
    log: Option<PathBuf>,
    /// How long it lasts, such as 8h or 14d.
    #[arg(long = "for", id = "length", value_name = "DURATION", value_parser = seconds,
          required_unless_present_any = ["list", "remove", "until"], conflicts_with = "until")]
    seconds: Option<i64>,
    /// The last day, such as 2026-12-31, or a time with its zone.
    #[arg(long, value_name = "DATE")]
    until: Option<String>,
    /// Why, for those who read it in a year.
    #[arg(long, value_name = "TEXT", required_unless_present_any = ADDING)]
    reason: Option<String>,
    /// Who answers for it.
    #[arg(long, value_name = "TEXT", required_unless_present_any = ADDING)]
    owner: Option<String>,
    /// What it is called in the log; made from the addresses unless told.
    #[arg(long)]
    name: Option<String>,
    /// List the exceptions.
    #[arg(long, conflicts_with_all = ["from", "to", "remove", "length", "until", "reason", "owner", "name"])]
    list: bool,
    /// Remove the exception with this name.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "to", "length", "until", "reason", "owner", "name"])]
    remove: Option<String>,
    #[command(flatten)]
    change: Change,
    #[arg(long, value_enum, default_value = "human", requires = "list")]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let file = PolicyFile::open(&args.change)?;
    let Some(text) = file.text.clone() else {
        return Err(Failure::Rejected(format!(
            "there is no policy file {}; name it with --policy",
            file.path.display()
        )));
    };
    let (loaded, before) = policy::load_text(&file.path, text)?;
    if args.list {
        return listing::print(&loaded.policy, args.format);
    }
    file.must_be_in_force()?;
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let edited = match &args.remove {
        Some(name) => {
            edit::remove(&loaded.text, name, now, &zone).map_err(|error| refused(error, &file, None))?
        }
        None => {
            let new = exception(args, &loaded.policy, now, &zone)?;
            let edited = edit::add(&loaded.text, &new, now, &zone)
                .map_err(|error| refused(error, &file, Some(&new)))?;
            warn(&file, &edited, &new.name, &before)?;
            edited
        }
    };
    file.propose(&edited.text)?;
    file.put_in_force(&edited.text, How::Allow)
}

/// The exception that is asked for.
fn exception(
    args: &Args,
    policy: &policy::Policy,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<NewException, Failure> {
    let (mut from, mut to) = (args.from.clone(), args.to.clone());
    if let Some(wanted) = &args.from_log {
        let logs = from_log::Logs {
            told: args.log.as_deref(),
            state_dir: &args.change.places.state_dir,
            policy: policy.log_file.as_deref(),
        };
        let attempt = from_log::find(wanted, &logs)?;
        let (client, destination) = attempt.ends()?;
        // Given beside it they count: a provider has more than one address.
        from = if from.is_empty() { vec![client] } else { from };
        to = if to.is_empty() { vec![destination] } else { to };
    }
    let until = match (&args.until, args.seconds) {
        (Some(until), _) => until.clone(),
        (None, length) => {
            let end = now.checked_add(SignedDuration::from_secs(length.unwrap_or(0)));
            let end = end.map_err(|_| Failure::Rejected("--for is too long; write 14d".to_owned()))?;
            end.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
        }
    };
    let name = args.name.clone().unwrap_or_else(|| unused_name(&from, &to, policy));
    let (reason, owner) = (args.reason.clone().unwrap_or_default(), args.owner.clone().unwrap_or_default());
    Ok(NewException { name, from, to, until, reason, owner })
}

/// `allow-10.25.0.77-to-203.0.113.25`, with a number where that is taken.
fn unused_name(from: &[String], to: &[String], policy: &policy::Policy) -> String {
    const ROOM_FOR_NUMBER: usize = 60;
    let plain = |list: &[String]| {
        let first = list.first().map(String::as_str).unwrap_or_default();
        first.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-")
    };
    let name = format!("allow-{}-to-{}", plain(from), plain(to));
    let name: String = name.chars().take(ROOM_FOR_NUMBER).collect();
    let taken = |name: &str| {
        policy.exceptions.iter().any(|exception| exception.name == name)
            || policy.mail_servers.iter().any(|server| server.name == name)
    };
    let numbered = (2..1000).map(|number| format!("{name}-{number}"));
    [name.clone()].into_iter().chain(numbered).find(|name| !taken(name)).unwrap_or(name)
}

/// Tells what the loader has to say about the new exception, and whether it changes anything.
fn warn(file: &PolicyFile<'_>, edited: &Edited, name: &str, before: &[Diagnostic]) -> Result<(), Failure> {
    let known =
        |new: &Diagnostic| before.iter().any(|old| (old.code, &old.message) == (new.code, &new.message));
    // Who has just said how long it lasts knows that it ends.
    let news = edited.warnings.iter().filter(|it| !known(it) && it.code != "exception-expires-soon");
    let new: Vec<Diagnostic> = news.cloned().collect();
    let mut shown = render(&new, file, &edited.text);
    let exceptions = &edited.policy.exceptions;
    if let Some(added) = exceptions.iter().find(|it| it.name == name)
        && let Some(around) = exceptions.iter().find(|other| other.name != name && covers(other, added))
    {
        shown.push_str(&format!(
            "warning[exception-covered]: {} permits all of it already and lasts as long: this one changes nothing\n\n",
            around.name
        ));
    }
    super::printed(io::stderr().write_all(shown.as_bytes()))
}

fn covers(other: &Exception, added: &Exception) -> bool {
    let within = |inner: &[ipnet::IpNet], outer: &[ipnet::IpNet]| {
        inner.iter().all(|net| outer.iter().any(|around| around.contains(net)))
    };
    other.until >= added.until && within(&added.from, &other.from) && within(&added.to, &other.to)
}

fn refused(error: EditError, file: &PolicyFile<'_>, new: Option<&NewException>) -> Failure {
    let path = file.path.display();
    let told = match &error {
        EditError::InvalidBefore(errors) => render(errors, file, file.text.as_deref().unwrap_or_default()),
        EditError::InvalidAfter(text, errors) => render(errors, file, text),
        EditError::Unknown(_) => "`smtpfence allow --list` shows their names\n".to_owned(),
        EditError::Layout => match new {
            Some(new) => format!("add this to `exceptions` by hand, then reload:\n{}", edit::shown(new)),
            None => "remove its lines by hand, then reload\n".to_owned(),
        },
    };
    Failure::Rejected(format!("{path}: {error}, nothing was written\n{}", told.trim_end()))
}

fn render(list: &[Diagnostic], file: &PolicyFile<'_>, text: &str) -> String {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    diagnostics::render(list, &file.path.display().to_string(), text, colour)
}
