//! System calls that the agent does without, and so do the programs that it starts.
//!
//! A list of what is forbidden and not of what is allowed: those programs are the admin's, and a C library that learns a
//! new call must not stop a firewall. The service's own filter is such a list of what is allowed, and stands before this.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use libc::c_long;
#[cfg(target_arch = "x86_64")]
use seccompiler::sock_filter;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

type Calls = BTreeMap<i64, Vec<SeccompRule>>;

/// Ways into other processes, into the kernel, out of the namespaces, and interfaces with a history of holes.
const DANGEROUS: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

const NAMESPACES: &[libc::c_int] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// x86-64 has a second table with the same calls, above this number: a list of what is forbidden must forbid it whole.
/// A kernel that was built without it says `ENOSYS`.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// Refuses a call by a number of that table, and leaves the others to the other filters (`linux/filter.h`).
#[cfg(target_arch = "x86_64")]
const NO_OTHER_TABLE: [sock_filter; 4] = [
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
    sock_filter { code: (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16, jt: 0, jf: 1, k: X32 },
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
];

#[cfg(target_arch = "x86_64")]
const fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// `BPF_MAP_LOOKUP_ELEM` of `linux/bpf.h`.
const LOOK_UP: u64 = 1;

/// Forbids what nobody here needs.
pub fn forbid_dangerous() -> seccompiler::Result<()> {
    let mut calls: Calls = DANGEROUS.iter().map(|call| (*call, Vec::new())).collect();
    let namespaces = NAMESPACES.iter().map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        rule(0, SeccompCmpOp::MaskedEq(flag), flag)
    });
    calls.insert(libc::SYS_clone, namespaces.collect::<Result<_, _>>()?);
    // Its flags lie in memory, which no filter sees. Whoever is told that it doesn't exist takes the older call.
    let newer = Calls::from([(libc::SYS_clone3, Vec::new())]);
    #[cfg(target_arch = "x86_64")]
    apply_filter(&NO_OTHER_TABLE)?;
    apply_filter(&forbidding(newer, libc::ENOSYS)?)?;
    apply_filter(&forbidding(calls, libc::EPERM)?)
}

/// Forbids to become another program.
pub fn start_no_programs() -> anyhow::Result<()> {
    let calls = Calls::from([(libc::SYS_execve, Vec::new()), (libc::SYS_execveat, Vec::new())]);
    Ok(apply_filter(&forbidding(calls, libc::EPERM)?)?)
}

/// Forbids everything with BPF but to look something up in a map that is open: whoever has one open may change it, with no
/// capability at all.
pub fn only_look_up() -> seccompiler::Result<()> {
    let calls = Calls::from([(libc::SYS_bpf, vec![rule(0, SeccompCmpOp::Ne, LOOK_UP)?])]);
    apply_filter(&forbidding(calls, libc::EPERM)?)
}

fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?])
}

/// Calls by another architecture's numbers, such as those of 32-bit programs, end the process.
fn forbidding(calls: Calls, errno: libc::c_int) -> Result<BpfProgram, seccompiler::BackendError> {
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    SeccompFilter::new(calls, SeccompAction::Allow, refused, ARCH.try_into()?)?.try_into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::io;
    use std::process::Command;
    use std::thread;

    use super::*;

    /// Arguments that no call could do anything with.
    const NONSENSE: c_long = -1;

    fn call(number: c_long, first: c_long) -> io::Error {
        // SAFETY: the kernel judges the arguments; none of them is an address of ours.
        let result =
            unsafe { libc::syscall(number, first, NONSENSE, NONSENSE, NONSENSE, NONSENSE, NONSENSE) };
        assert_eq!(result, -1, "call {number} did something");
        io::Error::last_os_error()
    }

    fn forbidden(number: c_long, first: c_long) -> bool {
        call(number, first).raw_os_error() == Some(libc::EPERM)
    }

    /// A filter holds for the thread that applies it, so each test is one.
    fn filtered(apply: impl FnOnce() -> anyhow::Result<()> + Send, test: impl FnOnce() + Send) {
        thread::scope(|scope| {
            scope.spawn(|| {
                apply().unwrap();
                test();
            });
        });
    }

    #[test]
    fn what_is_dangerous_is_forbidden() {
        filtered(
            || Ok(forbid_dangerous()?),
            || {
                let open: Vec<_> = DANGEROUS.iter().filter(|call| !forbidden(**call, NONSENSE)).collect();
                assert!(open.is_empty(), "calls {open:?}");
                for flag in NAMESPACES {
                    assert!(forbidden(libc::SYS_clone, c_long::from(*flag)), "{flag:#x}");
                }
                assert_eq!(call(libc::SYS_clone3, NONSENSE).raw_os_error(), Some(libc::ENOSYS));
                #[cfg(target_arch = "x86_64")]
                assert!(forbidden(c_long::from(X32) + libc::SYS_getpid, NONSENSE));
            },
        );
    }

    #[test]
    fn threads_and_programs_start_as_before() {
        filtered(
            || Ok(forbid_dangerous()?),
            || {
                assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
                assert!(Command::new("true").status().unwrap().success());
            },
        );
    }

    #[test]
    fn no_program_starts_where_none_may_and_threads_still_do() {
        filtered(start_no_programs, || {
            assert_eq!(Command::new("true").status().unwrap_err().raw_os_error(), Some(libc::EPERM));
            assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
        });
    }

    #[test]
    fn maps_are_looked_into_and_not_changed() {
        const UPDATE: c_long = 2;
        const GET_PIN: c_long = 7;
        filtered(
            || Ok(only_look_up()?),
            || {
                for command in [0, UPDATE, GET_PIN, NONSENSE] {
                    assert!(forbidden(libc::SYS_bpf, command), "bpf command {command}");
                }
                assert!(!forbidden(libc::SYS_bpf, 1));
            },
        );
    }

    #[test]
    fn what_can_not_be_given_up_does_not_keep_the_rest() {
        let no_filters = || {
            let calls = Calls::from([(libc::SYS_seccomp, Vec::new())]);
            Ok(apply_filter(&forbidding(calls, libc::EPERM)?)?)
        };
        filtered(no_filters, || {
            crate::rights::renounce();
            let held = rustix::thread::capabilities(None).unwrap();
            assert!(held.permitted.is_empty() && held.effective.is_empty(), "{held:?}");
        });
    }
}
