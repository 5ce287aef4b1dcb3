//! Bugs in the decision, and in what the policy is compiled to.

use super::Catcher::{self, Decide, Properties};
use super::{Mutant, mutant};

const DECIDE: &str = "policy-common/src/decide.rs";
const FLOW: &str = "policy-common/src/flow.rs";
const REASON: &str = "policy-common/src/reason.rs";
const COMPILE: &str = "policy-user/src/policy/compile.rs";

const TABLE: Catcher = Decide("every_packet_gets_the_decision_of_the_table");
const GUARD: Catcher = Decide("the_guard_stops_what_did_not_pass_a_door");
const ENDS: Catcher = Decide("an_exception_ends_at_its_instant");
const COMPILED: Catcher = Properties("compiled_tables_say_what_the_policy_says");

pub const MUTANTS: &[Mutant] = &[
    mutant("passing reasons begin one later", REASON, "self as u8 >= 16", "self as u8 > 16", TABLE),
    mutant(
        "unreadable passes",
        DECIDE,
        "Payload::Unreadable => return because(Reason::Unreadable).about",
        "Payload::Unreadable => return because(Reason::OtherTraffic).about",
        TABLE,
    ),
    mutant(
        "internal asked about the source",
        DECIDE,
        "if !flow.source_routed {\n        if policy.net(&flow.dst)",
        "if !flow.source_routed {\n        if policy.net(&flow.src)",
        TABLE,
    ),
    mutant(
        "gateway asked about the source",
        DECIDE,
        "if policy.is_gateway(&flow.dst)",
        "if policy.is_gateway(&flow.src)",
        TABLE,
    ),
    mutant("a source route is believed", DECIDE, "if !flow.source_routed {", "if true {", TABLE),
    mutant("quarantine never ends", DECIDE, "if policy.now() >= quarantine.until() {", "if false {", TABLE),
    mutant(
        "a mail server can be in quarantine",
        DECIDE,
        "if mail_server.is_none() && quarantine_of",
        "if quarantine_of",
        TABLE,
    ),
    mutant(
        "a mail server can be cut off from the web",
        DECIDE,
        "source.mail_server().is_none() && !is_spared",
        "!is_spared",
        TABLE,
    ),
    mutant(
        "submission stays open in quarantine",
        DECIDE,
        "        scope::MAIL\n    } else",
        "        scope::ALL\n    } else",
        TABLE,
    ),
    mutant(
        "scope mail closes everything",
        DECIDE,
        "quarantine_of(flow, arrival, policy) < needed",
        "quarantine_of(flow, arrival, policy) == scope::NONE",
        TABLE,
    ),
    mutant("nothing is spared", DECIDE, " && !is_spared(flow, policy);", ";", TABLE),
    mutant(
        "spared networks are closed",
        DECIDE,
        "net.is_internal() || net.is_spared()",
        "net.is_internal()",
        TABLE,
    ),
    mutant("no DHCP in quarantine", DECIDE, "(flow.dst.stays_on_link()\n            || ", "(", TABLE),
    mutant(
        "another machine with the address is in quarantine too",
        DECIDE,
        "Some(mac) if arrival.src_mac() != Some(mac) => scope::NONE,",
        "Some(mac) if mac == [1; 6] => scope::NONE,",
        COMPILED,
    ),
    mutant("inner prefix forgets what is spared", COMPILE, "claim.spared |= outer.spared;", "", COMPILED),
    mutant(
        "interface of a mail server not checked",
        DECIDE,
        "|ifindex| ifindex != arrival.ifindex()",
        "|ifindex| ifindex == u32::MAX",
        TABLE,
    ),
    mutant(
        "MAC of a mail server not checked",
        DECIDE,
        "&& arrival.src_mac() != Some(mac)",
        "&& mac == [1; 6]",
        TABLE,
    ),
    mutant(
        "a mail server's MAC passes where there is none",
        DECIDE,
        "&& arrival.src_mac() != Some(mac)",
        "&& arrival.src_mac().is_some_and(|own| own != mac)",
        TABLE,
    ),
    mutant(
        "scope of a mail server ignored",
        DECIDE,
        "if server.scope() != 0 &&",
        "if server.scope() == u32::MAX &&",
        TABLE,
    ),
    mutant("expiry ignored", DECIDE, "&& policy.now() < permit.until()", "", TABLE),
    mutant(
        "an exception lasts one instant too long",
        DECIDE,
        "policy.now() < permit.until()",
        "policy.now() <= permit.until()",
        ENDS,
    ),
    mutant(
        "unknown sources are clients",
        DECIDE,
        "if source.is_client() { Reason",
        "if true { Reason",
        TABLE,
    ),
    mutant(
        "guard trusts every interface",
        DECIDE,
        "if origin == Origin::Door {",
        "if origin != Origin::Local {",
        GUARD,
    ),
    mutant(
        "guard lets the gateway's own mail out",
        DECIDE,
        "Origin::Local if gateway_mail",
        "Origin::Local if !gateway_mail",
        GUARD,
    ),
    mutant("families share keys", FLOW, "pub const IPV6: u8 = 6", "pub const IPV6: u8 = 4", TABLE),
    mutant(
        "inner prefix forgets the client network around it",
        COMPILE,
        "claim.client |= outer.client;",
        "",
        TABLE,
    ),
    mutant(
        "inner prefix forgets what is internal",
        COMPILE,
        "claim.internal |= outer.internal;",
        "",
        COMPILED,
    ),
    mutant(
        "inner prefix forgets exceptions around it",
        COMPILE,
        "claim.exceptions.extend(&outer.exceptions);",
        "",
        COMPILED,
    ),
    mutant(
        "inner prefix forgets its group",
        COMPILE,
        "claim.group = claim.group.or(outer.group);",
        "",
        COMPILED,
    ),
    mutant(
        "the permit that ends first counts",
        COMPILE,
        "if b.until() > a.until() { b }",
        "if b.until() < a.until() { b }",
        COMPILED,
    ),
    mutant(
        "a prefix inherits from its left neighbour",
        COMPILE,
        "addr.masked(outer.len) != outer.addr",
        "addr.masked(outer.len.min(8)) != outer.addr.masked(8)",
        COMPILED,
    ),
];
