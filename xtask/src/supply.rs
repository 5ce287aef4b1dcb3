//! What smtpfence is made of: the bill of materials that the package brings, and the rules of deny.toml.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{self, ask, cargo};
use crate::workspace;

/// Licences and sources of every crate. Not the advisories: their database is on a host that a build must not need.
pub fn check() -> Result<()> {
    let mut deny = cargo();
    deny.args(["deny", "--log-level", "error", "check", "licenses", "bans", "sources"]);
    command::run(deny.current_dir(workspace::root()?))
}

/// Writes the bill of materials of the agent (CycloneDX 1.5): every crate in it, with version, licence and digest.
pub fn write_bill(to: &Path) -> Result<()> {
    const NAME: &str = "smtpfence-bill";
    let root = workspace::root()?;
    let mut cyclonedx = cargo();
    cyclonedx
        .args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5"])
        .args(["--all", "--no-build-deps", "--override-filename", NAME])
        // Without a time in it, two builds make the same bytes.
        .env("SOURCE_DATE_EPOCH", "0")
        .current_dir(&root);
    let written = command::run(&mut cyclonedx);
    // It writes one beside each manifest of the workspace, wherever it is told to look.
    let file = format!("{NAME}.json");
    let bill = fs::read_to_string(root.join("policy-user").join(&file));
    for directory in members()? {
        let _ = fs::remove_file(directory.join(&file));
    }
    written?;
    // Where it was built is nobody's concern, and differs.
    let bill = bill.context("no bill of materials was written")?.replace(&root.display().to_string(), "");
    fs::write(to, bill).with_context(|| format!("could not write {}", to.display()))
}

/// The directories of the workspace's crates.
fn members() -> Result<Vec<PathBuf>> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(workspace::root()?);
    let text = ask(&mut metadata).context("`cargo metadata` failed; run it to see why")?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    let packages = value["packages"].as_array().context("`cargo metadata` names no packages")?;
    let manifests = packages.iter().filter_map(|package| package["manifest_path"].as_str());
    Ok(manifests.filter_map(|manifest| Some(Path::new(manifest).parent()?.to_owned())).collect())
}
