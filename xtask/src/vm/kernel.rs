//! A kernel of a Debian release: fetched by apt beside the machine's own lists, unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::quietly;
use crate::command::ask;
use crate::workspace;

/// A kernel that lies in a directory of its own.
pub struct Unpacked {
    pub directory: PathBuf,
    /// As `uname -r` says.
    pub release: String,
    pub image: PathBuf,
    /// Where `lib/modules` is.
    pub root: PathBuf,
}

impl Unpacked {
    pub fn modules_parent(&self) -> PathBuf {
        self.root.join("lib/modules")
    }
}

/// The newest kernel of `suite`, from the place that this machine has its Debian packages from.
pub fn unpacked(suite: &str) -> Result<Unpacked> {
    let directory = workspace::target_directory()?.join("vm").join(suite);
    let tree = directory.join("tree");
    if !directory.join("done").exists() {
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&tree).with_context(|| format!("could not make {}", directory.display()))?;
        let package = fetch(suite, &directory)?;
        quietly(Command::new("dpkg-deb").arg("-x").arg(package).arg(&tree))?;
        fs::write(directory.join("done"), "")?;
    }
    // Since Debian 13 everything lies below /usr.
    let root = [tree.join("usr"), tree.clone()].into_iter().find(|root| root.join("lib/modules").exists());
    let root = root.context("the package holds no modules")?;
    let release = only_name(&root.join("lib/modules"))?;
    quietly(Command::new("depmod").arg("-b").arg(&root).arg(&release))?;
    let image = tree.join("boot").join(format!("vmlinuz-{release}"));
    Ok(Unpacked { directory, release, image, root })
}

fn only_name(directory: &Path) -> Result<String> {
    let entry = fs::read_dir(directory)?.next().context("an empty directory of modules")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// Downloads the package that `linux-image-amd64` means there.
fn fetch(suite: &str, directory: &Path) -> Result<PathBuf> {
    let site = debian_site()?;
    let apt = directory.join("apt");
    for made in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(made))?;
    }
    let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
    fs::write(apt.join("sources"), format!("deb [signed-by={key}] {site} {suite} main\n"))?;
    let with = |program: &str| {
        let mut command = Command::new(program);
        command
            .args(["-o", "Dir::Etc::SourceParts=/dev/null", "-o", "APT::Sandbox::User=root", "-o"])
            .arg(format!("Dir::Etc::SourceList={}", apt.join("sources").display()))
            .arg("-o")
            .arg(format!("Dir::State::Lists={}", apt.join("lists").display()))
            .arg("-o")
            .arg(format!("Dir::Cache={}", apt.join("cache").display()))
            .current_dir(directory);
        command
    };
    println!("fetching the kernel of Debian {suite}");
    quietly(with("apt-get").arg("update"))?;
    let shown = ask(with("apt-cache").args(["show", "--no-all-versions", "linux-image-amd64"]))
        .context("apt knows no kernel there")?;
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: ")).context("no dependency")?;
    let name = depends.split([' ', ',']).next().context("no dependency")?;
    quietly(with("apt-get").args(["download", name]))?;
    let found = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    found
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .context("apt downloaded nothing")
}

fn debian_site() -> Result<String> {
    let told = ask(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN) $(SITE)",
        "Created-By: Packages",
    ]));
    let told = told.context("`apt-get indextargets` failed; is this Debian?")?;
    let sites = told.lines().filter_map(|line| line.strip_prefix("Debian "));
    // Security updates of a release come from a place of their own, which hasn't the releases.
    let site = sites.into_iter().find(|site| !site.contains("security"));
    Ok(site.context("apt has no Debian to fetch from")?.to_owned())
}
