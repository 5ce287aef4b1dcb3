//! The decision: one numbered order, the same code for the kernel, the tests and every tool that explains a verdict.

use crate::abi::{MailServer, Net, Permit, Quarantine, scope};
use crate::flow::{Addr, Flow, Payload};
use crate::reason::Reason;

/// What was decided about a packet and why; what then happens to it is up to mode and action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub reason: Reason,
    /// Number of the policy entry that decided; 0 where none did.
    pub rule: u32,
    /// What the policy says about the sender, where a door denies: how it is treated and counted rests on it. Elsewhere nothing.
    pub source: Net,
}

impl Decision {
    #[inline(always)]
    pub const fn denies(&self) -> bool {
        self.reason.denies()
    }

    #[inline(always)]
    const fn about(self, source: Net) -> Self {
        Self { source, ..self }
    }
}

/// The policy as the decision asks for it: kernel maps in the kernel, the same tables in memory on the host.
pub trait PolicyView {
    /// Whether TCP to this port may leave only from designated senders.
    fn is_blocked(&self, port: u16) -> bool;
    /// Whether staff hand in mail on this TCP port.
    fn is_submission(&self, port: u16) -> bool;
    /// Whether this TCP port stays open for clients in quarantine.
    fn is_spared(&self, port: u16) -> bool;
    /// What the policy says about an address: the entry of its longest prefix.
    fn net(&self, addr: &Addr) -> Option<Net>;
    /// Whether this is one of the gateway's own addresses.
    fn is_gateway(&self, addr: &Addr) -> bool;
    /// No quarantine reaches further than this scope: one look spares every other while nobody is in quarantine.
    fn widest_quarantine(&self) -> u8;
    /// The quarantine of a client, over or not.
    fn quarantine(&self, addr: &Addr) -> Option<Quarantine>;
    fn mail_server(&self, index: u32) -> Option<MailServer>;
    /// The entry of the longest prefix around `addr` in a scope.
    fn permit(&self, scope: u32, addr: &Addr) -> Option<Permit>;
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    fn now(&self) -> u64;
}

/// Where and from whom a packet came, read only when a rule asks for it.
pub trait Arrival {
    fn ifindex(&self) -> u32;
    /// Source MAC; none on interfaces without a link layer.
    fn src_mac(&self) -> Option<[u8; 6]>;
}

/// Decides about a packet that came in through an inside interface.
#[inline(always)]
pub fn decide(flow: &Flow, arrival: &impl Arrival, policy: &impl PolicyView) -> Decision {
    // 1. Nothing that could be SMTP from us.
    // 2. The port is hidden or cut off: open would let a host hide it on purpose.
    // 3. A later fragment has no port, whatever its bytes say; without its first one nobody can reassemble it.
    let harmless = match flow.payload {
        Payload::Other => Reason::OtherTraffic,
        Payload::Unreadable => return because(Reason::Unreadable).about(source_of(flow, policy)),
        Payload::LaterFragment => Reason::LaterFragment,
        Payload::AmbiguousFragment => {
            return because(Reason::AmbiguousFragment).about(source_of(flow, policy));
        }
        Payload::Tcp if policy.is_blocked(flow.dst_port) => return decide_mail(flow, arrival, policy),
        Payload::Tcp => Reason::OtherTraffic,
    };
    // 4. Not a blocked port; only a quarantine may reach it.
    match cut_off(flow, arrival, policy) {
        Some(source) => because(Reason::Quarantined).about(source),
        None => because(harmless),
    }
}

/// Decides about TCP to a blocked port.
#[inline(always)]
fn decide_mail(flow: &Flow, arrival: &impl Arrival, policy: &impl PolicyView) -> Decision {
    // 5. Not outbound. Of a source-routed packet the header names a hop only, so rules about destinations don't count.
    if !flow.source_routed {
        if policy.net(&flow.dst).is_some_and(|net| net.is_internal()) {
            return because(Reason::InternalDestination);
        }
        if policy.is_gateway(&flow.dst) {
            return because(Reason::GatewayAddress);
        }
    }
    let source = source_of(flow, policy);
    // 6. In quarantine. A mail server never is: taking the company's mail down is worse than a bot that waits.
    let mail_server = source.mail_server().and_then(|index| policy.mail_server(index));
    if mail_server.is_none() && quarantine_of(flow, arrival, policy) != scope::NONE {
        return because(Reason::Quarantined).about(source);
    }
    // 7. A mail server, if it is the machine the entry means and the destination is one of its own.
    if let Some(server) = mail_server {
        return as_mail_server(&server, flow, arrival, policy).about(source);
    }
    // 8. An exception that has not expired.
    if source.exceptions() != 0
        && !flow.source_routed
        && let Some(permit) = policy.permit(source.exceptions(), &flow.dst)
        && policy.now() < permit.until()
    {
        return by_rule(Reason::Exception, permit.rule());
    }
    // 9. An address no client may have, then 10., everybody else.
    because(if source.is_client() { Reason::NotAMailServer } else { Reason::UnknownSource }).about(source)
}

