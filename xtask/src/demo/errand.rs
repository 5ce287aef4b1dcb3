//! One thing that is tried (a message, or a bot's round), and its row in the tally.

use std::time::Duration;

use anyhow::Result;

use super::scenes::Performance;
use super::swaks::{self, Way};
use super::tally::{Row, Should};
use super::{interrupt, screen, spray};

/// How long a message may take from one Postfix to a mailbox.
const DELIVERY: Duration = Duration::from_secs(10);

impl Performance<'_> {
    /// A staff member sends one message to `user`; each message has a user of its own.
    pub fn mail(&mut self, what: &str, user: &str, way: Way, should: Should) -> Result<()> {
        let before = self.logged();
        let stage = self.stage;
        stage.count_from_here();
        let server = match way {
            Way::MailServer => stage.company_address(),
            Way::Port25 | Way::Port587 | Way::Port465 => stage.provider_address(),
        };
        if swaks::send(stage.staff(), "desktop", server, way, user)? {
            stage.provider.wait_for_message(user, DELIVERY)?;
        }
        let arrived = stage.provider.messages(user);
        self.record(what, should, (1, arrived), before)
    }

    /// The infected desktop tries all of its servers once.
    pub fn spray(&mut self, what: &str, should: Should) -> Result<()> {
        interrupt::check()?;
        let before = self.logged();
        self.stage.count_from_here();
        let sent = spray::destinations().len();
        let answered = spray::run(self.stage.infected())?.len();
        screen::explain(&format!("The bot reached {answered} of {sent} mail servers."));
        self.record(what, should, (sent, answered), before)
    }

    /// How many blocked attempts are in the log.
    pub fn logged(&mut self) -> usize {
        self.agent.as_mut().map_or(0, |agent| agent.attempts().len())
    }

    fn record(
        &mut self,
        what: &str,
        should: Should,
        (sent, arrived): (usize, usize),
        before: usize,
    ) -> Result<()> {
        let mut running = self.agent.as_mut().filter(|agent| agent.is_running());
        if let (Some(agent), Should::BeBlocked) = (&mut running, should) {
            agent.wait_for_attempts(before + sent)?;
        }
        let logged = running.map(|agent| agent.attempts().len() - before);
        let left = self.stage.left()?;
        self.tally.0.push(Row { what: what.into(), should, sent, arrived, left, logged });
        Ok(())
    }
}
