//! What the screen knows and shows: everything but the drawing of it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::dialog::Dialog;
use super::meter::Meter;
use super::snapshot::{Agent, HostLine, HostName, Snapshot, Story, Who};
use crate::attempt::Mac;
use crate::cli::verdicts::{self, Verdicts};
use crate::store::Row;

/// Attempts that are remembered.
const ATTEMPTS: usize = 500;
/// Seconds of the course of a reason.
const COURSE: usize = 300;
/// A rate needs no more than these.
const HOST_SAMPLES: usize = 12;

#[derive(Default)]
pub struct Screen {
    /// The newest look; none before the first.
    pub look: Option<Snapshot>,
    /// Since when no agent answers, if one did before.
    pub gone_since: Option<Timestamp>,
    pub reasons: BTreeMap<String, Reason>,
    rates: HashMap<HostName, Meter>,
    quarantined: HashSet<IpAddr>,
    /// Name and maker of each client.
    names: HashMap<(Option<IpAddr>, Option<Mac>), Who>,
    /// The newest first.
    attempts: VecDeque<Row>,
    pub panel: Panel,
    pub order: Order,
    /// What stands still under the cursor, however the lists move; the first line where it is none or gone.
    pub chosen_host: Option<HostName>,
    pub chosen_attempt: Option<i64>,
    /// Lower-case words that a line must contain.
    pub filter: String,
    pub typing_filter: bool,
    /// The host that fills the screen.
    pub open: Option<IpAddr>,
    /// Its lines that are scrolled away.
    pub scrolled: u16,
    pub dialog: Option<Dialog>,
    /// What came of the last wish, until the next key.
    pub told: Option<Result<String, String>>,
}

/// Where the cursor is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Panel {
    #[default]
    Hosts,
    Attempts,
}

/// By what the hosts are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The gravest verdict, then the highest rate.
    #[default]
    Verdict,
    Rate,
    Attempts,
    Destinations,
    Last,
}

/// The course of one reason.
pub struct Reason {
    /// By the order of their numbers.
    pub place: usize,
    pub denies: bool,
    pub attempts: Meter,
    pub packets: Meter,
}

/// A host as it is listed.
#[derive(Clone, Debug)]
pub struct Listed<'a> {
    pub line: &'a HostLine,
    pub flag: Option<&'a Value>,
    pub quarantined: bool,
    pub rate: f64,
}

impl Screen {
    /// Takes a look in.
    pub fn take(&mut self, mut look: Snapshot) {
        match look.agent {
            Agent::Answers => self.gone_since = None,
            _ if self.look.as_ref().is_some_and(|before| before.agent == Agent::Answers) => {
                self.gone_since = Some(look.time);
            }
            _ => {}
        }
        self.count_reasons(&look);
        self.count_hosts(&look);
        self.learn(&look);
        for row in look.rows.drain(..) {
            self.attempts.push_front(row);
        }
        self.attempts.truncate(ATTEMPTS);
        self.look = Some(look);
    }

    fn count_reasons(&mut self, look: &Snapshot) {
        let Ok(status) = &look.status else { return };
        let counters = status["counters"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (place, counter) in counters.iter().enumerate() {
            let reason = self.reasons.entry(crate::cli::text(&counter["reason"])).or_insert_with(|| {
                let meter = || Meter::from_zero(COURSE, look.moment);
                let denies = counter["denies"] == true;
                match self.look {
                    // It has counted nothing until a moment ago.
                    Some(_) => Reason { place, denies, attempts: meter(), packets: meter() },
                    None => {
                        Reason { place, denies, attempts: Meter::new(COURSE), packets: Meter::new(COURSE) }
                    }
                }
            });
            reason.place = place;
            reason.attempts.push(look.moment, counter["attempts"].as_u64().unwrap_or(0));
            reason.packets.push(look.moment, counter["packets"].as_u64().unwrap_or(0));
        }
    }

    fn count_hosts(&mut self, look: &Snapshot) {
        let first = self.look.is_none();
        let mut rates = HashMap::with_capacity(look.accounts.len());
        for total in look.accounts.iter() {
            let mut meter = self.rates.remove(&total.host).unwrap_or_else(|| match first {
                true => Meter::new(HOST_SAMPLES),
                false => Meter::from_zero(HOST_SAMPLES, look.moment),
            });
            meter.push(look.moment, total.attempts);
            rates.insert(total.host.clone(), meter);
        }
        // Closed accounts are forgotten.
        self.rates = rates;
    }

    /// What would take too long to look up for every line.
    fn learn(&mut self, look: &Snapshot) {
        let quarantine = look.status.as_ref().ok().and_then(|status| status["quarantine"].as_array());
        let host = |entry: &Value| entry["host"].as_str()?.parse().ok();
        self.quarantined = quarantine.into_iter().flatten().filter_map(host).collect();
        if let Ok(lines) = &look.hosts {
            let named = |line: &HostLine| ((line.total.client, line.total.mac), line.who.clone());
            self.names = lines.iter().map(named).collect();
        }
    }

    pub fn status(&self) -> &Value {
        self.look.as_ref().and_then(|look| look.status.as_ref().ok()).unwrap_or(&Value::Null)
    }

    pub fn verdicts(&self) -> Option<&Verdicts> {
        self.look.as_ref()?.verdicts.as_ref().ok()
    }

    pub fn story(&self) -> Option<&Arc<Story>> {
        let story = self.look.as_ref()?.story.as_ref()?;
        (Some(story.client) == self.open).then_some(story)
    }

    pub fn flag_of(&self, client: IpAddr) -> Option<&Value> {
        let Some(Ok(lines)) = self.look.as_ref().map(|look| &look.hosts) else { return None };
        let mut macs =
            lines.iter().filter(|line| line.total.client == Some(client)).map(|line| line.total.mac);
        macs.find_map(|mac| self.verdicts()?.of(Some(client), mac))
    }

    pub fn quarantine(&self, client: IpAddr) -> Option<&Value> {
        let client = client.to_string();
        self.status()["quarantine"].as_array()?.iter().find(|entry| entry["host"] == client)
    }

    /// The hosts that pass the filter, in order.
    pub fn hosts(&self) -> Vec<Listed<'_>> {
        let Some(Ok(lines)) = self.look.as_ref().map(|look| &look.hosts) else { return Vec::new() };
        let listed = |line| self.listed(line);
        let mut hosts: Vec<Listed<'_>> = lines.iter().map(listed).filter(|host| self.shows(host)).collect();
        hosts.sort_by(|a, b| {
            let (x, y) = (&a.line.total, &b.line.total);
            let rate = b.rate.total_cmp(&a.rate);
            let attempts = y.totals.attempts.cmp(&x.totals.attempts);
            let first = match self.order {
                Order::Verdict => b.gravity().cmp(&a.gravity()).then(rate),
                Order::Rate => rate,
                Order::Attempts => attempts,
                Order::Destinations => y.destinations.cmp(&x.destinations),
                Order::Last => y.totals.last.cmp(&x.totals.last),
            };
            first.then(attempts).then_with(|| x.client.cmp(&y.client))
        });
        hosts
    }

