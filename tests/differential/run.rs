//! The run: batches of sequences, what was found in them, and the figures.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::bench::{Bench, Passed};
use super::judge::{Finding, judge};
use super::receiver;
use super::sequence::Sequence;
use crate::rules::BLOCKED_PORT;

/// Sequences between two marks.
const BATCH: u64 = 512;
/// Findings that are told; a broken rule makes thousands.
const MOST_TOLD: usize = 10;

/// Which sequences are run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub first: u64,
    pub sequences: u64,
}

impl Plan {
    /// As the environment says: `DIFFERENTIAL_SEED`, `DIFFERENTIAL_FIRST`, `DIFFERENTIAL_SEQUENCES`.
    pub fn from_environment(sequences: u64) -> Result<Self> {
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) => text.parse().with_context(|| format!("{name}={text} is not a number")),
            Err(_) => Ok(default),
        };
        Ok(Self {
            seed: number("DIFFERENTIAL_SEED", 25)?,
            first: number("DIFFERENTIAL_FIRST", 0)?,
            sequences: number("DIFFERENTIAL_SEQUENCES", sequences)?,
        })
    }
}

/// What a run was.
#[derive(Default)]
pub struct Figures {
    sequences: u64,
    frames: usize,
    left_bare: usize,
    left_fenced: usize,
    /// Sequences that some receiver could take for TCP to the blocked port, and those of them whose sender may send mail.
    deliverable: u64,
    permitted: u64,
    leaks: usize,
    false_drops: usize,
    surplus: usize,
    told: Vec<String>,
    elapsed: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        write!(
            f,
            "{} sequences ({} frames) in {seconds:.1} s, {:.0}/s: {} frames left the bare gateway, {} the one with \
             smtpfence; {} sequences deliverable to port {BLOCKED_PORT}, {} of them permitted; {} leaks, {} false \
             drops, {} surplus",
            self.sequences,
            self.frames,
            self.sequences as f64 / seconds,
            self.left_bare,
            self.left_fenced,
            self.deliverable,
            self.permitted,
            self.leaks,
            self.false_drops,
            self.surplus,
        )
    }
}

impl Figures {
    /// An error that tells all findings, if there are any, or too little that could have been found.
    pub fn verdict(&self) -> Result<()> {
        if self.leaks + self.false_drops + self.surplus > 0 {
            bail!("{self}\n{}", self.told.join("\n"));
        }
        if self.sequences >= 1000 && (self.deliverable * 10 < self.sequences || self.permitted == 0) {
            bail!("{self}: so little would be deliverable that the run shows nothing");
        }
        Ok(())
    }
}

pub fn run(bench: &Bench, plan: &Plan) -> Result<Figures> {
    let start = Instant::now();
    let mut figures = Figures::default();
    let end = plan.first + plan.sequences;
    let mut first = plan.first;
    while first < end {
        let numbers = first..end.min(first + BATCH);
        first = numbers.end;
        let batch: Vec<Sequence> = numbers.map(|number| Sequence::generate(plan.seed, number)).collect();
        let passed = bench.pass(&batch)?;
        figures.stray(&passed);
        for (sequence, (bare, fenced)) in batch.iter().zip(&passed.by_sequence) {
            let verdict = judge(sequence, bare, fenced, bench.nat);
            let may = sequence.may_send_mail();
            figures.sequences += 1;
            figures.frames += sequence.frames.len();
            figures.left_bare += bare.len();
            figures.left_fenced += fenced.len();
            figures.deliverable += u64::from(verdict.deliverable);
            figures.permitted += u64::from(verdict.deliverable && may);
            for finding in confirmed(bench, sequence, verdict.findings)? {
                figures.note(plan, bench.nat, sequence, &finding);
            }
        }
    }
    figures.elapsed = start.elapsed();
    Ok(figures)
}

/// A frame that the machine lost under load looks like a false drop. It doesn't get lost again.
fn confirmed(bench: &Bench, sequence: &Sequence, found: Vec<Finding>) -> Result<Vec<Finding>> {
    if found.is_empty() || found.contains(&Finding::Leak) {
        return Ok(found);
    }
    let passed = bench.pass(std::slice::from_ref(sequence))?;
    let Some((bare, fenced)) = passed.by_sequence.first() else { return Ok(found) };
    Ok(judge(sequence, bare, fenced, bench.nat).findings)
}

impl Figures {
    fn note(&mut self, plan: &Plan, nat: bool, sequence: &Sequence, finding: &Finding) {
        let what = match finding {
            Finding::Leak => {
                self.leaks += 1;
                "leak".to_owned()
            }
            Finding::FalseDrop(frame) => {
                self.false_drops += 1;
                format!("false drop of {}", hex(frame))
            }
            Finding::Surplus(frame) => {
                self.surplus += 1;
                format!("surplus {}", hex(frame))
            }
        };
        if self.told.len() < MOST_TOLD {
            let frames: String =
                sequence.frames.iter().map(|frame| format!("\n    {}", hex(frame))).collect();
            self.told.push(format!(
                "{what}\n  {} from {} to {}{}; again with `cargo xtask fuzz --target lab --seed {} --first {} \
                 --sequences 1`; its frames:{frames}",
                sequence.way.mac,
                sequence.way.src,
                sequence.way.dst,
                if nat { " (NAT)" } else { "" },
                plan.seed,
                sequence.number,
            ));
        }
    }

    /// Frames to destinations that no sequence has come from damaged ones, or are the gateway's own errors.
    fn stray(&mut self, passed: &Passed) {
        let packets: Vec<&[u8]> = passed.stray.1.iter().filter_map(|frame| frame.get(14..)).collect();
        for packet in packets.chunks(1) {
            if receiver::can_get(packet, BLOCKED_PORT) {
                self.leaks += 1;
                self.told.push(format!("leak to a destination of no sequence: {}", hex(packet[0])));
            }
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
