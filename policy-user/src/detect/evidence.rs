//! A verdict in words: what was seen, which limit it reached, and what to do about it.

use serde::Serialize;

use super::host::{Exactness, Host};
use super::key::Key;
use super::names::Names;
use super::presets::Limits;
use super::rules::Rules;
use super::verdict::{Flag, Rule, Verdict};

/// Why a host is flagged; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    pub rule: &'static str,
    /// The limits that were reached.
    pub limits: Vec<Limit>,
    /// What the rule looked back on.
    pub window_seconds: u32,
    /// Attempts until the flag, and sites that were tried in the hour, day and week before it.
    pub attempts: u32,
    /// Those of `attempts` that the host made faster than they are listed: only their number is known.
    pub unlisted: u32,
    pub sites_hour: u8,
    pub sites_day: u8,
    pub sites_week: u8,
    /// Sites of the day before it that were tried once and given up, and those that were tried again after minutes.
    pub abandoned: u8,
    pub retried: u8,
    /// How much likelier a bot is than a client: natural logarithm.
    pub score: f64,
    /// Now: attempts and sites altogether; an estimate if there are many sites.
    pub attempts_now: u32,
    pub sites_now: usize,
    pub sites_estimated: bool,
    /// Seconds it usually waits between two attempts.
    pub usual_pause: u32,
    /// How often it has asked who takes a domain's mail, as mail servers and bots do; none where names are not learnt.
    pub mx_queries: Option<u32>,
    /// Sites it tried most.
    pub top: Vec<Favourite>,
    pub sentence: String,
    pub remedy: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limit {
    pub name: &'static str,
    pub value: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Favourite {
    pub site: String,
    /// What the host calls it, if that is known.
    pub name: Option<String>,
    pub tries: u16,
}

impl Evidence {
    pub fn of(key: &Key, host: &Host, flag: &Flag, rules: &Rules, names: Option<&Names>) -> Self {
        let (limits, providers) = (rules.limits(host.address), &rules.providers);
        let called = |site| names?.name_of_site(key, site, |ip| providers.site(ip)).map(str::to_owned);
        let mx_queries = names.map(|names| names.asked_for_mail_servers(key));
        let (sites_now, exactness) = host.sites();
        let top: Vec<_> = host
            .favourites()
            .into_iter()
            .map(|(site, tries)| Favourite { site: providers.name(site), name: called(site), tries })
            .collect();
        let reached = reached(flag.rule, limits);
        Self {
            rule: flag.rule.label(),
            window_seconds: window(flag.rule, limits),
            attempts: flag.attempts,
            unlisted: flag.unlisted,
            sites_hour: flag.sites_hour,
            sites_day: flag.sites_day,
            sites_week: flag.sites_week,
            abandoned: flag.abandoned,
            retried: flag.kept,
            score: f64::from(flag.score) / 1000.0,
            attempts_now: host.attempts,
            sites_now,
            sites_estimated: exactness == Exactness::Estimate,
            usual_pause: host.pause,
            mx_queries,
            sentence: sentence(host, flag, &reached, &top) + &asked(mx_queries),
            remedy: remedy(host, flag),
            limits: reached,
            top,
        }
    }
}

fn reached(rule: Rule, limits: &Limits) -> Vec<Limit> {
    let names: &[(&'static str, u32)] = match rule {
        Rule::Retries => &[("attempts", limits.attempts), ("minutes", limits.minutes)],
        Rule::ManySitesInAnHour => &[("sites_hour", limits.sites_hour)],
        Rule::ManyNewSites => &[("sites_day", limits.sites_day), ("score", limits.score)],
        Rule::SitesGivenUp => &[("sites_day", limits.sites_day), ("abandoned", limits.abandoned)],
        Rule::SomeSitesInAnHour => &[("suspect_sites_hour", limits.suspect_sites_hour)],
        Rule::SomeSitesGivenUp => &[("suspect_abandoned", limits.suspect_abandoned)],
        Rule::SitesOfAWeek => &[("suspect_sites_week", limits.suspect_sites_week)],
        Rule::ManyAttempts => &[("suspect_attempts_hour", limits.suspect_attempts_hour)],
        Rule::Probes => &[("probes", limits.probes), ("probe_sites", limits.probe_sites)],
        Rule::RetriesManySites => &[("sites_day", limits.sites_day)],
    };
    names.iter().map(|(name, value)| Limit { name, value: *value }).collect()
}

fn window(rule: Rule, limits: &Limits) -> u32 {
    match rule {
        Rule::Retries => limits.minutes * 60,
        Rule::ManySitesInAnHour | Rule::SomeSitesInAnHour | Rule::ManyAttempts => super::host::HOUR,
        Rule::SitesOfAWeek | Rule::Probes => super::host::WEEK,
        _ => super::host::DAY,
    }
}

fn sentence(host: &Host, flag: &Flag, limits: &[Limit], top: &[Favourite]) -> String {
    let Flag { attempts, sites_hour, sites_day, sites_week, abandoned, kept, score, .. } = flag;
    let of_which = match flag.unlisted {
        0 => String::new(),
        unlisted => format!(" ({unlisted} of them only counted)"),
    };
    let seen = format!(
        "{attempts} blocked attempts{of_which} in {}",
        span(flag.since.saturating_sub(host.first).max(1))
    );
    let what = match flag.rule {
        Rule::Retries => {
            format!(
                "{sites_week} mail {}, about every {}",
                plural(*sites_week, "site"),
                span(host.pause.max(1))
            )
        }
        Rule::ManySitesInAnHour | Rule::SomeSitesInAnHour => {
            format!("{sites_hour} different mail sites within an hour, {kept} of them tried again later")
        }
        Rule::ManyNewSites => format!(
            "{sites_day} different mail sites within 24 h, {sites_hour} of them in the last hour; evidence {:.1}",
            f64::from(*score) / 1000.0
        ),
        Rule::SitesGivenUp | Rule::SomeSitesGivenUp => {
            format!(
                "{sites_day} different mail sites within 24 h, {abandoned} of them tried once and given up"
            )
        }
        Rule::SitesOfAWeek => {
            format!("{sites_week} different mail sites within 7 days, most of them given up")
        }
        Rule::ManyAttempts => format!("{sites_day} mail sites, one attempt after the other"),
        Rule::Probes => {
            format!("{sites_week} mail sites that are tried in passing, at odd hours, and given up")
        }
        Rule::RetriesManySites => {
            format!("{sites_day} mail sites within 24 h, {kept} of them tried again as a mail server does")
        }
    };
    let limits: Vec<_> = limits.iter().map(|limit| format!("{} {}", limit.name, shown(limit))).collect();
    let top: Vec<_> = top.iter().take(3).map(shown_site).collect();
    format!("{seen}, to {what} (limit: {}); most tried: {}", limits.join(", "), top.join(", "))
}

fn shown_site(favourite: &Favourite) -> String {
    let Favourite { site, name, tries } = favourite;
    match name {
        Some(name) => format!("{name} ({site}) x{tries}"),
        None => format!("{site} x{tries}"),
    }
}

/// Supports a verdict, and is never a reason for one: mail programs of staff ask nobody for mail servers, but auto-configuration
/// and monitoring do.
fn asked(mx_queries: Option<u32>) -> String {
    match mx_queries {
        None | Some(0) => String::new(),
        Some(times) => format!("; it asked {times} times which servers take a domain's mail (MX)"),
    }
}

/// Only the score is kept in tenths.
fn shown(limit: &Limit) -> String {
    match limit.name {
        "score" => format!("{:.1}", f64::from(limit.value) / 10.0),
        _ => limit.value.to_string(),
    }
}

fn remedy(host: &Host, flag: &Flag) -> String {
    let register = format!(
        "if it is a mail server or a monitoring system, register it in `mail_servers` (address: \"{}\")",
        host.address
    );
    match (flag.verdict, flag.rule) {
        (_, Rule::RetriesManySites) => {
            format!(
                "looks like an unregistered mail server: {register}; if it is not, find out what sends from it"
            )
        }
        (Verdict::Infected, _) => format!(
            "take it off the network and examine it: no mail program does this. But {register}; if it is a router with \
             clients behind it, write `detection: {{ host_key: address }}`"
        ),
        (Verdict::Suspect, _) => format!("look at what runs on it; {register}"),
        (Verdict::Misconfigured, _) => {
            let sites = host.slots.len();
            format!(
                "retries {sites} {} about every {}: set the client to port 587 or 465, with a login",
                plural(sites.min(255) as u8, "site"),
                span(host.pause.max(1))
            )
        }
    }
}

fn plural(count: u8, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

fn span(seconds: u32) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
