//! Recorded attempts, one JSON object a line: this program's own log, or the short form for captures of others.

use std::borrow::Cow;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;

use super::Observation;
use crate::attempt::{Attempt, Mac};

/// A line with an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// Seconds since 1970, as the recorder's clock stamped it.
    pub stamp: f64,
    /// Its time is the stamp's; see `Clock`.
    pub seen: Observation,
    /// Packets that are not a connection attempt, or to a port of submission, tell nothing.
    pub port: u16,
}

#[derive(Deserialize)]
struct Short<'a> {
    t: f64,
    src: IpAddr,
    #[serde(borrow)]
    mac: Option<&'a str>,
    dst: IpAddr,
    #[serde(default)]
    sport: u16,
    #[serde(default = "smtp")]
    dport: u16,
    #[serde(default)]
    unlisted: u32,
}

#[derive(Deserialize)]
struct Own<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    client: Option<IpAddr>,
    #[serde(borrow)]
    client_mac: Option<&'a str>,
    #[serde(default)]
    client_port: u16,
    destination: Option<IpAddr>,
    #[serde(default = "smtp")]
    destination_port: u16,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(default)]
    unlisted: u32,
}

fn smtp() -> u16 {
    25
}

/// Reads a line; `Ok(None)` where it tells of something else than an attempt of a client.
pub fn read(line: &[u8]) -> Result<Option<Record>, String> {
    // The two forms are told apart without reading twice: our own lines always begin so.
    if line.starts_with(b"{\"time\":") || line.starts_with(b"{\"event\":") {
        return own(line);
    }
    match serde_json::from_slice::<Short<'_>>(line) {
        Ok(short) => {
            let Short { t: stamp, src, mac, dst, sport, dport, unlisted } = short;
            let seen = Observation { unlisted, ..observation(stamp, mac, src, sport, dst)? };
            Ok(Some(Record { stamp, seen, port: dport }))
        }
        Err(error) => own(line).map_err(|_| format!("no attempt: {error}")),
    }
}

fn own(line: &[u8]) -> Result<Option<Record>, String> {
    let own: Own<'_> =
        serde_json::from_slice(line).map_err(|error| format!("no line of the log: {error}"))?;
    let (Some(source), Some(destination), Some(time)) = (own.client, own.destination, own.time) else {
        return Ok(None);
    };
    if own.event != "attempt" || !own.reason.as_deref().is_none_or(counts) {
        return Ok(None);
    }
    // In quarantine every port is denied. A record doesn't tell which are blocked; 25 always is in practice.
    if own.reason.as_deref() == Some("quarantined") && own.destination_port != smtp() {
        return Ok(None);
    }
    let time: Timestamp = time.parse().map_err(|error| format!("`time`: {error}"))?;
    let stamp = time.as_nanosecond() as f64 / 1e9;
    let seen = observation(stamp, own.client_mac, source, own.client_port, destination)?;
    let seen = Observation { unlisted: own.unlisted, ..seen };
    Ok(Some(Record { stamp, seen, port: own.destination_port }))
}

/// An attempt of the store, which has kept no other time than the wall clock's.
pub fn of(attempt: &Attempt) -> Option<Record> {
    let stamp = attempt.time.as_microsecond() as f64 / 1e6;
    // Before 1970 there was no clock to stamp it.
    let seen = seen(attempt, u32::try_from(attempt.time.as_second()).unwrap_or(0))?;
    Some(Record { stamp, seen, port: attempt.destination_port })
}

/// The same of an attempt that was read elsewhere, with the time that the caller's clock gives it.
pub fn seen(attempt: &Attempt, time: u32) -> Option<Observation> {
    let (Some(source), Some(destination)) = (attempt.client, attempt.destination) else { return None };
    counts(attempt.reason).then_some(Observation {
        time,
        mac: attempt.client_mac,
        source,
        source_port: attempt.client_port,
        destination,
        unlisted: attempt.unlisted,
    })
}

/// Whether attempts that were denied for this reason say something about the client. What the guard stops has no client any
/// more, a mail server is judged by nobody, and an address of no client's is anybody's.
fn counts(reason: &str) -> bool {
    matches!(reason, "not-a-mail-server" | "quarantined" | "spoofed-mail-server")
}

fn observation(
    stamp: f64,
    mac: Option<&str>,
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
) -> Result<Observation, String> {
    if !(0.0..f64::from(u32::MAX)).contains(&stamp) {
        return Err("the time is no time since 1970".to_owned());
    }
    let mac = match mac {
        None | Some("") => None,
        Some(text) => Some(text.parse::<Mac>().map_err(|()| "the MAC is none".to_owned())?),
    };
    Ok(Observation { time: stamp as u32, mac, source, source_port, destination, unlisted: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = r#"{"t": 1750000000.956, "src": "10.0.0.58", "mac": "02:00:00:00:00:3a", "dst": "203.0.113.102", "sport": 7655, "dport": 25, "iface": "lan0"}"#;
    const OWN: &str = r#"{"time":"2025-06-15T15:06:40.956Z","id":"0","event":"attempt","verdict":"drop","reason":"not-a-mail-server","client":"10.0.0.58","client_mac":"02:00:00:00:00:3a","client_port":7655,"destination":"203.0.113.102","destination_port":25}"#;

    #[test]
    fn both_forms_mean_the_same() {
        let short = read(SHORT.as_bytes()).unwrap().unwrap();
        let own = read(OWN.as_bytes()).unwrap().unwrap();
        assert_eq!(short.seen, own.seen);
        assert!((short.stamp - own.stamp).abs() < 0.001);
    }

    #[test]
    fn other_lines_are_no_attempts_and_garbage_is_an_error() {
        for line in [
            r#"{"event":"READY","policy":"x"}"#,
            &OWN.replace("\"attempt\"", "\"flag\""),
            &OWN.replace("not-a-mail-server", "local-process"),
            &OWN.replace("\"10.0.0.58\"", "null"),
            &OWN.replace("not-a-mail-server", "quarantined")
                .replace("\"destination_port\":25", "\"destination_port\":443"),
        ] {
            assert_eq!(read(line.as_bytes()), Ok(None), "{line}");
        }
        for line in ["", "{", "[]", &SHORT.replace("1750000000.956", "-1"), &SHORT.replace("02:00", "2:+0")] {
            assert!(read(line.as_bytes()).is_err(), "{line}");
        }
    }
}
