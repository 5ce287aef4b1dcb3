//! Where things are: the workspace, its target directory, its policies.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{ask, cargo};

/// The root of the workspace.
pub fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask lies outside a workspace")?.to_path_buf())
}

/// Where cargo puts what it builds, whatever variable or configuration says so.
pub fn target_directory() -> Result<PathBuf> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root()?);
    let text = ask(&mut metadata).context("`cargo metadata` failed; run it to see why")?;
    let value: serde_json::Value = serde_json::from_str(&text).context("`cargo metadata` printed no JSON")?;
    let directory =
        value["target_directory"].as_str().context("`cargo metadata` names no target directory")?;
    Ok(directory.into())
}

/// The shippable policies, by name.
pub fn policies() -> Result<Vec<PathBuf>> {
    let directory = root()?.join("policies");
    let entries =
        std::fs::read_dir(&directory).with_context(|| format!("could not read {}", directory.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    found.sort();
    Ok(found)
}
