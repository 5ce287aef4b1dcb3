//! The service manager: told when the policy is in force and that the agent is alive.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior};

/// A service manager that may be there; all of this does nothing where there is none.
pub struct ServiceManager {
    feeding: Option<Interval>,
}

impl ServiceManager {
    /// Looks whether it wants a sign of life, and how often.
    pub fn find() -> Self {
        let feeding = sd_notify::watchdog_enabled().map(|limit| {
            // Half of what it waits, so that one late turn of the loop is no death.
            let mut feeding = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
            feeding.set_missed_tick_behavior(MissedTickBehavior::Delay);
            feeding
        });
        Self { feeding }
    }

    /// Tells that the policy is in force.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// Tells that the agent stops because it was asked to.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Waits until a sign of life is due; for ever where nobody waits for one.
    pub async fn due(&mut self) {
        match &mut self.feeding {
            Some(feeding) => drop(feeding.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Gives a sign of life. Only the loop that does the work may: a thread of its own would live on beside a stuck one.
    pub fn feed(&self) {
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("no service manager to tell: {error}");
    }
}
