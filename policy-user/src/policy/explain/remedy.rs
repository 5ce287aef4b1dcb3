//! What would let a denied connection pass: a sentence, and the lines to write where lines of the policy would do.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use policy_common::Reason;
use serde::Serialize;

use super::super::model::{MailServer, Policy};
use super::examiner::{Decided, Examiner};
use super::steps::{ended, local, narrowest, shown_net};
use super::{Entry, Question, Sender, SourceMac, mac_text};

/// One way to let it pass; all ways are alternatives unless the sentence says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    pub sentence: String,
    /// The entry to change, if it is one that is there.
    pub entry: Option<Entry>,
    /// Lines for the policy file.
    pub yaml: Option<String>,
}

impl Remedy {
    fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), entry: None, yaml: None }
    }

    fn at(mut self, entry: Entry) -> Self {
        self.entry = Some(entry);
        self
    }

    fn writing(mut self, yaml: impl Into<String>) -> Self {
        self.yaml = Some(yaml.into());
        self
    }
}

pub fn remedies(examiner: &Examiner<'_>, question: &Question, decided: &Decided) -> Vec<Remedy> {
    let Some(reason) = decided.decision.map(|decision| decision.reason) else { return Vec::new() };
    let Sender::Client(client) = question.from else {
        let sentence = "let processes of the gateway send mail: write this key";
        return vec![Remedy::new(sentence).writing("gateway_mail: allow")];
    };
    let server = examiner.server(client);
    match (reason, server) {
        (Reason::Quarantined, _) => {
            vec![Remedy::new(format!("end its quarantine: `smtpfence release {client}`"))]
        }
        (Reason::SpoofedMailServer, Some(server)) => as_meant(examiner, question, client, server, decided),
        (Reason::DestinationNotAllowed, Some(server)) => vec![wider(server, question.to)],
        (Reason::UncoveredIngress, _) => uncovered(examiner, question, client),
        (Reason::UnknownSource, _) => {
            let sentence = format!(
                "first make sure that {client} is one of yours: if so, add its network to `networks.clients`, \
                 and it is denied only for not being a mail server; then"
            );
            let mut remedies = vec![Remedy::new(sentence)];
            remedies.extend(permits(examiner, question, client));
            remedies
        }
        (Reason::NotAMailServer, _) => permits(examiner, question, client),
        // Else the packet's framing is at fault, which no question asks about.
        _ => Vec::new(),
    }
}

/// The machine is not the one that the entry means: it, or the entry, has to change.
fn as_meant(
    examiner: &Examiner<'_>,
    question: &Question,
    client: IpAddr,
    server: &MailServer,
    decided: &Decided,
) -> Vec<Remedy> {
    let interface = examiner.interface(question, client);
    let mut lines = Vec::new();
    if server.interface.is_some()
        && server.interface.as_deref() != interface
        && let Some(interface) = interface
    {
        lines.push(format!("interface: {interface}"));
    }
    if let Some(mac) = decided.mac.filter(|mac| server.mac.is_some_and(|bound| bound != *mac)) {
        lines.push(format!("mac: \"{}\"", mac_text(mac)));
    }
    let sentence = "if the mail server itself has changed, write what it has now; if not, another host has taken \
                    its address";
    let remedy = Remedy::new(sentence).at(Entry::of_server(server));
    vec![if lines.is_empty() { remedy } else { remedy.writing(lines.join("\n")) }]
}

/// The entry with one more destination.
fn wider(server: &MailServer, to: IpAddr) -> Remedy {
    /// A longer list is edited where it stands.
    const SHOWN: usize = 8;
    let known = server.to.as_deref().unwrap_or_default();
    let sentence = format!("let it send to {to} as well, or write `to: any`");
    let remedy = Remedy::new(sentence).at(Entry::of_server(server));
    if known.len() > SHOWN {
        return remedy;
    }
    let nets: Vec<String> = known.iter().map(yaml_net).chain([yaml_address(to)]).collect();
    remedy.writing(format!("to: [{}]", nets.join(", ")))
}

