//! What is remembered of one host: numbers and a small table of sites, never more than 600 bytes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::presets::{Limits, SLOTS};
use super::site::Site;
use super::verdict::Flag;
use crate::attempt::Mac;

pub const HOUR: u32 = 3600;
pub const DAY: u32 = 86_400;
pub const WEEK: u32 = 7 * DAY;

/// Attempts on one site closer together than this are one visit: neither persistence nor a new trial.
const VISIT: u32 = 240;
/// A site that was not tried again for so long has been given up. Mail queues come back earlier: Postfix after 5, Exim after
/// 15 minutes, the slowest of them within the hour.
pub const GIVEN_UP: u32 = 75 * 60;
/// A short visit to port 25 is over within this; queues and clients that try again stay longer.
const SHORT: u32 = 30 * 60;

/// Sites that are no evidence: a client may well have three accounts.
const FREE_SITES: u32 = 3;
/// Thousandths of ln(.15/.02): a new site is likelier with a bot.
const NEW_SITE: u32 = 2015;
/// Thousandths of ln(.98/.85): coming back is likelier with a client.
const COMING_BACK: u32 = 142;
/// Beyond this, more evidence adds nothing but a longer way back.
const MOST_SCORE: u32 = 1_000_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    pub mac: Option<Mac>,
    /// The newest of its addresses.
    pub address: IpAddr,
    pub first: u32,
    pub last: u32,
    pub attempts: u32,
    /// Those of `attempts` of which only the number is known.
    pub unlisted: u32,
    /// Thousandths of a natural logarithm: how much likelier a bot is than a client.
    pub score: u32,
    /// How long it usually waits between two attempts.
    pub pause: u32,
    hour: Hour,
    stay: Stay,
    /// A bit for each site of the last week, at a place that the site's hash says: what the table has no room for, and an
    /// estimate of how many they are.
    seen: [u64; 4],
    seen_since: u32,
    pub slots: Vec<Slot>,
    pub flag: Option<Flag>,
}

/// What is remembered of one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    pub last: u32,
    pub tries: u16,
    pub site: Site,
    /// Seconds between the beginning of the newest visit and `last`.
    visiting: u8,
    /// Visits after the first, without a long pause between them: somebody who waits for an answer.
    returns: u8,
    /// It was given up and tried again another time.
    again: bool,
}

/// Attempts in this hour and the one before.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Hour {
    number: u32,
    attempts: u32,
    before: u32,
}

/// A stretch of attempts without a long pause, and how those before were spread.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Stay {
    since: u32,
    probe: u32,
    between: u32,
    probes: u8,
}

/// What limits are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub sites_hour: u32,
    pub sites_day: u32,
    pub sites_week: u32,
    /// Sites of the last 24 hours that it came back to after minutes.
    pub kept: u32,
    /// Sites of the last 24 hours, and of the last week, that were tried once and given up.
    pub abandoned: u32,
    pub abandoned_week: u32,
    pub attempts_hour: u32,
    pub probes: u32,
}

impl Host {
    pub fn new(mac: Option<Mac>, address: IpAddr, time: u32) -> Self {
        Self {
            mac,
            address,
            first: time,
            last: time,
            attempts: 0,
            unlisted: 0,
            score: 0,
            pause: 0,
            hour: Hour::default(),
            stay: Stay { since: time, ..Stay::default() },
            seen: [0; 4],
            seen_since: time,
            slots: Vec::new(),
            flag: None,
        }
    }

    /// Takes one attempt into account, before which so many others went that nothing is known of.
    pub fn observe(&mut self, site: Site, time: u32, unlisted: u32, limits: &Limits) {
        let pause = time.saturating_sub(self.last);
        if self.attempts > 0 {
            self.learn_pause(pause / unlisted.saturating_add(1));
            if pause >= GIVEN_UP {
                self.end_stay(time, limits);
            }
        }
        self.hour.count(time, 1);
        self.attempts = self.attempts.saturating_add(1);
        self.visit(site, time);
        self.last = self.last.max(time);
    }

    /// Counts attempts of unknown destination: evidence of how often, never of how many sites.
    pub fn count_unlisted(&mut self, unlisted: u32, time: u32) {
        if unlisted == 0 {
            return;
        }
        self.hour.count(time, unlisted);
        self.attempts = self.attempts.saturating_add(unlisted);
        self.unlisted = self.unlisted.saturating_add(unlisted);
        self.last = self.last.max(time);
    }

    pub fn facts(&self, now: u32) -> Facts {
        let mut facts = Facts {
            attempts_hour: self.hour.recent(now),
            probes: u32::from(self.stay.probes),
            ..Facts::default()
        };
        for slot in &self.slots {
            let age = now.saturating_sub(slot.last);
            let abandoned = u32::from(slot.returns == 0 && !slot.again && age >= GIVEN_UP);
            facts.sites_hour += u32::from(age < HOUR);
            if age < DAY {
                facts.sites_day += 1;
                facts.kept += u32::from(slot.returns > 0);
                facts.abandoned += abandoned;
            }
            if age < WEEK {
                facts.sites_week += 1;
                facts.abandoned_week += abandoned;
            }
        }
        facts
    }

    /// How many sites it tried in about a week; an estimate where the table has no room for all (linear counting).
    pub fn sites(&self) -> (usize, Exactness) {
        if self.slots.len() < SLOTS {
            return (self.slots.len(), Exactness::Exact);
        }
        let empty: u32 = self.seen.iter().map(|word| word.count_zeros()).sum();
        let places = 64.0 * self.seen.len() as f64;
        let estimate = places * (places / f64::from(empty.max(1))).ln();
        ((estimate.round() as usize).max(SLOTS), Exactness::Estimate)
    }

