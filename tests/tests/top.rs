//! `smtpfence top` as an admin uses it: on a terminal, with a real agent, real attempts and pressed keys.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Lab, built_binary, require_root_or_skip};
use rustix::process::{Pid, Signal, kill_process};

const POLICY: &str = r#"version: 1
name: office
interfaces: { inside: [lan0], outside: [wan0] }
networks: { clients: [10.25.0.0/24, "fd25::/64"], internal: [10.0.0.0/8] }
mode: enforce
on_block: reject
end: true
"#;

/// A look takes a second, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal of 80 columns and 24 lines with `smtpfence top` in a shell on it.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn start(lab: &Lab, agent: &Agent<'_>) -> Result<Self> {
        let terminal = Self { socket: lab.dir().join("tmux") };
        let top = agent.command("top")?;
        let words = std::iter::once(top.get_program()).chain(top.get_args());
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        // What the shell finds when it has the terminal back is part of the test.
        let script = format!("{}; echo \"ended with $?\"; stty -a; exec sleep 600", words.join(" "));
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &script])?;
        Ok(terminal)
    }

    fn tmux(&self, words: &[&str]) -> Result<String> {
        let mut tmux = Command::new("tmux");
        let output = tmux.arg("-S").arg(&self.socket).args(words).output();
        let output = output.context("no tmux: `cargo xtask setup` installs it")?;
        ensure!(output.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn text(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen is as wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let begun = Instant::now();
        loop {
            let text = self.text()?;
            if wanted(&text) {
                return Ok(text);
            }
            ensure!(begun.elapsed() < PATIENCE, "{what} does not come:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_for(&self, part: &str) -> Result<String> {
        self.wait(part, |text| text.contains(part))
    }

    /// Presses keys by tmux's names of them.
    fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    fn type_in(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    /// The process of the screen: the only child of the shell.
    fn process(&self) -> Result<Pid> {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"])?;
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))?;
        let child = children.split_whitespace().next().context("the shell has no child")?;
        Pid::from_raw(child.parse()?).context("no PID")
    }

    /// The program has ended well, and the shell has the terminal as it was.
    fn is_clean(&self) -> Result<()> {
        let text = self.wait_for("ended with 0")?;
        let text = if text.contains("icanon") { text } else { self.wait_for("icanon")? };
        ensure!(!text.contains("-icanon") && !text.contains("-echo "), "the terminal is still raw:\n{text}");
        let flags = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"])?;
        ensure!(flags.trim() == "0 1", "alternate screen and cursor: {flags}");
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

fn attempt(lab: &Lab, last: u8) {
    let to = SocketAddr::from(([203, 0, 113, last], 25));
    let _refused = lab.client(0).connect(to, Duration::from_millis(300));
}

fn quarantined(agent: &Agent<'_>) -> Result<usize> {
    Ok(agent.status()?["quarantine"].as_array().map_or(0, Vec::len))
}

#[test]
fn attempts_are_seen_and_a_host_is_put_in_quarantine_and_released() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    attempt(&lab, 25);
    let terminal = Terminal::start(&lab, &agent)?;
    terminal.wait_for("203.0.113.25")?;
    attempt(&lab, 26);
    let text = terminal.wait_for("203.0.113.26")?;
    ensure!(text.contains("2 hooks covered") && text.contains("1/1 by verdict"), "{text}");
    terminal.press(&["Enter"])?;
    let text = terminal.wait_for("most tried")?;
    ensure!(text.contains("02:00:00:00:00:77"), "{text}");
    terminal.press(&["Q"])?;
    terminal.wait_for("Quarantine 10.25.0.77")?;
    terminal.type_in("2h")?;
    terminal.press(&["Tab"])?;
    terminal.type_in("ticket 4711")?;
    terminal.press(&["Enter"])?;
    terminal.wait_for("--reason 'ticket 4711'")?;
    ensure!(quarantined(&agent)? == 0, "nobody has said yes");
    terminal.press(&["y"])?;
    terminal.wait_for("in quarantine until")?;
    ensure!(quarantined(&agent)? == 1);
    terminal.wait_for("1 quarantined")?;
    terminal.press(&["R"])?;
    terminal.wait_for("smtpfence release 10.25.0.77")?;
    terminal.press(&["y"])?;
    terminal.wait_for("is released")?;
    ensure!(quarantined(&agent)? == 0);
    terminal.press(&["Escape"])?;
    terminal.wait_for("1/1 by verdict")?;
    terminal.press(&["q"])?;
    terminal.is_clean()
}

#[test]
fn an_exception_is_made_from_the_screen() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    attempt(&lab, 25);
    let terminal = Terminal::start(&lab, &agent)?;
    terminal.wait_for("203.0.113.25")?;
    terminal.press(&["A", "Enter", "Enter", "Enter"])?;
    terminal.type_in("old scanner")?;
    terminal.press(&["Enter"])?;
    terminal.type_in("it@example.com")?;
    terminal.press(&["Enter"])?;
    terminal.wait_for("--from=10.25.0.77")?;
    terminal.press(&["y"])?;
    terminal.wait_for("+  - name: allow-10.25.0.77-to-203.0.113.25")?;
    let before = fs::read_to_string(agent.policy_file())?;
    ensure!(!before.contains("exceptions"), "it was written before it was asked for");
    terminal.type_in("y\n")?;
    terminal.wait_for("Enter goes back to the screen")?;
    ensure!(fs::read_to_string(agent.policy_file())?.contains("old scanner"), "nothing was written");
    terminal.press(&["Enter"])?;
    terminal.wait_for("1/1 by verdict")?;
    terminal.press(&["C-c"])?;
    terminal.is_clean()
}

#[test]
fn the_screen_outlives_the_agent_and_ends_on_a_signal() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    attempt(&lab, 25);
    let terminal = Terminal::start(&lab, &agent)?;
    let counts = |attempts: u64| {
        move |text: &str| {
            let line = text.lines().find(|line| line.starts_with("not-a-mail-server"));
            line.is_some_and(|line| line.split_whitespace().nth(3) == Some(&attempts.to_string()))
        }
    };
    terminal.wait("an attempt", counts(1))?;
    agent.kill9()?;
    terminal.wait_for("AGENT GONE since")?;
    // Nobody but the kernel counts now.
    attempt(&lab, 26);
    terminal.wait("a second attempt", counts(2))?;
    terminal.tmux(&["resize-window", "-x", "20", "-y", "5"])?;
    terminal.wait_for("too small")?;
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"])?;
    terminal.wait_for("AGENT GONE since")?;
    agent.run()?;
    let text = terminal.wait("the agent", |text| !text.contains("AGENT GONE") && text.contains("agent "))?;
    ensure!(text.contains("2 hooks covered"), "{text}");
    terminal.wait_for("203.0.113.26")?;
    kill_process(terminal.process()?, Signal::TERM)?;
    terminal.is_clean()
}

#[test]
fn the_screen_ends_with_its_terminal() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let terminal = Terminal::start(&lab, &agent)?;
    terminal.wait_for("agent ")?;
    let process = terminal.process()?;
    terminal.tmux(&["kill-server"])?;
    let begun = Instant::now();
    while rustix::process::test_kill_process(process).is_ok() {
        ensure!(begun.elapsed() < PATIENCE, "it still runs without a terminal");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
