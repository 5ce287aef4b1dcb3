//! What an endurance test has found, for people and for programs.

use std::fmt;
use std::time::Instant;

use serde_json::{Value, json};

/// One kind of trouble, all of its rounds.
#[derive(Clone, Debug)]
pub struct Phase {
    pub what: &'static str,
    pub rounds: u32,
    pub seconds: f64,
    pub slowest_round_ms: u64,
    /// SYNs to port 25 of clients.
    pub client_sent: u64,
    /// Those that came out on the outside.
    pub leaked: u64,
    pub mail_sent: u64,
    pub mail_lost: u64,
    /// Mail can't get through while its interface is away.
    pub mail_may_stop: bool,
}

#[derive(Clone, Debug)]
pub struct Report {
    begun: Instant,
    dropped_before: Option<u64>,
    pub phases: Vec<Phase>,
    /// Frames that the capture outside has missed.
    pub capture_lost: u64,
    /// Packets that this machine's processors had no time for, of anything that ran on it.
    pub machine_dropped: u64,
    pub seconds: f64,
}

impl Phase {
    /// Whether nothing leaked and no mail was lost that could have got through.
    pub fn holds(&self) -> bool {
        self.leaked == 0 && (self.mail_lost == 0 || self.mail_may_stop) && self.client_sent > 0
    }

    fn rate(&self) -> f64 {
        self.client_sent as f64 / self.seconds
    }

    fn to_json(&self) -> Value {
        json!({
            "what": self.what,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "slowest_round_ms": self.slowest_round_ms,
            "client_sent": self.client_sent,
            "client_per_second": self.rate(),
            "leaked": self.leaked,
            "mail_sent": self.mail_sent,
            "mail_lost": self.mail_lost,
            "mail_may_stop": self.mail_may_stop,
            "holds": self.holds(),
        })
    }
}

impl Report {
    pub(super) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            dropped_before: machine_dropped(),
            phases: Vec::new(),
            capture_lost: 0,
            machine_dropped: 0,
            seconds: 0.0,
        }
    }

    pub(super) fn end(&mut self, capture_lost: u64) {
        self.capture_lost = capture_lost;
        let dropped = machine_dropped().zip(self.dropped_before);
        self.machine_dropped = dropped.map_or(0, |(after, before)| after.saturating_sub(before));
        self.seconds = self.begun.elapsed().as_secs_f64();
    }

    /// Whether the promise holds, and the count of it can be believed.
    pub fn holds(&self) -> bool {
        self.capture_lost == 0 && !self.phases.is_empty() && self.phases.iter().all(Phase::holds)
    }

    /// The field names are a contract, see `docs/faults.md`.
    pub fn to_json(&self) -> Value {
        json!({
            "phases": self.phases.iter().map(Phase::to_json).collect::<Vec<_>>(),
            "capture_lost": self.capture_lost,
            "machine_dropped": self.machine_dropped,
            "seconds": self.seconds,
            "holds": self.holds(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<20} {:>6} {:>7} {:>11} {:>8} {:>6} {:>9} {:>6} {:>12}",
            "what", "rounds", "seconds", "client SYNs", "a second", "leaked", "mail SYNs", "lost", "slowest"
        )?;
        for phase in &self.phases {
            writeln!(
                f,
                "{:<20} {:>6} {:>7.1} {:>11} {:>8.0} {:>6} {:>9} {:>5}{} {:>9} ms",
                phase.what,
                phase.rounds,
                phase.seconds,
                phase.client_sent,
                phase.rate(),
                phase.leaked,
                phase.mail_sent,
                phase.mail_lost,
                if phase.mail_may_stop { '*' } else { ' ' },
                phase.slowest_round_ms
            )?;
        }
        writeln!(f, "* while the interface was away; slowest: from making the interface to its door")?;
        writeln!(
            f,
            "{:.0} seconds; the capture missed {}, the machine's queues dropped {}",
            self.seconds, self.capture_lost, self.machine_dropped
        )
    }
}

/// Sum of the second column of all processors.
fn machine_dropped() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").ok()?;
    let dropped = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    text.lines().map(dropped).sum()
}
