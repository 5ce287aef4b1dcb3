//! `smtpfence report`: what a time brought, for somebody who was not there.

mod html;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::table::Table;
use super::{hosts, printed, when};
use crate::failure::Failure;
use crate::identity::{Directory, Identity};
use crate::status::InForce;
use crate::store::{DestinationTotal, HostTotal, HourCount, Reader, ReasonTotal};

#[derive(clap::Args)]
pub struct Args {
    /// From then on: how long ago (`24h`, `7d`), a date, or a time.
    #[arg(long, value_name = "WHEN", default_value = "7d", value_parser = when::ago_or_at)]
    since: Timestamp,
    /// Hosts and destinations that are listed.
    #[arg(short = 'n', long, default_value_t = 20)]
    limit: usize,
    /// `html` is one page without anything from elsewhere: `smtpfence report --format html > report.html`.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Directory of what must outlive a restart.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/smtpfence")]
    state_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Html,
}

/// What is reported; the field names are a contract.
#[derive(Debug, Serialize)]
struct Report {
    since: Timestamp,
    until: Timestamp,
    /// Name and revision of the policy that was put in force last.
    policy: Option<(String, String)>,
    attempts: u64,
    /// Of these, what audit mode let go on.
    would_block: u64,
    hosts_total: usize,
    destinations_total: usize,
    reasons: Vec<ReasonTotal>,
    hours: Vec<HourCount>,
    hosts: Vec<Host>,
    destinations: Vec<DestinationTotal>,
}

#[derive(Debug, Serialize)]
struct Host {
    #[serde(flatten)]
    total: HostTotal,
    identity: Option<Identity>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let report = Report::of(args)?;
    let out = &mut io::stdout().lock();
    printed(match args.format {
        Format::Text => report.print(out),
        Format::Json => writeln!(out, "{:#}", json!(report)),
        Format::Html => out.write_all(html::page(&report).as_bytes()),
    })
}

impl Report {
    fn of(args: &Args) -> Result<Self, Failure> {
        let reader = Reader::open(&args.state_dir);
        // All of them: their sum is told.
        let (hosts, hosts_total) = reader.hosts(args.since, usize::MAX)?;
        let (destinations, destinations_total) = reader.destinations(args.since, args.limit)?;
        let directory =
            super::block_on(async { Ok(Directory::read(&super::lease_files(&args.state_dir)).await) })?;
        let known = |total: HostTotal| {
            let identity = total.client.map(|client| directory.look_up(client, total.mac));
            Host { total, identity }
        };
        Ok(Self {
            since: args.since,
            until: Timestamp::now(),
            policy: InForce::read(&args.state_dir).map(|in_force| (in_force.policy, in_force.revision)),
            attempts: hosts.iter().map(|host| host.totals.attempts).sum(),
            would_block: hosts.iter().map(|host| host.totals.would_block).sum(),
            hosts_total,
            destinations_total,
            reasons: reader.reasons(args.since)?,
            hours: reader.hours(args.since)?,
            hosts: hosts.into_iter().take(args.limit).map(known).collect(),
            destinations,
        })
    }

    /// The sentence that stands above everything.
    fn headline(&self) -> String {
        let audit = match self.would_block {
            0 => String::new(),
            count => format!(", {count} of which audit mode let go on"),
        };
        match self.attempts {
            0 => "Nobody tried to send mail past the designated mail servers.".to_owned(),
            attempts => format!(
                "{} hosts tried {attempts} times to send mail past the designated mail servers{audit}.",
                self.hosts_total
            ),
        }
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "smtpfence: {} to {}", when::shown(self.since), when::shown(self.until))?;
        if let Some((name, revision)) = &self.policy {
            writeln!(out, "policy {} (revision {})", name.escape_debug(), revision.escape_debug())?;
        }
        writeln!(out, "\n{}\n", self.headline())?;
        if self.attempts == 0 {
            return Ok(());
        }
        super::host::print_hours(out, &self.hours, self.since)?;
        let mut table = Table::new(&["reason", ">attempts"]);
        self.reasons.iter().for_each(|total| table.row([total.reason.clone(), total.attempts.to_string()]));
        table.print(out)?;
        writeln!(out)?;
        let mut table =
            Table::new(&["client", "MAC", ">attempts", ">destinations", "last", "who", "reasons"]);
        for Host { total, identity } in &self.hosts {
            table.row([
                total.client.map_or("?".to_owned(), |ip| ip.to_string()),
                total.mac.map_or("-".to_owned(), |mac| mac.to_string()),
                total.totals.attempts.to_string(),
                total.destinations.to_string(),
                when::brief(total.totals.last),
                identity.as_ref().map_or(String::new(), hosts::who),
                total.totals.reasons.join(", "),
            ]);
        }
        table.print(out)?;
        writeln!(out)?;
        let mut table = Table::new(&["destination", ">attempts", ">clients", "last"]);
        for to in &self.destinations {
            table.row([
                to.destination.map_or("?".to_owned(), |ip| ip.to_string()),
                to.totals.attempts.to_string(),
                to.clients.to_string(),
                when::brief(to.totals.last),
            ]);
        }
        table.print(out)
    }
}
