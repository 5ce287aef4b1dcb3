//! Builds the benchmark's kernel programs and hands their object to the crate.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

fn main() -> Result<()> {
    let package_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("ebpf");
    let package = Package {
        name: "bench-ebpf",
        root_dir: package_dir.to_str().context("the path of the workspace is not UTF-8")?,
        ..Default::default()
    };
    aya_build::build_ebpf([package], toolchain()?)
}

/// A nightly that can build `core` for the BPF target, else the one that Debian ships with it prebuilt.
fn toolchain() -> Result<Toolchain<'static>> {
    println!("cargo:rerun-if-env-changed=PATH");
    let has = |name: &str, file: &str| {
        sysroot(name).is_some_and(|root| Path::new(&root).join("lib/rustlib").join(file).exists())
    };
    if has("nightly", "src/rust/library/core") {
        return Ok(Toolchain::Nightly);
    }
    if has("debian", "bpfel-unknown-none") {
        return Ok(Toolchain::Custom("debian"));
    }
    bail!("no Rust toolchain here can build eBPF programs; `cargo xtask setup` installs one")
}

fn sysroot(toolchain: &str) -> Option<String> {
    let output =
        Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| path.trim().to_owned())
}
