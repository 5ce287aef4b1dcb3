//! `smtpfence hosts` and `smtpfence destinations`: the store summed up, the busiest first.

use std::io::{self, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::table::Table;
use super::verdicts::{self, Verdicts};
use super::{OutputFormat, printed, when};
use crate::failure::Failure;
use crate::identity::{Agreement, Directory, Identity};
use crate::store::{DestinationTotal, HostTotal, Reader};

#[derive(clap::Args)]
pub struct HostsArgs {
    #[command(flatten)]
    listing: Args,
    /// Only those that the agent has flagged.
    #[arg(long)]
    flagged: bool,
    /// Unix socket of the agent, which knows who is flagged.
    #[arg(long, value_name = "SOCKET", default_value = "/run/smtpfence/agent.sock")]
    control: PathBuf,
}

#[derive(clap::Args)]
pub struct Args {
    /// From then on: how long ago (`24h`, `7d`), a date, or a time.
    #[arg(long, value_name = "WHEN", default_value = "24h", value_parser = when::ago_or_at)]
    since: Timestamp,
    /// The first so many.
    #[arg(short = 'n', long, default_value_t = 50)]
    limit: usize,
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
    /// Directory of what must outlive a restart.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/smtpfence")]
    state_dir: PathBuf,
}

pub fn hosts(args: &HostsArgs) -> Result<(), Failure> {
    let HostsArgs { listing, flagged, control } = args;
    let verdicts = match Verdicts::read(control, &listing.state_dir) {
        Err(error) if *flagged => return Err(error),
        Err(error) => {
            log::warn!("{error}");
            None
        }
        Ok(verdicts) => Some(verdicts),
    };
    let flag = |host: &HostTotal| verdicts.as_ref().and_then(|all| all.of(host.client, host.mac));
    // A flagged host may be among the quietest.
    let limit = if *flagged { usize::MAX } else { listing.limit };
    let (mut shown, mut all) = Reader::open(&listing.state_dir).hosts(listing.since, limit)?;
    if *flagged {
        shown.retain(|host| flag(host).is_some());
        all = shown.len();
        shown.truncate(listing.limit);
    }
    let directory =
        super::block_on(async { Ok(Directory::read(&super::lease_files(&listing.state_dir)).await) })?;
    let identity = |host: &HostTotal| host.client.map(|client| directory.look_up(client, host.mac));
    let listed: Vec<Listed<'_>> =
        shown.iter().map(|total| Listed { total, identity: identity(total), flag: flag(total) }).collect();
    let out = &mut io::stdout().lock();
    printed(match listing.format {
        OutputFormat::Json => writeln!(out, "{:#}", json!(listed)),
        OutputFormat::Human => print_hosts(out, &listed, all, args, verdicts.as_ref()),
    })
}

/// A host's sums with what is known of it beside them; the field names are a contract.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    total: &'a HostTotal,
    identity: Option<Identity>,
    /// As in `GET /v1/flags`; null also where that is not known.
    flag: Option<&'a Value>,
}

pub fn destinations(args: &Args) -> Result<(), Failure> {
    let (shown, all) = Reader::open(&args.state_dir).destinations(args.since, args.limit)?;
    let out = &mut io::stdout().lock();
    printed(match args.format {
        OutputFormat::Json => writeln!(out, "{:#}", json!(shown)),
        OutputFormat::Human => print_destinations(out, &shown, all, args.since),
    })
}

fn print_hosts(
    out: &mut impl Write,
    listed: &[Listed<'_>],
    all: usize,
    args: &HostsArgs,
    verdicts: Option<&Verdicts>,
) -> io::Result<()> {
    if listed.is_empty() {
        let whose = if args.flagged { " of a flagged host" } else { "" };
        writeln!(out, "no blocked attempt{whose} since {}", when::shown(args.listing.since))?;
    } else {
        hosts_table(listed, verdicts.is_some()).print(out)?;
    }
    tell_rest(out, listed.len(), all)?;
    let flagged = verdicts.map_or(0, Verdicts::count);
    if args.flagged && flagged > all {
        writeln!(out, "{flagged} hosts are flagged, some before that time; `smtpfence flags` lists them")?;
    }
    Ok(())
}

fn hosts_table(listed: &[Listed<'_>], verdicts_known: bool) -> Table {
    let headings =
        ["client", "MAC", "interface", "verdict", ">attempts", ">destinations", "last", "who", "reasons"];
    let mut table = Table::new(&headings);
    for Listed { total, identity, flag } in listed {
        let unflagged = if verdicts_known { "-" } else { "?" };
        table.row([
            total.client.map_or("?".to_owned(), |ip| ip.to_string()),
            total.mac.map_or("-".to_owned(), |mac| mac.to_string()),
            total.interface.escape_debug().to_string(),
            flag.map_or(unflagged.to_owned(), verdicts::word),
            total.totals.attempts.to_string(),
            total.destinations.to_string(),
            when::brief(total.totals.last),
            identity.as_ref().map_or(String::new(), who),
            total.totals.reasons.join(", "),
        ]);
    }
    table
}

/// Name and maker, and what does not fit together.
pub fn who(identity: &Identity) -> String {
    let name = identity.name.as_ref().map(|name| name.escape_debug().to_string());
    let vendor = identity.vendor.as_ref().map(|vendor| format!("({})", vendor.escape_debug()));
    let claim = (identity.neighbour == Agreement::Differs).then(|| "ADDRESS CLAIMED BY TWO".to_owned());
    [name, vendor, claim].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn print_destinations(
    out: &mut impl Write,
    shown: &[DestinationTotal],
    all: usize,
    since: Timestamp,
) -> io::Result<()> {
    if shown.is_empty() {
        return writeln!(out, "no blocked attempt since {}", when::shown(since));
    }
    let mut table = Table::new(&["destination", ">attempts", ">clients", "first", "last", "reasons"]);
    for destination in shown {
        table.row([
            destination.destination.map_or("?".to_owned(), |ip| ip.to_string()),
            destination.totals.attempts.to_string(),
            destination.clients.to_string(),
            when::brief(destination.totals.first),
            when::brief(destination.totals.last),
            destination.totals.reasons.join(", "),
        ]);
    }
    table.print(out)?;
    tell_rest(out, shown.len(), all)
}

fn tell_rest(out: &mut impl Write, shown: usize, all: usize) -> io::Result<()> {
    match all - shown {
        0 => Ok(()),
        more => writeln!(out, "… and {more} more; --limit {all} shows them"),
    }
}
