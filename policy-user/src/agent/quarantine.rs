//! Clients in quarantine, by an admin or by a flag: kept in a file across restarts, enforced by the kernel.

mod offenders;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use policy_common::{Addr, abi};
use serde::{Deserialize, Serialize};

use crate::attempt::Mac;
use crate::datapath::State;
use crate::failure::Failure;
use crate::policy::compile::{Instant, boot_time_of};
use crate::policy::{Policy, Scope};
use crate::status;
use offenders::Offenders;

/// As many as the kernel's map holds.
const MOST: usize = 16_384;
/// Addresses of one flagged host: more than a machine has, fewer than it could make up.
const MOST_OF_A_HOST: usize = 64;
/// Longer than this it is no quarantine but a policy, which belongs into the file.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 366);

/// One client in quarantine; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    pub host: IpAddr,
    pub since: Timestamp,
    pub until: Timestamp,
    pub reason: String,
    #[serde(default)]
    pub scope: Scope,
    /// It holds only for packets with this MAC; none: for whoever has the address.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// The flagged host that it is an address of; none where an admin asked for it.
    #[serde(default)]
    pub flagged: Option<String>,
}

/// What `quarantine` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuarantineRequest {
    pub host: IpAddr,
    pub seconds: i64,
    pub reason: String,
    /// None: as the policy has it.
    #[serde(default)]
    pub scope: Option<Scope>,
}

/// A flagged host that is to be put in quarantine, with what it has been seen as.
pub struct Infected {
    pub host: String,
    pub mac: Option<Mac>,
    pub addresses: BTreeSet<IpAddr>,
    /// What it has done, in one sentence.
    pub evidence: String,
}

struct Held {
    client: Quarantined,
    /// The end in nanoseconds of `CLOCK_BOOTTIME`: a step of the wall clock must not change it.
    until: u64,
}

/// The list and the files that keep it.
pub struct Quarantine {
    path: PathBuf,
    clients: BTreeMap<IpAddr, Held>,
    offenders: Offenders,
}

impl Quarantine {
    /// What the last agent kept. A damaged file must not stop enforcement: it is told and put aside.
    pub fn read(state_dir: &Path, state: &State, now: Instant) -> Self {
        let path = state_dir.join("quarantine.json");
        let in_force = state.quarantine();
        let held = |client: Quarantined| {
            // What the kernel holds has seen no step of the wall clock.
            let known = in_force.get(&Addr::from(client.host)).map(abi::Quarantine::until);
            let until = known.unwrap_or_else(|| boot_time_of(client.until, now));
            (client.host, Held { client, until })
        };
        let clients = read_list::<Quarantined>(&path, "the quarantine begins empty").into_iter().map(held);
        Self { clients: clients.collect(), offenders: Offenders::read(state_dir), path }
    }

    /// Everybody whose quarantine has not ended.
    pub fn list(&self, now: u64) -> Vec<Quarantined> {
        self.clients.values().filter(|held| held.until > now).map(|held| held.client.clone()).collect()
    }

    /// Adds or changes what an admin asks for; the kernel knows before this returns.
    pub fn add(
        &mut self,
        request: QuarantineRequest,
        policy: &Policy,
        state: &mut State,
        now: Instant,
    ) -> Result<Quarantined, Failure> {
        let QuarantineRequest { host, seconds, reason, scope } = request;
        let length = SignedDuration::from_secs(seconds);
        if !length.is_positive() || length > LONGEST {
            return Err(Failure::Rejected("a quarantine lasts between a second and 366 days".to_owned()));
        }
        if let Some(why) = immunity(host, policy, state) {
            return Err(Failure::Rejected(why));
        }
        self.forget_ended(now.boot);
        if self.clients.len() >= MOST && !self.clients.contains_key(&host) {
            return Err(Failure::CouldNotRun(format!(
                "{MOST} clients are in quarantine, which is the limit"
            )));
        }
        let until = now.wall.checked_add(length).unwrap_or(Timestamp::MAX);
        let scope = scope.unwrap_or(policy.quarantine.scope);
        let client = Quarantined { host, since: now.wall, until, reason, scope, mac: None, flagged: None };
        self.clients.insert(host, Held { client: client.clone(), until: boot_time_of(until, now) });
        self.put_in_force(state)?;
        self.save();
        Ok(client)
    }

    /// Begins the quarantine of a flagged host, longer than its last one.
    pub fn begin(
        &mut self,
        infected: &Infected,
        policy: &Policy,
        state: &mut State,
        now: Instant,
    ) -> Result<(), Failure> {
        let settings = &policy.quarantine;
        let length = self.offenders.next(&infected.host, settings, now.wall);
        let until = now.wall.checked_add(length).unwrap_or(Timestamp::MAX);
        let model = Quarantined {
            host: IpAddr::from([0, 0, 0, 0]),
            since: now.wall,
            until,
            reason: infected.evidence.clone(),
            scope: settings.scope,
            mac: infected.mac,
            flagged: Some(infected.host.clone()),
        };
        if self.hold(&infected.addresses, &model, boot_time_of(until, now), policy, state)? {
            log::warn!(
                "host {} is in quarantine ({}) for {length:#} until {until}: {}; `smtpfence flags release {}` ends it",
                infected.host,
                settings.scope.label(),
                infected.evidence,
                infected.host
            );
        }
        self.offenders.note(&infected.host, length, now);
        Ok(())
    }

