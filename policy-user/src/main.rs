//! The `smtpfence` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    policy_user::cli::main()
}
