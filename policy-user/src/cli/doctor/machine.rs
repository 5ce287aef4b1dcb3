//! Whether the machine can enforce at all: kernel, rights, BPF file system, clock.

use std::fs;
use std::path::Path;

use super::finding::{Finding, Level};
use crate::datapath::{self, DatapathError, Pins};

pub fn examine(bpffs: &Path) -> Vec<Finding> {
    let mut findings = kernel_and_rights();
    findings.push(pins(bpffs));
    findings.extend(just_in_time());
    findings.push(clock());
    findings
}

fn kernel_and_rights() -> Vec<Finding> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let (major, minor) = datapath::MINIMUM_KERNEL;
    let kernel = Finding::ok("kernel", format!("{release} (needs {major}.{minor} or newer)"));
    match datapath::check_machine() {
        Ok(()) => vec![kernel, Finding::ok("rights", "enough to load and attach")],
        Err(error @ DatapathError::KernelTooOld { .. }) => {
            vec![Finding::worded("kernel", Level::Fail, &error.to_string())]
        }
        // The service has rights of its own.
        Err(error) => vec![kernel, Finding::worded("rights", Level::Warn, &error.to_string())],
    }
}

fn pins(bpffs: &Path) -> Finding {
    match Pins::examine(bpffs) {
        Ok(true) => Finding::ok(
            "bpffs",
            format!("{}: ours, nobody else can change it", Pins::at(bpffs).root().display()),
        ),
        Ok(false) => Finding::ok("bpffs", format!("{}: nothing pinned yet", bpffs.display())),
        Err(error) => {
            let sentence = error.to_string();
            let (found, advice) = sentence.split_once("; ").unwrap_or((&sentence, "run this as root"));
            Finding::fail("bpffs", found, advice)
        }
    }
}

/// A kernel that can't do without its compiler has no such setting.
fn just_in_time() -> Option<Finding> {
    let setting = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok()?;
    Some(match setting.trim() {
        "0" => Finding::warn(
            "bpf-jit",
            "the kernel interprets our programs, which makes every packet several times dearer",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        _ => Finding::ok("bpf-jit", "our programs run as machine code"),
    })
}

/// No verdict hangs on the wall clock once an exception is loaded, but its end is computed from it.
fn clock() -> Finding {
    // SAFETY: the structure consists of integers, for which all zeros are valid; `modes` 0 only reads.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for the call, which fills it.
    let result = unsafe { libc::adjtimex(&raw mut state) };
    if result < 0 {
        return Finding::warn(
            "clock",
            "the kernel does not tell whether it is synchronised",
            "run this as root",
        );
    }
    if state.status & libc::STA_UNSYNC == 0 {
        return Finding::ok("clock", "synchronised");
    }
    Finding::warn(
        "clock",
        "not synchronised: exceptions may end at the wrong time, and times in the block log can't be matched with others'",
        "run a time service, such as systemd-timesyncd or chrony",
    )
}
