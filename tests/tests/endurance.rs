//! A short worst day in every test run; `cargo xtask endure` makes it a long one.

use anyhow::{Result, ensure};
use lab::endurance::{Binaries, Plan, endure};
use lab::{built_binary, require_root_or_skip};

#[test]
fn nothing_leaks_and_no_mail_is_lost_on_a_short_worst_day() -> Result<()> {
    require_root_or_skip!();
    let binaries = Binaries { ours: built_binary()?, other: None };
    let report = endure(&binaries, Plan::SHORT, |_| {})?;
    println!("{report}");
    ensure!(report.holds(), "\n{report}");
    Ok(())
}
