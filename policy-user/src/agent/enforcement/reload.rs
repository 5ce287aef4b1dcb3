//! Changing the policy while one is in force: reload, trial, confirmation, rollback.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{Enforcement, load_policy, now};
use crate::agent::history::{How, Origin};
use crate::agent::interfaces::Absent;
use crate::agent::log_writer::LogWriter;
use crate::agent::pending::{Failed, Trial};
use crate::failure::Failure;
use crate::policy::{self, LoadedPolicy, Topic};
use crate::status::InForce;

/// How long after a failed rollback the next is tried.
const RETRY: Duration = Duration::from_secs(5);

/// What `reload` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadRequest {
    /// Roll back after so many seconds unless somebody confirms.
    pub confirm_seconds: Option<i64>,
    /// The verb that has written the file.
    pub how: How,
}

/// The policy in force as it was written; the field names are a contract.
#[derive(Clone, Debug, Serialize)]
pub struct RunningPolicy {
    pub name: String,
    pub revision: String,
    /// The file the text was read from; it may hold something else by now.
    pub file: PathBuf,
    pub text: String,
}

impl Enforcement {
    pub fn running_policy(&self) -> RunningPolicy {
        RunningPolicy {
            name: self.policy.policy.name.clone(),
            revision: self.policy.revision.to_string(),
            file: self.policy.path.clone(),
            text: self.policy.text.clone(),
        }
    }

    /// Reads the policy file again and swaps it in; on any error nothing changes.
    pub async fn reload(
        &mut self,
        request: &ReloadRequest,
        origin: Origin,
        writer: &LogWriter,
    ) -> Result<String, Failure> {
        if let Some(pending) = self.trial.as_ref().and_then(|trial| trial.pending(now())) {
            return Err(Failure::Rejected(format!(
                "revision {} waits for confirmation until {}: run `smtpfence confirm` to keep it, or \
                 `smtpfence reload --cancel` to go back to {}; then reload",
                pending.revision,
                local(pending.until),
                pending.previous
            )));
        }
        let result = self.swap_policy(request.confirm_seconds, origin).await;
        match &result {
            Ok(_) => writer.follow(self.policy()),
            Err(error) => self.reload_error = Some(error.to_string()),
        }
        result
    }

    async fn swap_policy(&mut self, confirm: Option<i64>, origin: Origin) -> Result<String, Failure> {
        let policy = load_policy(&self.config.policy)?;
        let before = self.in_force.revision.clone();
        let trial = match confirm {
            Some(seconds) if policy.revision != self.policy.revision => {
                Some(self.begin_trial(&policy, seconds, origin.clone())?)
            }
            _ => None,
        };
        if let Err(error) = self.swap_in(policy, Absent::Refused).await {
            self.remember_trial();
            return Err(error);
        }
        self.trial = trial;
        self.came_into_force(&origin, &before);
        let mut told = self.tell_in_force(&before);
        match self.trial.as_ref().and_then(|trial| trial.pending(now())) {
            Some(pending) => told.push_str(&format!(
                "\nit is rolled back at {} by itself, unless `smtpfence confirm` comes first",
                local(pending.until)
            )),
            None if confirm.is_some() => told.push_str("\nthere is nothing to confirm"),
            None => {}
        }
        Ok(told)
    }

    /// Written down before the policy is in force: an agent that dies in between must know that it was only on trial.
    fn begin_trial(&self, policy: &LoadedPolicy, seconds: i64, origin: Origin) -> Result<Trial, Failure> {
        let trial = Trial::begin(policy, &self.policy, seconds, origin, now())?;
        trial.save(&self.config.state_dir).map_err(|error| {
            Failure::CouldNotRun(format!(
                "{error}: a restart of the agent would forget to roll back, so nothing was changed; make room there, or \
                 reload without --confirm"
            ))
        })?;
        Ok(trial)
    }

    /// What is to be done once a policy has come into force by somebody's wish.
    fn came_into_force(&mut self, origin: &Origin, before: &str) {
        self.reload_error = None;
        log::info!("{} ({origin})", self.tell_in_force(before));
        self.history.keep(&self.policy, origin);
        self.remember_trial();
    }