    fn listed<'a>(&'a self, line: &'a HostLine) -> Listed<'a> {
        let (client, mac) = (line.total.client, line.total.mac);
        Listed {
            line,
            flag: self.verdicts().and_then(|verdicts| verdicts.of(client, mac)),
            quarantined: client.is_some_and(|client| self.quarantined.contains(&client)),
            rate: self.rates.get(&line.name()).map_or(0.0, Meter::rate),
        }
    }

    /// The attempts that pass the filter, the newest first.
    pub fn attempts(&self) -> Vec<&Row> {
        self.attempts.iter().filter(|row| self.shows_attempt(row)).collect()
    }

    /// Name and maker of a client, as the list of hosts has it.
    pub fn who(&self, row: &Row) -> Option<&Who> {
        self.names.get(&(row.attempt.client, row.attempt.client_mac))
    }

    fn flag(&self, row: &Row) -> Option<&Value> {
        self.verdicts()?.of(row.attempt.client, row.attempt.client_mac)
    }

    fn shows(&self, host: &Listed<'_>) -> bool {
        if self.filter.is_empty() {
            return true;
        }
        let total = &host.line.total;
        let quarantined = if host.quarantined { "quarantine" } else { "" };
        self.fits(&[
            &total.client.map(|ip| ip.to_string()).unwrap_or_default(),
            &total.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            &total.interface,
            &host.line.who.long,
            &host.flag.map(verdicts::word).unwrap_or_default(),
            &total.totals.reasons.join(" "),
            quarantined,
        ])
    }

    fn shows_attempt(&self, row: &Row) -> bool {
        if self.filter.is_empty() {
            return true;
        }
        let attempt = &row.attempt;
        self.fits(&[
            &attempt.client.map(|ip| ip.to_string()).unwrap_or_default(),
            &attempt.client_mac.map(|mac| mac.to_string()).unwrap_or_default(),
            &attempt.destination.map(|ip| ip.to_string()).unwrap_or_default(),
            &attempt.interface,
            self.who(row).map_or("", |who| who.long.as_str()),
            &self.flag(row).map(verdicts::word).unwrap_or_default(),
            attempt.reason,
            attempt.verdict,
        ])
    }

    /// Whether each word of the filter is in one of the texts.
    fn fits(&self, texts: &[&str]) -> bool {
        let texts: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
        self.filter.split_whitespace().all(|word| texts.iter().any(|text| text.contains(word)))
    }
}

impl Listed<'_> {
    fn gravity(&self) -> u8 {
        match self.flag.and_then(|flag| flag["verdict"].as_str()) {
            Some("infected") => 3,
            Some("suspect") => 2,
            Some(_) => 1,
            None => 0,
        }
    }
}

impl Order {
    pub const fn next(self) -> Self {
        match self {
            Self::Verdict => Self::Rate,
            Self::Rate => Self::Attempts,
            Self::Attempts => Self::Destinations,
            Self::Destinations => Self::Last,
            Self::Last => Self::Verdict,
        }
    }

    pub const fn label(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Rate => "rate",
            Self::Attempts => "attempts",
            Self::Destinations => "destinations",
            Self::Last => "last seen",
        }
    }
}
