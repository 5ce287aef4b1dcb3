//! What receivers are told of: changes of flags, and alarms of smtpfence itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::FlagEvent;
use crate::detect::{Kind, Verdict};
use crate::policy::Topic;

/// Characters of a summary.
const LONGEST: usize = 600;

/// One thing that has happened; the field names are a contract, see `docs/notifications.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub time: Timestamp,
    pub event: Topic,
    /// What it is about: a host, an interface; the same again is a repetition.
    pub subject: String,
    /// One line for people, without control characters.
    pub summary: String,
    /// For flags the line of the log.
    pub flag: Option<Value>,
}

impl Event {
    /// What a change of a flag is told as; an acknowledgement is not, somebody has just made it.
    pub fn of_flag(flag: &FlagEvent) -> Option<Self> {
        let event = match (flag.change, flag.flagged.verdict) {
            (Kind::Acknowledged, _) => return None,
            (Kind::Ended | Kind::Released, _) => Topic::Released,
            (Kind::Raised, Verdict::Infected) => Topic::Infected,
            (Kind::Raised, Verdict::Suspect) => Topic::Suspect,
            (Kind::Raised, Verdict::Misconfigured) => Topic::Misconfigured,
        };
        Some(Self {
            time: flag.time,
            event,
            subject: one_line(&flag.flagged.host),
            summary: one_line(&flag.to_string()),
            flag: serde_json::to_value(flag).ok(),
        })
    }

    pub fn alarm(event: Topic, subject: &str, text: &str) -> Self {
        Self {
            time: Timestamp::now(),
            event,
            subject: one_line(subject),
            summary: one_line(text),
            flag: None,
        }
    }
}

/// Text of any origin as one line that no terminal, mail program or log takes for anything else.
pub fn one_line(text: &str) -> String {
    let mut line = String::new();
    let words = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    for (index, c) in words.chars().enumerate() {
        if index == LONGEST {
            line.push('…');
            break;
        }
        match c {
            '"' | '\'' | '\\' => line.push(c),
            c => line.extend(c.escape_debug()),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_it_is_made_of() {
        assert_eq!(one_line("a\r\nBcc: x\u{1b}[2J\u{202e}\"it's\""), "a Bcc: x\\u{1b}[2J\\u{202e}\"it's\"");
        assert_eq!(one_line(&"ä".repeat(10_000)).chars().count(), LONGEST + 1);
    }
}
