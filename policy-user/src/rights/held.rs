//! What the threads of this process hold, as the kernel has it.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use rustix::thread::CapabilitySet;
use serde::Serialize;

use super::NEEDED;

/// `SECCOMP_MODE_FILTER` of `linux/seccomp.h`.
const FILTERED: &str = "2";

/// A thread gives up its rights as the first thing that it does.
const FIRST_STEPS: Duration = Duration::from_millis(10);

/// The field names are a contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rights {
    /// Whether no more is held than the work takes.
    pub reduced: bool,
    pub threads: usize,
    /// Those that hold any capability.
    pub privileged_threads: usize,
    /// What those hold between them.
    pub capabilities: Vec<String>,
    /// Whether no thread can get a right again by starting a program.
    pub no_new_privileges: bool,
    /// Those whose system calls are filtered.
    pub filtered_threads: usize,
}

impl Rights {
    /// Looks at every thread; none where the kernel does not tell.
    pub fn read() -> Option<Self> {
        let first = read().ok()?;
        if first.reduced {
            return Some(first);
        }
        // One of them may have begun this instant.
        thread::sleep(FIRST_STEPS);
        read().ok()
    }
}

fn read() -> io::Result<Rights> {
    let mut statuses = Vec::new();
    for entry in fs::read_dir("/proc/self/task")? {
        match fs::read_to_string(entry?.path().join("status")) {
            Ok(status) => statuses.push(status),
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(judge(&statuses))
}

/// Judges the texts of `/proc/PID/task/TID/status`.
fn judge(statuses: &[String]) -> Rights {
    let permitted = |status: &String| {
        let bits = field(status, "CapPrm").and_then(|bits| u64::from_str_radix(bits, 16).ok());
        // What can't be read counts as everything.
        CapabilitySet::from_bits_retain(bits.unwrap_or(u64::MAX))
    };
    let held: Vec<_> = statuses.iter().map(permitted).filter(|held| !held.is_empty()).collect();
    let all = held.iter().fold(CapabilitySet::empty(), |all, held| all.union(*held));
    let count = |name, value| statuses.iter().filter(|status| field(status, name) == Some(value)).count();
    let filtered_threads = count("Seccomp", FILTERED);
    let no_new_privileges = count("NoNewPrivs", "1") == statuses.len();
    Rights {
        reduced: held.len() <= 1
            && NEEDED.contains(all)
            && no_new_privileges
            && filtered_threads == statuses.len(),
        threads: statuses.len(),
        privileged_threads: held.len(),
        capabilities: names(all),
        no_new_privileges,
        filtered_threads,
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// As in capabilities(7), in lower case; one that is newer than this program by its number.
fn names(held: CapabilitySet) -> Vec<String> {
    let known = CapabilitySet::all().iter_names().filter(|(_, one)| held.contains(*one));
    let mut names: Vec<_> = known.map(|(name, _)| format!("cap_{}", name.to_ascii_lowercase())).collect();
    let unknown = held.bits() & !CapabilitySet::all().iter_names().fold(0, |all, (_, one)| all | one.bits());
    names.extend((0..u64::BITS).filter(|bit| unknown >> bit & 1 == 1).map(|bit| format!("cap_{bit}")));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str =
        "Name:\tsmtpfence\nCapPrm:\t000000c000001000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";
    const WORKER: &str = "Name:\tworker\nCapPrm:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    fn of(statuses: &[&str]) -> Rights {
        judge(&statuses.iter().map(|status| (*status).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn one_thread_with_what_is_needed_is_enough() {
        let rights = of(&[MAIN, WORKER, WORKER]);
        assert!(rights.reduced, "{rights:?}");
        assert_eq!((rights.threads, rights.privileged_threads, rights.filtered_threads), (3, 1, 3));
        assert_eq!(rights.capabilities, ["cap_net_admin", "cap_perfmon", "cap_bpf"]);
        assert!(rights.no_new_privileges);
    }

    #[test]
    fn anything_more_is_too_much() {
        let root = MAIN.replace("000000c000001000", "000003ffffffffff");
        for (held, what) in [
            (of(&[MAIN, WORKER, MAIN]), "a second thread with capabilities"),
            (of(&[&root, WORKER]), "all capabilities"),
            (of(&[MAIN, &WORKER.replace("Seccomp:\t2", "Seccomp:\t0")]), "no filter"),
            (of(&[MAIN, &WORKER.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0")]), "new rights by a program"),
            (of(&[MAIN, "Name:\tworker\nNoNewPrivs:\t1\nSeccomp:\t2\n"]), "an unknown set"),
        ] {
            assert!(!held.reduced, "{what}: {held:?}");
        }
        assert_eq!(of(&[&root]).capabilities.len(), 42, "41 have names, and bit 41 has none yet");
    }
}
