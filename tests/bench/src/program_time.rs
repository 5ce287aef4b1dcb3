//! The kernel's own account of how often a program ran and how long.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::sys::{Stats, enable_stats};

use crate::stage::Stage;

/// Nanoseconds that the first program at the door takes a packet, the kernel's two looks at the clock included; `None`
/// where there is no program. It must have run for each packet that `send` sends, as the unconditional drop can't tell in
/// another way.
pub fn measure(stage: &Stage, packets: u32, send: impl FnOnce() -> Result<()>) -> Result<Option<f64>> {
    let programs = stage.gateway().run(|| SchedClassifier::query_tcx("lan0", TcAttachType::Ingress))??.1;
    let Some(program) = programs.first() else { return Ok(None) };
    let descriptor = program.fd()?;
    let path = format!("/proc/self/fdinfo/{}", descriptor.as_fd().as_raw_fd());
    let _enabled = enable_stats(Stats::RunTime)?;
    let before = Account::read(&path)?;
    send()?;
    let after = Account::read(&path)?;
    let (runs, time) = (after.runs - before.runs, after.nanoseconds - before.nanoseconds);
    // A few packets of the kernel's own, neighbour discovery say, may have come between.
    let (least, most) = (u64::from(packets), u64::from(packets) + 100);
    ensure!((least..=most).contains(&runs), "the program ran {runs} times for {packets} packets");
    Ok(Some(time as f64 / runs as f64))
}

struct Account {
    runs: u64,
    nanoseconds: u64,
}

impl Account {
    fn read(path: &str) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("could not read {path}"))?;
        let value = |key: &str| -> Result<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            Ok(line.with_context(|| format!("the kernel tells no {key} of a program"))?.trim().parse()?)
        };
        Ok(Self { runs: value("run_cnt")?, nanoseconds: value("run_time_ns")? })
    }
}
