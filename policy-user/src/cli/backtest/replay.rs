//! Reads recorded attempts as a stream and runs detectors side by side over them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use jiff::Timestamp;

use crate::detect::clock::Clock;
use crate::detect::record::{self, Record};
use crate::detect::{Change, Detector, HostKey, Key, Keys, Rules, Verdict};
use crate::failure::Failure;
use crate::store::{Filter, Reader};

/// A line of a log is far shorter; what is longer is none.
const LONGEST_LINE: usize = 64 * 1024;

/// Where recorded attempts come from.
pub enum Input<'a> {
    File(&'a Path),
    /// The block log in this state directory.
    Store(&'a Path),
}

/// Detectors and what they have flagged.
pub struct Replay {
    detectors: Vec<(Detector, BTreeMap<Key, Verdict>)>,
    clock: Clock,
    host_key: HostKey,
    keys: Keys,
    /// Host-days before today, and the hosts that were seen today.
    days: u64,
    today: (u32, std::collections::HashSet<Key>),
}

/// What was in the file.
#[derive(Debug, Default)]
pub struct Summary {
    pub attempts: u64,
    /// Lines that tell of something else.
    pub other: u64,
    pub skipped: u64,
    /// The first line that could not be read, and why.
    pub unreadable: Option<(u64, String)>,
}

impl Replay {
    pub fn new(rules: Vec<Rules>, host_key: HostKey) -> Self {
        let detectors = rules.into_iter().map(|rules| (Detector::new(rules), BTreeMap::new())).collect();
        let (clock, keys) = (Clock::default(), Keys::default());
        Self { detectors, clock, host_key, keys, days: 0, today: Default::default() }
    }

    /// Feeds every attempt; each change of a verdict is told with the index of its detector and the recorded time.
    pub fn run(
        &mut self,
        input: &Input<'_>,
        since: Option<Timestamp>,
        mut tell: impl FnMut(usize, f64, &Change),
    ) -> Result<Summary, Failure> {
        match input {
            Input::File(path) => self.run_file(path, since, &mut tell),
            Input::Store(state_dir) => self.run_store(state_dir, since, &mut tell),
        }
    }

    /// One row after the other, so that a log of any size takes no more memory than a small one.
    fn run_store(
        &mut self,
        state_dir: &Path,
        since: Option<Timestamp>,
        tell: &mut impl FnMut(usize, f64, &Change),
    ) -> Result<Summary, Failure> {
        let mut summary = Summary::default();
        Reader::open(state_dir).for_each(&Filter { since, ..Filter::default() }, |row| {
            match record::of(&row.attempt) {
                Some(record) => {
                    summary.attempts += 1 + u64::from(record.seen.unlisted);
                    self.feed(record, tell);
                }
                None => summary.other += 1,
            }
            true
        })?;
        Ok(summary)
    }

    fn run_file(
        &mut self,
        path: &Path,
        since: Option<Timestamp>,
        tell: &mut impl FnMut(usize, f64, &Change),
    ) -> Result<Summary, Failure> {
        let since = since.map_or(f64::MIN, |time| time.as_microsecond() as f64 / 1e6);
        let failed = |error: io::Error| Failure::io("read", path, &error);
        let mut input = open(path).map_err(failed)?;
        let mut summary = Summary::default();
        let mut line = Vec::new();
        let mut number = 0;
        while next_line(&mut input, &mut line).map_err(failed)? {
            number += 1;
            match record::read(&line) {
                Ok(Some(record)) if record.stamp < since => {}
                Ok(Some(record)) => {
                    summary.attempts += 1 + u64::from(record.seen.unlisted);
                    self.feed(record, tell);
                }
                Ok(None) => summary.other += 1,
                Err(why) => {
                    summary.skipped += 1;
                    summary.unreadable.get_or_insert((number, why));
                }
            }
        }
        if summary.attempts == 0 && summary.skipped > 0 {
            let (line, why) = summary.unreadable.unwrap_or_default();
            return Err(Failure::Rejected(format!(
                "{} holds no attempts; line {line}: {why}. docs/detection.md says what lines look like",
                path.display()
            )));
        }
        Ok(summary)
    }

    /// By detector: the gravest verdict of each host.
    pub fn flagged(&self) -> impl Iterator<Item = &BTreeMap<Key, Verdict>> {
        self.detectors.iter().map(|(_, flagged)| flagged)
    }

    /// Days on which a host has tried, added up over the hosts.
    pub fn host_days(&self) -> u64 {
        self.days + self.today.1.len() as u64
    }

    /// The end of the output for people.
    pub fn told(&self, summary: &Summary) -> String {
        let count = |wanted| {
            let first = self.detectors.first().map(|(_, flagged)| flagged.values());
            first.map_or(0, |verdicts| verdicts.filter(|verdict| **verdict == wanted).count())
        };
        let [infected, suspect, misconfigured] =
            [Verdict::Infected, Verdict::Suspect, Verdict::Misconfigured].map(count);
        format!(
            "{} attempts on {} host-days: {infected} infected, {suspect} suspect, {misconfigured} misconfigured",
            summary.attempts,
            self.host_days()
        )
    }

    fn feed(&mut self, record: Record, tell: &mut impl FnMut(usize, f64, &Change)) {
        let mut seen = record.seen;
        seen.time = self.clock.time(seen.time);
        let key = self.keys.key(self.host_key, seen.mac, seen.source, seen.time);
        if seen.time / 86_400 != self.today.0 {
            self.days += self.today.1.len() as u64;
            self.today = (seen.time / 86_400, Default::default());
        }
        self.today.1.insert(key);
        for (index, (detector, flagged)) in self.detectors.iter_mut().enumerate() {
            if let Some(change) = detector.observe(&seen) {
                let reached = flagged.entry(change.report.key).or_insert(change.report.verdict);
                *reached = change.report.verdict.max(*reached);
                tell(index, record.stamp, &change);
            }
        }
    }
}

/// A file, plain or compressed; what it begins with says which.
fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let file: Box<dyn Read> =
        if path.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut file = BufReader::with_capacity(1 << 16, file);
    if file.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::with_capacity(1 << 17, MultiGzDecoder::new(file))));
    }
    Ok(Box::new(file))
}

/// The next line that is not empty; of one that is too long only the beginning, which then is no JSON.
fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        line.clear();
        if input.take(LONGEST_LINE as u64).read_until(b'\n', line)? == 0 {
            return Ok(false);
        }
        while line.last().is_some_and(u8::is_ascii_whitespace) {
            line.pop();
        }
        if !line.is_empty() {
            return Ok(true);
        }
    }
}
