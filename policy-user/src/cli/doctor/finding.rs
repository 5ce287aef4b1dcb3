//! What an examination finds: one line with a level and, where something is to be done, what.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Works, but something is to be known or done.
    Warn,
    /// Port 25 is or may be open, or nothing can be enforced.
    Fail,
}

impl Level {
    pub const fn label(self, colour: bool) -> &'static str {
        match (self, colour) {
            (Self::Ok, false) => "ok  ",
            (Self::Warn, false) => "warn",
            (Self::Fail, false) => "FAIL",
            (Self::Ok, true) => "\u{1b}[32mok  \u{1b}[0m",
            (Self::Warn, true) => "\u{1b}[33mwarn\u{1b}[0m",
            (Self::Fail, true) => "\u{1b}[31mFAIL\u{1b}[0m",
        }
    }
}

/// The field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub level: Level,
    pub found: String,
    /// What to do; none where all is well.
    pub advice: Option<String>,
}

impl Finding {
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), advice: None }
    }

    pub fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    pub fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level: Level::Fail, found: found.into(), advice: Some(advice.into()) }
    }

    /// Splits `what is wrong; what to do`, as our errors are worded.
    pub fn worded(check: &'static str, level: Level, sentence: &str) -> Self {
        let (found, advice) = sentence.rsplit_once("; ").unwrap_or((sentence, "see the message"));
        Self { check, level, found: found.to_owned(), advice: Some(advice.to_owned()) }
    }
}
