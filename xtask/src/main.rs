//! `cargo xtask`: everything one does with this repository, one file a verb.

mod bench;
mod build;
mod command;
mod demo;
mod elsewhere;
mod endure;
mod fuzz;
mod package;
mod packages;
mod setup;
mod supply;
mod test;
mod toolchain;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sets up a machine for smtpfence, builds it, tests it and shows it at work.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Setup(setup::Arguments),
    Build(build::Arguments),
    Test(test::Arguments),
    Demo(demo::Arguments),
    Endure(endure::Arguments),
    Fuzz(fuzz::Arguments),
    Bench(bench::Arguments),
    Package(package::Arguments),
    Vm(vm::Arguments),
}

/// The machine lacks something that only its admin can give; everything else that fails is 1.
const EXIT_MACHINE: u8 = 2;

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Setup(arguments) => setup::run(arguments),
        Verb::Build(arguments) => build::run(arguments),
        Verb::Test(arguments) => test::run(arguments),
        Verb::Demo(arguments) => demo::run(arguments),
        Verb::Endure(arguments) => endure::run(arguments),
        Verb::Fuzz(arguments) => fuzz::run(arguments),
        Verb::Bench(arguments) => bench::run(arguments),
        Verb::Package(arguments) => package::run(arguments),
        Verb::Vm(arguments) => vm::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<setup::MachineLacks>() => {
            eprintln!("xtask: {error}");
            ExitCode::from(EXIT_MACHINE)
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
