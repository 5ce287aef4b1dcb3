//! `smtpfence version`: what this binary is and contains.

use std::io::{self, Write as _};

use policy_common::abi::ABI_VERSION;
use serde_json::json;

use super::{OutputFormat, printed};
use crate::datapath::{self, MINIMUM_KERNEL};
use crate::failure::Failure;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let (version, digest) = (env!("CARGO_PKG_VERSION"), datapath::object_digest());
    let (major, minor) = MINIMUM_KERNEL;
    let mut out = io::stdout().lock();
    printed(match args.format {
        OutputFormat::Json => {
            let told = json!({
                "version": version,
                "abi": ABI_VERSION,
                "minimum_kernel": format!("{major}.{minor}"),
                "kernel_programs_sha256": digest,
            });
            writeln!(out, "{told:#}")
        }
        OutputFormat::Human => writeln!(
            out,
            "smtpfence {version}\nkernel programs  sha256 {digest}\npinned maps      version {ABI_VERSION}\n\
             needs            Linux {major}.{minor} or newer"
        ),
    })
}
