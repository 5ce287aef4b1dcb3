//! Planted bugs: that each can be planted is checked always; that each is caught takes minutes and runs when asked for.

#[path = "../mutants/mod.rs"]
mod mutants;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use mutants::{Nursery, Outcome};

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies outside its workspace")
}

#[test]
fn every_mutant_fits_the_code_as_it_is() -> Result<()> {
    let wrong: Vec<String> = mutants::all()
        .filter_map(|mutant| {
            let text = std::fs::read_to_string(root().ok()?.join(mutant.file)).unwrap_or_default();
            mutant.apply(&text).err().map(|error| error.to_string())
        })
        .collect();
    let names: BTreeSet<_> = mutants::all().map(|mutant| mutant.name).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(names.len() == mutants::all().count() && names.len() >= 25);
    Ok(())
}

/// `MUTANTS=word` runs those whose name contains the word.
#[test]
#[ignore = "takes minutes: cargo test -p smtpfence-tests --test mutants -- --ignored --nocapture"]
fn every_mutant_is_caught_by_its_test() -> Result<()> {
    let wanted = std::env::var("MUTANTS").unwrap_or_default();
    // Beside the other build results, so that the next run is quicker.
    let own = std::env::current_exe()?;
    let place = own.ancestors().nth(3).context("no target directory")?.join("mutants");
    let nursery = Nursery::prepare(root()?, &place)?;
    let mut sound = Vec::new();
    let mut escaped = Vec::new();
    for mutant in mutants::all().filter(|mutant| mutant.name.contains(&wanted)) {
        if !sound.contains(&mutant.test) {
            nursery.check_sound(mutant.test)?;
            sound.push(mutant.test);
        }
        let verdict = nursery.judge(mutant)?;
        println!("{verdict}");
        if verdict.outcome != Outcome::Caught {
            let tail: Vec<_> = verdict.told.lines().rev().take(30).collect();
            escaped.push(format!("{verdict}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n")));
        }
    }
    ensure!(escaped.is_empty(), "{} mutants were not caught:\n{}", escaped.len(), escaped.join("\n\n"));
    Ok(())
}
