//! The first file system of the emulated machine: busybox, tests/vm/init.sh, and the modules it takes to see the host's files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::kernel::Unpacked;
use crate::command::ask;
use crate::workspace;

/// What the host's files are seen through; those that a kernel has built in are no files.
const MODULES: &[&str] = &["virtio_pci", "9pnet_virtio", "9p", "overlay"];

pub fn make(kernel: &Unpacked, guest: &Path) -> Result<PathBuf> {
    let tree = guest.join("first");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for made in ["bin", "modules", "dev", "proc", "host", "memory", "new"] {
        fs::create_dir_all(tree.join(made))?;
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox")).context("no busybox-static")?;
    let init = tree.join("init");
    fs::copy(workspace::root()?.join("tests/vm/init.sh"), &init)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    for (number, module) in (100..).zip(modules(kernel)?) {
        let to = tree.join(format!("modules/{number}.ko"));
        if module.extension().is_some_and(|e| e == "xz") {
            let unpack = Command::new("xz").arg("-dc").arg(&module).output().context("no xz")?;
            ensure!(unpack.status.success(), "{} can't be unpacked", module.display());
            fs::write(to, unpack.stdout)?;
        } else {
            fs::copy(&module, to)?;
        }
    }
    pack(&tree, guest.join("first.cpio"))
}

/// The files of the modules, each behind those it depends on.
fn modules(kernel: &Unpacked) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for module in MODULES {
        let mut command = Command::new("modprobe");
        command.arg("-d").arg(&kernel.root).args(["-S", &kernel.release, "--show-depends", module]);
        let told = ask(&mut command).with_context(|| format!("{} has no {module}", kernel.release))?;
        for path in told.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let path = PathBuf::from(path.trim());
            if !found.contains(&path) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn pack(tree: &Path, archive: PathBuf) -> Result<PathBuf> {
    let list = ask(Command::new("find").arg(".").current_dir(tree)).context("no find")?;
    let mut cpio = Command::new("cpio")
        .args(["-o", "-H", "newc", "--quiet"])
        .current_dir(tree)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&archive)?)
        .spawn()
        .context("no cpio")?;
    let mut names = cpio.stdin.take().context("cpio has no input")?;
    std::io::Write::write_all(&mut names, list.as_bytes())?;
    drop(names);
    ensure!(cpio.wait()?.success(), "cpio failed");
    Ok(archive)
}
