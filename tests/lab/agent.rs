//! smtpfence itself on the lab's gateway: started, asked, killed.

use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{ChildGuard, Lab};

/// Loading and verifying the programs takes well under a second; a busy machine may be slow.
const STARTUP: Duration = Duration::from_secs(30);

/// The places of one smtpfence on the gateway. Enforcement outlives its process, until `detach` or the end of the lab.
pub struct Agent<'lab> {
    lab: &'lab Lab,
    binary: PathBuf,
    policy: PathBuf,
    state: PathBuf,
    control: PathBuf,
    /// Variables and programs in front of the agent, such as `setpriv` or a service manager's environment.
    starter: Vec<String>,
    process: Option<ChildGuard>,
}

impl<'lab> Agent<'lab> {
    /// Starts `binary` with a policy and waits until it enforces.
    pub fn start(lab: &'lab Lab, binary: &Path, policy: &str) -> Result<Self> {
        let mut agent = Self::prepare(lab, binary, policy)?;
        agent.run()?;
        Ok(agent)
    }

    /// Lays everything out without starting it.
    pub fn prepare(lab: &'lab Lab, binary: &Path, policy: &str) -> Result<Self> {
        let private = |name: &str| -> Result<PathBuf> {
            let path = lab.dir().join(name);
            fs::DirBuilder::new().mode(0o700).recursive(true).create(&path)?;
            Ok(path)
        };
        let (state, control) = (private("state")?, private("control")?.join("socket"));
        let binary = binary.to_owned();
        let policy_file = lab.dir().join("policy.yaml");
        let starter = Vec::new();
        let agent = Self { lab, binary, policy: policy_file, state, control, starter, process: None };
        agent.write_policy(policy)?;
        Ok(agent)
    }

    /// Has the process started from now on by this program and its arguments, which must end by becoming it.
    pub fn start_by(&mut self, words: &[&str]) {
        self.starter = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Has the next start and every verb from now on use this binary.
    pub fn set_binary(&mut self, binary: &Path) {
        self.binary = binary.to_owned();
    }

    /// Where its policy lies.
    pub fn policy_file(&self) -> &Path {
        &self.policy
    }

    /// Replaces the policy file, as an editor would: the agent has not read it yet.
    pub fn write_policy(&self, text: &str) -> Result<()> {
        let new = self.policy.with_extension("new");
        let mut file = fs::File::options();
        let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&new, &self.policy).with_context(|| format!("could not write {}", self.policy.display()))
    }

    /// Starts the process and waits until it enforces.
    pub fn run(&mut self) -> Result<()> {
        self.run_with(&[])
    }

    /// The same with more arguments.
    pub fn run_with(&mut self, arguments: &[&str]) -> Result<()> {
        ensure!(self.process.is_none(), "the agent runs already");
        let process = self.lab.gateway().spawn(self.run_command(arguments)?)?;
        process.wait_for_line("READY", STARTUP).context("smtpfence did not get ready")?;
        self.process = Some(process);
        Ok(())
    }

    /// Runs it to its end: for starts that must be refused.
    pub fn refused(&self) -> Result<Output> {
        let mut command = self.run_command(&[])?;
        command.output().context("could not start smtpfence")
    }

