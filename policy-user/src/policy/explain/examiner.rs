//! Asks the decision: states the packet, looks up who treats it how, and has the answer worded.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::Timestamp;
use policy_common::abi::Quarantine;
use policy_common::decide::{Origin, decide_at_guard};
use policy_common::{Addr, Decision, Flow, Payload, PolicyView, Reason, decide};

use super::super::compile::{CompileError, Instant, Tables, boot_time_of, compile};
use super::super::evaluate::{HostPolicy, StatedArrival};
use super::super::model::{InsideEntry, MailServer, Policy, Revision};
use super::treatment::{Surroundings, treated_at_guard, verdict_at_guard};
use super::{
    DecidedAt, Elsewhere, Entry, Explanation, InQuarantine, Question, Remedy, Sender, SourceMac, Verdict,
    mac_text, remedy, steps,
};

/// The middle of the boot clock, so that ends of exceptions up to 290 years before and after fit on it.
const BOOT: u64 = 1 << 63;

/// A policy laid out as for the kernel, on a machine that has every interface it names.
pub struct Paper<'p> {
    pub policy: &'p Policy,
    pub tables: Tables,
    interfaces: HashMap<&'p str, u32>,
    now: Instant,
}

impl<'p> Paper<'p> {
    pub fn new(policy: &'p Policy, revision: Revision) -> Result<Self, CompileError> {
        let bound = policy.mail_servers.iter().filter_map(|server| server.interface.as_deref());
        let interfaces: HashMap<&str, u32> = bound.zip(1..).collect();
        let now = Instant { wall: Timestamp::now(), boot: BOOT };
        let tables = compile(policy, revision, now, |name| interfaces.get(name).copied())?;
        Ok(Self { policy, tables, interfaces, now })
    }

    /// No entry asks for an interface that none is bound to, so one index does for all of them.
    fn ifindex(&self, interface: Option<&str>) -> u32 {
        interface.and_then(|name| self.interfaces.get(name)).copied().unwrap_or(0)
    }

    /// The instant on the clock of the tables.
    pub fn boot_time(&self, at: Timestamp) -> u64 {
        boot_time_of(at, self.now)
    }

    /// The wall-clock time of an instant of the tables.
    pub fn wall_time(&self, boot: u64) -> Timestamp {
        let nanoseconds = self.now.wall.as_nanosecond() + i128::from(boot) - i128::from(self.now.boot);
        Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::MAX)
    }

    /// Asks the tables as the kernel does.
    pub fn examiner(&self) -> Examiner<'_> {
        Examiner { paper: self, host: HostPolicy::new(&self.tables, self.now.boot) }
    }
}

/// Answers questions about one policy.
pub struct Examiner<'a> {
    pub(super) paper: &'a Paper<'a>,
    pub(super) host: HostPolicy<'a>,
}

/// A decision with what is needed to word it.
pub(super) struct Decided {
    pub at: DecidedAt,
    /// None where no program looks.
    pub decision: Option<Decision>,
    pub verdict: Verdict,
    /// The client's group and interface entry.
    pub surroundings: Surroundings,
    /// The sender's MAC as stated or assumed.
    pub mac: Option<[u8; 6]>,
}

