//! The numbered steps of the decision order, each with what was asked and what the policy answers.
//!
//! The deciding step follows from the decision's reason; those before it only word what the tables say.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy_common::{PolicyView, Reason};
use serde::Serialize;

use super::super::model::{Exception, MailServer, Scope};
use super::examiner::{Decided, Examiner};
use super::{DecidedAt, InQuarantine, Question, Sender, mac_text};

/// One step of the decision order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// As in `policy-common/src/decide.rs` and in design and manual.
    pub number: u8,
    pub question: &'static str,
    pub answer: String,
    /// Whether the decision fell here.
    pub decides: bool,
}

/// The steps up to the deciding one.
pub fn walked(examiner: &Examiner<'_>, question: &Question, decided: &Decided) -> Vec<Step> {
    let Some(decision) = decided.decision else { return Vec::new() };
    let at_door = decided.at == DecidedAt::Door;
    let last = deciding(decision.reason, examiner.host.is_blocked(question.port));
    let steps = (1..=last).map(|number| {
        let (question, answer) = match (number, question.from) {
            (1..=4, _) => about_the_packet(number, examiner, question, decision.reason),
            (5, _) => ("is the destination internal, or the gateway?", destination(examiner, question)),
            (_, Sender::Client(client)) if at_door => {
                about_the_sender(number, examiner, question, client, decided)
            }
            _ => origin(examiner, question),
        };
        Step { number, question, answer, decides: number == last }
    });
    steps.collect()
}

/// Number of the step at which a reason is found.
const fn deciding(reason: Reason, blocked: bool) -> u8 {
    match reason {
        Reason::Unreadable => 2,
        Reason::LaterFragment | Reason::AmbiguousFragment => 3,
        Reason::OtherTraffic => 4,
        Reason::InternalDestination | Reason::GatewayAddress => 5,
        Reason::Quarantined if blocked => 6,
        Reason::Quarantined => 4,
        Reason::MailServer | Reason::SpoofedMailServer | Reason::DestinationNotAllowed => 7,
        Reason::Exception => 8,
        Reason::UnknownSource => 9,
        Reason::NotAMailServer => 10,
        // The guard asks where it came from instead of who sent it.
        Reason::GatewayMail | Reason::LocalProcess | Reason::UncoveredIngress => 6,
    }
}

fn about_the_packet(
    number: u8,
    examiner: &Examiner<'_>,
    question: &Question,
    reason: Reason,
) -> (&'static str, String) {
    match number {
        1 => ("is it TCP over IPv4 or IPv6?", "yes, that is what is asked about".to_owned()),
        2 => ("can its destination port be read?", format!("yes, {}", question.port)),
        3 => ("is it a later fragment, without a port?", "no".to_owned()),
        _ => ("is the port blocked?", port(examiner, question, reason)),
    }
}

fn port(examiner: &Examiner<'_>, question: &Question, reason: Reason) -> String {
    if examiner.host.is_blocked(question.port) {
        return "yes".to_owned();
    }
    let policy = examiner.paper.policy;
    let blocked: Vec<String> = policy.blocked_ports.iter().map(u16::to_string).collect();
    let no = format!("no, only {}", blocked.join(", "));
    match (reason, question.quarantined.scope(policy)) {
        (Reason::Quarantined, Some(Scope::Mail)) => {
            format!("{no}; but it is for submission, and the client is in quarantine: deny")
        }
        (Reason::Quarantined, _) => format!("{no}; but the client is in quarantine from everything: deny"),
        (_, Some(scope)) => format!("{no}, and its quarantine ({}) leaves it open: pass", scope.label()),
        (_, None) => format!("{no}: pass"),
    }
}

fn destination(examiner: &Examiner<'_>, question: &Question) -> String {
    let to = question.to;
    if examiner.host.net(&to.into()).is_some_and(|net| net.is_internal()) {
        let net = narrowest(&examiner.paper.policy.internal, to);
        return format!("yes, in {}: pass", net.map_or_else(String::new, shown_net));
    }
    if examiner.host.is_gateway(&to.into()) {
        return "yes, the gateway's own address: pass".to_owned();
    }
    "no".to_owned()
}

fn about_the_sender(
    number: u8,
    examiner: &Examiner<'_>,
    question: &Question,
    client: IpAddr,
    decided: &Decided,
) -> (&'static str, String) {
    match number {
        6 => ("is the client in quarantine?", quarantine(examiner, question, client)),
        7 => ("is it a mail server?", mail_server(examiner, question, client, decided)),
        8 => ("does an exception cover both ends?", exception(examiner, question, client, decided)),
        9 => ("is it in the clients' networks?", client_network(examiner, client)),
        _ => ("everybody else", "deny".to_owned()),
    }
}

