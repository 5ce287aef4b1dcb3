//! The sections of a policy file: every key of the language with its type and with what people are told about it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use super::super::schema::{
    self, date, directory, duration, interface, interfaces, mac, name, networks, or, ports, text, words,
};
use super::{Described, GlobOrEntry, Kind, Numbers, OneOrMany, Section, Shape, Word, Written};

/// A key as it stands in the file.
macro_rules! key {
    ($key:ident) => {
        stringify!($key)
    };
    ($key:ident $written:literal) => {
        $written
    };
}

/// The schema of a value: of its type, or a narrower one.
macro_rules! described {
    ($value:ty) => {
        <$value>::schema()
    };
    ($value:ty, $schema:expr) => {
        $schema
    };
}

/// Declares a mapping: its keys are written once, here, with `as` where Rust reserves the word; behind `=>` stands what
/// the schema says beyond the type. The comment of a key is also its description in the schema. Of a key written twice
/// the first value is kept (`places` reports it).
macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        $name:ident {
            $($(#[doc = $about:literal])+ $key:ident $(as $written:literal)?: $value:ty $(=> $schema:expr)?,)*
        } $($extra:tt)*
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[doc = $about])+ pub $key: Written<$value>,)*
        }

        impl Shape for $name {
            const EXPECTED: &'static str = "keys with values";
            const ADVICE: &'static str = "write its keys below it, each with a colon and a value";
            fn accepts(kind: Kind) -> bool {
                kind == Kind::Map
            }
        }

        impl Section for $name {
            const KEYS: &'static [&'static str] = &[$(key!($key $($written)?)),*];
        }

        impl Described for $name {
            fn schema() -> Value {
                let keys = [$((
                    key!($key $($written)?),
                    concat!($($about),+),
                    described!($value $(, $schema)?),
                )),*];
                schema::section(concat!($($doc),+), keys, json!({ $($extra)* }))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Keys;
                impl<'de> Visitor<'de> for Keys {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a mapping")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut section = $name::default();
                        while let Some(key) = map.next_key::<String>()? {
                            match key.as_str() {
                                $(key!($key $($written)?) if matches!(section.$key, Written::Absent) => {
                                    section.$key = map.next_value()?;
                                })*
                                _ => drop(map.next_value::<IgnoredAny>()?),
                            }
                        }
                        Ok(section)
                    }
                }
                deserializer.deserialize_map(Keys)
            }
        }
    };
}

mod notify;

pub use notify::{Email, Exec, Receiver, Webhook};

type List<T> = Vec<Written<T>>;

const MODES: [&str; 2] = ["enforce", "audit"];
const BLOCKS: [&str; 2] = ["drop", "reject"];
const DATAPATHS: [&str; 3] = ["tc", "xdp", "xdp-forced"];
const PRESETS: [&str; 3] = ["sensitive", "balanced", "strict"];
const SCOPES: [&str; 2] = ["mail", "all"];

