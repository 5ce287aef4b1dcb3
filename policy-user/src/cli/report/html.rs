//! The report as one HTML page: no script, nothing fetched, readable on paper and with a screen reader.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Report;
use crate::cli::{hosts, when};
use crate::store::HourCount;

const STYLE: &str = "
:root { color-scheme: light dark; --bar: #2f6fb0; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.lead { font-size: 1.25rem; } .small { opacity: .75; font-size: .9rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.wide { overflow-x: auto; } .ends { display: flex; justify-content: space-between; margin: 0; }
td { overflow-wrap: break-word; } td.t, td.n { white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: .95em; } svg { width: 100%; height: auto; } rect { fill: var(--bar); }
@media print { body { max-width: none; margin: 0; } }";

pub fn page(report: &Report) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>smtpfence report</title><style>{STYLE}</style></head><body>\n"
    );
    // Writing to a String can't fail.
    let _ = writeln!(
        page,
        "<h1>Mail that was not let out</h1>\n<p class=\"small\">{} to {}{}</p>\n<p class=\"lead\">{}</p>",
        escaped(&when::minute(report.since)),
        escaped(&format!("{} {}", when::minute(report.until), when::zone())),
        report.policy.as_ref().map_or(String::new(), |(name, revision)| {
            format!(" · policy {} (revision <code>{}</code>)", escaped(name), escaped(revision))
        }),
        escaped(&report.headline())
    );
    if report.attempts > 0 {
        page.push_str(&chart(&report.hours, report.since, report.until));
        page.push_str(&table(
            "Why",
            &["reason", ">attempts"],
            report.reasons.iter().map(|total| vec![total.reason.clone(), total.attempts.to_string()]),
        ));
        page.push_str(&hosts_table(report));
        page.push_str(&destinations_table(report));
    }
    page.push_str(
        "<p class=\"small\">Staff send mail with a log-in through port 587 (STARTTLS) or 465 (TLS). A host in this list is a \
         mail program that is set up for port 25, an unregistered mail server, or infected.</p>\n</body></html>\n",
    );
    page
}

fn hosts_table(report: &Report) -> String {
    let title = format!("Hosts ({} of {})", report.hosts.len(), report.hosts_total);
    let headings = ["client", "MAC", "who", ">attempts", ">destinations", "first", "last", "reasons"];
    let rows = report.hosts.iter().map(|host| {
        let total = &host.total;
        vec![
            total.client.map_or("?".to_owned(), |ip| ip.to_string()),
            total.mac.map_or("-".to_owned(), |mac| mac.to_string()),
            host.identity.as_ref().map_or(String::new(), hosts::who),
            total.totals.attempts.to_string(),
            total.destinations.to_string(),
            when::minute(total.totals.first),
            when::minute(total.totals.last),
            total.totals.reasons.join(", "),
        ]
    });
    table(&title, &headings, rows)
}

fn destinations_table(report: &Report) -> String {
    let title = format!("Destinations ({} of {})", report.destinations.len(), report.destinations_total);
    let rows = report.destinations.iter().map(|to| {
        vec![
            to.destination.map_or("?".to_owned(), |ip| ip.to_string()),
            to.totals.attempts.to_string(),
            to.clients.to_string(),
            when::minute(to.totals.last),
        ]
    });
    table(&title, &["destination", ">attempts", ">clients", "last"], rows)
}

/// A `>` in front of a heading makes a column of numbers.
fn table(title: &str, headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let class = |heading: &str| match heading {
        "first" | "last" | "MAC" => " class=\"t\"",
        number if number.starts_with('>') => " class=\"n\"",
        _ => "",
    };
    let mut out = format!("<h2>{}</h2>\n<div class=\"wide\"><table><thead><tr>", escaped(title));
    for heading in headings {
        let _ = write!(out, "<th{}>{}</th>", class(heading), escaped(heading.trim_start_matches('>')));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (cell, heading) in row.iter().zip(headings) {
            let _ = write!(out, "<td{}>{}</td>", class(heading), escaped(cell));
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody></table></div>\n"
}

/// Bars of equal width over the whole time, each the sum of an hour or of several.
fn chart(hours: &[HourCount], since: Timestamp, until: Timestamp) -> String {
    const HOUR: i64 = 3600;
    const BARS: i64 = 168;
    const WIDTH: f64 = 960.0;
    const HEIGHT: f64 = 160.0;
    let (first, last) = (since.as_second().div_euclid(HOUR), until.as_second().div_euclid(HOUR));
    let per_bar = (last - first) / BARS + 1;
    let count = ((last - first) / per_bar + 1).max(1);
    let mut sums = vec![0u64; usize::try_from(count).unwrap_or(1)];
    for hour in hours {
        let bar = (hour.hour.as_second().div_euclid(HOUR) - first) / per_bar;
        if let Some(sum) = usize::try_from(bar).ok().and_then(|bar| sums.get_mut(bar)) {
            *sum += hour.attempts;
        }
    }
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    let step = WIDTH / count as f64;
    let per = if per_bar == 1 { "hour".to_owned() } else { format!("{per_bar} hours") };
    let mut out = format!(
        "<h2>Attempts per {per}, {most} at most</h2>\n<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" \
         aria-label=\"attempts per {per}\">",
        HEIGHT + 1.0
    );
    for (bar, sum) in sums.iter().enumerate().filter(|(_, sum)| **sum > 0) {
        // What is there at all is to be seen.
        let height = (*sum as f64 / most as f64 * HEIGHT).max(2.0);
        let _ = write!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{sum}</title></rect>",
            bar as f64 * step,
            HEIGHT - height,
            (step * 0.85).max(1.0)
        );
    }
    let _ = writeln!(
        out,
        "<line x1=\"0\" x2=\"{WIDTH}\" y1=\"{HEIGHT}\" y2=\"{HEIGHT}\" stroke=\"currentColor\"/>\
         </svg><p class=\"small ends\"><span>{}</span><span>{}</span></p>",
        escaped(&when::minute(since)),
        escaped(&when::minute(until))
    );
    out
}

/// Text that can stand anywhere in a page, also within quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_becomes_markup() {
        assert_eq!(escaped("<b>\"x\" & 'y'\u{1b}"), "&lt;b&gt;&quot;x&quot; &amp; &#39;y&#39;\\u{1b}");
    }
}