fn quarantine(examiner: &Examiner<'_>, question: &Question, client: IpAddr) -> String {
    match (question.quarantined, examiner.server(client)) {
        (InQuarantine::No, _) => "no".to_owned(),
        (_, None) => "yes: deny".to_owned(),
        (_, Some(server)) => format!("no, {} never is: it is a mail server", server.name),
    }
}

fn mail_server(examiner: &Examiner<'_>, question: &Question, client: IpAddr, decided: &Decided) -> String {
    let Some(server) = examiner.server(client) else { return "no".to_owned() };
    let why = match decided.decision.map(|decision| decision.reason) {
        Some(Reason::MailServer) => return format!("yes, {}, and it may send there: pass", server.name),
        Some(Reason::DestinationNotAllowed) => format!("it may not send to {}", question.to),
        _ => unlike(server, examiner.interface(question, client), decided.mac),
    };
    format!("yes, {}, but {why}: deny", server.name)
}

/// What differs from the machine that the entry means.
fn unlike(server: &MailServer, interface: Option<&str>, mac: Option<[u8; 6]>) -> String {
    let mut differing = Vec::new();
    if let Some(bound) = server.interface.as_deref().filter(|bound| interface != Some(*bound)) {
        let interface = interface.unwrap_or("another interface");
        differing.push(format!("it comes in through {}, not {bound}", interface.escape_debug()));
    }
    if let Some(bound) = server.mac.filter(|bound| mac != Some(*bound)) {
        let has =
            mac.map_or_else(|| "it has no MAC".to_owned(), |mac| format!("its MAC is {}", mac_text(mac)));
        differing.push(format!("{has}, not {}", mac_text(bound)));
    }
    differing.join(", and ")
}

fn exception(examiner: &Examiner<'_>, question: &Question, client: IpAddr, decided: &Decided) -> String {
    let policy = examiner.paper.policy;
    let rule = decided.decision.map_or(0, |decision| decision.rule as usize);
    let decided = rule.checked_sub(policy.mail_servers.len() + 1).and_then(|it| policy.exceptions.get(it));
    if let Some(exception) = decided {
        return format!("yes, {}, until {}: pass", exception.name, local(exception.until));
    }
    match ended(examiner, question, client) {
        Some(exception) => format!("no, {} has ended ({})", exception.name, local(exception.until)),
        None => "no".to_owned(),
    }
}

/// Of the exceptions that covered the connection, the one that ended last.
pub fn ended<'e>(examiner: &Examiner<'e>, question: &Question, client: IpAddr) -> Option<&'e Exception> {
    let policy = examiner.paper.policy;
    let covering = policy.exceptions.iter().filter(|exception| covers(exception, client, question.to));
    covering.filter(|exception| exception.until <= question.at).max_by_key(|exception| exception.until)
}

/// Whether an exception means these two ends, ended or not.
pub fn covers(exception: &Exception, from: IpAddr, to: IpAddr) -> bool {
    narrowest(&exception.from, from).is_some() && narrowest(&exception.to, to).is_some()
}

fn client_network(examiner: &Examiner<'_>, client: IpAddr) -> String {
    match narrowest(&examiner.paper.policy.clients, client) {
        Some(net) => format!("yes, in {}", shown_net(net)),
        None => "no: deny".to_owned(),
    }
}

fn origin(examiner: &Examiner<'_>, question: &Question) -> (&'static str, String) {
    let answer = match (question.from, examiner.paper.policy.gateway_mail) {
        (Sender::Gateway, true) => "a process of the gateway, and `gateway_mail: allow`: pass".to_owned(),
        (Sender::Gateway, false) => "a process of the gateway, and `gateway_mail: deny`: deny".to_owned(),
        (Sender::Client(_), _) => {
            let interface = question.interface.as_deref().unwrap_or("an interface");
            format!("{}, which is not inside: deny", interface.escape_debug())
        }
    };
    ("where does it come from?", answer)
}

pub fn narrowest(nets: &[IpNet], address: IpAddr) -> Option<&IpNet> {
    nets.iter().filter(|net| net.contains(&address)).max_by_key(|net| net.prefix_len())
}

/// An instant where the gateway is.
pub fn local(instant: Timestamp) -> String {
    instant.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// A network as the policy would have it: one address without its length.
pub fn shown_net(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}
