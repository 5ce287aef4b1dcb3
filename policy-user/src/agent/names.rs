//! Keeps the copying of DNS answers as the policy wants it: on, off, with these resolvers, on these interfaces.

use std::net::IpAddr;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::datapath::{AnswerStream, DatapathError, Inside, NameTap};
use crate::netlink::Interface;
use crate::policy::Policy;

/// A new stream of answers, or none any more.
pub type HandOver = mpsc::UnboundedReceiver<Option<AnswerStream>>;

/// What is on.
pub struct NameWatch {
    tap: Option<(NameTap, Vec<IpAddr>)>,
    hand_over: mpsc::UnboundedSender<Option<AnswerStream>>,
}

/// What is known of names; the field names are a contract.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NameCounts {
    /// Hosts of which names are known, and all their addresses with one.
    pub hosts: usize,
    pub addresses: usize,
    /// Answers that nobody learnt from, because they were too many at once.
    pub left_out: u64,
}

impl NameWatch {
    pub fn new() -> (Self, HandOver) {
        let (hand_over, answers) = mpsc::unbounded_channel();
        (Self { tap: None, hand_over }, answers)
    }

    /// Does as the policy says. What can't be done costs names, never enforcement.
    pub fn follow(&mut self, policy: &Policy, inside: &[Inside]) {
        let wanted = policy.detection.names.as_ref().map(|names| &names.resolvers);
        if let Err(error) = self.try_follow(wanted, inside) {
            log::error!(
                "no names are learnt: {error}; a site is a provider or a network, as without `names`"
            );
            self.stop();
        }
    }

    /// Answers that nobody learnt from; none where names are off.
    pub fn left_out(&self) -> Option<u64> {
        self.tap.as_ref().and_then(|(tap, _)| tap.left_out().ok())
    }

    fn try_follow(&mut self, wanted: Option<&Vec<IpAddr>>, inside: &[Inside]) -> Result<(), DatapathError> {
        let Some(wanted) = wanted else {
            self.stop();
            return Ok(());
        };
        if self.tap.as_ref().is_none_or(|(_, resolvers)| resolvers != wanted) {
            self.stop();
            let (tap, answers) = NameTap::load(wanted)?;
            self.tap = Some((tap, wanted.clone()));
            // Nobody listens only where the agent is about to end.
            let _ = self.hand_over.send(Some(answers));
        }
        let inside: Vec<Interface> = inside.iter().map(|inside| inside.interface.clone()).collect();
        match &mut self.tap {
            Some((tap, _)) => tap.attach(&inside),
            None => Ok(()),
        }
    }

    fn stop(&mut self) {
        if self.tap.take().is_some() {
            let _ = self.hand_over.send(None);
        }
    }
}
