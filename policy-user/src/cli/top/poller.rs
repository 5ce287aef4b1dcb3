//! Looking at agent, kernel maps and block log, no more often than they can bear.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::feed::Wish;
use super::snapshot::{Agent, HostLine, HostName, Snapshot, Story, Total, Who};
use crate::agent::QuarantineRequest;
use crate::attempt::Mac;
use crate::cli::verdicts::{Verdicts, policy_in_force};
use crate::cli::{Places, host, lease_files, text};
use crate::control;
use crate::failure::Failure;
use crate::identity::Directory;
use crate::netlink;
use crate::status::{self, Status};
use crate::store::{Filter, Reader};

/// An agent that takes longer is told to be silent.
const PATIENCE: Duration = Duration::from_secs(2);
/// Attempts of one look; what a flood has more is in the rates.
const ROWS: usize = 500;
/// Attempts in the story of a host.
const STORY_ROWS: usize = 50;

pub struct Poller {
    places: Places,
    reader: Reader,
    runtime: Runtime,
    begun: Instant,
    /// The host that the screen wants to know all about.
    wanted: Option<IpAddr>,
    /// Newest row of the block log that the screen has.
    after: Option<i64>,
    accounts: Paced<Arc<Vec<Total>>>,
    hosts: Paced<Result<Arc<Vec<HostLine>>, String>>,
    story: Paced<Arc<Story>>,
    /// Who is flagged, while no agent answers.
    remembered: Paced<Result<Verdicts, String>>,
}

