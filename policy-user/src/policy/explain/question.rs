//! Questions as people write them, and what to write instead of what can't be asked.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::super::diagnostics::quoted;
use super::super::validate::address_text;
use super::{InQuarantine, Question, Sender, SourceMac};

/// A question in words; what is `None` was not said.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'t> {
    /// An address, or `gateway`.
    pub from: &'t str,
    pub to: &'t str,
    pub port: u64,
    /// A MAC, or `none` for an interface without a link layer.
    pub mac: Option<&'t str>,
    pub interface: Option<&'t str>,
    pub at: Timestamp,
    pub quarantined: InQuarantine,
}

/// Why something can't be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misasked {
    /// Which part of the question, as it is called in a test file.
    pub key: &'static str,
    pub code: &'static str,
    pub message: String,
    pub help: String,
}

impl Misasked {
    fn new(
        key: &'static str,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { key, code, message: message.into(), help: help.into() }
    }
}

impl Asked<'_> {
    pub fn question(&self) -> Result<Question, Misasked> {
        let from = match self.from {
            "gateway" => Sender::Gateway,
            text => Sender::Client(address("from", text)?),
        };
        let to = address("to", self.to)?;
        if let Sender::Client(client) = from
            && client.is_ipv4() != to.is_ipv4()
        {
            let message = format!("{client} and {to} are of different families");
            let help = "a connection is IPv4 or IPv6 at both ends; give both of one kind";
            return Err(Misasked::new("to", "mixed-families", message, help));
        }
        let port = u16::try_from(self.port).ok().filter(|port| *port != 0);
        let Some(port) = port else {
            let message = format!("{} is not a port", self.port);
            return Err(Misasked::new("port", "bad-port", message, "write a number from 1 to 65535"));
        };
        let mac = match self.mac {
            None => SourceMac::Unstated,
            Some("none") => SourceMac::Absent,
            Some(text) => SourceMac::Is(mac(text)?),
        };
        if from == Sender::Gateway {
            self.refuse_arrival()?;
        }
        let interface = self.interface.map(interface).transpose()?;
        Ok(Question { from, mac, interface, to, port, at: self.at, quarantined: self.quarantined })
    }

    /// What the gateway sends itself comes in nowhere.
    fn refuse_arrival(&self) -> Result<(), Misasked> {
        let said = [
            ("mac", self.mac.is_some()),
            ("interface", self.interface.is_some()),
            ("quarantined", self.quarantined != InQuarantine::No),
        ];
        match said.into_iter().find(|(_, said)| *said) {
            None => Ok(()),
            Some((key, _)) => {
                let message = format!("a process of the gateway has no `{key}`");
                let help = "leave it out, or give a client's address as `from`";
                Err(Misasked::new(key, "not-of-the-gateway", message, help))
            }
        }
    }
}

fn address(key: &'static str, text: &str) -> Result<IpAddr, Misasked> {
    address_text::address(text)
        .map_err(|refusal| Misasked::new(key, refusal.code, refusal.message, refusal.help))
}

fn mac(text: &str) -> Result<[u8; 6], Misasked> {
    let pairs: Option<Vec<u8>> = text
        .split(':')
        .map(|pair| u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2 && !pair.starts_with('+')))
        .collect();
    pairs.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        let help = "write six pairs of hexadecimal digits, such as 02:00:00:00:00:25; \
                    or none, for an interface without a link layer";
        Misasked::new("mac", "bad-mac", format!("{} is not a MAC address", quoted(text)), help)
    })
}

fn interface(text: &str) -> Result<String, Misasked> {
    let possible = !text.is_empty() && text.len() <= 15 && !text.contains(['*', '?', '/']);
    if possible && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(text.to_owned());
    }
    let message = format!("{} is not the name of an interface", quoted(text));
    Err(Misasked::new("interface", "bad-interface", message, "write one name, such as lan0"))
}

/// A time as people write it: the noon of a day where the gateway is, or an instant with its zone.
pub fn moment(text: &str, zone: &TimeZone) -> Result<Timestamp, Misasked> {
    let day: Option<Date> = text.parse().ok().filter(|_| text.len() == 10);
    let noon = day.and_then(|day| day.at(12, 0, 0, 0).to_zoned_datetime(zone.clone()).ok());
    let instant = noon.map(|noon| noon.timestamp()).or_else(|| text.parse().ok());
    instant.ok_or_else(|| {
        let help = "write a date such as 2026-12-31 (its noon), or a time with its zone such as \
                    2026-12-31T18:00:00+01:00";
        Misasked::new("at", "bad-time", format!("{} is not a time", quoted(text)), help)
    })
}