/// Behind an interface that is not inside: once it is, the door decides.
fn uncovered(examiner: &Examiner<'_>, question: &Question, client: IpAddr) -> Vec<Remedy> {
    let policy = examiner.paper.policy;
    let name = question.interface.as_deref().unwrap_or_default();
    if policy.outside.iter().any(|glob| glob.matches(name)) {
        let sentence = format!("nothing: {name} is an outside interface, no client should come from there");
        return vec![Remedy::new(sentence)];
    }
    let decided = examiner.decide_at_door(question, client, Some(name), 0);
    let then = match decided.decision.map(|decision| decision.reason) {
        Some(reason) if reason.denies() => {
            format!("; then it is denied for another reason ({}):", reason.label())
        }
        _ => String::new(),
    };
    let sentence = format!("if clients are behind {name}, add it to `interfaces.inside`{then}");
    let mut remedies = vec![Remedy::new(sentence).writing(format!("- {name}"))];
    if decided.verdict.denies() {
        remedies.extend(self::remedies(examiner, question, &decided));
    }
    remedies
}

/// An exception or a mail server of its own; an exception that nearly covers it first.
fn permits(examiner: &Examiner<'_>, question: &Question, client: IpAddr) -> Vec<Remedy> {
    let policy = examiner.paper.policy;
    let mut remedies = Vec::new();
    if let Some(exception) = ended(examiner, question, client) {
        let sentence = format!("it covered both ends until {}: prolong it", local(exception.until));
        let until = format!("until: {}", fortnight_after(question.at));
        remedies.push(Remedy::new(sentence).at(Entry::of_exception(exception)).writing(until));
    } else if let Some(exception) = policy
        .exceptions
        .iter()
        .find(|exception| exception.until > question.at && narrowest(&exception.from, client).is_some())
    {
        let sentence = format!("it covers the client: add {} to its `to`", question.to);
        remedies.push(Remedy::new(sentence).at(Entry::of_exception(exception)));
    }
    let sentence = "let it send there for a time: an entry of `exceptions`";
    remedies.push(Remedy::new(sentence).writing(exception_lines(policy, question, client)));
    let sentence =
        "or, if it is a mail server that others should accept mail from: an entry of `mail_servers`";
    remedies.push(Remedy::new(sentence).writing(server_lines(policy, question, client)));
    remedies
}

fn exception_lines(policy: &Policy, question: &Question, client: IpAddr) -> String {
    format!(
        "- name: {}\n  from: [{}]\n  to: [{}]\n  until: {}\n  reason: why it can't use a submission port\n  \
         owner: whom to ask",
        free_name(policy, client),
        yaml_address(client),
        yaml_address(question.to),
        fortnight_after(question.at)
    )
}

fn server_lines(policy: &Policy, question: &Question, client: IpAddr) -> String {
    let mac = match question.mac {
        SourceMac::Is(mac) => format!("mac: \"{}\"", mac_text(mac)),
        SourceMac::Unstated => "# mac: its MAC, so that no other host can take its place".to_owned(),
        SourceMac::Absent => "# no MAC: anybody who takes its address can send".to_owned(),
    };
    format!("- name: {}\n  address: {}\n  {mac}", free_name(policy, client), yaml_address(client))
}

/// A name that no entry has.
fn free_name(policy: &Policy, client: IpAddr) -> String {
    let name = format!("host-{client}").replace(':', "-");
    let taken = |name: &str| Entry::all(policy).any(|entry| entry.name == name);
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    [name.clone()].into_iter().chain(numbered).find(|name| !taken(name)).unwrap_or(name)
}

/// Two weeks are long enough to find a better way, and short enough to be looked at again.
fn fortnight_after(at: Timestamp) -> String {
    let from = at.max(Timestamp::now()).to_zoned_datetime(TimeZone::system());
    from.checked_add(14.days()).unwrap_or(from).date().to_string()
}

fn yaml_address(address: IpAddr) -> String {
    if address.is_ipv6() { format!("\"{address}\"") } else { address.to_string() }
}

fn yaml_net(net: &IpNet) -> String {
    match net {
        IpNet::V4(_) => shown_net(net),
        IpNet::V6(_) => format!("\"{}\"", shown_net(net)),
    }
}
