//! The page: one file without scripts or anything to load, charts drawn in it.

use std::fmt::Write as _;

use super::{Report, Row, Scenario, class, figure};
use crate::targets::{Judgement, MOST_NOISE};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2430; --paper: #fff; --faint: #8a94a3; --ours: #0b7a53; --peer: #9a5b13;
        --none: #6b7686; --bound: #b3bcc8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --paper: #14181f; --ours: #35c08d; --peer: #d99545; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .25rem; }
p { margin: .25rem 0; } .faint { color: var(--faint); }
svg { width: 100%; height: auto; } svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
.ours { fill: var(--ours); } .peer { fill: var(--peer); } .none { fill: var(--none); } .bound { fill: var(--bound); }
.half { stroke: var(--ink); stroke-width: 1.5; } .one { stroke: var(--faint); stroke-dasharray: 3 3; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .2rem 1rem .2rem 0; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
";

pub(super) fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>smtpfence: measured beside its peers</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<style>{STYLE}</style>\n\
         <h1>smtpfence: measured beside its peers</h1>\n<p>{}</p>\n\
         <p class=\"faint\">{} rounds of {} packets in random order (seed {}). Bars are medians; the line on each is the \
         middle half of all rounds. The dashed line is plain forwarding.</p>\n",
        escaped(&report.machine.sentence()),
        report.rounds,
        report.packets,
        report.seed
    );
    page += &targets(&report.targets);
    for scenario in &report.scenarios {
        page += &section(scenario);
    }
    page + "</html>\n"
}

fn targets(targets: &[Judgement]) -> String {
    if targets.is_empty() {
        return "<p class=\"faint\">A short run: it shows ratios and judges nothing.</p>\n".to_owned();
    }
    let mut text = "<h2>Targets</h2>\n<table><tr><th>what<th>found<th>target<th></tr>\n".to_owned();
    for judgement in targets {
        let (found, limit) = judgement.figures();
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "<tr><td>{}<td class=\"n\">{found}<td class=\"n\">{limit}<td>{}</tr>",
            escaped(judgement.target),
            judgement.verdict.word()
        );
    }
    let most = MOST_NOISE * 100.0;
    let _ = writeln!(text, "</table>\n<p class=\"faint\">Judged where the noise is below {most:.0} %.</p>");
    text
}

fn section(scenario: &Scenario) -> String {
    let noise = scenario.noise.map_or("unknown".to_owned(), |noise| format!("{:.1} %", noise * 100.0));
    let what = if scenario.is_cost() {
        "processor time of the gateway in ns a packet, less is better".to_owned()
    } else {
        format!("{}, more is better", scenario.unit)
    };
    format!(
        "<h2>{}</h2>\n<p class=\"faint\">{what}; noise {noise}</p>\n{}",
        escaped(scenario.label),
        chart(scenario)
    )
}

/// Where the bars begin and how long the longest may be; the rest of the 900 units is for the figures.
const LEFT: f64 = 280.0;
const WIDTH: f64 = 480.0;
const ROW: f64 = 24.0;

fn chart(scenario: &Scenario) -> String {
    let longest = scenario.rows.iter().map(|row| row.figure.high).fold(f64::MIN_POSITIVE, f64::max);
    let height = ROW * scenario.rows.len() as f64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 900 {height}\" role=\"img\" aria-label=\"{}\">\n",
        escaped(scenario.label)
    );
    let x = |value: f64| LEFT + value.max(0.0) / longest * WIDTH;
    if let Some(baseline) = scenario.rows.first() {
        let one = x(baseline.figure.median);
        let _ =
            writeln!(svg, "<line class=\"one\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"0\" y2=\"{height}\"/>");
    }
    for (i, row) in scenario.rows.iter().enumerate() {
        svg += &bar(row, ROW * i as f64, x);
    }
    svg + "</svg>\n"
}

fn bar(row: &Row, top: f64, x: impl Fn(f64) -> f64) -> String {
    let (low, median, high) = (x(row.figure.low), x(row.figure.median), x(row.figure.high));
    let (middle, text) = (top + ROW / 2.0, top + ROW / 2.0 + 4.5);
    let ratio = row.ratio.map_or(String::new(), |ratio| format!(" ({:.2})", ratio.median));
    format!(
        "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\
         <rect class=\"{}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
         <line class=\"half\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
         <text x=\"{:.1}\" y=\"{text:.1}\">{}{ratio}</text>\n",
        LEFT - 8.0,
        escaped(row.label),
        class(row),
        top + 4.0,
        median - LEFT,
        ROW - 8.0,
        high.max(median) + 8.0,
        figure(row.figure.median),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::Contender;
    use crate::machine::Machine;
    use crate::report::scenarios;
    use crate::results::Series;

    #[test]
    fn the_page_is_whole_and_loads_nothing() {
        let series = |name: &str, rounds: &[f64]| {
            let contender = Contender::named(name).unwrap();
            Series { rounds: rounds.to_vec(), ..Series::new("permitted", "<permitted>", contender) }
        };
        let all = [series("forwarding", &[200.0, 210.0]), series("ours", &[250.0, 240.0])];
        let mut machine = Machine::now();
        machine.processor = "a <script>".to_owned();
        let (scenarios, targets) = (scenarios(&all), crate::targets::judge(&all));
        let report = Report { version: 1, machine, seed: 1, rounds: 2, packets: 10, scenarios, targets };
        let page = page(&report);
        assert_eq!(page.matches("<rect").count(), 2);
        assert!(page.contains("a &lt;script&gt;") && page.contains("&lt;permitted&gt;"));
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("http"));
        assert!(page.contains("245 (1.20)"), "{page}");
    }
}
