//! The directory of pins in the BPF file system: where it is, and whether it can be trusted.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use policy_common::abi::ABI_VERSION;

use super::error::DatapathError;

/// The pins of one ABI version: `<bpffs>/smtpfence/v<ABI>/{maps,links}`.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
    version: PathBuf,
}

impl Pins {
    /// Names the pins without touching them.
    pub fn at(bpffs: &Path) -> Self {
        let root = bpffs.join("smtpfence");
        let version = root.join(format!("v{ABI_VERSION}"));
        Self { root, version }
    }

    /// Creates what is missing and refuses a directory that another user could change: in a bpffs of mode 1777 anybody
    /// may create ours first and remove our pins later.
    pub fn prepare(bpffs: &Path) -> Result<Self, DatapathError> {
        let pins = Self::at(bpffs);
        if !is_bpffs(bpffs) {
            return Err(DatapathError::NoBpffs { path: bpffs.to_owned() });
        }
        for dir in [&pins.root, &pins.version, &pins.maps(), &pins.links()] {
            match fs::DirBuilder::new().mode(0o700).create(dir) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(DatapathError::Io { doing: "create", path: dir.clone(), source });
                }
                _ => trust(dir)?,
            }
        }
        Ok(pins)
    }

    /// Whether our directory is there and can be trusted; changes nothing.
    pub fn examine(bpffs: &Path) -> Result<bool, DatapathError> {
        if !is_bpffs(bpffs) {
            return Err(DatapathError::NoBpffs { path: bpffs.to_owned() });
        }
        let pins = Self::at(bpffs);
        for dir in [&pins.root, &pins.version, &pins.maps(), &pins.links()] {
            match trust(dir) {
                Err(DatapathError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Ok(false);
                }
                other => other?,
            }
        }
        Ok(true)
    }

    /// The directory that `detach` removes.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn maps(&self) -> PathBuf {
        self.version.join("maps")
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    pub fn links(&self) -> PathBuf {
        self.version.join("links")
    }

    /// Removes what another version of the program has left here; its links enforce until then.
    pub fn retire_other_versions(&self) -> Result<(), DatapathError> {
        let failed = |doing, path: &Path, source| DatapathError::Io { doing, path: path.to_owned(), source };
        let entries = fs::read_dir(&self.root).map_err(|source| failed("list", &self.root, source))?;
        for entry in entries {
            let path = entry.map_err(|source| failed("list", &self.root, source))?.path();
            if path == self.version {
                continue;
            }
            log::warn!(
                "{} is of another version of smtpfence: removed, its numbers end here",
                path.display()
            );
            fs::remove_dir_all(&path).map_err(|source| failed("remove", &path, source))?;
        }
        Ok(())
    }

    /// Removes everything below and with the root, links first, so that enforcement ends at one point.
    pub fn remove(&self) -> Result<(), DatapathError> {
        // The bpffs has no rename across versions: other ABI versions' pins go as well, they are of the same program.
        match fs::remove_dir_all(&self.root) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(DatapathError::Io { doing: "remove", path: self.root.clone(), source })
            }
            _ => Ok(()),
        }
    }
}

fn trust(dir: &Path) -> Result<(), DatapathError> {
    let untrusted = |why: String| Err(DatapathError::UntrustedPins { path: dir.to_owned(), why });
    // lstat: a symbolic link of somebody else must not lead us elsewhere.
    let meta = fs::symlink_metadata(dir).map_err(|source| DatapathError::Io {
        doing: "examine",
        path: dir.to_owned(),
        source,
    })?;
    let own = rustix::process::geteuid().as_raw();
    if !meta.is_dir() {
        return untrusted("it is no directory".to_owned());
    }
    if meta.uid() != own {
        return untrusted(format!("it belongs to user {}, not to {own}", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return untrusted(format!("its mode {:o} lets others write", meta.mode() & 0o7777));
    }
    Ok(())
}

fn is_bpffs(path: &Path) -> bool {
    /// `BPF_FS_MAGIC` of linux/magic.h.
    const MAGIC: rustix::fs::FsWord = 0xcafe_4a11;
    rustix::fs::statfs(path).is_ok_and(|info| info.f_type == MAGIC)
}