section!(
    /// A policy of smtpfence: who may use port 25, and where.
    File {
        /// Version of this language.
        version: u64 => json!({ "const": 1 }),
        /// Name of the policy, shown in status and log.
        name: String => name(),
        /// Where clients come in, and where packets leave.
        interfaces: Interfaces,
        /// Whose addresses are whose.
        networks: Networks,
        /// TCP ports that are blocked, and those that never are.
        ports: Ports,
        /// `enforce`, or `audit`: the same decisions, but every packet goes on and is reported as `would_block`.
        mode: Word => words(&MODES),
        /// What becomes of a blocked packet: `drop` gives no answer, so programs wait for minutes; `reject` answers with
        /// a TCP reset, so they fail at once.
        on_block: Word => or("drop", words(&BLOCKS)),
        /// A directory of fragments, as seen from this file: each file `*.yaml` in it adds to networks, mail servers,
        /// exceptions and groups.
        include: String => directory(),
        /// Who may send.
        mail_servers: List<MailServer>,
        /// Permits with an end.
        exceptions: List<Exception>,
        /// Clients that are treated in a way of their own.
        groups: List<Group>,
        /// Whether processes of the gateway itself may use blocked ports; obeyed only with `interfaces.outside`.
        gateway_mail: Word => or("deny", words(&["deny", "allow"])),
        /// How soon a host is flagged that sends as bots do.
        detection: Detection,
        /// What becomes of hosts that are flagged `infected`.
        quarantine: Quarantine,
        /// Where attempts are written to.
        log: Log,
        /// Where the names of clients are found.
        identity: Identity,
        /// Where the metrics can be asked for, beside the control socket.
        metrics: Metrics,
        /// Who is told of flagged hosts, and of alarms of smtpfence itself.
        notify: List<Receiver>,
        /// The last key, always: a file that lost its tail is refused, not obeyed.
        end: bool => json!({ "const": true }),
    } "required": ["version", "name", "interfaces", "networks", "mode", "end"]
);
section!(
    /// Part of a policy, in a file of its own in the directory that the policy's `include` names.
    Fragment {
        /// More networks.
        networks: FragmentNetworks,
        /// More hosts that may send.
        mail_servers: List<MailServer>,
        /// More permits with an end.
        exceptions: List<Exception>,
        /// More clients that are treated in a way of their own.
        groups: List<Group>,
        /// The last key, always: a file that lost its tail is refused, not obeyed.
        end: bool => json!({ "const": true }),
    } "required": ["end"]
);
section!(
    /// Networks that are added to those of the policy.
    FragmentNetworks {
        /// More addresses that clients have.
        clients: List<String> => networks(0),
        /// More destinations that are never blocked.
        internal: List<String> => networks(0),
    }
);
section!(
    /// Names or patterns (`*`, `?`) of interfaces; none may be on both sides.
    Interfaces {
        /// Where clients come in; interfaces that appear later are covered too. Of several entries that match an
        /// interface the first counts.
        inside: List<GlobOrEntry> => interfaces(GlobOrEntry::schema(), 1),
        /// Where packets leave: the guard.
        outside: List<String> => interfaces(interface(), 0),
    } "required": ["inside"]
);
section!(
    /// Inside interfaces, and how what comes in there is treated.
    InsideEntry {
        /// Interface name or pattern.
        glob as "match": String => interface(),
        /// For these interfaces instead of the policy's mode.
        mode: Word => words(&MODES),
        /// For these interfaces instead of what the policy says.
        on_block: Word => words(&BLOCKS),
        /// `xdp` denies in front of the network stack, which pays on network cards whose drivers have XDP, and is refused
        /// (`smtpfence status` says why) elsewhere; `xdp-forced` only where it would judge wrongly.
        datapath: Word => or("tc", words(&DATAPATHS)),
    } "required": ["match"]
);
section!(
    /// Addresses, CIDR networks without host bits, or ranges such as `10.25.0.10-10.25.0.20`.
    Networks {
        /// Addresses that clients have; any other source is denied as unknown.
        clients: List<String> => networks(1),
        /// Destinations that are not outbound and never blocked; the gateway's own addresses are added by themselves.
        internal: List<String> => networks(0),
    } "required": ["clients"]
);
section!(
    /// TCP ports.
    Ports {
        /// Ports that only designated senders may reach.
        blocked: List<u64> => or([25], ports(1, 8)),
        /// Where staff hand in mail; always open, so not in `blocked`.
        submission: List<u64> => or([587, 465], ports(0, 8)),
    }
);
section!(
    /// A host that may use the blocked ports.
    MailServer {
        /// No other mail server or exception has it.
        name: String => name(),
        /// Its address, or a list of them; each belongs to one mail server only.
        address: OneOrMany,
        /// The entry holds only for this machine; without it, whoever takes the address can send.
        mac: String => mac(),
        /// The inside interface that its packets must come in through.
        interface: String => interface(),
        /// Where it may send to: `any`, or a list of networks.
        to: OneOrMany => or("any", json!({ "anyOf": [{ "const": "any" }, networks(1)] })),
    } "required": ["name", "address"]
);
section!(
    /// A permit that ends by itself, and with it its live connections.
    Exception {
        /// No other mail server or exception has it.
        name: String => name(),
        /// Which clients it permits something.
        from: List<String> => networks(1),
        /// The destinations that they may reach.
        to: List<String> => networks(1),
        /// When it ends: a date, meaning the end of that day, or a time with its zone.
        until: String => date(),
        /// Instead of `until`: how long it lasts from `since` on, in hours (`12h`), days (`14d`) or weeks (`2w`); at most
        /// 366 days.
        length as "for": String => duration(),
        /// From when `for` counts: a date, meaning the beginning of that day, or a time with its zone.
        since: String => date(),
        /// Why.
        reason: String => text(),
        /// Whom to ask.
        owner: String => text(),
    }
    "required": ["name", "from", "to", "reason", "owner"],
    "oneOf": [
        { "required": ["until"], "not": { "anyOf": [{ "required": ["for"] }, { "required": ["since"] }] } },
        { "required": ["for", "since"], "not": { "required": ["until"] } }
    ]
);
section!(
    /// Clients that are treated in a way of their own, wherever they come in.
    Group {
        /// No other group has it.
        name: String => name(),
        /// Part of `networks.clients`; of two groups around a client the narrower network's counts.
        clients: List<String> => networks(1),
        /// For these clients instead of the interface's or the policy's mode.
        mode: Word => words(&MODES),
        /// For these clients instead of what the interface or the policy says.
        on_block: Word => words(&BLOCKS),
        /// For these clients instead of the policy's.
        detection: GroupDetection,
    }
    "required": ["name", "clients"],
    "anyOf": [{ "required": ["mode"] }, { "required": ["on_block"] }, { "required": ["detection"] }]
);
section!(
    /// How hosts that send spam are found.
    Detection {
        /// How soon a host is flagged.
        preset: Word => or("balanced", words(&PRESETS)),
        /// Numbers of the preset that are changed; docs/detection.md explains them.
        overrides: Numbers,
        /// What hosts are told apart by: `mac`, `address`, or `auto`: the MAC, unless it is a router's.
        host_key: Word => or("auto", words(&["auto", "mac", "address"])),
        /// Absolute path of a list of mail providers beside the shipped ones, lines `network,name`.
        providers: String => json!({ "type": "string", "pattern": "^/.*[^/]$" }),
        /// Learn from the DNS answers of clients which destinations are one provider; off without it.
        names: Names,
    }
);
section!(
    /// From whose DNS answers names of destinations are learnt; docs/detection.md says what is kept of them.
    Names {
        /// Addresses of the resolvers that clients ask through the gateway; answers of others are not looked at.
        resolvers: OneOrMany => json!({ "anyOf": [text(), { "type": "array", "items": text(), "minItems": 1 }] }),
        /// How long a name is believed and remembered: hours (`12h`) or days (`7d`), from an hour to a week.
        keep: String => or("24h", retention()),
    } "required": ["resolvers"]
);
section!(
    /// How soon clients of a group are flagged.
    GroupDetection {
        /// How soon a host is flagged.
        preset: Word => or("balanced", words(&PRESETS)),
        /// Numbers of the preset that are changed.
        overrides: Numbers,
    }
);
section!(
    /// What becomes of hosts that are flagged `infected`; `except` and `except_ports` hold also where an admin does it.
    Quarantine {
        /// Whether they are put in quarantine without an admin.
        enabled: bool,
        /// How long the first time: seconds, minutes (`30m`), hours (`1h`), days (`2d`) or weeks. Again infected: twice as
        /// long as before.
        length as "for": String => or("1h", span()),
        /// How long at most.
        longest: String => or("24h", span()),
        /// What is closed: `mail` (blocked and submission ports), or `all` that is not internal.
        scope: Word => or("mail", words(&SCOPES)),
        /// Destinations that stay open, except for the blocked ports.
        except: List<String> => networks(0),
        /// TCP ports that stay open to everywhere; none for mail.
        except_ports: List<u64> => ports(0, 8),
    } "required": ["enabled"]
);
section!(
    /// Where attempts are written to beside standard output.
    Log {
        /// Absolute path of a file to which attempts are appended, one JSON object a line.
        file: String => path(),
        /// How long the store keeps attempts: hours (`12h`), days (`90d`) or weeks (`2w`), at most ten years.
        keep: String => or("90d", retention()),
        /// Room that the store takes at most, of which the oldest attempts give way: `512MiB`, `2GiB`.
        max_size: String => or("2GiB", size()),
        /// Whether attempts also go to systemd's journal, with a field for each of theirs.
        journal: bool => or(false, bool::schema()),
        /// Syslog servers that attempts also go to (RFC 5424), each as `udp://`, `tcp://` or `tls://`, host and port.
        syslog: OneOrMany => json!({ "anyOf": [server(), { "type": "array", "items": server() }] }),
        /// Absolute path of a PEM file with the authorities of `tls://` servers; without it, those of the system.
        syslog_authorities: String => path(),
    }
);
section!(
    /// What clients are looked up in, so that they are shown with more than an address.
    Identity {
        /// Absolute paths of lease files of dnsmasq, Kea (memfile) or ISC dhcpd, for host names.
        leases: List<String> => json!({ "type": "array", "items": path() }),
    }
);
section!(
    /// Metrics for a Prometheus on this machine.
    Metrics {
        /// Loopback address and port on which `/metrics` is answered: `127.0.0.1:9725`, `[::1]:9725`.
        listen: String => json!({ "type": "string", "pattern": "^(127\\.[0-9.]+|\\[::1\\]):[0-9]+$" }),
    } "required": ["listen"]
);

fn path() -> Value {
    json!({ "type": "string", "pattern": "^/.*[^/]$" })
}

fn span() -> Value {
    json!({ "type": "string", "pattern": "^[1-9][0-9]*[smhdw]$" })
}

fn retention() -> Value {
    json!({ "type": "string", "pattern": "^[1-9][0-9]*[hdw]$" })
}

fn size() -> Value {
    json!({ "type": "string", "pattern": "^[1-9][0-9]*(MiB|GiB|TiB)$" })
}

fn server() -> Value {
    json!({ "type": "string", "pattern": "^(udp|tcp|tls)://.+$" })
}
