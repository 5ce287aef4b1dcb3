//! A program that runs in the background: its output as lines, and a sure end.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How many lines of output an error message shows.
const TAIL: usize = 15;

/// A running program. Killed, by its own PID, when dropped.
pub struct ChildGuard {
    name: String,
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

#[derive(Default)]
struct Output {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Default)]
struct Lines {
    all: Vec<(Stream, String)>,
    /// Streams at their end.
    closed: usize,
}

impl Output {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChildGuard {
    /// Starts `command` in the namespace of the calling thread.
    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        let name = format!("{command:?}").replace('"', "");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("could not start {name}"))?;
        let output = Arc::new(Output::default());
        let mut readers = Vec::new();
        if let Some(out) = child.stdout.take() {
            readers.push(read_lines(out, Stream::Out, &output));
        }
        if let Some(err) = child.stderr.take() {
            readers.push(read_lines(err, Stream::Err, &output));
        }
        Ok(Self { name, child, output, readers })
    }

    /// The process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.lines_of(Stream::Out)
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.lines_of(Stream::Err)
    }

    fn lines_of(&self, stream: Stream) -> Vec<String> {
        let lines = self.output.lines();
        lines.all.iter().filter(|(s, _)| *s == stream).map(|(_, line)| line.clone()).collect()
    }

    /// Waits for a line, old or new and on either stream, that contains `pattern`.
    pub fn wait_for_line(&self, pattern: &str, timeout: Duration) -> Result<String> {
        self.wait_for(|line| line.contains(pattern), timeout)
            .with_context(|| format!("waited {timeout:?} at most for a line with {pattern:?}"))
    }

    /// Waits for a line, old or new and on either stream, that `matches` accepts.
    pub fn wait_for(&self, mut matches: impl FnMut(&str) -> bool, timeout: Duration) -> Result<String> {
        let deadline = Instant::now() + timeout;
        let mut seen = 0;
        let mut lines = self.output.lines();
        loop {
            if let Some((_, line)) = lines.all[seen..].iter().find(|(_, line)| matches(line)) {
                return Ok(line.clone());
            }
            seen = lines.all.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.closed == self.readers.len() {
                let ended = if left.is_zero() { "is silent" } else { "has ended" };
                bail!("{} {ended}; its last lines:\n{}", self.name, tail(&lines.all));
            }
            let waited = self.output.grown.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The exit status if the program has ended.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("could not wait for {}", self.name))
    }

    /// Waits for the program's own end.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} still runs after {timeout:?}; its last lines:\n{}", self.name, self.tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to stop (SIGTERM) and waits for that.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(timeout)
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        self.child.kill().with_context(|| format!("could not kill {}", self.name))?;
        self.child.wait().with_context(|| format!("could not wait for {}", self.name))
    }

    /// Sends a signal, unless the program has ended already.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // Only an unreaped child's PID is certainly still its own.
        if self.try_wait()?.is_none() {
            let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("no such PID")?;
            kill_process(pid, signal).with_context(|| format!("could not signal {}", self.name))?;
        }
        Ok(())
    }

    fn tail(&self) -> String {
        tail(&self.output.lines().all)
    }
}

impl fmt::Debug for ChildGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (PID {})", self.name, self.pid())
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Both fail only if it is gone already. The readers are not joined: a grandchild may hold the pipes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(lines: &[(Stream, String)]) -> String {
    let from = lines.len().saturating_sub(TAIL);
    let shown: Vec<_> = lines[from..].iter().map(|(_, line)| format!("  {line}")).collect();
    if shown.is_empty() { "  (none)".into() } else { shown.join("\n") }
}

fn read_lines(source: impl Read + Send + 'static, stream: Stream, output: &Arc<Output>) -> JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        // Programs may write anything; a line that is not UTF-8 is shown as well as it can be.
        for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\r').to_string();
            output.lines().all.push((stream, text));
            output.grown.notify_all();
        }
        output.lines().closed += 1;
        output.grown.notify_all();
    })
}
