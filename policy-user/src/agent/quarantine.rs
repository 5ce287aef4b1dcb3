//! Clients that an admin has put into quarantine: kept in a file across restarts, enforced by the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use policy_common::Addr;
use serde::{Deserialize, Serialize};

use crate::datapath::State;
use crate::failure::Failure;
use crate::policy::Policy;
use crate::policy::compile::{Instant, boot_time_of};
use crate::status;

/// As many as the kernel's map holds.
const MOST: usize = 16_384;
/// Longer than this it is no quarantine but a policy, which belongs into the file.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 366);

/// One client in quarantine; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    pub host: IpAddr,
    pub since: Timestamp,
    pub until: Timestamp,
    pub reason: String,
}

/// What `quarantine` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuarantineRequest {
    pub host: IpAddr,
    pub seconds: i64,
    pub reason: String,
}

/// The list and the file that keeps it.
pub struct Quarantine {
    path: PathBuf,
    clients: BTreeMap<IpAddr, Quarantined>,
}

impl Quarantine {
    /// What the last agent kept. A damaged file must not stop enforcement: it is told and put aside.
    pub fn read(state_dir: &Path) -> Self {
        let path = state_dir.join("quarantine.json");
        let clients = match fs::read(&path) {
            Ok(text) => serde_json::from_slice::<Vec<Quarantined>>(&text).unwrap_or_else(|error| {
                let aside = path.with_extension("damaged");
                log::error!(
                    "{} is damaged ({error}): the quarantine begins empty, the file is kept as {}",
                    path.display(),
                    aside.display()
                );
                let _ = fs::rename(&path, aside);
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        Self { path, clients: clients.into_iter().map(|client| (client.host, client)).collect() }
    }

    /// Everybody whose quarantine has not ended.
    pub fn list(&mut self, now: Timestamp) -> Vec<Quarantined> {
        self.clients.retain(|_, client| client.until > now);
        self.clients.values().cloned().collect()
    }

    /// Adds or prolongs; the kernel knows before this returns.
    pub fn add(
        &mut self,
        request: QuarantineRequest,
        policy: &Policy,
        state: &mut State,
        now: Instant,
    ) -> Result<Quarantined, Failure> {
        let QuarantineRequest { host, seconds, reason } = request;
        let length = SignedDuration::from_secs(seconds);
        if !length.is_positive() || length > LONGEST {
            return Err(Failure::Rejected("a quarantine lasts between a second and 366 days".to_owned()));
        }
        if let Some(server) = policy.mail_servers.iter().find(|server| server.addresses.contains(&host)) {
            return Err(Failure::Rejected(format!(
                "{host} is the mail server {}: a quarantine never holds for a mail server; remove it from the policy \
                 instead",
                server.name
            )));
        }
        if self.list(now.wall).len() >= MOST && !self.clients.contains_key(&host) {
            return Err(Failure::CouldNotRun(format!(
                "{MOST} clients are in quarantine, which is the limit"
            )));
        }
        let until = now.wall.checked_add(length).unwrap_or(Timestamp::MAX);
        let client = Quarantined { host, since: now.wall, until, reason };
        self.clients.insert(host, client.clone());
        self.put_in_force(state, now)?;
        self.save();
        Ok(client)
    }

    /// Ends a client's quarantine; tells whether it was in one.
    pub fn release(&mut self, host: IpAddr, state: &mut State, now: Instant) -> Result<bool, Failure> {
        let was = self.clients.remove(&host).is_some_and(|client| client.until > now.wall);
        self.put_in_force(state, now)?;
        self.save();
        Ok(was)
    }

    /// Gives the kernel the list. Each entry carries its end, so that it ends on time without an agent.
    pub fn put_in_force(&mut self, state: &mut State, now: Instant) -> Result<(), Failure> {
        let clients = self.list(now.wall);
        let until = clients.iter().map(|c| (Addr::from(c.host), boot_time_of(c.until, now))).collect();
        Ok(state.set_quarantine(&until)?)
    }

    /// A full disk must not undo what the kernel does: then only a restart of the machine forgets it.
    fn save(&self) {
        let clients: Vec<&Quarantined> = self.clients.values().collect();
        if let Err(error) = status::save_json(&self.path, &clients) {
            log::error!("{error}; the quarantine holds until the machine restarts");
        }
    }
}
