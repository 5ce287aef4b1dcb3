//! `smtpfence check`: judges a policy file, says in words what it means, and with `--live` whether it fits this machine.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::policy::{self, Diagnostic, LoadError, LoadedPolicy, Strictness, diagnostics};

pub(super) mod live;
mod sarif;
mod summary;

use live::Live;
use summary::Summary;

/// Check a policy file and say what it means. Needs no root; `--live` says more as root.
///
/// Exit code: 0 the policy is valid; 1 it is rejected; 2 it could not be read, for example for lack of permission.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policy file
    pub file: PathBuf,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
    /// Reject a policy that has warnings
    #[arg(long)]
    pub deny_warnings: bool,
    /// Hold it against this machine too: interfaces, addresses, routes, kernel and rights
    #[arg(long)]
    pub live: bool,
    /// BPF file system that `--live` looks for
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf")]
    pub bpffs: PathBuf,
}

/// How a judgement is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Human,
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

const REJECTED: u8 = 1;
const COULD_NOT_RUN: u8 = 2;

pub fn run(args: &Args) -> ExitCode {
    // The file's owner and mode matter to whoever enforces it; here it may still be a draft.
    let mut result = policy::load(&args.file, Strictness::Advisory);
    let live = match held_against_machine(args, &mut result) {
        Ok(live) => live,
        Err(failure) => return failure.report(),
    };
    let live = live.as_ref();
    let code = match &result {
        Ok((_, warnings)) if args.deny_warnings && !warnings.is_empty() => REJECTED,
        Ok(_) => 0,
        Err(error) if error.is_rejection() => REJECTED,
        Err(_) => COULD_NOT_RUN,
    };
    let printed = match args.format {
        Format::Human => print_human(args, &result, live, code),
        Format::Json => writeln!(io::stdout(), "{}", as_json(args, &result, live, code)),
        Format::Sarif => writeln!(io::stdout(), "{:#}", sarif::log(&args.file, &result)),
    };
    match printed {
        // A reader that closed its end, such as `head`, has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(COULD_NOT_RUN),
        _ => ExitCode::from(code),
    }
}

type Loaded = Result<(LoadedPolicy, Vec<Diagnostic>), LoadError>;

/// What does not fit joins the warnings of the file. A file that is no policy is held against nothing.
fn held_against_machine(args: &Args, result: &mut Loaded) -> Result<Option<Live>, Failure> {
    let Ok((loaded, warnings)) = result else { return Ok(None) };
    if !args.live {
        return Ok(None);
    }
    let mut live = live::judge(&loaded.policy, &live::look(&args.bpffs)?);
    warnings.append(&mut live.warnings);
    Ok(Some(live))
}

fn print_human(args: &Args, result: &Loaded, live: Option<&Live>, code: u8) -> io::Result<()> {
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let path = args.file.display().to_string();
    let path = path.escape_debug();
    match result {
        Ok((loaded, warnings)) => {
            let shown = diagnostics::render(warnings, &args.file.display().to_string(), &loaded.text, colour);
            io::stderr().write_all(shown.as_bytes())?;
            let verdict =
                if code == 0 { "valid" } else { "rejected, because --deny-warnings allows no warning" };
            writeln!(io::stdout(), "{path}: {verdict}{}", count(warnings.len(), "warning", ", "))?;
            write!(io::stdout(), "{}", Summary { loaded, now: Timestamp::now() })?;
            live.map_or(Ok(()), |live| write!(io::stdout(), "{live}"))
        }
        Err(error) => {
            io::stderr().write_all(error.render(colour).as_bytes())?;
            match error {
                LoadError::Invalid { diagnostics, .. } => {
                    writeln!(io::stderr(), "{path}: rejected{}", count(diagnostics.len(), "error", ", "))
                }
                LoadError::Source { .. } => Ok(()),
            }
        }
    }
}

fn count(number: usize, what: &str, before: &str) -> String {
    match number {
        0 => String::new(),
        1 => format!("{before}1 {what}"),
        _ => format!("{before}{number} {what}s"),
    }
}

fn as_json(args: &Args, result: &Loaded, live: Option<&Live>, code: u8) -> Value {
    let file = args.file.display().to_string();
    match result {
        Ok((loaded, warnings)) => json!({
            "file": file,
            "valid": code == 0,
            "revision": loaded.revision.to_string(),
            "errors": [],
            "warnings": warnings,
            "summary": summary::as_json(loaded, Timestamp::now()),
            "live": live.map(Live::to_json),
        }),
        Err(error) => {
            let errors = error.diagnostics(&args.file);
            json!({ "file": file, "valid": false, "revision": null, "errors": errors, "warnings": [], "summary": null, "live": null })
        }
    }
}
