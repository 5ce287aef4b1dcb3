//! `smtpfence man` and `smtpfence completions`: what packages ship beside the binary, made from the command line itself.

use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, printed};
use crate::failure::Failure;

#[derive(clap::Args)]
pub struct ManArgs {
    /// Directory that the pages are written to, one for each command.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[derive(clap::Args)]
pub struct CompletionsArgs {
    shell: Shell,
}

pub fn man(args: &ManArgs) -> Result<(), Failure> {
    let mut command = Cli::command();
    // Prints its pages under their full names: smtpfence-flags-release(8).
    command.build();
    write_pages(&command, &args.directory)
        .map_err(|error| Failure::io("write manual pages to", &args.directory, &error))
}

fn write_pages(command: &clap::Command, directory: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let page =
        clap_mangen::Man::new(command.clone().disable_help_subcommand(true)).section("8").manual("smtpfence");
    let mut text = Vec::new();
    page.render(&mut text)?;
    std::fs::write(directory.join(format!("{name}.8")), text)?;
    command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
        .try_for_each(|sub| write_pages(sub, directory))
}

pub fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "smtpfence", &mut text);
    printed(io::Write::write_all(&mut io::stdout().lock(), &text))
}
