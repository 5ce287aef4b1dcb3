//! From totals that only grow to rates and their course.

use std::collections::VecDeque;
use std::time::Duration;

/// A rate is taken over so long.
const WINDOW: Duration = Duration::from_secs(10);

/// The newest totals of one counter, each with the time it was read.
#[derive(Clone, Debug)]
pub struct Meter {
    samples: VecDeque<(Duration, u64)>,
    kept: usize,
}

impl Meter {
    /// Remembers at most `kept` totals.
    pub fn new(kept: usize) -> Self {
        Self { samples: VecDeque::new(), kept }
    }

    /// For a counter that appears and did not exist a second before `moment`.
    pub fn from_zero(kept: usize, moment: Duration) -> Self {
        let before = moment.saturating_sub(Duration::from_secs(1));
        Self { samples: VecDeque::from([(before, 0)]), kept }
    }

    pub fn push(&mut self, moment: Duration, total: u64) {
        match self.samples.back() {
            // Counters begin anew after a detach: what was before says nothing about now.
            Some((_, last)) if total < *last => self.samples.clear(),
            Some((before, _)) if *before == moment => return,
            _ => {}
        }
        self.samples.push_back((moment, total));
        if self.samples.len() > self.kept {
            self.samples.pop_front();
        }
    }

    pub fn total(&self) -> u64 {
        self.samples.back().map_or(0, |(_, total)| *total)
    }

    /// Per second, over the last ten seconds or what is known of them.
    pub fn rate(&self) -> f64 {
        let Some((now, last)) = self.samples.back() else { return 0.0 };
        let first = self.samples.iter().find(|(moment, _)| *now - *moment <= WINDOW);
        match first {
            Some((moment, total)) if moment < now => (last - total) as f64 / (*now - *moment).as_secs_f64(),
            _ => 0.0,
        }
    }

    /// What was added between two totals, the newest last, at most `room` of them.
    pub fn course(&self, room: usize) -> Vec<u64> {
        let added: Vec<u64> =
            self.samples.iter().zip(self.samples.iter().skip(1)).map(|(a, b)| b.1 - a.1).collect();
        added[added.len().saturating_sub(room)..].to_vec()
    }
}

/// A rate in at most seven characters.
pub fn shown(rate: f64) -> String {
    match rate {
        0.0 => "-".to_owned(),
        rate if rate < 0.1 => "<0.1".to_owned(),
        rate if rate < 100.0 => format!("{rate:.1}"),
        rate if rate < 100_000.0 => format!("{rate:.0}"),
        rate => format!("{:.0}k", rate / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(totals: &[u64]) -> Meter {
        let mut meter = Meter::new(30);
        totals.iter().zip(0..).for_each(|(total, second)| meter.push(Duration::from_secs(second), *total));
        meter
    }

    #[test]
    fn a_rate_is_that_of_the_last_ten_seconds() {
        assert_eq!(meter(&[]).rate(), 0.0);
        assert_eq!(meter(&[7]).rate(), 0.0);
        assert_eq!(meter(&[7, 9]).rate(), 2.0);
        let burst_long_ago: Vec<u64> = std::iter::once(0).chain([1000; 12]).collect();
        assert_eq!(meter(&burst_long_ago).rate(), 0.0);
        assert_eq!(meter(&burst_long_ago).total(), 1000);
    }

    #[test]
    fn counters_that_begin_anew_make_no_negative_rate() {
        let meter = meter(&[500, 600, 3, 5]);
        assert_eq!((meter.rate(), meter.course(10)), (2.0, vec![2]));
    }

    #[test]
    fn the_course_is_cut_at_its_old_end() {
        assert_eq!(meter(&[0, 1, 3, 6]).course(2), [2, 3]);
        assert_eq!(meter(&[0, 1, 3, 6]).course(9), [1, 2, 3]);
    }

    #[test]
    fn rates_are_short() {
        let shown = [0.0, 0.04, 1.25, 99.94, 1234.4, 250_000.0].map(shown);
        assert_eq!(shown, ["-", "<0.1", "1.2", "99.9", "1234", "250k"]);
    }
}
