//! What smtpfence promises about its speed, and whether a run shows it.

use serde::Serialize;

use crate::results::{Series, find, noise_of};

/// A figure of the run beside what it should be.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    pub target: &'static str,
    pub found: f64,
    pub limit: f64,
    /// `ratio`, or `ns` for a difference.
    pub unit: &'static str,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Reached,
    Missed,
    /// Two measurements of the same thing were further apart than [`MOST_NOISE`].
    TooNoisy,
}

/// Above it a run says nothing about a ratio.
pub const MOST_NOISE: f64 = 0.15;

enum Figure {
    /// The first contender's figure as a part of the second one's.
    Ratio(&'static str, &'static str),
    /// What the first one's program takes longer than the second one's.
    Longer(&'static str, &'static str),
}

enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

use Figure::{Longer, Ratio};
use Limit::{AtLeast, AtMost};

const TARGETS: &[(&str, &str, Figure, Limit)] = &[
    ("blocked SYN: of an unconditional TCX drop", "blocked-few", Ratio("ours", "tcx-drop"), AtMost(1.25)),
    ("blocked SYN: of nftables forward", "blocked-few", Ratio("ours", "nft-forward"), AtMost(0.52)),
    ("blocked SYN: of nftables netdev ingress", "blocked-few", Ratio("ours", "nft-netdev"), AtMost(0.66)),
    (
        "blocked SYN behind NAT: of nftables forward",
        "blocked-few",
        Ratio("ours-nat", "nft-forward-nat"),
        AtMost(0.14),
    ),
    ("1 M entries, 128 hosts: program time more", "blocked-few", Longer("ours-1m", "ours"), AtMost(15.0)),
    ("1 M entries, 65,536 hosts: program time more", "blocked-many", Longer("ours-1m", "ours"), AtMost(60.0)),
    (
        "spoofed SYN: of nftables forward with nflog",
        "blocked-spoofed",
        Ratio("ours", "nft-nflog"),
        AtMost(0.3),
    ),
    ("permitted segment: of plain forwarding", "permitted", Ratio("ours", "forwarding"), AtMost(1.04)),
    ("bulk TCP: of plain forwarding", "stream-bulk", Ratio("ours", "forwarding"), AtLeast(0.99)),
    (
        "new connections: of plain forwarding",
        "stream-connections",
        Ratio("ours", "forwarding"),
        AtLeast(0.99),
    ),
];

/// Judges every target whose contenders were measured.
pub fn judge(all: &[Series]) -> Vec<Judgement> {
    let judged = TARGETS.iter().filter_map(|(target, scenario, figure, limit)| {
        let series = |name: &str| find(all, scenario, name);
        let (unit, found) = match figure {
            Ratio(own, others) => ("ratio", series(own)?.ratio_to(series(others)?).median),
            Longer(own, others) => ("ns", series(own)?.program_ns? - series(others)?.program_ns?),
        };
        let (limit, reached) = match limit {
            AtMost(limit) => (*limit, found <= *limit),
            AtLeast(limit) => (*limit, found >= *limit),
        };
        let verdict = match noise_of(all, scenario) {
            Some(noise) if noise < MOST_NOISE => {
                if reached {
                    Verdict::Reached
                } else {
                    Verdict::Missed
                }
            }
            _ => Verdict::TooNoisy,
        };
        Some(Judgement { target, found, limit, unit, verdict })
    });
    judged.collect()
}

impl Verdict {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Missed => "missed",
            Self::TooNoisy => "too noisy to say",
        }
    }
}

impl Judgement {
    /// The two figures as people read them.
    pub fn figures(&self) -> (String, String) {
        if self.unit == "ns" {
            (format!("{:+.0} ns", self.found), format!("{:+.0} ns", self.limit))
        } else {
            (format!("{:.2}", self.found), format!("{:.2}", self.limit))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::Contender;

    fn series(contender: &str, nanoseconds: f64) -> Series {
        let contender = Contender::named(contender).unwrap();
        Series { rounds: vec![nanoseconds], ..Series::new("permitted", "", contender) }
    }

    #[test]
    fn a_target_is_reached_missed_or_lost_in_noise() {
        let run = |ours: f64, again: f64| {
            let all = [series("forwarding", 100.0), series("forwarding-again", again), series("ours", ours)];
            judge(&all).iter().map(|judgement| judgement.verdict).collect::<Vec<_>>()
        };
        assert_eq!(run(103.0, 101.0), [Verdict::Reached]);
        assert_eq!(run(105.0, 99.0), [Verdict::Missed]);
        assert_eq!(run(103.0, 120.0), [Verdict::TooNoisy]);
    }
}
