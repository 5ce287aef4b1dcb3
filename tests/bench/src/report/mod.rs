//! What a run found: a table for the terminal, JSON for programs, a page with charts for people.

mod html;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::filters::{AGAIN, BASELINE};
use crate::machine::Machine;
use crate::results::{Series, Spread, by_scenario, find, noise_of};
use crate::targets::Judgement;

/// A whole run.
#[derive(Serialize)]
pub struct Report {
    /// Of this layout; goes up when a field changes its meaning or goes away.
    pub version: u32,
    pub machine: Machine,
    /// Of the random order; the same seed repeats it.
    pub seed: u64,
    pub rounds: usize,
    pub packets: u32,
    pub scenarios: Vec<Scenario>,
    /// Empty where a run was too short to judge by.
    pub targets: Vec<Judgement>,
}

#[derive(Serialize)]
pub struct Scenario {
    pub name: &'static str,
    pub label: &'static str,
    pub unit: &'static str,
    /// How far two measurements of plain forwarding are apart, as a part of it.
    pub noise: Option<f64>,
    pub rows: Vec<Row>,
}

#[derive(Serialize)]
pub struct Row {
    pub name: &'static str,
    pub label: &'static str,
    pub figure: Spread,
    /// To plain forwarding, round by round.
    pub ratio: Option<Spread>,
    pub program_ns: Option<f64>,
    pub generator_ns: Option<Spread>,
    pub overflowed: u64,
    pub rounds: Vec<f64>,
}

impl Scenario {
    fn of(all: &[Series], own: &[Series]) -> Option<Self> {
        let first = own.first()?;
        let row = |series: &Series| Row {
            name: series.contender,
            label: series.label,
            figure: series.spread(),
            ratio: find(all, series.scenario, BASELINE).map(|baseline| series.ratio_to(baseline)),
            program_ns: series.program_ns,
            generator_ns: (!series.generator_ns.is_empty()).then(|| Spread::of(&series.generator_ns)),
            overflowed: series.overflowed,
            rounds: series.rounds.clone(),
        };
        Some(Self {
            name: first.scenario,
            label: first.scenario_label,
            unit: first.unit,
            noise: noise_of(all, first.scenario),
            rows: own.iter().map(row).collect(),
        })
    }

    /// Whether a smaller figure is the better one.
    pub fn is_cost(&self) -> bool {
        self.unit == "ns"
    }
}

/// Every scenario of a run.
pub fn scenarios(all: &[Series]) -> Vec<Scenario> {
    by_scenario(all).into_iter().filter_map(|own| Scenario::of(all, own)).collect()
}

impl Report {
    /// Writes `results.json` and `report.html`.
    pub fn write(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("could not make {}", directory.display()))?;
        for (name, text) in
            [("results.json", serde_json::to_string_pretty(self)?), ("report.html", html::page(self))]
        {
            let path = directory.join(name);
            std::fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
        }
        Ok(())
    }

    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.machine.sentence());
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "{} rounds of {} packets in random order, seed {}",
            self.rounds, self.packets, self.seed
        );
        for scenario in &self.scenarios {
            text += &scenario.text();
        }
        if !self.targets.is_empty() {
            text += "\ntargets\n";
        }
        for judgement in &self.targets {
            let (found, limit) = judgement.figures();
            let _ = writeln!(
                text,
                "  {:<48} {found:>9} of {limit:>8}  {}",
                judgement.target,
                judgement.verdict.word()
            );
        }
        text
    }
}

impl Scenario {
    fn text(&self) -> String {
        let noise = self.noise.map_or("unknown".to_owned(), |noise| format!("{:.1} %", noise * 100.0));
        let unit = if self.is_cost() { "ns a packet" } else { self.unit };
        let mut text = format!("\n{} ({unit}; noise {noise})\n", self.label);
        let _ = writeln!(
            text,
            "  {:<38} {:>11} {:>23} {:>8} {:>9}",
            "", "median", "middle half", "ratio", "program"
        );
        for row in &self.rows {
            let Spread { median, low, high } = row.figure;
            let ratio = row.ratio.map_or(String::new(), |ratio| format!("{:.2}", ratio.median));
            let program = row.program_ns.map_or(String::new(), |ns| format!("{ns:.0} ns"));
            let half = format!("{} - {}", figure(low), figure(high));
            let _ = writeln!(
                text,
                "  {:<38} {:>11} {half:>23} {ratio:>8} {program:>9}",
                row.label,
                figure(median)
            );
        }
        text
    }
}

/// Three digits that matter.
fn figure(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// What a row is to the eye.
fn class(row: &Row) -> &'static str {
    match row.name {
        BASELINE | AGAIN | "forwarding-nat" => "none",
        name if name.starts_with("ours") => "ours",
        name if name.starts_with("tcx") => "bound",
        _ => "peer",
    }
}
