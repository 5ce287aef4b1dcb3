//! Measured figures, and what is made of them: medians, spreads, ratios to plain forwarding.

use serde::Serialize;

use crate::filters::{AGAIN, BASELINE, Contender};

/// What one contender showed in one round.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Of processor time a packet, without what it took to make it.
    pub nanoseconds: f64,
    pub program_nanoseconds: Option<f64>,
    pub overflowed: u64,
}

/// One contender in one scenario over all rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    pub scenario: &'static str,
    pub scenario_label: &'static str,
    pub contender: &'static str,
    pub label: &'static str,
    /// `ns` a packet (less is better), or a rate (more is better).
    pub unit: &'static str,
    pub rounds: Vec<f64>,
    /// What it took to make a packet in each round; taken off already.
    pub generator_ns: Vec<f64>,
    /// The kernel's own account of the program, its two looks at the clock included.
    pub program_ns: Option<f64>,
    /// Packets that the gateway forwarded faster than the processor's queue took them.
    pub overflowed: u64,
}

/// Median with the middle half of all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Series {
    pub fn new(scenario: &'static str, scenario_label: &'static str, contender: &'static Contender) -> Self {
        let Contender { name, label, .. } = contender;
        Self {
            scenario,
            scenario_label,
            contender: name,
            label,
            unit: "ns",
            rounds: Vec::new(),
            generator_ns: Vec::new(),
            program_ns: None,
            overflowed: 0,
        }
    }

    pub fn add(&mut self, cell: Cell, generator: f64) {
        self.rounds.push(cell.nanoseconds);
        self.generator_ns.push(generator);
        self.program_ns = self.program_ns.or(cell.program_nanoseconds);
        self.overflowed += cell.overflowed;
    }

    pub fn spread(&self) -> Spread {
        Spread::of(&self.rounds)
    }

    /// To `other`, round by round, so that a slow moment of the machine counts on both.
    pub fn ratio_to(&self, other: &Self) -> Spread {
        Spread::of(
            &self.rounds.iter().zip(&other.rounds).map(|(own, others)| own / others).collect::<Vec<_>>(),
        )
    }
}

impl Spread {
    /// Of no numbers it is not a number.
    pub fn of(numbers: &[f64]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
            let place = part * last as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Self { median: at(0.5), low: at(0.25), high: at(0.75) }
    }
}

/// The series of `contender` in `scenario`.
pub fn find<'a>(all: &'a [Series], scenario: &str, contender: &str) -> Option<&'a Series> {
    all.iter().find(|series| series.scenario == scenario && series.contender == contender)
}

/// Scenarios in the order in which they were run, each with its series.
pub fn by_scenario(all: &[Series]) -> Vec<&[Series]> {
    all.chunk_by(|a, b| a.scenario == b.scenario).collect()
}

/// How far two measurements of the same thing are apart in a scenario: the distance from 1 of the middle half of their
/// ratios. `None` where nothing was measured twice.
pub fn noise_of(all: &[Series], scenario: &str) -> Option<f64> {
    let ratio = find(all, scenario, AGAIN)?.ratio_to(find(all, scenario, BASELINE)?);
    Some((ratio.high - 1.0).abs().max((ratio.low - 1.0).abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(scenario: &'static str, contender: &'static str, rounds: &[f64]) -> Series {
        let contender = Contender::named(contender).unwrap();
        Series { rounds: rounds.to_vec(), ..Series::new(scenario, scenario, contender) }
    }

    #[test]
    fn the_median_and_the_middle_half() {
        assert_eq!(Spread::of(&[4.0, 1.0, 3.0, 2.0, 100.0]), Spread { median: 3.0, low: 2.0, high: 4.0 });
        assert_eq!(Spread::of(&[1.0, 2.0]), Spread { median: 1.5, low: 1.25, high: 1.75 });
        assert!(Spread::of(&[]).median.is_nan());
        assert_eq!(Spread::of(&[7.0]), Spread { median: 7.0, low: 7.0, high: 7.0 });
    }

    #[test]
    fn a_slow_round_changes_no_ratio() {
        let (one, two) =
            (series("s", "ours", &[10.0, 50.0, 10.0]), series("s", BASELINE, &[20.0, 100.0, 20.0]));
        assert_eq!(one.ratio_to(&two), Spread { median: 0.5, low: 0.5, high: 0.5 });
    }

    #[test]
    fn noise_is_how_far_the_same_thing_is_from_itself() {
        let all = [
            series("a", BASELINE, &[100.0, 100.0]),
            series("a", AGAIN, &[100.0, 80.0]),
            series("b", BASELINE, &[100.0, 100.0]),
        ];
        assert!((noise_of(&all, "a").unwrap() - 0.15).abs() < 1e-9);
        assert_eq!(noise_of(&all, "b"), None);
    }
}
