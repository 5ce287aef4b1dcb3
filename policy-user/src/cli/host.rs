//! `smtpfence host`: everything about one client on one screen, and what to do next.

mod agent;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::table::Table;
use super::verdicts::{self, Verdicts, policy_in_force};
use super::{OutputFormat, ago, hosts, printed, text, when};
use crate::failure::Failure;
use crate::identity::{Directory, Identity};
use crate::policy::Policy;
use crate::store::{HostStory, HourCount, Reader};

#[derive(clap::Args)]
pub struct Args {
    /// The client.
    #[arg(value_name = "ADDRESS")]
    client: IpAddr,
    /// From then on: how long ago (`24h`, `7d`), a date, or a time.
    #[arg(long, value_name = "WHEN", default_value = "24h", value_parser = when::ago_or_at)]
    since: Timestamp,
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
    /// Directory of what must outlive a restart.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/smtpfence")]
    state_dir: PathBuf,
    /// Unix socket of the agent, which knows who is flagged or in quarantine, and what the client hands in on submission ports.
    #[arg(long, value_name = "SOCKET", default_value = "/run/smtpfence/agent.sock")]
    control: PathBuf,
}

/// Destinations that are shown to people; JSON has them all.
const SHOWN: usize = 10;

pub fn run(args: &Args) -> Result<(), Failure> {
    let story = Reader::open(&args.state_dir).host(args.client, args.since)?;
    let directory =
        super::block_on(async { Ok(Directory::read(&super::lease_files(&args.state_dir)).await) })?;
    let mac = story.as_ref().and_then(|story| story.seen_as.first()?.mac);
    let identity = directory.look_up(args.client, mac);
    let entries =
        policy_in_force(&args.state_dir).map(|policy| entries_for(args.client, &policy)).unwrap_or_default();
    let verdicts = Verdicts::read(&args.control, &args.state_dir)
        .inspect_err(|error| log::warn!("{error}"))
        .unwrap_or_default();
    let flag = verdicts.of(Some(args.client), identity.mac);
    let known = agent::ask(&args.control, args.client)?;
    let out = &mut io::stdout().lock();
    printed(match args.format {
        OutputFormat::Json => {
            let mut value = json!(story);
            if value.is_null() {
                value = json!({ "client": args.client, "seen_as": [], "hours": [], "destinations": [] });
            }
            value["identity"] = json!(identity);
            value["flag"] = json!(flag);
            value["submission"] = json!(known.submission);
            value["quarantine"] = json!(known.quarantine);
            value["policy_entries"] = json!(entries);
            value["next"] = json!(story.as_ref().map(|story| next(story, &entries)).unwrap_or_default());
            writeln!(out, "{value:#}")
        }
        OutputFormat::Human => print(out, args, story.as_ref(), &Facts { identity, entries, flag, known }),
    })
}

/// What the policy says about this client by name.
pub fn entries_for(client: IpAddr, policy: &Policy) -> Vec<Value> {
    let servers = policy.mail_servers.iter().filter(|server| server.addresses.contains(&client));
    let servers = servers.map(|server| json!({ "kind": "mail_server", "name": server.name }));
    let covers = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&client));
    let exceptions = policy.exceptions.iter().filter(|exception| covers(&exception.from));
    let exceptions = exceptions.map(|exception| {
        json!({
            "kind": "exception",
            "name": exception.name,
            "to": exception.to.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "until": exception.until,
        })
    });
    let groups = policy.groups.iter().filter(|group| covers(&group.clients));
    let groups = groups.map(|group| json!({ "kind": "group", "name": group.name }));
    servers.chain(exceptions).chain(groups).collect()
}

/// What is known of a client beside what it attempted.
struct Facts<'a> {
    identity: Identity,
    entries: Vec<Value>,
    flag: Option<&'a Value>,
    known: agent::Known,
}

fn print(out: &mut impl Write, args: &Args, story: Option<&HostStory>, facts: &Facts<'_>) -> io::Result<()> {
    let Facts { identity, entries, flag, known } = facts;
    let mac = identity.mac.map_or("no MAC known".to_owned(), |mac| mac.to_string());
    writeln!(out, "{}  {mac}  {}", args.client, hosts::who(identity))?;
    entries.iter().try_for_each(|entry| print_entry(out, entry))?;
    if let Some(flag) = flag {
        print_flag(out, flag)?;
    }
    known.print(out)?;
    let Some(story) = story else {
        return writeln!(out, "no blocked attempt since {}", when::shown(args.since));
    };
    print_seen(out, story)?;
    print_hours(out, &story.hours, args.since)?;
    print_destinations(out, story)?;
    writeln!(out, "\nnext:")?;
    next(story, entries).iter().try_for_each(|line| writeln!(out, "  {line}"))
}

fn print_entry(out: &mut impl Write, entry: &Value) -> io::Result<()> {
    let until = match &entry["until"] {
        Value::Null => String::new(),
        until => format!(" until {}", ago(until)),
    };
    let kind = text(&entry["kind"]).replace('_', " ");
    writeln!(out, "  in the policy: {kind} {}{until}", text(&entry["name"]))
}