impl Examiner<'_> {
    /// The gateway's own addresses, which a policy file doesn't tell.
    pub fn set_gateway_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.host.gateway_addresses = addresses.into_iter().map(Addr::from).collect();
    }

    /// The verdict alone, with the reason's label.
    pub fn verdict(&mut self, question: &Question) -> (Verdict, &'static str) {
        let decided = self.decide(question);
        (decided.verdict, worded(&decided).0)
    }

    /// The verdict on a packet of this sender that is denied whatever the policy says.
    pub fn verdict_if_denied(&mut self, question: &Question) -> Verdict {
        let decided = self.decide(question);
        match decided.at {
            DecidedAt::Door => decided.surroundings.verdict(self.paper.policy, &self.paper.tables),
            DecidedAt::Guard => verdict_at_guard(&self.paper.tables),
            DecidedAt::Nowhere => Verdict::Pass,
        }
    }

    pub fn explain(&mut self, question: &Question) -> Explanation {
        let decided = self.decide(question);
        let (reason, sentence) = worded(&decided);
        let denied = decided.verdict.denies();
        let treatment = match decided.at {
            DecidedAt::Guard => treated_at_guard(self.paper.policy),
            _ => decided.surroundings.treated(self.paper.policy),
        };
        Explanation {
            verdict: decided.verdict,
            decided_at: decided.at,
            reason,
            sentence,
            assumed: self.assumed(question, &decided),
            entry: decided.decision.and_then(|decision| Entry::of_rule(self.paper.policy, decision.rule)),
            treatment: denied.then_some(treatment),
            elsewhere: self.elsewhere(question, &decided),
            steps: steps::walked(self, question, &decided),
            remedies: if denied { self.remedies(question, &decided) } else { Vec::new() },
        }
    }

    fn remedies(&mut self, question: &Question, decided: &Decided) -> Vec<Remedy> {
        let mut remedies = remedy::remedies(self, question, decided);
        if decided.decision.is_some_and(|decision| decision.reason == Reason::Quarantined) {
            let released = Question { quarantined: InQuarantine::No, ..question.clone() };
            let then = self.decide(&released);
            if then.verdict.denies() {
                let also = "; it is denied without that too, so do one of these as well:";
                remedies.iter_mut().for_each(|remedy| remedy.sentence.push_str(also));
                remedies.extend(remedy::remedies(self, &released, &then));
            }
        }
        remedies
    }

    pub(super) fn decide(&mut self, question: &Question) -> Decided {
        self.host.now = self.paper.boot_time(question.at);
        self.host.quarantine.clear();
        let policy = self.paper.policy;
        let Sender::Client(client) = question.from else {
            return self.decide_at_guard(question, Origin::Local);
        };
        if let Some(scope) = question.quarantined.scope(policy) {
            self.host.quarantine.insert(client.into(), Quarantine::new(u64::MAX, scope.number(), None));
        }
        let interface = self.interface(question, client);
        let inside = match interface {
            Some(name) => match policy.inside.iter().position(|entry| means(entry, name)) {
                Some(entry) => entry,
                None => return self.decide_at_guard(question, Origin::Elsewhere),
            },
            None => 0,
        };
        self.decide_at_door(question, client, interface, inside)
    }

    /// The decision about a client whose packet came in through the inside interfaces of one entry.
    pub(super) fn decide_at_door(
        &self,
        question: &Question,
        client: IpAddr,
        interface: Option<&str>,
        inside: usize,
    ) -> Decided {
        let policy = self.paper.policy;
        let mac = match question.mac {
            SourceMac::Unstated => self.server(client).and_then(|server| server.mac),
            SourceMac::Absent => None,
            SourceMac::Is(mac) => Some(mac),
        };
        let arrival = StatedArrival { ifindex: self.paper.ifindex(interface), src_mac: mac };
        let decision = decide(&flow(client, question), &arrival, &self.host);
        let group = self.host.net(&client.into()).unwrap_or_default().group();
        let surroundings = Surroundings::new(policy, group, Some(inside));
        let verdict =
            if decision.denies() { surroundings.verdict(policy, &self.paper.tables) } else { Verdict::Pass };
        Decided { at: DecidedAt::Door, decision: Some(decision), verdict, surroundings, mac }
    }

    fn decide_at_guard(&self, question: &Question, origin: Origin) -> Decided {
        let surroundings = Surroundings::default();
        if self.paper.policy.outside.is_empty() {
            let (at, verdict) = (DecidedAt::Nowhere, Verdict::Pass);
            return Decided { at, decision: None, verdict, surroundings, mac: None };
        }
        // The guard asks for no source, so an address of the destination's family does.
        let from = match question.from {
            Sender::Client(client) => client,
            Sender::Gateway => question.to,
        };
        let tables = &self.paper.tables;
        let decision = decide_at_guard(&flow(from, question), || origin, tables.gateway_mail, &self.host);
        let verdict = if decision.denies() { verdict_at_guard(tables) } else { Verdict::Pass };
        Decided { at: DecidedAt::Guard, decision: Some(decision), verdict, surroundings, mac: None }
    }

    /// The interface as stated, else the one that the sender is bound to.
    pub(super) fn interface<'q>(&'q self, question: &'q Question, client: IpAddr) -> Option<&'q str> {
        question.interface.as_deref().or_else(|| self.server(client)?.interface.as_deref())
    }

    /// The mail server that has this address.
    pub(super) fn server(&self, client: IpAddr) -> Option<&MailServer> {
        let index = self.host.net(&client.into())?.mail_server()?;
        self.paper.policy.mail_servers.get(index as usize)
    }

    fn assumed(&self, question: &Question, decided: &Decided) -> Vec<String> {
        let mut assumed = Vec::new();
        let Sender::Client(client) = question.from else { return assumed };
        let as_server = matches!(
            decided.decision.map(|decision| decision.reason),
            Some(Reason::MailServer | Reason::SpoofedMailServer | Reason::DestinationNotAllowed)
        );
        let server = self.server(client).filter(|_| as_server);
        if let Some(server) = server
            && question.mac == SourceMac::Unstated
            && let Some(mac) = server.mac
        {
            assumed.push(format!("its MAC is {}, as {} must have", mac_text(mac), server.name));
        }
        let bound = server.and_then(|server| server.interface.as_deref());
        match (&question.interface, bound) {
            (None, Some(bound)) => {
                let name = server.map_or("", |server| server.name.as_str());
                assumed.push(format!("it comes in through {bound}, as {name} must"));
            }
            (None, None) if !self.elsewhere(question, decided).is_empty() => {
                let first = self.paper.policy.inside.first().map_or("", |entry| entry.glob.0.as_str());
                assumed.push(format!("it comes in through {first}, the first inside interface"));
            }
            _ => {}
        }
        assumed
    }

    /// The inside interfaces through which a denied packet would be treated differently, if none was stated.
    fn elsewhere(&self, question: &Question, decided: &Decided) -> Vec<Elsewhere> {
        let policy = self.paper.policy;
        let Sender::Client(client) = question.from else { return Vec::new() };
        if !decided.verdict.denies() || self.interface(question, client).is_some() {
            return Vec::new();
        }
        let others = policy.inside.iter().enumerate().map(|(entry, inside)| Elsewhere {
            interface: inside.glob.0.clone(),
            verdict: Surroundings { inside: Some(entry), ..decided.surroundings }
                .verdict(policy, &self.paper.tables),
        });
        others.filter(|other| other.verdict != decided.verdict).collect()
    }
}

/// The reason's label and sentence.
fn worded(decided: &Decided) -> (&'static str, &'static str) {
    match decided.decision {
        Some(Decision { reason: Reason::OtherTraffic, .. }) => {
            (Reason::OtherTraffic.label(), "the port is not blocked")
        }
        Some(Decision { reason, .. }) => (reason.label(), reason.sentence()),
        None => (
            "not-covered",
            "no program of smtpfence sees it: it comes from no inside interface, and no outside one is guarded",
        ),
    }
}

/// The first segment of the connection, whole and plain.
fn flow(from: IpAddr, question: &Question) -> Flow {
    Flow {
        payload: Payload::Tcp,
        src: from.into(),
        dst: question.to.into(),
        dst_port: question.port,
        tcp_flags: policy_common::flow::tcp_flags::SYN,
        complete: true,
        plain: true,
        ..Flow::OTHER
    }
}

/// As the agent picks interfaces: a pattern that happens to match the loopback device doesn't mean it.
fn means(entry: &InsideEntry, name: &str) -> bool {
    entry.glob.matches(name) && (name != "lo" || entry.glob.is_literal())
}
