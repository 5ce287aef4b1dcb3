//! Reads a policy file without trusting it: what it is, whose it is and how large it is are checked on the open file.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::bundle;
use super::diagnostics::{Diagnostic, Severity};

/// Larger than any policy that fits the kernel's tables.
pub const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What to do about a file that others than root could change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Refuse it: whoever can write the policy decides who may send.
    Strict,
    /// Say so: nothing is enforced by it yet.
    Advisory,
}

/// Why a file was not read. Each message is a sentence with the remedy.
///
/// [`Unreadable`](Self::Unreadable) is a failure of the attempt; all others are properties of the file, so the file is
/// rejected.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("there is no such file; check the path")]
    Missing,
    #[error("it is a {0}, not a regular file; give the path of a policy file")]
    NotRegular(&'static str),
    #[error(
        "it has {0} bytes, more than the {MAX_BYTES} a policy may have; merge neighbouring networks into larger ones"
    )]
    TooLarge(u64),
    #[error("others can write to it (mode {mode:04o}); run `chmod go-w` on it")]
    WritableByOthers { mode: u32 },
    #[error("it belongs to user {owner}, who could change it; run `chown root` on it")]
    WrongOwner { owner: u32 },
    #[error("line {line} is not UTF-8 text; save the file as UTF-8")]
    NotUtf8 { line: usize },
    #[error(
        "line {line} separates files, as `smtpfence history` shows a policy of several; `smtpfence restore` writes them \
         back, each to its place"
    )]
    Bundle { line: usize, text: String },
    #[error("it changed while it was read; try again when it is complete")]
    Changed,
    #[error("it can't be read: {0}; check its permissions and those of the directories above it")]
    Unreadable(#[source] io::Error),
}

impl SourceError {
    /// Stable name, as diagnostics have one.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "file-missing",
            Self::NotRegular(_) => "file-not-regular",
            Self::TooLarge(_) => "file-too-large",
            Self::WritableByOthers { .. } => WRITABLE,
            Self::WrongOwner { .. } => OWNER,
            Self::NotUtf8 { .. } => "file-not-utf8",
            Self::Bundle { .. } => "file-bundle",
            Self::Changed => "file-changed",
            Self::Unreadable(_) => "file-unreadable",
        }
    }
}

const WRITABLE: &str = "file-writable-by-others";
const OWNER: &str = "file-owner";

/// The text of a policy file, and warnings about the file itself.
pub fn read(path: &Path, strictness: Strictness) -> Result<(String, Vec<Diagnostic>), SourceError> {
    // Symbolic links are followed: only what they lead to is read, and only that is judged.
    // O_NONBLOCK: opening a FIFO must not wait for a writer. O_NOCTTY: a terminal must not become ours.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let mut file = opened.map_err(open_error)?;
    let before = file.metadata().map_err(SourceError::Unreadable)?;
    if let Some(kind) = other_than_regular(&before) {
        return Err(SourceError::NotRegular(kind));
    }
    let mut warnings = Vec::new();
    for error in changeable_by(&before) {
        match strictness {
            Strictness::Strict => return Err(error),
            Strictness::Advisory => warnings.push(warning(&error)),
        }
    }
    if before.len() > MAX_BYTES {
        return Err(SourceError::TooLarge(before.len()));
    }
    let bytes = read_bounded(&mut file, before.len())?;
    let after = file.metadata().map_err(SourceError::Unreadable)?;
    if stamp(&before) != stamp(&after) {
        return Err(SourceError::Changed);
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let breaks = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n');
        SourceError::NotUtf8 { line: breaks.count() + 1 }
    })?;
    if let Some(line) = bundle::boundary_in(&text) {
        return Err(SourceError::Bundle { line, text });
    }
    Ok((text, warnings))
}

/// Why others than root, or whoever runs this, could change a file or directory; none if they can't.
pub fn changeable_by_others(metadata: &Metadata) -> Option<SourceError> {
    changeable_by(metadata).next()
}

fn changeable_by(metadata: &Metadata) -> impl Iterator<Item = SourceError> {
    [check_mode(metadata), check_owner(metadata)].into_iter().flatten()
}