    fn tell_in_force(&self, before: &str) -> String {
        let InForce { policy, revision, .. } = &self.in_force;
        let change =
            if before == revision { ", as before".to_owned() } else { format!(" in place of {before}") };
        format!("policy {policy} is in force: revision {revision}{change}")
    }

    /// Ends the trial: what is in force stays.
    pub fn confirm(&mut self, user: Option<String>) -> Result<String, Failure> {
        self.check_running("confirm")?;
        Trial::forget(&self.config.state_dir).map_err(|error| {
            Failure::CouldNotRun(format!(
                "{error}: the next agent would roll back, so it is not confirmed; make that directory writable and confirm \
                 again"
            ))
        })?;
        self.trial = None;
        let by = user.map(|user| format!(" by {user}")).unwrap_or_default();
        log::info!("revision {} is confirmed{by}", self.in_force.revision);
        Ok(format!("revision {} is confirmed and stays in force", self.in_force.revision))
    }

    /// Rolls back at once.
    pub async fn cancel(&mut self, user: Option<String>, writer: &LogWriter) -> Result<String, Failure> {
        self.check_running("cancel")?;
        let why = user.as_ref().map_or("cancelled".to_owned(), |user| format!("cancelled by {user}"));
        self.roll_back(&why, Origin { how: How::Rollback, user }, writer).await
    }

    /// How long until the agent must roll back, if it must.
    pub fn time_to_roll_back(&self) -> Option<Duration> {
        self.trial.as_ref().filter(|trial| trial.failed.is_none()).map(|trial| trial.left(now()))
    }

    /// Rolls back because nobody has confirmed.
    pub async fn time_is_up(&mut self, writer: &LogWriter) {
        if self.time_to_roll_back().is_none_or(|left| !left.is_zero()) {
            return;
        }
        let rolled_back =
            self.roll_back("not confirmed in time", Origin::nobody(How::Rollback), writer).await;
        if let Err(error) = rolled_back {
            let told = format!("ALARM: could not roll back, next attempt in {RETRY:?}: {error}");
            log::error!("{told}");
            self.reload_error = Some(told);
            if let Some(trial) = &mut self.trial {
                trial.postpone(RETRY, now());
            }
        }
    }

    async fn roll_back(&mut self, why: &str, origin: Origin, writer: &LogWriter) -> Result<String, Failure> {
        let Some(trial) = &self.trial else { return self.check_running("cancel").map(|()| String::new()) };
        let (failed, text) = (trial.tried.revision.clone(), trial.previous.text.clone());
        let (previous, _) = policy::load_text(&trial.file, text)?;
        // Its interfaces were there before; one that has gone since must not keep the others from getting it back.
        self.swap_in(previous, Absent::Waited).await?;
        if let Some(trial) = &mut self.trial {
            trial.failed = Some(Failed { at: Timestamp::now(), why: why.to_owned() });
        }
        self.came_into_force(&origin, &failed);
        writer.follow(self.policy());
        let told = format!(
            "ROLLED BACK: {why}: revision {} is in force again in place of {failed}; {} is left as it is and differs from \
             what is in force",
            self.in_force.revision,
            self.config.policy.display()
        );
        log::error!("{told}");
        writer.notifier().alarm(Topic::Reload, &failed, &told);
        Ok(told)
    }

    fn check_running(&self, verb: &str) -> Result<(), Failure> {
        let rolled_back = self.trial.as_ref().and_then(Trial::rolled_back);
        match (&self.trial, rolled_back) {
            (Some(_), None) => Ok(()),
            (_, Some(rolled_back)) => Err(Failure::Rejected(format!(
                "there is nothing to {verb}: revision {} was rolled back at {} ({}); `smtpfence reload --confirm 5m` tries \
                 the policy file again",
                rolled_back.revision,
                local(rolled_back.at),
                rolled_back.why
            ))),
            (None, None) => Err(Failure::Rejected(format!(
                "there is nothing to {verb}: no policy is on trial; `smtpfence status` shows what is in force"
            ))),
        }
    }

    /// Writes down the trial, or that there is none.
    pub(super) fn remember_trial(&self) {
        let kept = match &self.trial {
            Some(trial) => trial.save(&self.config.state_dir),
            None => Trial::forget(&self.config.state_dir),
        };
        if let Err(error) = kept {
            log::error!("{error}; a restart of the agent may put another policy in force");
        }
    }
}

fn local(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}
