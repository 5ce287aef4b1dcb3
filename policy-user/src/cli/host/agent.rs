//! What only the running agent knows of a client: its quarantine, and what it hands in on submission ports.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};

use crate::cli::{ago, block_on, text};
use crate::control;
use crate::failure::Failure;

/// Null or empty where there is nothing, or no agent to ask.
#[derive(Default)]
pub struct Known {
    pub quarantine: Option<Value>,
    /// One for each MAC and interface that it was seen with.
    pub submission: Vec<Value>,
}

/// Asks the agent; without one nothing is known.
pub fn ask(socket: &Path, client: IpAddr) -> Result<Known, Failure> {
    let get = |path| block_on(control::request(socket, Method::GET, path, None));
    let (Some(status), Some(hosts)) = (get("/v1/status")?, get("/v1/hosts")?) else {
        return Ok(Known::default());
    };
    let client = json!(client);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let quarantine = list(&status["quarantine"]).into_iter().find(|entry| entry["host"] == client);
    let accounts = list(&hosts).into_iter().filter(|account| account["address"] == client);
    let submission = accounts.filter(|account| !account["submission"].is_null()).map(|account| {
        let mut submission = account["submission"].clone();
        submission["interface_index"] = account["interface_index"].clone();
        submission["mac"] = account["mac"].clone();
        submission
    });
    Ok(Known { quarantine, submission: submission.collect() })
}

impl Known {
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        if let Some(entry) = &self.quarantine {
            let (scope, until, reason) =
                (text(&entry["scope"]), ago(&entry["until"]), text(&entry["reason"]));
            writeln!(out, "  in quarantine ({scope}) until {until}: {reason}")?;
        }
        self.submission.iter().try_for_each(|it| {
            let number = |key: &str| it[key].as_u64().unwrap_or_default();
            writeln!(
                out,
                "  hands in mail: asked {} times for a connection to a submission port since {}, on the last day about {} \
                 servers; last {}",
                number("syns"),
                ago(&it["first_seen"]),
                number("servers"),
                ago(&it["last_seen"])
            )
        })
    }
}
