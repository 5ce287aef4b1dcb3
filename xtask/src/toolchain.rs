//! What this machine has for building eBPF programs: compilers that know the target, and bpf-linker.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::ask;

/// The LLVM of Debian's `rustc-web`; bpf-linker must be built with one that is not older.
pub const LLVM: u32 = 22;
/// The bpf-linker that was tried with it.
pub const BPF_LINKER: &str = "0.13.0";
/// The cargo-deb that makes the package.
pub const CARGO_DEB: &str = "3.8.0";
/// The cargo-cyclonedx that writes what it is made of.
pub const CARGO_CYCLONEDX: &str = "0.5.9";
/// The cargo-deny that judges licences and sources.
pub const CARGO_DENY: &str = "0.20.2";
/// The name under which rustup knows Debian's compiler; policy-user's build script asks for it.
pub const DEBIAN: &str = "debian";

/// A toolchain of rustup.
#[derive(Debug, PartialEq, Eq)]
pub struct Toolchain {
    pub name: String,
    pub active: bool,
    pub root: PathBuf,
}

/// The toolchains that rustup knows; none where there is no rustup.
pub fn installed() -> Vec<Toolchain> {
    ask(Command::new("rustup").args(["toolchain", "list", "-v"])).map(|text| parse(&text)).unwrap_or_default()
}

/// Reads lines like `stable-x86_64-unknown-linux-gnu (active, default) /home/anna/.rustup/toolchains/stable…`.
fn parse(text: &str) -> Vec<Toolchain> {
    let line = |line: &str| {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        let rest = rest.trim();
        let (marks, root) = match rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            Some((marks, root)) => (marks, root.trim()),
            None => ("", rest),
        };
        let active = marks.split(", ").any(|mark| mark == "active");
        Some(Toolchain { name: name.into(), active, root: root.into() })
    };
    text.lines().filter_map(line).collect()
}

impl Toolchain {
    /// A nightly, not one of a certain day, that can build `core` itself.
    pub fn is_nightly_with_source(&self) -> bool {
        let undated = self.name.strip_prefix("nightly").is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('-') && !rest[1..].starts_with(|c: char| c.is_ascii_digit())
        });
        undated && self.root.join("lib/rustlib/src/rust/library/core").is_dir()
    }

    /// Debian's compiler, with its `core` for the BPF target.
    pub fn is_debian_with_bpf(&self) -> bool {
        self.name == DEBIAN && has_bpf_core(&self.root)
    }

    /// Whether `cargo NAME` exists in it.
    pub fn has_component(&self, name: &str) -> bool {
        self.root.join("bin").join(format!("cargo-{name}")).exists()
    }

    /// The major version of its LLVM.
    pub fn llvm(&self) -> Option<u32> {
        let text = ask(Command::new(self.root.join("bin/rustc")).arg("-vV"))?;
        let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
        version.split('.').next()?.parse().ok()
    }
}

/// Whether the compiler installed at `root` has a prebuilt `core` for the BPF target.
pub fn has_bpf_core(root: &Path) -> bool {
    root.join("lib/rustlib/bpfel-unknown-none/lib").is_dir()
}

/// The version of the bpf-linker on the path, if it starts: it doesn't when its LLVM was removed.
pub fn bpf_linker() -> Option<String> {
    let text = ask(Command::new("bpf-linker").arg("--version"))?;
    Some(text.trim().strip_prefix("bpf-linker ")?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustups_list_is_read() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default) /r/stable\n\
                    nightly-x86_64-unknown-linux-gnu /r/nightly\ndebian /usr\n";
        let names: Vec<_> = parse(list).into_iter().map(|t| (t.name, t.active, t.root)).collect();
        assert_eq!(
            names,
            [
                ("stable-x86_64-unknown-linux-gnu".into(), true, "/r/stable".into()),
                ("nightly-x86_64-unknown-linux-gnu".into(), false, "/r/nightly".into()),
                ("debian".into(), false, "/usr".into()),
            ]
        );
        assert_eq!(
            parse("no installed toolchains"),
            [Toolchain { name: "no".into(), active: false, root: "installed toolchains".into() }]
        );
    }

    #[test]
    fn a_nightly_counts_only_with_its_source() {
        let root = std::env::temp_dir().join(format!("xtask-toolchain-{}", std::process::id()));
        let nightly = |name: &str| Toolchain { name: name.into(), active: false, root: root.clone() };
        assert!(!nightly("nightly-x86_64-unknown-linux-gnu").is_nightly_with_source());
        std::fs::create_dir_all(root.join("lib/rustlib/src/rust/library/core")).unwrap();
        let answers =
            ["nightly", "nightly-x86_64-unknown-linux-gnu", "nightly-2026-01-01-x86_64", "nightlyish"]
                .map(|name| nightly(name).is_nightly_with_source());
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(answers, [true, true, false, false]);
    }
}
