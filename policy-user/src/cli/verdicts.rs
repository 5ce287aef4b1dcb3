//! Which hosts are flagged: from the agent, or from what the last one has kept.

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

/// The flags of all hosts, with the fields of `GET /v1/flags`.
#[derive(Clone, Debug, Default)]
pub struct Verdicts(Vec<Value>);

impl Verdicts {
    /// From a running agent, else from the state directory.
    pub fn read(socket: &Path, state_dir: &Path) -> Result<Self, Failure> {
        let told = super::block_on(control::request(socket, Method::GET, "/v1/flags", None))?;
        told.map_or_else(|| Self::without_agent(state_dir), |flags| Ok(Self::from_agent(flags)))
    }

    pub fn from_agent(flags: Value) -> Self {
        match flags {
            Value::Array(flags) => Self(flags),
            _ => Self::default(),
        }
    }

    pub fn without_agent(state_dir: &Path) -> Result<Self, Failure> {
        let policy = policy_in_force(state_dir).ok_or_else(|| {
            Failure::CouldNotRun(
                "nobody knows who is flagged: no agent answers, and the policy of the last one can't be read"
                    .to_owned(),
            )
        })?;
        let flagged = agent::remembered(state_dir, &policy)?;
        Ok(Self(flagged.iter().map(|flagged| json!(flagged)).collect()))
    }

    /// The flag of a host, which is told apart by its MAC, or behind a router by its address.
    pub fn of(&self, client: Option<IpAddr>, mac: Option<Mac>) -> Option<&Value> {
        let is = |flag: &Value, name: Option<String>| name.is_some_and(|name| flag["host"] == name);
        let by_mac = self.0.iter().find(|flag| is(flag, mac.map(|mac| mac.to_string())));
        by_mac.or_else(|| self.0.iter().find(|flag| is(flag, client.map(|client| client.to_string()))))
    }

    pub fn all(&self) -> &[Value] {
        &self.0
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
