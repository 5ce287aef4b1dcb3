//! `smtpfence hosts` and `smtpfence destinations`: the store summed up, the busiest first.

use std::io::{self, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::table::Table;
use super::{OutputFormat, printed, when};
use crate::failure::Failure;
use crate::identity::{Agreement, Directory, Identity};
use crate::store::{DestinationTotal, HostTotal, Reader};

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

pub fn hosts(args: &Args) -> Result<(), Failure> {
    let (shown, all) = Reader::open(&args.state_dir).hosts(args.since, args.limit)?;
    let directory =
        super::block_on(async { Ok(Directory::read(&super::lease_files(&args.state_dir)).await) })?;
    let known: Vec<Option<Identity>> =
        shown.iter().map(|host| host.client.map(|client| directory.look_up(client, host.mac))).collect();
    let out = &mut io::stdout().lock();
    printed(match args.format {
        OutputFormat::Json => {
            let list =
                shown.iter().zip(&known).map(|(host, identity)| with_identity(host, identity.as_ref()));
            writeln!(out, "{:#}", Value::Array(list.collect()))
        }
        OutputFormat::Human => print_hosts(out, &shown, &known, all, args.since),
    })
}

pub fn destinations(args: &Args) -> Result<(), Failure> {
    let (shown, all) = Reader::open(&args.state_dir).destinations(args.since, args.limit)?;
    let out = &mut io::stdout().lock();
    printed(match args.format {
        OutputFormat::Json => writeln!(out, "{:#}", json!(shown)),
        OutputFormat::Human => print_destinations(out, &shown, all, args.since),
    })
}

/// A host's sums with what is known of it beside them.
pub fn with_identity(host: &HostTotal, identity: Option<&Identity>) -> Value {
    let mut value = json!(host);
    value["identity"] = json!(identity);
    value
}

fn print_hosts(
    out: &mut impl Write,
    shown: &[HostTotal],
    known: &[Option<Identity>],
    all: usize,
    since: Timestamp,
) -> io::Result<()> {
    if shown.is_empty() {
        return writeln!(out, "no blocked attempt since {}", when::shown(since));
    }
    let mut table = Table::new(&["client", "MAC", "interface", ">attempts", ">to", "last", "who", "reasons"]);
    for (host, identity) in shown.iter().zip(known) {
        table.row([
            host.client.map_or("?".to_owned(), |ip| ip.to_string()),
            host.mac.map_or("-".to_owned(), |mac| mac.to_string()),
            host.interface.escape_debug().to_string(),
            host.totals.attempts.to_string(),
            host.destinations.to_string(),
            when::shown(host.totals.last),
            identity.as_ref().map_or(String::new(), who),
            host.totals.reasons.join(", "),
        ]);
    }
    table.print(out)?;
    tell_rest(out, shown.len(), all)
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
            when::shown(destination.totals.first),
            when::shown(destination.totals.last),
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
