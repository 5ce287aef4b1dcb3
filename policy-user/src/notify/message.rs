//! What is sent: events that happened together, the digest of a day, or a test; as JSON and as text for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::event::{Event, one_line};
use crate::policy::Topic;

/// Events of one message that are told one by one; of the others the number.
pub const LISTED: usize = 50;
/// Bytes of a message; receivers refuse large ones.
const LARGEST: usize = 64 << 10;
/// Characters of a title, which becomes the subject of an e-mail.
const LONGEST_TITLE: usize = 120;

/// What a message is. The labels are a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Events,
    Digest,
    Test,
}

/// Events that wait to be told: all are counted, the gravest are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Batch {
    pub counts: BTreeMap<Topic, u64>,
    events: Vec<Event>,
}

/// A message; the field names are a contract, see `docs/notifications.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub version: u8,
    /// The same whenever it is tried again.
    pub id: String,
    pub kind: Kind,
    pub time: Timestamp,
    pub gateway: String,
    pub receiver: String,
    /// One line for people.
    pub text: String,
    pub counts: BTreeMap<Topic, u64>,
    /// Events of `counts` that are not in `events`.
    pub omitted: u64,
    pub events: Vec<Event>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Tells whether there was room for more than its number.
    pub fn add(&mut self, event: &Event) -> bool {
        *self.counts.entry(event.event).or_default() += 1;
        let place = self.events.partition_point(|known| known.event <= event.event);
        self.events.insert(place, event.clone());
        let fits = self.events.len() <= LISTED;
        self.events.truncate(LISTED);
        fits
    }
}

impl Message {
    /// Tells of everything in `batch`, which is empty afterwards.
    pub fn of(kind: Kind, receiver: &str, batch: &mut Batch, time: Timestamp) -> Self {
        let Batch { counts, events } = std::mem::take(batch);
        let gateway = gateway();
        let text = title(kind, &counts, &events);
        let mut message = Self {
            version: 1,
            id: id(&gateway, receiver, time, &text),
            kind,
            time,
            gateway,
            receiver: receiver.to_owned(),
            text,
            omitted: 0,
            counts,
            events,
        };
        message.fit();
        message
    }

    pub fn test(receiver: &str) -> Self {
        Self::of(Kind::Test, receiver, &mut Batch::default(), Timestamp::now())
    }

    pub fn json(&self) -> String {
        // Strings, numbers and maps with words as keys: nothing in it can fail to be JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For people without our tools at hand.
    pub fn plain(&self) -> String {
        let mut out = format!("smtpfence on {}: {}\n", self.gateway, self.text);
        for event in &self.events {
            let time = event.time.to_zoned_datetime(TimeZone::system());
            // Writing to a String can't fail.
            let _ = write!(
                out,
                "\n{}  {}\n{}\n",
                time.strftime("%Y-%m-%d %H:%M:%S %Z"),
                event.event.label(),
                event.summary
            );
        }
        if self.omitted > 0 {
            let _ = write!(out, "\nand {} more, which the log of the gateway has\n", self.omitted);
        }
        let next = match self.kind {
            Kind::Test => "Nothing has happened: somebody has run `smtpfence notify --test`.",
            _ => {
                "On the gateway `smtpfence flags` tells the hosts, `smtpfence status` how smtpfence itself is."
            }
        };
        let _ = write!(
            out,
            "\n{next}\n-- \nreceiver {} of the policy's `notify`, message {}\n",
            self.receiver, self.id
        );
        out
    }

    /// Leaves out the mildest events until it is small enough, and counts what is left out.
    fn fit(&mut self) {
        let told: u64 = self.counts.values().sum();
        let mut sizes: Vec<usize> = self
            .events
            .iter()
            .map(|event| serde_json::to_string(event).map_or(0, |json| json.len()))
            .collect();
        while sizes.iter().sum::<usize>() > LARGEST - 4096 {
            sizes.pop();
        }
        self.events.truncate(sizes.len());
        self.omitted = told.saturating_sub(self.events.len() as u64);
    }
}

/// The name of this machine, made harmless.
pub fn gateway() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let plain: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).take(64).collect();
    if plain.is_empty() { "gateway".to_owned() } else { plain }
}

fn title(kind: Kind, counts: &BTreeMap<Topic, u64>, events: &[Event]) -> String {
    let counted: Vec<_> = counts.iter().map(|(topic, count)| format!("{count} {}", topic.label())).collect();
    let whole = match (kind, events) {
        (Kind::Test, _) => "test message, nothing has happened".to_owned(),
        (Kind::Digest, _) => format!("digest of the day: {}", counted.join(", ")),
        // Its evidence stands in the text; the part before it says who and what.
        (Kind::Events, [only]) => only.summary.split(": ").next().unwrap_or_default().to_owned(),
        (Kind::Events, _) => counted.join(", "),
    };
    one_line(&whole).chars().take(LONGEST_TITLE).collect()
}

/// Unique enough for a receiver to know a message that comes twice.
fn id(gateway: &str, receiver: &str, time: Timestamp, text: &str) -> String {
    let whole = format!("{gateway} {receiver} {} {} {text}", time.as_nanosecond(), std::process::id());
    let hash = Sha256::digest(whole.as_bytes());
    hash.iter().take(12).fold("msg_".to_owned(), |id, byte| id + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_events_are_one_small_message_that_counts_them_all() {
        let mut batch = Batch::default();
        for host in 0..1_000 {
            let topic = if host % 100 == 99 { Topic::Infected } else { Topic::Suspect };
            let mut event = Event::alarm(topic, &format!("10.25.0.{host}"), &"\u{1b}".repeat(5_000));
            event.flag = Some(serde_json::json!({ "evidence": "x".repeat(2_000) }));
            batch.add(&event);
        }
        let message = Message::of(Kind::Events, "it", &mut batch, Timestamp::now());
        assert_eq!(message.text, "10 infected, 990 suspect");
        assert_eq!(message.omitted + message.events.len() as u64, 1_000);
        // Six bytes for each control character: not even the ten gravest of these fit.
        assert!(message.events.iter().all(|event| event.event == Topic::Infected));
        assert!(message.events.len() > 5 && message.json().len() <= LARGEST, "{}", message.json().len());
        assert!(batch.is_empty());
    }
}