impl Poller {
    pub fn new(places: &Places) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::CouldNotRun(format!("can't start the runtime: {error}")))?;
        Ok(Self {
            places: places.clone(),
            reader: Reader::open(&places.state_dir),
            runtime,
            begun: Instant::now(),
            wanted: None,
            after: None,
            accounts: Paced::new(),
            hosts: Paced::new(),
            story: Paced::new(),
            remembered: Paced::new(),
        })
    }

    pub fn look(&mut self) -> Snapshot {
        let (agent, status) = self.status();
        let asked = Instant::now();
        let accounts = self.accounts.fresh();
        let accounts = accounts.unwrap_or_else(|| self.accounts.keep(Arc::new(self.totals(agent)), asked));
        let moment = self.begun.elapsed();
        let verdicts = self.verdicts(agent);
        let (rows, hosts) = self.log();
        let story = self.wanted.map(|client| self.story_of(client));
        Snapshot { time: Timestamp::now(), moment, agent, status, accounts, verdicts, hosts, rows, story }
    }

    /// Does what is wished; what there is to tell of it.
    pub fn fulfil(&mut self, wish: Wish) -> Result<Option<String>, Failure> {
        match wish {
            Wish::Story(client) => {
                self.wanted = client;
                Ok(None)
            }
            Wish::Quarantine(request) => {
                let client = self.post("/v1/quarantine", Some(&json!(QuarantineRequest::from(request))))?;
                Ok(Some(format!(
                    "{} is in quarantine until {}",
                    text(&client["host"]),
                    crate::cli::ago(&client["until"])
                )))
            }
            Wish::EndQuarantine(host) => {
                self.post(&format!("/v1/release/{host}"), None)?;
                Ok(Some(format!("{host} is released: the policy alone decides about it again")))
            }
            Wish::ReleaseFlag(host) => {
                let event = self.post(&format!("/v1/flags/{host}/release"), None)?;
                Ok(Some(format!("{} is no longer {}", text(&event["host"]), text(&event["verdict"]))))
            }
        }
    }

    fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.ask(Method::POST, path, body)?.ok_or_else(|| {
            Failure::CouldNotRun("no agent answers: start one with `smtpfence run`".to_owned())
        })
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Value>, Failure> {
        self.runtime.block_on(async {
            let request = control::request(&self.places.control, method, path, body);
            tokio::time::timeout(PATIENCE, request).await.unwrap_or_else(|_| {
                let why = format!("the agent does not answer within {} s", PATIENCE.as_secs());
                Err(Failure::CouldNotRun(why))
            })
        })
    }

    fn status(&self) -> (Agent, Result<Value, String>) {
        let agent = match self.ask(Method::GET, "/v1/status", None) {
            Ok(Some(status)) => return (Agent::Answers, Ok(status)),
            Ok(None) => Agent::Gone,
            Err(_) => Agent::Silent,
        };
        let Places { bpffs, state_dir, .. } = &self.places;
        let status = Status::without_agent(bpffs, state_dir).map(|status| json!(status));
        (agent, status.map_err(|error| error.to_string()))
    }

    /// From the agent, else from the kernel's maps; nothing where neither can be read, which `status` tells.
    fn totals(&self, agent: Agent) -> Vec<Total> {
        if agent == Agent::Answers {
            let accounts = self.ask(Method::GET, "/v1/hosts", None).ok().flatten().unwrap_or_default();
            return Vec::<Counted>::deserialize(accounts)
                .unwrap_or_default()
                .into_iter()
                .map(Total::from)
                .collect();
        }
        let hosts = status::host_counts(&self.places.bpffs).unwrap_or_default();
        hosts
            .iter()
            .map(|host| {
                let interface = netlink::present_name(host.key.ifindex());
                let (client, mac) = (host.key.address().to_ip(), host.key.mac().map(Mac));
                Total { host: HostName { client, mac, interface }, attempts: host.counts.attempts }
            })
            .collect()
    }

    fn verdicts(&mut self, agent: Agent) -> Result<Verdicts, String> {
        if agent == Agent::Answers {
            let flags = self.ask(Method::GET, "/v1/flags", None).map_err(|error| error.to_string())?;
            return Ok(Verdicts::from_agent(flags.unwrap_or_default()));
        }
        let asked = Instant::now();
        self.remembered.fresh().unwrap_or_else(|| {
            let told = Verdicts::without_agent(&self.places.state_dir).map_err(|error| error.to_string());
            self.remembered.keep(told, asked)
        })
    }

    /// New attempts, and the hosts of the last day.
    fn log(&mut self) -> (Vec<crate::store::Row>, Result<Arc<Vec<HostLine>>, String>) {
        let filter = Filter { after: self.after, ..Filter::default() };
        let rows = match self.reader.log(&filter, ROWS) {
            Ok(rows) => rows,
            Err(error) => return (Vec::new(), Err(error.to_string())),
        };
        self.after = rows.last().map(|row| row.sequence).or(self.after);
        let asked = Instant::now();
        let hosts = self.hosts.fresh().unwrap_or_else(|| {
            let lines = self.host_lines().map_err(|error| error.to_string());
            self.hosts.keep(lines, asked)
        });
        (rows, hosts)
    }

    fn host_lines(&self) -> Result<Arc<Vec<HostLine>>, Failure> {
        // All of them: the filter and the order are the screen's.
        let (totals, _) = self.reader.hosts(day_ago(), usize::MAX)?;
        let directory = self.directory();
        let line = |total: crate::store::HostTotal| {
            let who = total.client.map(|client| Who::of(&directory.look_up(client, total.mac)));
            HostLine { total, who: who.unwrap_or_default() }
        };
        Ok(Arc::new(totals.into_iter().map(line).collect()))
    }

    fn directory(&self) -> Directory {
        self.runtime.block_on(Directory::read(&lease_files(&self.places.state_dir)))
    }

    fn story_of(&mut self, client: IpAddr) -> Arc<Story> {
        let asked = Instant::now();
        let known = self.story.fresh().filter(|story| story.client == client);
        known.unwrap_or_else(|| self.story.keep(Arc::new(self.tell(client)), asked))
    }

    fn tell(&self, client: IpAddr) -> Story {
        let since = day_ago();
        let story = self.reader.host(client, since).map_err(|error| error.to_string());
        let seen = story.as_ref().ok().and_then(|story| story.as_ref()?.seen_as.first()?.mac);
        let policy = policy_in_force(&self.places.state_dir);
        let entries = policy.map(|policy| host::entries_for(client, &policy)).unwrap_or_default();
        let next = match &story {
            Ok(Some(story)) => host::next(story, &entries),
            _ => Vec::new(),
        };
        let filter = Filter { host: Some(client), ..Filter::default() };
        let mut rows = self.reader.log(&filter, STORY_ROWS).unwrap_or_default();
        rows.reverse();
        Story { client, since, identity: self.directory().look_up(client, seen), story, entries, next, rows }
    }
}

/// From the beginning of an hour, so that the store need not read single rows to sum them up.
fn day_ago() -> Timestamp {
    let hours = Timestamp::now().as_second().div_euclid(3600) - 24;
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The part of an account in `GET /v1/hosts` that the screen needs.
#[derive(Deserialize)]
struct Counted {
    interface: String,
    mac: Option<String>,
    address: Option<IpAddr>,
    attempts: u64,
}

impl From<Counted> for Total {
    fn from(Counted { interface, mac, address, attempts }: Counted) -> Self {
        let mac = mac.and_then(|mac| mac.parse().ok());
        Self { host: HostName { client: address, mac, interface }, attempts }
    }
}

/// An answer that is used again for nine times as long as it took to get.
struct Paced<T> {
    answer: Option<T>,
    good_until: Instant,
}

impl<T: Clone> Paced<T> {
    fn new() -> Self {
        Self { answer: None, good_until: Instant::now() }
    }

    /// The answer, if it is still good.
    fn fresh(&self) -> Option<T> {
        self.answer.clone().filter(|_| Instant::now() < self.good_until)
    }

    /// Keeps the answer to a question that was asked then.
    fn keep(&mut self, answer: T, asked: Instant) -> T {
        self.good_until = Instant::now() + asked.elapsed() * 9;
        self.answer = Some(answer.clone());
        answer
    }
}
