//! `smtpfence test`: runs unit tests of policies, for an admin before a change and for CI.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::OutputFormat;
use super::explain::step_lines;
use crate::policy::unit_test::{self, Outcome, Report, TestError};

/// Run unit tests of policies: connections and the verdict that each must get. Needs no root.
///
/// Exit code: 0 all passed; 1 one failed, or a file is not valid; 2 a file could not be read.
#[derive(clap::Args)]
pub struct Args {
    /// Files of tests
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Test this policy instead of the one that the files name
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Fail if an entry of a policy is touched by no test
    #[arg(long)]
    deny_untested: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    format: OutputFormat,
}

const REJECTED: u8 = 1;
const COULD_NOT_RUN: u8 = 2;

/// A file of tests with what came of it.
type Ran<'a> = (&'a Path, Result<Report, TestError>);

pub fn run(args: &Args) -> ExitCode {
    let run = |file: &'_ PathBuf| unit_test::run(file, args.policy.as_deref());
    let ran: Vec<Ran<'_>> = args.files.iter().map(|file| (file.as_path(), run(file))).collect();
    let code = ran.iter().map(|(_, result)| code_of(result, args.deny_untested)).max().unwrap_or(0);
    let out = &mut io::stdout().lock();
    let printed = match args.format {
        OutputFormat::Json => writeln!(out, "{:#}", as_json(&ran, code)),
        OutputFormat::Human => print(out, &ran, args.deny_untested),
    };
    match super::printed(printed) {
        Ok(()) => ExitCode::from(code),
        Err(failure) => failure.report(),
    }
}

fn code_of(result: &Result<Report, TestError>, deny_untested: bool) -> u8 {
    match result {
        Ok(report) if report.tests.iter().any(|test| !test.passed) => REJECTED,
        Ok(report) if deny_untested && !report.untested.is_empty() => REJECTED,
        Ok(_) => 0,
        Err(error) if error.is_rejection() => REJECTED,
        Err(_) => COULD_NOT_RUN,
    }
}

/// How many tests passed, how many failed, and how many files could not be run.
fn totals(ran: &[Ran<'_>]) -> (usize, usize, usize) {
    let tests = || ran.iter().filter_map(|(_, result)| result.as_ref().ok()).flat_map(|report| &report.tests);
    let passed = tests().filter(|test| test.passed).count();
    (passed, tests().count() - passed, ran.iter().filter(|(_, result)| result.is_err()).count())
}

fn as_json(ran: &[Ran<'_>], code: u8) -> Value {
    let (passed, failed, _) = totals(ran);
    let files = ran.iter().map(|(file, result)| match result {
        Ok(report) => json!({ "file": file, "error": null, "report": report }),
        Err(error) => json!({ "file": file, "error": error.to_string(), "report": null }),
    });
    let files: Vec<Value> = files.collect();
    json!({ "ok": code == 0, "passed": passed, "failed": failed, "files": files })
}

fn print(out: &mut impl Write, ran: &[Ran<'_>], deny_untested: bool) -> io::Result<()> {
    for (file, result) in ran {
        match result {
            Ok(report) => print_report(out, file, report, deny_untested)?,
            Err(error) => writeln!(io::stderr(), "{error}\n")?,
        }
    }
    let (passed, failed, unusable) = totals(ran);
    let verdict = if failed + unusable == 0 { "ok" } else { "FAILED" };
    let files = match unusable {
        0 => String::new(),
        1 => ", 1 file could not be run".to_owned(),
        _ => format!(", {unusable} files could not be run"),
    };
    writeln!(out, "{verdict}: {passed} passed, {failed} failed{files}")
}

fn print_report(out: &mut impl Write, file: &Path, report: &Report, deny_untested: bool) -> io::Result<()> {
    for outcome in report.tests.iter().filter(|test| !test.passed) {
        print_failure(out, file, outcome)?;
    }
    let passed = report.tests.iter().filter(|test| test.passed).count();
    let (total, shown) = (report.tests.len(), shown(file));
    write!(out, "{shown}: {passed} of {total} passed; ")?;
    let touched = report.entries - report.untested.len();
    match (report.entries, touched) {
        (0, _) => return writeln!(out, "the policy has no entries"),
        (all, touched) if all == touched => {
            return writeln!(out, "all {all} entries of the policy are touched");
        }
        _ => {}
    }
    writeln!(out, "{touched} of {} entries of the policy are touched, not", report.entries)?;
    for entry in &report.untested {
        writeln!(out, "  {}", entry.shown(&report.policy))?;
    }
    if deny_untested { writeln!(out, "  which --deny-untested does not allow") } else { Ok(()) }
}

fn print_failure(out: &mut impl Write, file: &Path, outcome: &Outcome) -> io::Result<()> {
    let reason = |reason: Option<&str>| reason.map_or_else(String::new, |reason| format!(", {reason}"));
    let (name, got) = (outcome.name.escape_debug(), &outcome.got);
    writeln!(out, "FAILED {name} ({}:{})", shown(file), outcome.line)?;
    writeln!(out, "  expected  {}{}", outcome.expected, reason(outcome.expected_reason))?;
    writeln!(out, "  got       {}, {}: {}", got.verdict.label(), got.reason, got.sentence)?;
    for assumed in &got.assumed {
        writeln!(out, "  assumed   {assumed}")?;
    }
    for line in step_lines(&got.steps) {
        writeln!(out, "    {line}")?;
    }
    writeln!(out)
}

fn shown(file: &Path) -> String {
    file.display().to_string().escape_debug().to_string()
}
