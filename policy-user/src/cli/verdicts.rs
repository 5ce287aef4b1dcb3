//! Which hosts are flagged: from the agent, or from what the last one has kept.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};

use crate::agent;
use crate::attempt::Mac;
use crate::control;
use crate::failure::Failure;
use crate::policy::{self, Policy, Strictness};
use crate::status::InForce;

/// The flags of all hosts by what each is told apart by, with the fields of `GET /v1/flags`.
#[derive(Clone, Debug, Default)]
pub struct Verdicts(HashMap<String, Value>);

impl Verdicts {
    /// From a running agent, else from the state directory.
    pub fn read(socket: &Path, state_dir: &Path) -> Result<Self, Failure> {
        let told = super::block_on(control::request(socket, Method::GET, "/v1/flags", None))?;
        told.map_or_else(|| Self::without_agent(state_dir), |flags| Ok(Self::from_agent(flags)))
    }

    pub fn from_agent(flags: Value) -> Self {
        let flags = match flags {
            Value::Array(flags) => flags,
            _ => Vec::new(),
        };
        let named = |flag: Value| Some((flag["host"].as_str()?.to_owned(), flag));
        Self(flags.into_iter().filter_map(named).collect())
    }

    pub fn without_agent(state_dir: &Path) -> Result<Self, Failure> {
        let policy = policy_in_force(state_dir).ok_or_else(|| {
            Failure::CouldNotRun(
                "nobody knows who is flagged: no agent answers, and the policy of the last one can't be read"
                    .to_owned(),
            )
        })?;
        Ok(Self::from_agent(json!(agent::remembered(state_dir, &policy)?)))
    }

    /// The flag of a host, which is told apart by its MAC, or behind a router by its address.
    pub fn of(&self, client: Option<IpAddr>, mac: Option<Mac>) -> Option<&Value> {
        let by_mac = mac.and_then(|mac| self.0.get(&mac.to_string()));
        by_mac.or_else(|| self.0.get(&client?.to_string()))
    }

    /// How many hosts are flagged.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// The policy that the last agent put in force, as its file is now.
pub fn policy_in_force(state_dir: &Path) -> Option<Policy> {
    let in_force = InForce::read(state_dir)?;
    policy::load(&in_force.file, Strictness::Advisory).ok().map(|(loaded, _)| loaded.policy)
}

/// One word for a column, marked where somebody has acknowledged it.
pub fn word(flag: &Value) -> String {
    let acknowledged = if flag["acknowledged"].is_null() { "" } else { " (acknowledged)" };
    format!("{}{acknowledged}", super::text(&flag["verdict"]))
}
