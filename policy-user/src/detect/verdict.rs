//! From numbers to a verdict: which limit was reached, and what is kept of that moment.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::host::{Facts, Host};
use super::presets::Limits;

/// What the agent thinks of a host, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A ticket: a client that should use another port.
    Misconfigured,
    /// A look: it may be a bot.
    Suspect,
    /// An alarm: it behaves as only bots do.
    Infected,
}

/// Why. The labels are a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    Retries,
    ManySitesInAnHour,
    ManyNewSites,
    SitesGivenUp,
    SomeSitesInAnHour,
    SomeSitesGivenUp,
    SitesOfAWeek,
    ManyAttempts,
    Probes,
    RetriesManySites,
}

/// A verdict and the numbers of the moment it was reached in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flag {
    pub verdict: Verdict,
    pub rule: Rule,
    pub since: u32,
    pub score: u32,
    pub attempts: u32,
    pub unlisted: u32,
    pub sites_hour: u8,
    pub sites_day: u8,
    pub sites_week: u8,
    pub abandoned: u8,
    pub kept: u8,
    pub note: Option<Box<Note>>,
}

/// What an admin has said about a flag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub text: String,
    pub by: Option<String>,
}

impl Rule {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Retries => "retries",
            Self::ManySitesInAnHour => "many-sites-in-an-hour",
            Self::ManyNewSites => "many-new-sites",
            Self::SitesGivenUp => "sites-given-up",
            Self::SomeSitesInAnHour => "some-sites-in-an-hour",
            Self::SomeSitesGivenUp => "some-sites-given-up",
            Self::SitesOfAWeek => "sites-of-a-week",
            Self::ManyAttempts => "many-attempts",
            Self::Probes => "probes",
            Self::RetriesManySites => "retries-many-sites",
        }
    }
}

impl Verdict {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Misconfigured => "misconfigured",
            Self::Suspect => "suspect",
            Self::Infected => "infected",
        }
    }

    /// Seconds without an attempt after which it ends.
    pub const fn patience(self, limits: &Limits) -> u32 {
        let days = match self {
            Self::Infected => limits.infected_quiet_days,
            _ => limits.quiet_days,
        };
        days.saturating_mul(86_400)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl Flag {
    pub fn new(verdict: Verdict, rule: Rule, host: &Host, facts: &Facts, time: u32) -> Self {
        let small = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
        Self {
            verdict,
            rule,
            since: time,
            score: host.score,
            attempts: host.attempts,
            unlisted: host.unlisted,
            sites_hour: small(facts.sites_hour),
            sites_day: small(facts.sites_day),
            sites_week: small(facts.sites_week),
            abandoned: small(facts.abandoned),
            kept: small(facts.kept),
            note: None,
        }
    }
}

/// The gravest verdict whose limits are reached.
pub fn judge(host: &Host, facts: &Facts, limits: &Limits) -> Option<(Verdict, Rule)> {
    let infected = infected(host, facts, limits).map(|rule| (Verdict::Infected, rule));
    infected.or_else(|| suspect(facts, limits).map(|rule| (Verdict::Suspect, rule))).or_else(|| {
        let old = host.last.saturating_sub(host.first) >= limits.minutes.saturating_mul(60);
        (old && host.attempts >= limits.attempts).then_some((Verdict::Misconfigured, Rule::Retries))
    })
}

/// Mail servers and their queues, and clients, try the same site again after minutes; bots have another victim by then.
fn is_persistent(facts: &Facts) -> bool {
    facts.kept * 4 >= facts.sites_day * 3
}

fn infected(host: &Host, facts: &Facts, limits: &Limits) -> Option<Rule> {
    if is_persistent(facts) {
        return None;
    }
    if facts.sites_hour >= limits.sites_hour {
        return Some(Rule::ManySitesInAnHour);
    }
    if facts.sites_day < limits.sites_day {
        return None;
    }
    if host.score >= limits.score.saturating_mul(100) {
        return Some(Rule::ManyNewSites);
    }
    (facts.abandoned >= limits.abandoned).then_some(Rule::SitesGivenUp)
}

fn suspect(facts: &Facts, limits: &Limits) -> Option<Rule> {
    if is_persistent(facts) {
        return if facts.sites_day >= limits.sites_day {
            Some(Rule::RetriesManySites)
        } else {
            (facts.attempts_hour >= limits.suspect_attempts_hour).then_some(Rule::ManyAttempts)
        };
    }
    if facts.sites_hour >= limits.suspect_sites_hour {
        return Some(Rule::SomeSitesInAnHour);
    }
    if facts.abandoned >= limits.suspect_abandoned {
        return Some(Rule::SomeSitesGivenUp);
    }
    if facts.probes >= limits.probes {
        return Some(Rule::Probes);
    }
    if facts.sites_week >= limits.suspect_sites_week && facts.abandoned_week * 2 >= facts.sites_week {
        return Some(Rule::SitesOfAWeek);
    }
    (facts.attempts_hour >= limits.suspect_attempts_hour).then_some(Rule::ManyAttempts)
}
