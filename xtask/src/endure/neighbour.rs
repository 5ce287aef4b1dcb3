//! Builds the smtpfence of the next ABI version: the same program with other pins, as an upgrade that changes them has it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::command::{self, cargo};
use crate::workspace;

/// What cargo needs to build it.
const PARTS: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    ".cargo",
    "policy-common",
    "policy-ebpf",
    "policy-user",
    "policies",
    "tests",
    "xtask",
];
const ABI: &str = "policy-common/src/abi.rs";
const BEFORE: &str = "pub const ABI_VERSION: u32 = ";
const VERSION: &str = "\nversion = \"";

pub fn build() -> Result<PathBuf> {
    let target = workspace::target_directory()?;
    let copy = target.join("endure/workspace");
    for part in PARTS {
        copy_changed(&workspace::root()?.join(part), &copy.join(part))?;
    }
    let mut build = cargo();
    build.args(["build", "--package", "policy-user", "--bin", "smtpfence", "--target-dir"]);
    // The same directory: what is not the project's own is built already.
    command::run(build.arg(&target).current_dir(&copy))?;
    let binary = target.join("endure/smtpfence-next");
    fs::copy(target.join("debug/smtpfence"), &binary).context("can't keep the other version")?;
    Ok(binary)
}

/// Cargo tells what it has built of two workspaces apart by the version alone, where they share a directory.
fn with_next_version(text: &str) -> Result<String> {
    let (head, tail) = text.split_once(VERSION).context("the workspace has no version")?;
    let (number, tail) = tail.split_once('"').context("the workspace has no version")?;
    Ok(format!("{head}{VERSION}{number}-next\"{tail}"))
}

fn with_next_abi(text: &str) -> Result<String> {
    let (head, tail) = text.split_once(BEFORE).context("the ABI version is not where it was")?;
    let (number, tail) = tail.split_once(';').context("the ABI version is no number")?;
    let number: u32 = number.parse().context("the ABI version is no number")?;
    ensure!(!tail.contains(BEFORE), "there are two ABI versions");
    Ok(format!("{head}{BEFORE}{};{tail}", number + 1))
}

/// What is equal already stays untouched, so that cargo builds only what has changed.
fn copy_changed(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("could not copy {}", from.display());
    if !from.is_dir() {
        let mut bytes = fs::read(from).with_context(failed)?;
        let change: Option<fn(&str) -> Result<String>> = if from.ends_with(ABI) {
            Some(with_next_abi)
        } else if from == workspace::root()?.join("Cargo.toml") {
            Some(with_next_version)
        } else {
            None
        };
        if let Some(change) = change {
            bytes = change(&String::from_utf8(bytes).with_context(failed)?)?.into_bytes();
        }
        if fs::read(to).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        fs::create_dir_all(to.parent().with_context(failed)?)?;
        return fs::write(to, bytes).with_context(failed);
    }
    for entry in fs::read_dir(from).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        copy_changed(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_versions_change() -> Result<()> {
        for (file, change) in [(ABI, with_next_abi as fn(&str) -> _), ("Cargo.toml", with_next_version)] {
            let text = fs::read_to_string(workspace::root()?.join(file))?;
            let next = change(&text)?;
            let changed: Vec<_> = text.lines().zip(next.lines()).filter(|(a, b)| a != b).collect();
            ensure!(changed.len() == 1 && text.lines().count() == next.lines().count(), "{changed:?}");
        }
        Ok(())
    }
}
