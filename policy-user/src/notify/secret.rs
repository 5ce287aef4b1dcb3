//! Secrets in files of their own, which nobody but their owner may read.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::trouble::{Stage, Trouble};

/// Longer than any key or password.
const MOST: u64 = 4096;

/// Reads a secret, without the line end that editors put behind it. Read anew each time: it may be exchanged.
pub fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    let shown = path.display();
    let trouble = |why: String, next: String| Trouble::new(Stage::Setup, why, next);
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let failed = |error: std::io::Error| {
        trouble(
            format!("the secret {shown} can't be read: {error}"),
            "check the path in the policy".to_owned(),
        )
    };
    let file = opened.map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_file() {
        return Err(trouble(
            format!("the secret {shown} is no regular file"),
            "give the path of a file".to_owned(),
        ));
    }
    if mode & 0o077 != 0 {
        let why = format!("others can read or write the secret {shown} (mode {mode:04o})");
        return Err(trouble(why, format!("run `chmod 600 {shown}`, and exchange the secret")));
    }
    if metadata.uid() != 0 && metadata.uid() != own {
        let why = format!("the secret {shown} belongs to user {}", metadata.uid());
        return Err(trouble(why, format!("run `chown root {shown}`")));
    }
    let mut secret = Vec::new();
    file.take(MOST + 1).read_to_end(&mut secret).map_err(failed)?;
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    if secret.is_empty() || secret.len() as u64 > MOST {
        let why = format!("the secret {shown} is empty, or longer than {MOST} bytes");
        return Err(trouble(why, "write one line with the secret into it".to_owned()));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "correct horse\r\n").unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o644, false), (0o640, false), (0o602, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = read(&path);
            assert_eq!(read.is_ok(), fine, "{mode:o}: {read:?}");
            match read {
                Ok(secret) => assert_eq!(secret, b"correct horse"),
                Err(trouble) => assert!(trouble.next.contains("chmod 600"), "{trouble}"),
            }
        }
    }
}
