//! `smtpfence schema`: prints the JSON Schema of the policy language, with which editors complete and explain keys.

use std::io::{self, Write as _};

use super::printed;
use crate::failure::Failure;
use crate::policy::schema;

/// Print the JSON Schema (draft 2020-12) of the policy language, for editors.
///
/// An editor with a YAML language server uses it for a policy whose first line is
/// `# yaml-language-server: $schema=policy.schema.json`. Whether a policy is valid only `smtpfence check` knows.
///
/// Exit code: 0; 2 it could not be written.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(Args {}: &Args) -> Result<(), Failure> {
    printed(writeln!(io::stdout(), "{:#}", schema::document()))
}
