//! `smtpfence schema`: prints the JSON Schema of the policy language, with which editors complete and explain keys.

use std::io::{self, Write as _};

use super::printed;
use crate::failure::Failure;
use crate::policy::{reference, schema};

/// Print the JSON Schema (draft 2020-12) of the policy language, for editors.
///
/// An editor with a YAML language server uses it for a policy whose first line is
/// `# yaml-language-server: $schema=policy.schema.json`. Whether a policy is valid only `smtpfence check` knows.
///
/// Exit code: 0; 2 it could not be written.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Describe the fragments that a policy includes instead
    #[arg(long)]
    fragment: bool,
    /// Print what is said about each key, as Markdown, instead
    #[arg(long, conflicts_with = "fragment")]
    markdown: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    match args {
        Args { markdown: true, .. } => printed(write!(io::stdout(), "{}", reference::document())),
        Args { fragment: true, .. } => printed(writeln!(io::stdout(), "{:#}", schema::fragment())),
        _ => printed(writeln!(io::stdout(), "{:#}", schema::document())),
    }
}