fn print_flag(out: &mut impl Write, flag: &Value) -> io::Result<()> {
    writeln!(out, "\n{} since {}", verdicts::word(flag), ago(&flag["since"]))?;
    writeln!(out, "  {}", text(&flag["evidence"]["sentence"]))?;
    writeln!(out, "  {}", text(&flag["evidence"]["remedy"]))?;
    match flag["acknowledged"]["text"].as_str() {
        Some(note) => writeln!(out, "  acknowledged: {}", note.escape_debug()),
        None => Ok(()),
    }
}

fn print_seen(out: &mut impl Write, story: &HostStory) -> io::Result<()> {
    let mut table = Table::new(&["seen as", "on", ">attempts", ">destinations", "first", "last", "reasons"]);
    for seen in &story.seen_as {
        table.row([
            seen.mac.map_or("no MAC".to_owned(), |mac| mac.to_string()),
            seen.interface.escape_debug().to_string(),
            seen.totals.attempts.to_string(),
            seen.destinations.to_string(),
            when::brief(seen.totals.first),
            when::brief(seen.totals.last),
            seen.totals.reasons.join(", "),
        ]);
    }
    writeln!(out)?;
    table.print(out)
}

fn print_destinations(out: &mut impl Write, story: &HostStory) -> io::Result<()> {
    let mut table = Table::new(&["most tried", ">attempts", "last"]);
    for to in story.destinations.iter().take(SHOWN) {
        let address = to.destination.map_or("?".to_owned(), |ip| ip.to_string());
        table.row([address, to.totals.attempts.to_string(), when::brief(to.totals.last)]);
    }
    table.print(out)?;
    match story.destinations.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "… and {more} more; --format json has them"),
    }
}

/// Columns of the chart; a longer time is cut into so many parts.
const COLUMNS: i64 = 72;

pub fn print_hours(out: &mut impl Write, hours: &[HourCount], since: Timestamp) -> io::Result<()> {
    let Chart { bars, hours_each, most } = chart(hours, since, COLUMNS);
    let per = if hours_each == 1 { "hour".to_owned() } else { format!("{hours_each} hours") };
    writeln!(out, "\n{bars}  attempts per {per}, {most} at most; the right end is now\n")
}

/// Attempts over time as a line of bars; the right end is now.
pub struct Chart {
    pub bars: String,
    /// How many hours one bar stands for.
    pub hours_each: i64,
    /// What the highest bar stands for.
    pub most: u64,
}

/// A chart of at most one bar more than `room`.
pub fn chart(hours: &[HourCount], since: Timestamp, room: i64) -> Chart {
    const HOUR: i64 = 3600;
    let (first, last) = (since.as_second().div_euclid(HOUR), Timestamp::now().as_second().div_euclid(HOUR));
    let width = ((last - first) / room.max(1) + 1).max(1);
    let mut columns =
        vec![0u64; usize::try_from((last - first) / width + 1).unwrap_or(1).min(room as usize + 1)];
    for count in hours {
        let column = (count.hour.as_second().div_euclid(HOUR) - first) / width;
        if let Some(sum) = usize::try_from(column).ok().and_then(|column| columns.get_mut(column)) {
            *sum += count.attempts;
        }
    }
    let most = columns.iter().copied().max().unwrap_or(0);
    Chart { bars: columns.iter().map(|count| bar(*count, most)).collect(), hours_each: width, most }
}

/// An eighth at least where there is anything at all.
pub fn bar(count: u64, most: u64) -> char {
    const BARS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    match (count * 8).div_ceil(most.max(1)) {
        0 => BARS[0],
        eighths => BARS[(eighths as usize).min(8)],
    }
}

/// What an admin would do now, as commands to paste.
pub fn next(story: &HostStory, entries: &[Value]) -> Vec<String> {
    let client = story.client;
    let mut lines = Vec::new();
    if entries.iter().any(|entry| entry["kind"] == "mail_server") {
        lines.push(format!("it is a mail server of the policy: smtpfence explain --from {client} … says which binding it missed"));
    }
    if let Some(most) = story.destinations.first().and_then(|to| to.destination) {
        lines.push(format!(
            "if it may send there:   smtpfence allow --from {client} --to {most} --for 14d --reason '…' --owner '…'"
        ));
    }
    lines.push(
        "if its user sends mail: set the mail program to port 587 (STARTTLS) or 465 (TLS) with a log-in"
            .to_owned(),
    );
    lines.push(format!(
        "if it is infected:      smtpfence quarantine {client} --for 24h --reason '…', and clean it"
    ));
    lines.push(format!("every attempt:          smtpfence log --host {client}"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_attempt_is_seen_in_the_chart() {
        assert_eq!(
            [bar(0, 1000), bar(1, 1000), bar(500, 1000), bar(1000, 1000), bar(0, 0)],
            ['·', '▁', '▄', '█', '·']
        );
    }
}