    fn run_command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.command("run")?;
        command.arg("--policy").arg(&self.policy).args(arguments);
        Ok(command)
    }

    /// A verb of the command line with this agent's places, in the gateway's namespace.
    pub fn command(&self, verb: &str) -> Result<Command> {
        let starter = if verb == "run" { self.starter.as_slice() } else { &[] };
        let binary = self.binary.to_string_lossy();
        let mut words = starter.iter().map(String::as_str).chain([binary.as_ref()]);
        let mut command = self.lab.gateway().command(words.next().unwrap_or_default());
        command.args(words);
        let places: [OsString; 6] = [
            "--bpffs".into(),
            self.lab.bpffs()?.into(),
            "--state-dir".into(),
            self.state.clone().into(),
            "--control".into(),
            self.control.clone().into(),
        ];
        command.arg(verb);
        match verb {
            "reload" | "confirm" => command.args(&places[4..]),
            "log" | "destinations" | "report" => command.args(&places[2..4]),
            "hosts" | "host" => command.args(&places[2..]),
            _ => command.args(&places),
        };
        Ok(command)
    }

    /// Runs a verb with all of this agent's places; returns its exit code and all it said.
    pub fn told(&self, verb: &str, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let output = self.command(verb)?.args(arguments).output()?;
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        Ok((output.status.code(), told))
    }

    /// The directory of what outlives a restart.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// The socket that it answers on.
    pub fn socket(&self) -> &Path {
        &self.control
    }

    /// What `status --format json` says.
    pub fn status(&self) -> Result<Value> {
        let output = self.command("status")?.args(["--format", "json"]).output()?;
        ensure!(output.status.success(), "status failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// One number of the status: packets or attempts of a reason; 0 where it counted nothing.
    pub fn counted(&self, reason: &str, what: &str) -> Result<u64> {
        let status = self.status()?;
        let counters = status["counters"].as_array().context("no counters")?;
        Ok(counters.iter().find(|c| c["reason"] == reason).and_then(|c| c[what].as_u64()).unwrap_or(0))
    }

    /// Runs `reload` and returns whether it was accepted, with what it said.
    pub fn reload(&self) -> Result<(bool, String)> {
        let output = self.command("reload")?.output()?;
        let told = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&told).into_owned()))
    }

    /// Runs a verb that speaks to the agent and returns all it said, whether or not it was content.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let mut command = self.lab.gateway().command(&self.binary.to_string_lossy());
        let output = command.args(words).arg("--control").arg(&self.control).output()?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// What the control socket answers to a GET.
    pub fn get(&self, path: &str) -> Result<String> {
        let mut socket = UnixStream::connect(&self.control)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        // 1.0: the answer comes in one piece and ends with the connection.
        write!(socket, "GET {path} HTTP/1.0\r\nhost: smtpfence\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        ensure!(head.split(' ').nth(1) == Some("200"), "{path}: {answer}");
        Ok(body.to_owned())
    }

    /// Ends enforcement.
    pub fn detach(&self) -> Result<Output> {
        self.command("detach")?.output().context("could not start smtpfence")
    }

    /// The running process.
    pub fn process(&mut self) -> Result<&mut ChildGuard> {
        self.process.as_mut().context("the agent does not run")
    }

    /// Blocked attempts on standard output so far.
    pub fn attempts(&self) -> Vec<Value> {
        let lines = self.process.as_ref().map(ChildGuard::stdout).unwrap_or_default();
        let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["event"] == "attempt").collect()
    }

    /// Waits until an attempt is logged that `matches` accepts.
    pub fn wait_for_attempt(&self, matches: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            if let Some(found) = self.attempts().into_iter().find(|attempt| matches(attempt)) {
                return Ok(found);
            }
            ensure!(
                Instant::now() < deadline,
                "no such attempt is logged; logged are {:#?}",
                self.attempts()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the process as an accident would.
    pub fn kill9(&mut self) -> Result<()> {
        self.process()?.kill9()?;
        self.process = None;
        Ok(())
    }

    /// Asks the process to stop, and waits for it.
    pub fn terminate(&mut self) -> Result<()> {
        let status = self.process()?.terminate(Duration::from_secs(10))?;
        ensure!(status.success(), "the agent stopped with {status}");
        self.process = None;
        Ok(())
    }
}

/// The `smtpfence` that cargo has built beside the calling test or tool.
pub fn built_binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // Test executables lie in target/PROFILE/deps, others in target/PROFILE.
    let found = own.ancestors().skip(1).take(2).map(|dir| dir.join("smtpfence")).find(|path| path.is_file());
    found.with_context(|| {
        format!("no smtpfence beside {}: run `cargo build -p policy-user` first", own.display())
    })
}