/// What the policy says about the sender.
#[inline(always)]
fn source_of(flow: &Flow, policy: &impl PolicyView) -> Net {
    policy.net(&flow.src).unwrap_or_default()
}

/// What the policy says about a client whose quarantine stops a packet that is no mail to a blocked port.
#[inline(always)]
fn cut_off(flow: &Flow, arrival: &impl Arrival, policy: &impl PolicyView) -> Option<Net> {
    let widest = policy.widest_quarantine();
    if widest == scope::NONE {
        return None;
    }
    let needed = if flow.payload == Payload::Tcp && policy.is_submission(flow.dst_port) {
        scope::MAIL
    } else {
        scope::ALL
    };
    if widest < needed || quarantine_of(flow, arrival, policy) < needed {
        return None;
    }
    let source = source_of(flow, policy);
    let stopped = source.mail_server().is_none() && !is_spared(flow, policy);
    stopped.then_some(source)
}

/// The scope of the quarantine that the sender is in.
#[inline(always)]
fn quarantine_of(flow: &Flow, arrival: &impl Arrival, policy: &impl PolicyView) -> u8 {
    if policy.widest_quarantine() == scope::NONE {
        return scope::NONE;
    }
    let Some(quarantine) = policy.quarantine(&flow.src) else { return scope::NONE };
    if policy.now() >= quarantine.until() {
        return scope::NONE;
    }
    match quarantine.mac() {
        Some(mac) if arrival.src_mac() != Some(mac) => scope::NONE,
        _ => quarantine.scope(),
    }
}

/// Whether clients in quarantine may reach it all the same: what the policy lists, and what is not outbound, so that they
/// keep their address and find the company's own DNS and help.
#[inline(always)]
fn is_spared(flow: &Flow, policy: &impl PolicyView) -> bool {
    if flow.payload == Payload::Tcp && policy.is_spared(flow.dst_port) {
        return true;
    }
    !flow.source_routed
        && (flow.dst.stays_on_link()
            || policy.net(&flow.dst).is_some_and(|net| net.is_internal() || net.is_spared())
            || policy.is_gateway(&flow.dst))
}

/// Where a packet that leaves through an outside interface came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An inside interface with a door: it has been decided about.
    Door,
    /// Any other interface.
    Elsewhere,
    /// A process of the gateway itself.
    Local,
}

/// Decides about a packet that leaves through an outside interface: what did not pass a door must not be mail.
#[inline(always)]
pub fn decide_at_guard(
    flow: &Flow,
    origin: impl FnOnce() -> Origin,
    gateway_mail: bool,
    policy: &impl PolicyView,
) -> Decision {
    // 1. to 4., as at the door; a door's own packets are refragmented and rewritten by now, so they are not asked again.
    match flow.payload {
        Payload::Other => return because(Reason::OtherTraffic),
        Payload::Tcp if !policy.is_blocked(flow.dst_port) => return because(Reason::OtherTraffic),
        Payload::LaterFragment => return because(Reason::OtherTraffic),
        _ => {}
    }
    let origin = origin();
    if origin == Origin::Door {
        return because(Reason::OtherTraffic);
    }
    match flow.payload {
        Payload::Unreadable => return because(Reason::Unreadable),
        Payload::AmbiguousFragment => return because(Reason::AmbiguousFragment),
        _ => {}
    }
    // 5. Not outbound: the company's own networks may be reached through an outside interface.
    if !flow.source_routed && policy.net(&flow.dst).is_some_and(|net| net.is_internal()) {
        return because(Reason::InternalDestination);
    }
    match origin {
        // A local TCP keeps to the path's MTU and sends no fragments. What conntrack has put together and cut anew looks local
        // in IPv6, wherever it came from: `ip6_copy_metadata` drops the ingress interface (seen on Linux 6.18).
        Origin::Local if gateway_mail && !flow.fragmented => because(Reason::GatewayMail),
        Origin::Local => because(Reason::LocalProcess),
        _ => because(Reason::UncoveredIngress),
    }
}

#[inline(always)]
fn as_mail_server(
    server: &MailServer,
    flow: &Flow,
    arrival: &impl Arrival,
    policy: &impl PolicyView,
) -> Decision {
    let rule = server.rule();
    if server.ifindex().is_some_and(|ifindex| ifindex != arrival.ifindex()) {
        return by_rule(Reason::SpoofedMailServer, rule);
    }
    // An interface without a link layer has no MAC that could match, so a bound server is never there.
    if let Some(mac) = server.mac()
        && arrival.src_mac() != Some(mac)
    {
        return by_rule(Reason::SpoofedMailServer, rule);
    }
    if server.scope() != 0 && (flow.source_routed || policy.permit(server.scope(), &flow.dst).is_none()) {
        return by_rule(Reason::DestinationNotAllowed, rule);
    }
    by_rule(Reason::MailServer, rule)
}

#[inline(always)]
const fn because(reason: Reason) -> Decision {
    by_rule(reason, 0)
}

#[inline(always)]
const fn by_rule(reason: Reason, rule: u32) -> Decision {
    Decision { reason, rule, source: Net::NONE }
}
