//! smtpfence in user space: the policy language, the agent, and the command line over both.

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, reason = "each thread of the agent gives up its capabilities")
)]

pub mod account;
pub mod agent;
pub mod attempt;
mod authorities;
#[allow(clippy::disallowed_methods, reason = "the other verbs are no agent")]
pub mod cli;
pub mod control;
pub mod coverage;
pub mod datapath;
pub mod detect;
pub mod failure;
pub mod identity;
pub mod metrics;
pub mod netlink;
pub mod notify;
pub mod outputs;
pub mod policy;
pub mod replace;
pub mod rights;
pub mod status;
pub mod store;
