//! `smtpfence migrate`: brings a policy file to the current version of the language.

use std::io::{self, Write as _};
use std::path::PathBuf;

use serde_json::json;

use super::{OutputFormat, printed};
use crate::failure::Failure;
use crate::policy::migrate::{self, CURRENT, STEPS};
use crate::policy::{self, Strictness};

/// Bring a policy file to the current version of the language.
///
/// What it would read then is printed; the file stays as it is. Version 1 is the only one so far, so there is nothing to do.
///
/// Exit code: 0; 1 the file is rejected, or of a version that is not known here; 2 it could not be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policy file
    file: PathBuf,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let path = args.file.display().to_string().escape_debug().to_string();
    let text = policy::read_text(&args.file, Strictness::Advisory)?;
    let Some(version) = migrate::version(&text) else {
        // What keeps the version from being read is told as `check` tells it.
        policy::load_text(&args.file, text)?;
        return Err(Failure::Rejected(format!(
            "{path}: `version` can't be read; write `version: {CURRENT}`"
        )));
    };
    let Some(migrated) = migrate::migrate(&text, version, &STEPS) else {
        return Err(Failure::Rejected(format!(
            "{path}: version {version} of the language is not known here, {CURRENT} is the newest; install the smtpfence \
             that it was written for, or write `version: {CURRENT}` and see what `smtpfence check` says"
        )));
    };
    printed(match args.format {
        OutputFormat::Json => {
            let text = (migrated != text).then_some(migrated);
            let result =
                json!({ "file": args.file, "version": version, "current_version": CURRENT, "text": text });
            writeln!(io::stdout(), "{result:#}")
        }
        OutputFormat::Human if migrated == text => {
            writeln!(io::stdout(), "{path}: version {version} is the current one: nothing to do")
        }
        OutputFormat::Human => io::stdout().write_all(migrated.as_bytes()),
    })
}
