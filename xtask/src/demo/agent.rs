//! The smtpfence under show: its policy, its process, its log.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use serde_json::Value;

use super::{interrupt, screen};

pub const POLICY: &str = r#"version: 1
name: demo-company
interfaces:
  inside: [lan0]
  outside: [wan0]
networks:
  clients: [10.25.0.0/24, "fd25::/64"]
  internal: [10.0.0.0/8, "fd00::/8"]
ports: { blocked: [25], submission: [587, 465] }
mode: enforce
on_block: drop
mail_servers:
  - name: mail
    address: [10.25.0.25, "fd25::25"]
    mac: "02:00:00:00:00:25"
    to: any
# The demo is shorter than the ten minutes after which a client that tries again is told of.
detection: { preset: balanced, overrides: { minutes: 0 } }
end: true
"#;

/// A blocked attempt in the log.
pub struct Attempt {
    /// As smtpfence wrote it.
    pub line: String,
    event: Value,
}

impl Attempt {
    /// A field of text; empty if it is missing.
    pub fn text(&self, key: &str) -> &str {
        self.event[key].as_str().unwrap_or_default()
    }

    /// A field with a number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.event[key].as_u64()
    }
}

/// smtpfence on the lab's gateway. Enforcement outlives the process until [`Agent::detach`].
pub struct Agent<'lab> {
    agent: lab::Agent<'lab>,
    running: bool,
}

impl<'lab> Agent<'lab> {
    /// Starts it with the demo's policy and waits until it enforces.
    pub fn start(lab: &'lab Lab, binary: &Path) -> Result<Self> {
        Ok(Self { agent: lab::Agent::start(lab, binary, POLICY)?, running: true })
    }

    /// Whether it was not killed yet.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Ends the process as an accident would.
    pub fn kill9(&mut self) -> Result<()> {
        screen::command("gateway", &format!("kill -9 {}", self.agent.process()?.pid()));
        self.running = false;
        self.agent.kill9()
    }

    /// Blocked attempts logged so far; none once it was killed.
    pub fn attempts(&mut self) -> Vec<Attempt> {
        let lines = self.agent.process().map(|process| process.stdout()).unwrap_or_default();
        let read = |line: String| Some(Attempt { event: serde_json::from_str(&line).ok()?, line });
        lines.into_iter().filter_map(read).filter(|attempt| attempt.text("event") == "attempt").collect()
    }

    /// Waits until at least `count` attempts are logged, and a moment longer for those too many.
    pub fn wait_for_attempts(&mut self, count: usize) -> Result<()> {
        interrupt::wait_until(Duration::from_secs(5), || self.attempts().len() >= count)?;
        std::thread::sleep(Duration::from_millis(200));
        Ok(())
    }

    /// Runs `smtpfence status` and shows what it says.
    pub fn status(&self) -> Result<()> {
        self.show("status")
    }

    /// Who is flagged.
    pub fn flags(&self) -> Result<Vec<Value>> {
        Ok(serde_json::from_str(&self.agent.ask(&["flags", "--format", "json"])?)?)
    }

    /// Runs `smtpfence flags` and shows what it says.
    pub fn show_flags(&self) -> Result<()> {
        screen::command("gateway", "smtpfence flags");
        screen::output(self.agent.ask(&["flags"])?.lines());
        Ok(())
    }

    /// Ends enforcement.
    pub fn detach(&self) -> Result<()> {
        self.show("detach")
    }

    fn show(&self, verb: &str) -> Result<()> {
        screen::command("gateway", &format!("smtpfence {verb}"));
        ensure!(shown(self.agent.command(verb)?)?, "smtpfence {verb} failed: see above");
        Ok(())
    }
}

fn shown(mut command: Command) -> Result<bool> {
    let output = command.output().with_context(|| format!("could not start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    screen::output(text.lines());
    Ok(output.status.success())
}
