//! Processor time of one pinned thread, and of the kernel's thread that takes over when there is too much to do.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Processor time spent on behalf of the calling thread. The kernel counts what it does in a system call, packets that it
/// handles at its end included, as the caller's; wall time would count other programs as well.
pub struct Clock {
    ksoftirqd: PathBuf,
}

impl Clock {
    /// Keeps the calling thread on the last processor that it may use.
    pub fn pinned() -> Result<Self> {
        let cpus = sched_getaffinity(None).context("could not ask for processors")?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| cpus.is_set(*cpu)).context("no processor")?;
        let mut one = CpuSet::new();
        one.set(last);
        sched_setaffinity(None, &one).with_context(|| format!("could not stay on processor {last}"))?;
        Ok(Self { ksoftirqd: ksoftirqd(last)? })
    }

    pub fn now(&self) -> Result<Duration> {
        let own = clock_gettime(ClockId::ThreadCPUTime);
        let own = Duration::new(own.tv_sec.try_into()?, own.tv_nsec.try_into()?);
        let path = self.ksoftirqd.display();
        let text = fs::read_to_string(&self.ksoftirqd).with_context(|| format!("could not read {path}"))?;
        let on_cpu = text.split(' ').next().with_context(|| format!("{path} is empty"))?;
        Ok(own + Duration::from_nanos(on_cpu.parse()?))
    }
}

/// The scheduler's statistics of the thread that handles packets on `cpu` where there are too many for the interrupted one.
fn ksoftirqd(cpu: usize) -> Result<PathBuf> {
    let name = format!("ksoftirqd/{cpu}");
    for entry in fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        if fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
            return Ok(path.join("schedstat"));
        }
    }
    anyhow::bail!("there is no {name}; processor time can't be told")
}
