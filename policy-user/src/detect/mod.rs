//! Finds infected hosts among those that were blocked. Pure: attempts with their times go in, changed verdicts come out; the
//! same attempts always give the same verdicts.

mod answer;
pub mod clock;
pub mod evidence;
mod fold;
mod host;
mod key;
mod names;
mod presets;
pub mod record;
mod rules;
mod site;
mod table;
mod verdict;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::attempt::Mac;
use answer::Answer;
use evidence::Evidence;
use fold::Fold;
use host::Host;
pub use key::{Key, Keys};
pub use names::MOST_JOINED;
use names::Names;
pub use presets::{HostKey, Limits, Preset};
pub use rules::Rules;
pub use site::Providers;
pub use table::MOST_HOSTS;
use table::Table;
use verdict::{Flag, judge};
pub use verdict::{Note, Verdict};

/// One blocked attempt. Its time is in seconds of any clock that is never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    pub time: u32,
    pub mac: Option<Mac>,
    pub source: IpAddr,
    pub source_port: u16,
    pub destination: IpAddr,
    /// Attempts of the same host before this one that nothing but their number is known of.
    pub unlisted: u32,
}

/// A DNS answer that a client got, as it was on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard<'a> {
    pub time: u32,
    pub mac: Option<Mac>,
    pub client: IpAddr,
    pub message: &'a [u8],
}

/// A verdict that was reached, or that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub kind: Kind,
    pub report: Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Raised,
    /// It was quiet for long enough.
    Ended,
    Released,
    Acknowledged,
}

/// A flagged host.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub key: Key,
    pub mac: Option<Mac>,
    pub address: IpAddr,
    pub verdict: Verdict,
    pub since: u32,
    pub first: u32,
    pub last: u32,
    pub note: Option<Note>,
    pub evidence: Evidence,
}

/// All that is remembered.
pub struct Detector {
    rules: Rules,
    fold: Fold,
    /// Never kept beyond this process: what people ask for is nobody's business.
    names: Option<Names>,
    memory: Memory,
}

/// What a restart must not forget.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Memory {
    keys: Keys,
    table: Table,
}

impl Detector {
    pub fn new(rules: Rules) -> Self {
        Self::with_room(rules, MOST_HOSTS)
    }

    /// Remembers at most so many hosts.
    pub fn with_room(rules: Rules, hosts: usize) -> Self {
        let memory = Memory { keys: Keys::default(), table: Table::new(hosts) };
        Self::resume(rules, memory)
    }

    /// Goes on where another one stopped.
    pub fn resume(rules: Rules, memory: Memory) -> Self {
        let names = rules.names.map(Names::new);
        Self { rules, fold: Fold::new(), names, memory }
    }

    /// What has to be kept, of at most so many hosts: the flagged and the newest.
    pub fn memory(&self, hosts: usize) -> Memory {
        Memory { keys: self.memory.keys.clone(), table: self.memory.table.excerpt(hosts) }
    }

    /// Judges by other rules from now on. Flags stay.
    pub fn set_rules(&mut self, rules: Rules) {
        match (&mut self.names, rules.names) {
            (Some(names), Some(keep)) => names.set_keep(keep),
            (names, keep) => *names = keep.map(Names::new),
        }
        self.rules = rules;
    }

    /// Learns what a client calls its destinations, and counts what it asks; nothing where names are not asked for.
    pub fn learn(&mut self, heard: &Heard<'_>) {
        let Some(names) = &mut self.names else { return };
        let Some(answer) = Answer::parse(heard.message) else { return };
        let host = self.memory.keys.known(self.rules.host_key, heard.mac, heard.client);
        names.learn(host, answer, heard.time);
    }

    /// The name by which the client of an attempt knows where it went.
    pub fn name(&self, seen: &Observation) -> Option<&str> {
        let host = self.memory.keys.known(self.rules.host_key, seen.mac, seen.source);
        self.names.as_ref()?.name(&host, seen.destination, seen.time)
    }

    /// Hosts of which names are known, and their addresses with names.
    pub fn names(&self) -> Option<(usize, usize)> {
        self.names.as_ref().map(Names::len)
    }

    /// Takes an attempt into account; tells if that makes its host's verdict graver.
    pub fn observe(&mut self, seen: &Observation) -> Option<Change> {
        let Observation { time, mac, source, source_port, destination, unlisted } = *seen;
        let is_new = self.fold.is_new(source, destination, source_port, time);
        // A repeat is no attempt, but what it tells of the attempts before it was told by no other record.
        if !is_new && unlisted == 0 {
            return None;
        }
        let key = self.memory.keys.key(self.rules.host_key, mac, source, time);
        let limits = self.rules.limits(source);
        let host = self.memory.table.take(key, || Host::new(mac, source, time))?;
        if host.is_quiet(time, limits) {
            host.flag = None;
        }
        (host.mac, host.address) = (mac, source);
        if is_new {
            let mut site = self.rules.providers.site(destination);
            if let Some(names) = self.names.as_mut().filter(|_| !site.is_provider()) {
                site = names.site(&key, destination, site, time);
            }
            host.observe(site, time, unlisted, limits);
        }
        host.count_unlisted(unlisted, time);
        let facts = host.facts(time);
        let (verdict, rule) = judge(host, &facts, limits)?;
        if host.flag.as_ref().is_some_and(|flag| flag.verdict >= verdict) {
            return None;
        }
        host.flag = Some(Flag::new(verdict, rule, host, &facts, time));
        let report = report(&key, host, &self.rules, self.names.as_ref())?;
        Some(Change { kind: Kind::Raised, report })
    }