    /// Puts addresses that a flagged host in quarantine has taken since then into the same.
    pub fn extend(
        &mut self,
        host: &str,
        addresses: &BTreeSet<IpAddr>,
        policy: &Policy,
        state: &mut State,
    ) -> Result<(), Failure> {
        let Some(held) = self.clients.values().find(|held| held.is_of(host)) else { return Ok(()) };
        let (model, until) = (held.client.clone(), held.until);
        self.hold(addresses, &model, until, policy, state).map(drop)
    }

    /// Ends a client's quarantine, and where it follows from a flag that of the host's other addresses. `None`: it was in
    /// none; else the flagged host.
    pub fn release(
        &mut self,
        address: IpAddr,
        state: &mut State,
        now: Instant,
    ) -> Result<Option<Option<String>>, Failure> {
        self.forget_ended(now.boot);
        let Some(Held { client, .. }) = self.clients.remove(&address) else { return Ok(None) };
        match &client.flagged {
            Some(host) => self.release_host(host, state, now)?,
            None => self.changed(state)?,
        }
        Ok(Some(client.flagged))
    }

    /// Ends the quarantine that follows from a host's flag.
    pub fn release_host(&mut self, host: &str, state: &mut State, now: Instant) -> Result<(), Failure> {
        self.offenders.release(host, now);
        self.clients.retain(|_, held| !held.is_of(host));
        self.changed(state)
    }

    /// Forgets what has ended by time; the kernel has ended it already.
    pub fn expire(&mut self, state: &mut State, now: Instant) -> Result<(), Failure> {
        if self.forget_ended(now.boot) { self.changed(state) } else { Ok(()) }
    }

    /// The flagged hosts in quarantine, with the MAC each is known by.
    pub fn hosts(&self) -> BTreeMap<String, Option<Mac>> {
        let clients = self.clients.values().map(|held| &held.client);
        clients.filter_map(|client| Some((client.flagged.clone()?, client.mac))).collect()
    }

    /// When a host's last quarantine has ended, on the boot clock; 0 for one that was never in any.
    pub fn last_end(&self, host: &str, now: Instant) -> u64 {
        self.offenders.last_end(host, now)
    }

    /// Gives the kernel the list. Each entry carries its end, so that it ends on time without an agent.
    pub fn put_in_force(&self, state: &mut State) -> Result<(), Failure> {
        let entry = |held: &Held| {
            let Quarantined { host, scope, mac, .. } = &held.client;
            let mac = mac.map(|Mac(mac)| mac);
            (Addr::from(*host), abi::Quarantine::new(held.until, scope.number(), mac))
        };
        Ok(state.set_quarantine(&self.clients.values().map(entry).collect())?)
    }

    /// Holds these addresses, as far as they may be held and there is room; whether one of them was not held before.
    fn hold(
        &mut self,
        addresses: &BTreeSet<IpAddr>,
        model: &Quarantined,
        until: u64,
        policy: &Policy,
        state: &mut State,
    ) -> Result<bool, Failure> {
        let host = model.flagged.as_deref().unwrap_or_default();
        let mut of_host = self.clients.values().filter(|held| held.is_of(host)).count();
        let mut added = false;
        for address in addresses {
            // An admin's own word about the address stands.
            if self.clients.contains_key(address) || immunity(*address, policy, state).is_some() {
                continue;
            }
            if of_host >= MOST_OF_A_HOST || self.clients.len() >= MOST {
                log::error!("{address} of host {host} is not in quarantine: too many addresses are");
                break;
            }
            let client = Quarantined { host: *address, ..model.clone() };
            self.clients.insert(*address, Held { client, until });
            (of_host, added) = (of_host + 1, true);
        }
        if added {
            self.changed(state)?;
        }
        Ok(added)
    }

    fn forget_ended(&mut self, now: u64) -> bool {
        let before = self.clients.len();
        self.clients.retain(|_, held| held.until > now);
        self.clients.len() != before
    }

    fn changed(&mut self, state: &mut State) -> Result<(), Failure> {
        self.put_in_force(state)?;
        self.save();
        Ok(())
    }

    /// A full disk must not undo what the kernel does: then only a restart of the machine forgets it.
    fn save(&self) {
        let clients: Vec<&Quarantined> = self.clients.values().map(|held| &held.client).collect();
        if let Err(error) = status::save_json(&self.path, &clients) {
            log::error!("{error}; the quarantine holds until the machine restarts");
        }
    }
}

impl Held {
    fn is_of(&self, host: &str) -> bool {
        self.client.flagged.as_deref() == Some(host)
    }
}

/// Why an address can't be in quarantine, if so.
fn immunity(host: IpAddr, policy: &Policy, state: &State) -> Option<String> {
    if let Some(server) = policy.mail_servers.iter().find(|server| server.addresses.contains(&host)) {
        return Some(format!(
            "{host} is the mail server {}: a quarantine never holds for a mail server; remove it from the policy instead",
            server.name
        ));
    }
    state
        .is_gateway(&host.into())
        .then(|| format!("{host} is the gateway's own address; `gateway_mail` says what it may send"))
}

/// A list that an earlier agent kept; what can't be read is told and put aside.
fn read_list<T: for<'de> Deserialize<'de>>(path: &Path, consequence: &str) -> Vec<T> {
    let Ok(text) = fs::read(path) else { return Vec::new() };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        let aside = path.with_extension("damaged");
        log::error!(
            "{} is damaged ({error}): {consequence}, the file is kept as {}",
            path.display(),
            aside.display()
        );
        let _ = fs::rename(path, aside);
        Vec::new()
    })
}
