//! Which policy a start puts in force: the file's, unless a trial that an earlier agent began says otherwise.

use jiff::Timestamp;

use super::Config;
use super::enforcement::{load_policy, now};
use super::history::{History, How, Origin};
use super::interfaces::Absent;
use super::pending::{Failed, Text, Trial};
use crate::failure::Failure;
use crate::policy::{self, LoadedPolicy};

/// What is put in force first.
pub struct First {
    pub policy: LoadedPolicy,
    pub origin: Origin,
    pub trial: Option<Trial>,
    pub absent: Absent,
    /// Why the policy file was refused, where another policy stands in for it.
    pub refused: Option<String>,
}

impl First {
    /// Reads only; refuses what can't be in force.
    pub fn choose(config: &Config) -> Result<Self, Failure> {
        // Whoever names another file wants that one.
        let trial = Trial::read(&config.state_dir).filter(|trial| trial.file == config.policy);
        if let Some(trial) = trial {
            match resume(trial, config) {
                Ok(Some(first)) => return Ok(first),
                Ok(None) => {}
                Err(error) => log::error!("{error}; the policy file is put in force instead"),
            }
        }
        let absent = if config.unattended { Absent::Waited } else { Absent::Refused };
        let (policy, refused) = match load_policy(&config.policy) {
            Ok(policy) => (policy, None),
            Err(error) if config.unattended => last_good(error, config)?,
            Err(error) => return Err(with_way_back(error, config)),
        };
        Ok(Self { policy, origin: Origin::nobody(How::Start), trial: None, absent, refused })
    }
}

/// Goes on with a trial where the last agent stopped; `None` where the file decides.
fn resume(mut trial: Trial, config: &Config) -> Result<Option<First>, Failure> {
    let path = config.policy.display();
    let (chosen, origin) = if trial.failed.is_some() {
        if policy::revision_at(&config.policy).map(|found| found.to_string()).as_ref()
            != Some(&trial.tried.revision)
        {
            return Ok(None);
        }
        log::error!(
            "{path} still holds revision {}, which was rolled back: revision {} stays in force. Correct the file and run \
             `smtpfence reload`",
            trial.tried.revision,
            trial.previous.revision
        );
        (trial.previous.clone(), Origin::nobody(How::Rollback))
    } else if trial.left(now()).is_zero() {
        log::error!(
            "ROLLED BACK: nobody confirmed revision {} while no agent ran: revision {} is in force again. {path} is left \
             as it is",
            trial.tried.revision,
            trial.previous.revision
        );
        let why = "not confirmed in time, while no agent ran".to_owned();
        trial.failed = Some(Failed { at: Timestamp::now(), why });
        (trial.previous.clone(), Origin::nobody(How::Rollback))
    } else {
        log::warn!("revision {} still waits for `smtpfence confirm`", trial.tried.revision);
        (trial.tried.clone(), trial.origin.clone())
    };
    let Text { text, .. } = chosen;
    let (policy, _) = policy::load_text(&config.policy, text)?;
    // The interfaces were there when it came into force; nobody sits here to correct their names.
    Ok(Some(First { policy, origin, trial: Some(trial), absent: Absent::Waited, refused: None }))
}

/// The last policy that was in force and is still valid, in place of a file that is refused; and why it is.
fn last_good(error: Failure, config: &Config) -> Result<(LoadedPolicy, Option<String>), Failure> {
    let history = History::at(&config.state_dir);
    let kept = history.list(None).unwrap_or_default();
    let valid = |revision: &str| {
        let (_, text) = history.find(revision).ok()?;
        policy::load_text(&config.policy, text).ok().map(|(policy, _)| policy)
    };
    let Some(policy) = kept.iter().find_map(|kept| valid(&kept.revision)) else { return Err(error) };
    log::error!(
        "ALARM: {error}\nthe last good policy stands in for it: {}, revision {}. Correct the file and run `smtpfence reload`",
        policy.policy.name.escape_debug(),
        policy.revision
    );
    Ok((policy, Some(error.to_string())))
}

/// Adds to a refusal what could be put in force instead. Not done unasked: an agent that runs another policy than the
/// file's hides the mistake.
fn with_way_back(error: Failure, config: &Config) -> Failure {
    let newest = History::at(&config.state_dir).list(None).ok().and_then(|list| list.into_iter().next());
    let Some(kept) = newest else { return error };
    let way_back = format!(
        "\nthe last good policy was {}, revision {}: `smtpfence restore {}` puts it back into the file",
        kept.policy, kept.revision, kept.revision
    );
    match error {
        Failure::Rejected(why) => Failure::Rejected(why + &way_back),
        Failure::CouldNotRun(why) => Failure::CouldNotRun(why + &way_back),
    }
}