    /// Ends flags of hosts that were quiet for long enough, and forgets hosts of which nothing is to be said any more.
    pub fn age(&mut self, now: u32) -> Vec<Change> {
        let mut ended = Vec::new();
        for (key, host) in self.memory.table.iter_mut() {
            if !host.is_quiet(now, self.rules.limits(host.address)) {
                continue;
            }
            let report = report(key, host, &self.rules, self.names.as_ref());
            ended.extend(report.map(|report| Change { kind: Kind::Ended, report }));
            host.flag = None;
        }
        self.memory.table.forget_quiet(now);
        if let Some(names) = &mut self.names {
            names.age(now);
        }
        ended
    }

    /// The flagged hosts, the gravest and newest first.
    pub fn flagged(&self) -> Vec<Report> {
        let hosts = self.memory.table.iter();
        let names = self.names.as_ref();
        let mut flagged: Vec<_> =
            hosts.filter_map(|(key, host)| report(key, host, &self.rules, names)).collect();
        flagged.sort_by_key(|report| (std::cmp::Reverse((report.verdict, report.since)), report.key));
        flagged
    }

    /// The hosts that are flagged as infected, though some may be quiet by now.
    pub fn infected(&self) -> Vec<Key> {
        let is_infected =
            |host: &Host| host.flag.as_ref().is_some_and(|flag| flag.verdict == Verdict::Infected);
        self.memory.table.iter().filter(|(_, host)| is_infected(host)).map(|(key, _)| *key).collect()
    }

    /// Whether a flagged host would be called infected now too, by an attempt that came no earlier than `since`.
    pub fn acts_infected(&self, key: &Key, since: u32, now: u32) -> Option<Report> {
        let host = self.memory.table.get(key).filter(|host| host.last >= since)?;
        let verdict = judge(host, &host.facts(now), self.rules.limits(host.address))?.0;
        (verdict == Verdict::Infected).then(|| report(key, host, &self.rules, self.names.as_ref())).flatten()
    }

    /// The verdicts in force, and whether somebody has seen them.
    pub fn verdicts(&self) -> impl Iterator<Item = (Verdict, bool)> {
        let flags = self.memory.table.iter().filter_map(|(_, host)| host.flag.as_ref());
        flags.map(|flag| (flag.verdict, flag.note.is_some()))
    }

    /// The flagged host that a MAC or an address names. An address also names the host that has it now.
    pub fn find(&self, name: &Key) -> Option<Key> {
        let flagged = |key: &Key| self.memory.table.get(key).is_some_and(|host| host.flag.is_some());
        if flagged(name) {
            return Some(*name);
        }
        let has = |host: &Host| match name {
            Key::Address(address) => host.address.to_canonical() == *address,
            Key::Mac(mac) => host.mac == Some(Mac(*mac)),
        };
        let found = self.memory.table.iter().filter(|(_, host)| host.flag.is_some() && has(host));
        found.max_by_key(|(key, host)| (host.last, **key)).map(|(key, _)| *key)
    }

    /// Takes a flag back and forgets what led to it: whoever does it again is flagged again.
    pub fn release(&mut self, name: &Key) -> Option<Change> {
        let key = self.find(name)?;
        let host = self.memory.table.forget(&key)?;
        report(&key, &host, &self.rules, self.names.as_ref())
            .map(|report| Change { kind: Kind::Released, report })
    }

    /// Notes that somebody has seen a flag; it stays.
    pub fn acknowledge(&mut self, name: &Key, note: Note) -> Option<Change> {
        let key = self.find(name)?;
        let host = self.memory.table.get_mut(&key)?;
        host.flag.as_mut()?.note = Some(Box::new(note));
        report(&key, host, &self.rules, self.names.as_ref())
            .map(|report| Change { kind: Kind::Acknowledged, report })
    }

    /// Hosts that are remembered.
    pub fn hosts(&self) -> usize {
        self.memory.table.len()
    }

    /// Attempts of hosts that there was no room for beside the flagged ones.
    pub fn untracked(&self) -> u64 {
        self.memory.table.untracked
    }
}

impl Host {
    fn is_quiet(&self, now: u32, limits: &Limits) -> bool {
        let patience = |flag: &Flag| now.saturating_sub(self.last) >= flag.verdict.patience(limits);
        self.flag.as_ref().is_some_and(patience)
    }
}

fn report(key: &Key, host: &Host, rules: &Rules, names: Option<&Names>) -> Option<Report> {
    let flag = host.flag.as_ref()?;
    Some(Report {
        key: *key,
        mac: host.mac,
        address: host.address,
        verdict: flag.verdict,
        since: flag.since,
        first: host.first,
        last: host.last,
        note: flag.note.as_deref().cloned(),
        evidence: Evidence::of(key, host, flag, rules, names),
    })
}
