//! Builds the kernel programs with the eBPF toolchain this machine has, and hands their object to the crate. Started with
//! arguments it stands before the compiler in that build, so that the object is the same wherever its source lies.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

fn main() -> Result<()> {
    let mut words = env::args_os().skip(1);
    match words.next() {
        Some(rustc) => compile(&rustc, words),
        None => build(),
    }
}

fn build() -> Result<()> {
    let here = env::var_os("CARGO_MANIFEST_DIR").context("cargo names no directory of this crate")?;
    let root = Path::new(&here).parent().context("the crate lies outside its workspace")?;
    let package_dir = root.join("policy-ebpf");
    // The programs contain policy-common as well, which aya-build does not know of.
    println!("cargo:rerun-if-changed={}", root.join("policy-common/src").display());
    let package = Package {
        name: "policy-ebpf",
        root_dir: package_dir.to_str().context("the path of the workspace is not UTF-8")?,
        ..Default::default()
    };
    let ourselves = env::current_exe().context("could not find this program")?;
    // SAFETY: no other thread runs yet. aya-build takes no flags for the compiler, but cargo takes what stands before it.
    unsafe { env::set_var("RUSTC_WRAPPER", ourselves) };
    aya_build::build_ebpf([package], toolchain()?)
}

/// Becomes the compiler, which then writes the crate's name, or `.` for the workspace, where it would write the directory of
/// this machine. From there the linker still reads our lines, for the verifier's messages.
fn compile(rustc: &OsStr, words: impl Iterator<Item = OsString>) -> Result<()> {
    let here = env::current_dir().context("could not find the directory")?;
    let variable = |name| env::var_os(name).unwrap_or_default();
    let mut remap = OsString::from("--remap-path-prefix=");
    remap.push(&here);
    remap.push("=");
    // Cargo compiles foreign crates in their own directory, those of the workspace in its root.
    if variable("CARGO_MANIFEST_DIR") == here {
        remap.push(variable("CARGO_PKG_NAME"));
        remap.push("-");
        remap.push(variable("CARGO_PKG_VERSION"));
    } else {
        remap.push(".");
    }
    Err(Command::new(rustc).args(words).arg(remap).exec()).context("could not start the compiler")
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
