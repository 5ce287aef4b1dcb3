//! Takes labs down: namespaces, processes in them, mounts and directories, found by the tag in their names.
//!
//! A tag holds the PID and the start time of the process that built the lab, so the remains of one that was
//! killed are told from a running one's even if the PID was given to another process since.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

/// Every name made by a lab begins with it.
const PREFIX: &str = "smtpfence-lab-";
const NAMESPACES: &str = "/run/netns";

/// The tag of this process's lab number `n`.
pub(crate) fn tag(n: u32) -> String {
    let pid = std::process::id();
    format!("{PREFIX}{pid}-{}-{n}-", start_time(pid).unwrap_or(0))
}

/// Removes all that dead processes left behind. What can't be removed now is tried again by the next lab.
pub(crate) fn sweep() {
    let mut tags: Vec<String> = names_in(Path::new(NAMESPACES))
        .into_iter()
        .chain(names_in(&std::env::temp_dir()))
        .filter_map(|name| tag_of_dead(&name))
        .collect();
    tags.sort();
    tags.dedup();
    for tag in tags {
        take_down(&tag);
    }
}

/// Removes everything that carries `tag`, as far as it can.
pub(crate) fn take_down(tag: &str) {
    let namespaces: Vec<String> =
        names_in(Path::new(NAMESPACES)).into_iter().filter(|n| n.starts_with(tag)).collect();
    for namespace in &namespaces {
        kill_all_in(&Path::new(NAMESPACES).join(namespace));
    }
    for mount in mounts_below(&std::env::temp_dir().join(tag)) {
        // Lazily: a process that ignores its end must not keep the mount in everybody's view.
        let _ = unmount(&mount, UnmountFlags::DETACH);
    }
    for namespace in &namespaces {
        let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
    }
    for name in names_in(&std::env::temp_dir()).into_iter().filter(|n| n.starts_with(tag)) {
        let directory = std::env::temp_dir().join(name);
        // Anyone may plant a name in a shared temporary directory: only root's own real directories are ours.
        if fs::symlink_metadata(&directory).is_ok_and(|m| m.is_dir() && m.uid() == 0) {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// The tag in `name` if it is a lab's whose process no longer exists.
fn tag_of_dead(name: &str) -> Option<String> {
    let mut fields = name.strip_prefix(PREFIX)?.split('-');
    let pid: u32 = fields.next()?.parse().ok()?;
    let started: u64 = fields.next()?.parse().ok()?;
    let number: u32 = fields.next()?.parse().ok()?;
    let alive = start_time(pid) == Some(started);
    (!alive).then(|| format!("{PREFIX}{pid}-{started}-{number}-"))
}

/// When the process was started, in ticks since boot; `None` if there is no such process.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, which may contain spaces and brackets.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Ends every process whose network namespace is the one at `namespace`. Nobody but the lab starts any there.
fn kill_all_in(namespace: &Path) {
    let Ok(wanted) = fs::metadata(namespace).map(|m| (m.dev(), m.ino())) else {
        return;
    };
    // A process may fork while we look: look again, a bounded number of times.
    for _ in 0..50 {
        let mut found = false;
        for pid in names_in(Path::new("/proc")).iter().filter_map(|n| n.parse::<i32>().ok()) {
            let inside =
                fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| (m.dev(), m.ino()) == wanted);
            if inside && let Some(pid) = Pid::from_raw(pid) {
                found = true;
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if !found {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Mount points whose path begins with `prefix`, the innermost first.
fn mounts_below(prefix: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let prefix = prefix.to_string_lossy().into_owned();
    let mut found: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|path| path.starts_with(&prefix))
        .map(PathBuf::from)
        .collect();
    found.reverse();
    found
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}