    /// The sites it tried most, the most tried first.
    pub fn favourites(&self) -> Vec<(Site, u16)> {
        let mut sites: Vec<_> = self.slots.iter().map(|slot| (slot.site, slot.tries)).collect();
        sites.sort_by_key(|(site, tries)| (std::cmp::Reverse(*tries), *site));
        sites.truncate(5);
        sites
    }

    /// A median that needs one number: each pause moves it a little towards itself.
    fn learn_pause(&mut self, pause: u32) {
        let step = self.pause / 16 + 1;
        self.pause = match pause.cmp(&self.pause) {
            _ if self.attempts == 1 => pause,
            std::cmp::Ordering::Greater => (self.pause + step).min(pause),
            std::cmp::Ordering::Less => self.pause.saturating_sub(step).max(pause),
            std::cmp::Ordering::Equal => pause,
        };
    }

    /// Looks back on a stay that has ended: was it a probe, that is a few sites tried in passing?
    fn end_stay(&mut self, time: u32, limits: &Limits) {
        let stay = self.stay;
        self.stay.since = time;
        let visited = self.slots.iter().filter(|slot| slot.last >= stay.since);
        let (sites, kept) =
            visited.fold((0, 0), |(n, kept), slot| (n + 1, kept + u32::from(slot.returns > 0)));
        if sites < limits.probe_sites || kept * 3 > sites || self.last - stay.since > SHORT {
            return;
        }
        let between = stay.since.saturating_sub(stay.probe);
        if between > WEEK {
            self.stay = Stay { since: time, probe: stay.since, between: 0, probes: 1 };
            return;
        }
        self.stay.probes = if by_the_clock(between, stay.between) {
            stay.probes.saturating_sub(1)
        } else {
            stay.probes.saturating_add(1)
        };
        (self.stay.probe, self.stay.between) = (stay.since, between);
    }

    fn visit(&mut self, site: Site, time: u32) {
        if time.saturating_sub(self.seen_since) >= WEEK {
            (self.seen, self.seen_since) = ([0; 4], time);
        }
        let place = site.spread();
        let (word, bit) = ((place >> 6) as usize % self.seen.len(), 1u64 << (place & 63));
        let seen = self.seen.get(word).is_some_and(|word| word & bit != 0);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
        match self.slots.iter_mut().find(|slot| slot.site == site) {
            Some(slot) if time.saturating_sub(slot.last) < WEEK => {
                if slot.visit(time) {
                    self.score = self.score.saturating_sub(COMING_BACK);
                }
            }
            Some(slot) => {
                *slot = Slot::new(site, time);
                self.learn_site();
            }
            None => {
                // A site that had to make room for others is one that the host comes back to.
                let known = seen && self.slots.len() >= SLOTS;
                self.take_slot(Slot { returns: u8::from(known), ..Slot::new(site, time) });
                if known {
                    self.score = self.score.saturating_sub(COMING_BACK);
                } else {
                    self.learn_site();
                }
            }
        }
    }

    fn learn_site(&mut self) {
        if self.slots.len() as u32 > FREE_SITES {
            self.score = self.score.saturating_add(NEW_SITE).min(MOST_SCORE);
        }
    }

    /// The site that was not tried for longest makes room.
    fn take_slot(&mut self, new: Slot) {
        if self.slots.len() >= SLOTS {
            if let Some(oldest) = self.slots.iter_mut().min_by_key(|slot| slot.last) {
                *oldest = new;
            }
            return;
        }
        if self.slots.len() == self.slots.capacity() {
            // Most hosts have one or two; a Vec alone would go beyond the limit.
            let more = self.slots.len().max(2).min(SLOTS - self.slots.len());
            self.slots.reserve_exact(more);
        }
        self.slots.push(new);
    }
}

/// Whether one pause is a multiple of the other: somebody's monitoring or daily report, of which one may have been lost.
fn by_the_clock(one: u32, other: u32) -> bool {
    let (short, long) = (one.min(other), one.max(other));
    long.checked_rem(short).is_some_and(|rest| rest.min(short - rest) <= (short / 20).max(120))
}

/// Whether a number was counted or estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    Exact,
    Estimate,
}

impl Slot {
    fn new(site: Site, time: u32) -> Self {
        Self { last: time, tries: 1, site, visiting: 0, returns: 0, again: false }
    }

    /// Tells whether this is another visit than the one before.
    fn visit(&mut self, time: u32) -> bool {
        self.tries = self.tries.saturating_add(1);
        let pause = time.saturating_sub(self.last);
        let since = pause + u32::from(self.visiting);
        self.last = self.last.max(time);
        if since < VISIT {
            self.visiting = since as u8;
            return false;
        }
        self.visiting = 0;
        if pause >= 2 * HOUR {
            (self.returns, self.again) = (0, true);
        } else {
            self.returns = self.returns.saturating_add(1);
        }
        true
    }
}

impl Hour {
    fn count(&mut self, time: u32, attempts: u32) {
        let number = time / HOUR;
        if number > self.number {
            self.before = if number == self.number + 1 { self.attempts } else { 0 };
            (self.number, self.attempts) = (number, 0);
        }
        self.attempts = self.attempts.saturating_add(attempts);
    }

    /// Attempts of the last 60 minutes; those of the hour before as if they had come evenly.
    fn recent(&self, now: u32) -> u32 {
        let left = u64::from(HOUR - now % HOUR);
        self.attempts.saturating_add((u64::from(self.before) * left / u64::from(HOUR)) as u32)
    }
}
