//! Whether the kernel programs are the same bytes where their source lies in another directory.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{self, ask, cargo};
use crate::workspace;

/// What cargo reads of the workspace when it builds the kernel programs.
const SOURCE: &[&str] =
    &[".cargo", "Cargo.lock", "Cargo.toml", "policy-common", "policy-ebpf", "policy-user", "tests", "xtask"];

/// Builds the kernel programs from a copy of their source, and holds their digest against what `binary` tells of itself.
pub fn check(binary: &Path) -> Result<()> {
    let directory = workspace::target_directory()?.join("elsewhere");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let (source, out) = (directory.join("source"), directory.join("out"));
    for path in [&source, &out] {
        fs::create_dir_all(path).with_context(|| format!("could not make {}", path.display()))?;
    }
    let files = SOURCE.iter().map(|name| Ok(workspace::root()?.join(name))).collect::<Result<Vec<_>>>()?;
    command::run(Command::new("cp").arg("--recursive").args(files).arg(&source))?;
    build(&source.join("policy-user"), &out)?;
    let (here, there) = (told_by(binary)?, digest_of(&out.join("policy-ebpf"))?);
    fs::remove_dir_all(&directory)?;
    ensure!(
        here == there,
        "the kernel programs depend on where their source lies:\n  {here} in {}\n  {there} built in {}",
        binary.display(),
        source.display()
    );
    println!("the kernel programs are the same from another directory: sha256 {here}");
    Ok(())
}

/// Starts the agent's build script as cargo would in a workspace elsewhere: the agent itself need not be built for it.
fn build(package: &Path, out: &Path) -> Result<()> {
    let script = build_script()?;
    let mut build = Command::new(&script);
    build.current_dir(package).env("CARGO_MANIFEST_DIR", package).env("OUT_DIR", out);
    build.env("CARGO_CFG_TARGET_ARCH", ARCH).env("CARGO_CFG_TARGET_ENDIAN", "little");
    let ended = build.output().with_context(|| format!("could not start {}", script.display()))?;
    ensure!(
        ended.status.success(),
        "the kernel programs could not be built in {}:\n{}{}",
        package.display(),
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(())
}

/// Where cargo has the agent's build script, already compiled.
fn build_script() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "policy-user", "--bin", "smtpfence"]);
    build.args(["--quiet", "--message-format", "json"]).current_dir(workspace::root()?);
    let messages = ask(&mut build).context("the agent could not be built")?;
    let manifest = workspace::root()?.join("policy-user/Cargo.toml");
    let script = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let ours = message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest)
            && message["target"]["kind"][0] == "custom-build";
        ours.then(|| message["filenames"][0].as_str().map(PathBuf::from))?
    });
    script.context("cargo names no build script of the agent")
}

fn told_by(binary: &Path) -> Result<String> {
    let told = ask(Command::new(binary).args(["version", "--format", "json"])).context("no version")?;
    let version: serde_json::Value = serde_json::from_str(&told).context("the version is no JSON")?;
    Ok(version["kernel_programs_sha256"].as_str().context("the version has no digest")?.to_owned())
}

fn digest_of(object: &Path) -> Result<String> {
    let told = ask(Command::new("sha256sum").arg(object))
        .with_context(|| format!("could not read {}", object.display()))?;
    Ok(told.split_whitespace().next().context("sha256sum printed nothing")?.to_owned())
}
