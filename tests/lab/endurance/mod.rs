//! The worst day: everything that happens to an agent, again and again under a flood, with every packet counted on both sides.

mod report;
mod rounds;
mod traffic;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{Agent, Lab};
pub use report::{Phase, Report};
use traffic::{Loads, Traffic};

/// How often each thing happens.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub kills: u32,
    /// Upgrades; as many downgrades come between them.
    pub upgrades: u32,
    pub reloads: u32,
    pub recreations: u32,
    /// SYNs to port 25 that the clients send each second.
    pub flood: u32,
}

impl Plan {
    pub const FULL: Self = Self { kills: 100, upgrades: 20, reloads: 200, recreations: 50, flood: 20_000 };
    /// A look at each, for every test run.
    pub const SHORT: Self = Self { kills: 3, upgrades: 1, reloads: 6, recreations: 2, flood: 20_000 };
}

/// What is put to the test.
#[derive(Clone, Debug)]
pub struct Binaries {
    pub ours: PathBuf,
    /// One with another ABI version, so another directory of pins; without it the pins of ours are moved to look like that.
    pub other: Option<PathBuf>,
}

const POLICY: &str = r#"version: 1
name: endurance
interfaces: { inside: [lan0], outside: [wan0] }
networks: { clients: [10.25.0.0/16], internal: [10.0.0.0/8] }
mode: enforce
mail_servers: [{ name: mx1, address: 10.25.0.25, mac: "02:00:00:00:00:25" }]
end: true
"#;

/// What is under way when a phase ends has arrived after this.
const SETTLE: Duration = Duration::from_millis(500);

/// Does all of it in a lab of its own; `told` hears what has been done.
pub fn endure(binaries: &Binaries, plan: Plan, mut told: impl FnMut(&Phase)) -> Result<Report> {
    let lab = Lab::builder().build()?;
    // A literal name that is away for a moment is no mistake under a service manager.
    let mut agent = Agent::prepare(&lab, &binaries.ours, POLICY)?;
    agent.run_with(&["--unattended"])?;
    let traffic = Traffic::new(&lab, plan.flood)?;
    let mut report = Report::begin();
    let mut phase = |what, rounds, mail_may_stop, work: &mut dyn FnMut() -> Result<Duration>| -> Result<()> {
        let phase = counted(&traffic, (what, rounds, mail_may_stop), work)?;
        told(&phase);
        report.phases.push(phase);
        Ok(())
    };
    let agent = &mut agent;
    phase("kill -9, restart", plan.kills, false, &mut || rounds::kills(agent, plan.kills))?;
    phase("upgrade, downgrade", 2 * plan.upgrades, false, &mut || {
        rounds::upgrades(&lab, agent, binaries, plan.upgrades)
    })?;
    phase("reload", plan.reloads, false, &mut || rounds::reloads(agent, POLICY, plan.reloads))?;
    phase("interface made anew", plan.recreations, true, &mut || {
        rounds::recreations(&lab, agent, &traffic, plan.recreations)
    })?;
    report.end(traffic.capture_lost()?);
    Ok(report)
}

/// Runs `work` with the traffic on, and counts what came of it. `work` returns how long its slowest round took.
fn counted(
    traffic: &Traffic<'_>,
    (what, rounds, mail_may_stop): (&'static str, u32, bool),
    work: &mut dyn FnMut() -> Result<Duration>,
) -> Result<Phase> {
    traffic.forget();
    let begun = Instant::now();
    let (slowest, Loads { flood, mail }) = traffic.during(work)?;
    let seconds = begun.elapsed().as_secs_f64();
    std::thread::sleep(SETTLE);
    let arrived = traffic.arrived();
    Ok(Phase {
        what,
        rounds,
        seconds,
        slowest_round_ms: u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX),
        client_sent: flood,
        leaked: arrived.others,
        mail_sent: mail,
        mail_lost: mail.saturating_sub(arrived.mail),
        mail_may_stop,
    })
}
