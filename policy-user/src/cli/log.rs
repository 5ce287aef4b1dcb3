//! `smtpfence log`: blocked attempts of the store, filtered.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;

use super::{printed, when};
use crate::failure::Failure;
use crate::store::{Filter, Reader, Row};

mod csv;

#[derive(clap::Args)]
pub struct Args {
    /// Only attempts of this client.
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
    /// Only attempts to this destination.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<IpAddr>,
    /// Only those with this reason, such as `not-a-mail-server`.
    #[arg(long)]
    reason: Option<String>,
    /// Only those that this entry of the policy decided.
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Only those that came in through this interface.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// From then on: how long ago (`24h`, `7d`), a date, or a time.
    #[arg(long, value_name = "WHEN", value_parser = when::ago_or_at)]
    since: Option<Timestamp>,
    /// Up to then.
    #[arg(long, value_name = "WHEN", value_parser = when::ago_or_at)]
    until: Option<Timestamp>,
    /// Only those that audit mode let go on.
    #[arg(long)]
    would_block: bool,
    /// Go on with new ones until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// The newest so many; the last line is the newest.
    #[arg(short = 'n', long, default_value_t = 100)]
    limit: usize,
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// Directory of what must outlive a restart.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/smtpfence")]
    state_dir: PathBuf,
}

/// How attempts are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line each, behind the ID that `allow --from-log` takes.
    Human,
    /// One JSON object a line.
    Json,
    /// A line of headings, then one line each.
    Csv,
}

/// New rows are looked for this often.
const POLL: Duration = Duration::from_millis(500);

pub fn run(args: &Args) -> Result<(), Failure> {
    let reader = Reader::open(&args.state_dir);
    let mut filter = args.filter()?;
    let rows = reader.log(&filter, args.limit)?;
    if rows.is_empty() && !args.follow {
        log::info!("no blocked attempt fits; {}", args.state_dir.join("attempts").display());
    }
    print(&rows, args.format, true)?;
    filter.after = Some(match rows.last() {
        Some(newest) => newest.sequence,
        None => reader.log(&Filter::default(), 1)?.last().map_or(0, |newest| newest.sequence),
    });
    if args.follow { follow(&reader, &mut filter, args.format) } else { Ok(()) }
}

/// Prints new rows until nobody reads any more.
fn follow(reader: &Reader, filter: &mut Filter, format: Format) -> Result<(), Failure> {
    loop {
        std::thread::sleep(POLL);
        let rows = reader.log(filter, usize::MAX)?;
        if let Some(newest) = rows.last() {
            filter.after = Some(newest.sequence);
        }
        // Headings stand above the first rows.
        if !print(&rows, format, false)? {
            return Ok(());
        }
    }
}

impl Args {
    fn filter(&self) -> Result<Filter, Failure> {
        if let Some(reason) = &self.reason {
            known_reason(reason)?;
        }
        Ok(Filter {
            host: self.host,
            to: self.to,
            reason: self.reason.clone(),
            rule: self.rule.clone(),
            interface: self.interface.clone(),
            since: self.since,
            until: self.until,
            would_block: self.would_block,
            ..Filter::default()
        })
    }
}

fn known_reason(label: &str) -> Result<(), Failure> {
    let denying = policy_common::Reason::ALL.into_iter().filter(|reason| reason.denies());
    let labels: Vec<&str> = denying.map(policy_common::Reason::label).collect();
    if labels.contains(&label) {
        return Ok(());
    }
    Err(Failure::Rejected(format!(
        "no attempt is blocked for the reason {label:?}; the reasons are {}",
        labels.join(", ")
    )))
}

/// Tells whether somebody still reads.
fn print(rows: &[Row], format: Format, headings: bool) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    let result = match format {
        Format::Human => rows.iter().try_for_each(|row| match row.packets {
            0 | 1 => writeln!(out, "{}  {}", row.attempt.id, row.attempt),
            packets => writeln!(out, "{}  {}, {packets} packets", row.attempt.id, row.attempt),
        }),
        Format::Json => rows.iter().try_for_each(|row| {
            serde_json::to_writer(&mut out, row)?;
            out.write_all(b"\n")
        }),
        Format::Csv => csv::write(&mut out, rows, headings),
    };
    let result = result.and_then(|()| out.flush());
    let gone = matches!(&result, Err(error) if error.kind() == io::ErrorKind::BrokenPipe);
    printed(result).map(|()| !gone)
}
