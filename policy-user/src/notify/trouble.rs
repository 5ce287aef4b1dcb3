//! Why a message was not delivered: how far it came, and what to do about it.

use std::fmt;

use serde::Serialize;

use super::event::one_line;

/// How far a message came. The labels are a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The secret or the program is not as it must be.
    Setup,
    Dns,
    Connect,
    Tls,
    Login,
    /// It was not answered in time.
    Timeout,
    /// It was answered, but not well.
    Answer,
}

/// Whether another try of the same message may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    Later,
    /// The receiver does not want this message, whenever it comes.
    Never,
}

/// One failed try; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    pub stage: Stage,
    pub why: String,
    /// What the admin can do.
    pub next: String,
    #[serde(skip)]
    pub again: Again,
}

impl Trouble {
    /// What the other side has said may be in `why`, so it is made harmless.
    pub fn new(stage: Stage, why: impl fmt::Display, next: impl Into<String>) -> Self {
        Self { stage, why: one_line(&why.to_string()), next: next.into(), again: Again::Later }
    }

    pub fn for_good(self) -> Self {
        Self { again: Again::Never, ..self }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.why, self.next)
    }
}