fn open_error(error: io::Error) -> SourceError {
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::NotFound | ErrorKind::NotADirectory, _) => SourceError::Missing,
        // open(2) says so of a socket, and of a device nobody serves.
        (_, Some(libc::ENXIO | libc::ENODEV)) => SourceError::NotRegular("socket or device"),
        _ => SourceError::Unreadable(error),
    }
}

fn other_than_regular(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("directory")
    } else if kind.is_fifo() {
        Some("pipe")
    } else {
        Some("device")
    }
}

fn check_mode(metadata: &Metadata) -> Option<SourceError> {
    let mode = metadata.mode() & 0o7777;
    (mode & 0o022 != 0).then_some(SourceError::WritableByOthers { mode })
}

/// Root, or whoever runs this: that user can't do more through the file than without it.
fn check_owner(metadata: &Metadata) -> Option<SourceError> {
    let own = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    (owner != 0 && owner != own).then_some(SourceError::WrongOwner { owner })
}

fn warning(error: &SourceError) -> Diagnostic {
    let sentence = error.to_string();
    let (message, help) = sentence.split_once("; ").unwrap_or((&sentence, ""));
    let message = message.replacen("it ", "the file ", 1).replacen("to it", "to the file", 1);
    let help = format!("{help}; `run` refuses such a file");
    Diagnostic { severity: Severity::Warning, code: error.code(), message, help, place: None, related: None }
}

/// Reads no more than the limit, whatever the file's size was said to be.
fn read_bounded(file: &mut File, expected: u64) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(SourceError::Unreadable)?;
    match bytes.len() as u64 {
        read if read > MAX_BYTES => Err(SourceError::TooLarge(read)),
        _ => Ok(bytes),
    }
}

/// What changes when somebody writes: half of one policy and half of another may be a third.
fn stamp(metadata: &Metadata) -> (u64, i64, i64) {
    (metadata.size(), metadata.mtime(), metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn message(path: &Path) -> String {
        read(path, Strictness::Strict).unwrap_err().to_string()
    }

    #[test]
    fn only_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(message(&at("none")), "there is no such file; check the path");
        assert_eq!(
            message(dir.path()),
            "it is a directory, not a regular file; give the path of a policy file"
        );
        let fifo = std::ffi::CString::new(at("fifo").to_str().unwrap()).unwrap();
        // SAFETY: the path is a valid C string that outlives the call.
        assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
        assert_eq!(message(&at("fifo")), "it is a pipe, not a regular file; give the path of a policy file");
        let _listener = UnixListener::bind(at("socket")).unwrap();
        assert!(message(&at("socket")).starts_with("it is a socket or device"));
        assert!(message(Path::new("/dev/zero")).starts_with("it is a device"));
        fs::write(at("file"), "x").unwrap();
        symlink(at("file"), at("link")).unwrap();
        assert_eq!(read(&at("link"), Strictness::Strict).unwrap().0, "x");
        symlink(at("loop"), at("loop")).unwrap();
        assert!(message(&at("loop")).starts_with("it can't be read"));
    }

    #[test]
    fn a_file_others_can_write_is_refused_or_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.yaml");
        fs::write(&path, "x").unwrap();
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                message(&path),
                format!("others can write to it (mode {mode:04o}); run `chmod go-w` on it")
            );
            let (_, warnings) = read(&path, Strictness::Advisory).unwrap();
            assert_eq!(warnings[0].code, "file-writable-by-others");
            assert_eq!(warnings[0].message, format!("others can write to the file (mode {mode:04o})"));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&path, Strictness::Strict).is_ok());
    }

    #[test]
    fn size_is_judged_before_reading() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.yaml");
        let file = File::create(&path).unwrap();
        // Sparse: reading it would cost nothing but memory, which is the point.
        file.set_len(1 << 40).unwrap();
        let start = std::time::Instant::now();
        assert!(message(&path).starts_with("it has 1099511627776 bytes"));
        assert!(start.elapsed().as_millis() < 100);
    }

    #[test]
    fn other_encodings_are_refused_with_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.yaml");
        fs::write(&path, b"a: b\nc: \xfcber\n").unwrap();
        assert_eq!(message(&path), "line 2 is not UTF-8 text; save the file as UTF-8");
    }
}
