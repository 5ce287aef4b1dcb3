//! Debian packages: which are needed for what, which are missing, and how they are installed quietly.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::ask;

/// A package and what it is for.
pub struct Package {
    pub name: &'static str,
    /// A program that does as well, wherever it comes from.
    program: Option<&'static str>,
    pub why: &'static str,
}

const fn package(name: &'static str, program: &'static str, why: &'static str) -> Package {
    Package { name, program: if program.is_empty() { None } else { Some(program) }, why }
}

/// A linker for Rust, and a C compiler for the C code in dependencies.
pub const BUILD: &[Package] = &[package("gcc", "cc", "links what Rust compiles")];

/// Debian's own Rust, because it has `core` prebuilt for the BPF target.
pub const COMPILER: &[Package] = &[
    package("rustc-web", "", "a compiler whose LLVM matches bpf-linker's"),
    package("cargo-web", "", "its cargo"),
    package("libstd-rust-web-dev-bpf", "", "its `core` for the BPF target"),
];

/// What `cargo install bpf-linker` needs.
pub const LINKER: &[Package] = &[
    package("llvm-22-dev", "", "LLVM, which bpf-linker is made of"),
    package("libpolly-22-dev", "", "a part of LLVM that bpf-linker links"),
];

/// What the lab needs.
pub const LAB: &[Package] = &[
    package("iproute2", "ip", "makes network namespaces"),
    package("nftables", "nft", "NAT on the lab's gateway"),
    package("util-linux", "nsenter", "enters network namespaces"),
    package("bpftool", "bpftool", "looks at hooks and maps from outside the agent"),
    package("tmux", "tmux", "the terminal that the live screen is tested on"),
];

/// The real mail software of the demo.
pub const MAIL: &[Package] = &[
    package("postfix", "postfix", "the provider and the company's mail server"),
    package("sasl2-bin", "saslpasswd2", "the provider's password database"),
    package("libsasl2-modules", "", "the provider's login methods"),
    package("swaks", "swaks", "the staff's mail program"),
    package("libnet-ssleay-perl", "", "TLS for swaks"),
    package("openssl", "openssl", "the provider's certificate"),
];

/// What the tests hold against our own output.
pub const JUDGES: &[Package] =
    &[package("prometheus", "promtool", "reads metrics and alerts as Prometheus does")];

/// What smtpfence is measured beside, with nftables of the lab.
pub const PEERS: &[Package] = &[
    package("iptables", "iptables", "a packet filter to compare with"),
    package("ipset", "ipset", "its sets of addresses"),
];

/// What makes a Debian package, and a clean Debian to try it on.
pub const PACKAGE: &[Package] = &[
    package("dpkg-dev", "dpkg-shlibdeps", "finds the libraries that the package needs"),
    package("lintian", "lintian", "judges the package"),
    package("debootstrap", "debootstrap", "makes a clean Debian to try the package on"),
    package("util-linux", "unshare", "starts it in namespaces"),
];

/// What boots another kernel with this machine's files.
pub const EMULATOR: &[Package] = &[
    package("qemu-system-x86", "qemu-system-x86_64", "the emulated machine"),
    package("busybox-static", "", "its first process"),
    package("cpio", "cpio", "packs its first file system"),
    package("kmod", "depmod", "finds the modules that it takes"),
    package("xz-utils", "xz", "unpacks them"),
];

/// A linter of the same version as Debian's compiler, for the kernel programs.
pub const LINTER: &[Package] = &[package("rust-web-clippy", "", "lints the kernel programs")];

/// Those of `wanted` that are not here.
pub fn missing(wanted: Vec<&'static Package>) -> Vec<&'static Package> {
    let unsure: Vec<_> = wanted.into_iter().filter(|p| !p.program.is_some_and(on_path)).collect();
    if unsure.is_empty() {
        return unsure;
    }
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${Package} ${db:Status-Status}\n"]).args(unsure.iter().map(|p| p.name));
    // It fails as soon as it doesn't know one of them, but prints what it knows all the same.
    let text = query.output().map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let installed: HashSet<&str> = text.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    unsure.into_iter().filter(|p| !installed.contains(p.name)).collect()
}

/// Whether this system installs packages as Debian does.
pub fn apt_is_here() -> bool {
    on_path("apt-get")
}

/// The commands that install these packages, in order.
pub fn install(packages: &[&Package]) -> Vec<Command> {
    let mut commands = Vec::new();
    if packages.iter().any(|p| p.name == "postfix") {
        let mut answers = Command::new("sh");
        // Asked for by its installation: no mail system of the host itself.
        let answer = "postfix postfix/main_mailer_type select No configuration";
        answers.args(["-c", &format!("echo '{answer}' | debconf-set-selections")]);
        commands.push(answers);
    }
    let mut update = Command::new("apt-get");
    update.args(["-qq", "update"]);
    let mut install = Command::new("apt-get");
    install.args(["-qq", "-y", "--no-install-recommends", "install"]).args(packages.iter().map(|p| p.name));
    for mut apt in [update, install] {
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        commands.push(apt);
    }
    commands
}

/// Whether `command` only fetches the lists of packages. If some list can't be fetched, what is needed may still
/// be in another one: then the installation tells.
pub fn is_update(command: &Command) -> bool {
    command.get_program() == "apt-get" && command.get_args().any(|word| word == "update")
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where the programs of administration are, also if our user's PATH doesn't say so.
    let administration = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(administration).any(|directory| directory.join(program).is_file())
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// While it lives, installing a package starts no daemon. An existing policy of the machine stays as it is.
pub struct NoDaemons {
    ours: bool,
}

impl NoDaemons {
    pub fn start() -> Result<Self> {
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        let ours = match opened {
            Ok(mut file) => {
                std::io::Write::write_all(
                    &mut file,
                    b"#!/bin/sh\n# Put here by cargo xtask setup.\nexit 101\n",
                )
                .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)))
                .with_context(|| format!("could not write {POLICY}"))?;
                true
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => false,
            Err(e) => return Err(e).with_context(|| format!("could not make {POLICY}")),
        };
        Ok(Self { ours })
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// Stops the host's Postfix if installing the package started it after all, as an existing policy may let it.
pub fn stop_fresh_postfix() {
    let running = Path::new("/var/spool/postfix/pid/master.pid").exists()
        && ask(Command::new("postfix").arg("status")).is_some();
    if running {
        let _ = Command::new("postfix").arg("stop").output();
    }
}
