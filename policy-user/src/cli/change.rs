//! Changing the policy file: shows the difference, asks, writes, and has the agent read it.

mod files;

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use hyper::Method;
use serde_json::{Value, json};

use super::{Places, seconds, text};
use crate::agent::ReloadRequest;
use crate::agent::history::How;
use crate::control;
use crate::failure::Failure;
use crate::policy::{self, Strictness};
use crate::status::InForce;

const USUAL_FILE: &str = "/etc/smtpfence/policy.yaml";

/// What every verb that writes the policy file takes.
#[derive(clap::Args)]
pub struct Change {
    /// Policy file; unless told the one of the running or the last agent, else /etc/smtpfence/policy.yaml.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Roll back by itself after this time, such as 5m, unless `smtpfence confirm` follows.
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    confirm: Option<i64>,
    #[command(flatten)]
    pub places: Places,
}

/// The policy file and the agent that reads it.
pub struct PolicyFile<'a> {
    change: &'a Change,
    pub path: PathBuf,
    /// As it is now, its fragments with it; none where there is no such file.
    pub text: Option<String>,
    agent: Agent,
    status: Value,
}

#[derive(PartialEq, Eq)]
enum Agent {
    Reads,
    ReadsAnother,
    Absent,
}

impl<'a> PolicyFile<'a> {
    pub fn open(change: &'a Change) -> Result<Self, Failure> {
        let status =
            super::block_on(control::request(&change.places.control, Method::GET, "/v1/status", None))?;
        let status = status.unwrap_or_default();
        let running = status["in_force"]["file"].as_str().map(PathBuf::from);
        let last = || InForce::read(&change.places.state_dir).map(|in_force| in_force.file);
        let path = change.policy.clone().or_else(|| running.clone()).or_else(last);
        let path = path.unwrap_or_else(|| USUAL_FILE.into());
        let agent = match running {
            None => Agent::Absent,
            Some(running) if same_file(&running, &path) => Agent::Reads,
            Some(_) => Agent::ReadsAnother,
        };
        let pending = &status["pending"];
        if agent == Agent::Reads && !pending.is_null() {
            return Err(Failure::Rejected(format!(
                "revision {} waits for confirmation: run `smtpfence confirm` to keep it, or `smtpfence reload --cancel` to \
                 go back to {}; then try again",
                text(&pending["revision"]),
                text(&pending["previous"])
            )));
        }
        // The agent refuses a file that others can write to: better to hear it before anything is written.
        let strictness = if agent == Agent::Reads { Strictness::Strict } else { Strictness::Advisory };
        let text = match policy::read_text(&path, strictness) {
            Ok(text) => Some(text),
            Err(_) if !path.exists() => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { change, path, text, agent, status })
    }

    /// Refuses to go on where a reload would put more in force than the change that is asked for.
    pub fn must_be_in_force(&self) -> Result<(), Failure> {
        let (file, in_force) = (&self.status["file_revision"], &self.status["in_force"]["revision"]);
        if self.agent != Agent::Reads || file == in_force {
            return Ok(());
        }
        let path = self.path.display();
        let why = if self.status["rolled_back"]["revision"] == *file {
            format!("{path} holds revision {}, which was rolled back: correct the file first", text(file))
        } else {
            format!(
                "{path} holds changes that are not in force, and a reload would put them in force too: reload first"
            )
        };
        Err(Failure::Rejected(format!(
            "{why} (`smtpfence reload --confirm 5m`), or go back (`smtpfence restore {}`)",
            text(in_force)
        )))
    }

    /// Shows what would change and asks; an error unless the answer is yes.
    pub fn propose(&self, new: &str) -> Result<(), Failure> {
        let colour =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        let shown: String = files::differences(self.text.as_deref(), new)
            .map(|change| change.shown(&self.path, colour))
            .collect();
        super::printed(io::stdout().write_all(shown.as_bytes()))?;
        if self.change.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::CouldNotRun(
                "nobody can be asked here, and nothing was changed: add --yes if this is what you want"
                    .to_owned(),
            ));
        }
        let what = if self.agent == Agent::Reads { "write it and reload" } else { "write it" };
        eprint!("{what}? [y/N] ");
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map_err(|error| {
            Failure::CouldNotRun(format!("can't read the answer: {error}; nothing was changed"))
        })?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Failure::Rejected("nothing was changed".to_owned())),
        }
    }

    /// Keeps each file that `new` changes beside itself; tells where.
    pub fn back_up(&self, new: &str) -> Result<Vec<PathBuf>, Failure> {
        let Some(text) = &self.text else { return Ok(Vec::new()) };
        let revision = policy::Revision::of(text);
        let existing = files::differences(Some(text), new).filter(|change| change.old.is_some());
        existing.map(|change| change.back_up(&self.path, revision)).collect()
    }

    /// Writes the file and makes the agent read it. If that is refused, the file is as it was.
    pub fn put_in_force(&self, new: &str, how: How) -> Result<(), Failure> {
        let now = policy::read_text(&self.path, Strictness::Advisory).ok();
        if now != self.text {
            return Err(Failure::Rejected(format!(
                "somebody has changed {} meanwhile, so nothing was written; run it again",
                self.path.display()
            )));
        }
        if let Err(failed) = files::write(&self.path, self.text.as_deref(), Some(new)) {
            return Err(self.undo(failed, new));
        }
        let path = self.path.display();
        let told = match self.agent {
            Agent::Absent => {
                format!("no agent answers on {}, the next one reads it", self.socket())
            }
            Agent::ReadsAnother => {
                let file = text(&self.status["in_force"]["file"]);
                format!("the agent reads {file} and goes on as before")
            }
            Agent::Reads => self.reload(how).map_err(|refused| self.undo(refused, new))?,
        };
        super::say(format_args!("{path} is written; {told}"))
    }

    fn reload(&self, how: How) -> Result<String, Failure> {
        let request = json!(ReloadRequest { confirm_seconds: self.change.confirm, how });
        let socket = &self.change.places.control;
        let answer = super::block_on(control::request(socket, Method::POST, "/v1/reload", Some(&request)))?;
        let answer = answer
            .ok_or_else(|| Failure::CouldNotRun(format!("no agent answers on {} any more", self.socket())))?;
        Ok(answer["result"].as_str().unwrap_or("reloaded").to_owned())
    }

    fn undo(&self, refused: Failure, new: &str) -> Failure {
        let file = match files::write(&self.path, Some(new), self.text.as_deref()) {
            Ok(()) => "the file is as it was".to_owned(),
            Err(error) => format!("the file could not be put back: {error}"),
        };
        match refused {
            Failure::Rejected(why) => Failure::Rejected(format!("{why}; {file}")),
            Failure::CouldNotRun(why) => Failure::CouldNotRun(format!("{why}; {file}")),
        }
    }

    fn socket(&self) -> std::path::Display<'_> {
        self.change.places.control.display()
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).or_else(|_| std::path::absolute(path)).ok();
    real(a) == real(b)
}
