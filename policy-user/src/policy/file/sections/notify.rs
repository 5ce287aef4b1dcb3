//! `notify`: receivers, and the three ways to tell them.

// What `section!` names.
use super::*;
use crate::policy::receivers::Topic;

section!(
    /// Somebody who is told; docs/notifications.md has the whole story. Exactly one of `webhook`, `email` and `exec`.
    Receiver {
        /// No other receiver has it.
        name: String => name(),
        /// Tell it by an HTTP request.
        webhook: Webhook,
        /// Tell it by e-mail.
        email: Email,
        /// Tell it by starting a program.
        exec: Exec,
        /// What it is told at once. Flags: `infected`, `suspect`, `misconfigured`, `released`. Alarms: `coverage` (an
        /// interface lets packets out, or may), `lost` (events), `store` (the block log can't be written), `reload` (refused
        /// or rolled back).
        events: List<Word> => topics(),
        /// What happens within this time after a message waits for the next one: seconds, minutes or hours up to 24h.
        group: String => or("60s", pause()),
        /// The same of the same host is not told again before this time is over: hours, days or weeks up to 52w.
        repeat_after: String => or("24h", duration()),
        /// When it is sent the digest of a day, in local time, such as `"08:00"`; none where nothing happened.
        digest: String => json!({ "type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$" }),
    }
    "required": ["name"],
    "oneOf": [{ "required": ["webhook"] }, { "required": ["email"] }, { "required": ["exec"] }]
);
section!(
    /// A JSON document by HTTP POST, signed as <https://www.standardwebhooks.com> has it.
    Webhook {
        /// `https://…`; `http://…` only to 127.0.0.1, [::1] or localhost.
        url: String => json!({ "type": "string", "pattern": "^https?://[^ ]+$" }),
        /// Absolute path of the file with the key of the signature, readable for root only.
        secret_file: String => path(),
        /// Absolute path of a PEM file with the authorities of the server; without it, those of the system.
        authorities: String => path(),
    } "required": ["url", "secret_file"]
);
section!(
    /// An e-mail through a submission server, with login and TLS.
    Email {
        /// Host name, and the port if it is not 587: `mail.example.com:465`. On 587 STARTTLS is demanded, on 465 TLS.
        server: String => json!({ "type": "string", "pattern": "^[A-Za-z0-9.:\\[\\]-]+$" }),
        /// Login at the server.
        user: String => text(),
        /// Absolute path of the file with its password, readable for root only.
        password_file: String => path(),
        /// The sender's address.
        from: String => json!({ "type": "string", "pattern": "^[^ ]+@[^ ]+$" }),
        /// The receiver's address, or a list of up to 20.
        to: OneOrMany,
        /// Absolute path of a PEM file with the authorities of the server; without it, those of the system.
        authorities: String => path(),
    } "required": ["server", "user", "password_file", "from", "to"]
);
section!(
    /// A program that reads the JSON document from its standard input.
    Exec {
        /// Absolute path; it and the directories above it belong to root, and nobody else may write to them.
        program: String => path(),
        /// Its arguments; no shell takes part.
        arguments: List<String> => json!({ "type": "array", "items": { "type": "string" }, "maxItems": 32 }),
        /// After this it is killed: seconds or minutes up to 10m.
        timeout: String => or("30s", pause()),
    } "required": ["program"]
);

fn topics() -> Value {
    let labels = |topics: &[Topic]| topics.iter().map(|topic| topic.label()).collect::<Vec<_>>();
    or(labels(&Topic::USUAL), json!({ "type": "array", "items": words(&labels(&Topic::ALL)) }))
}

fn pause() -> Value {
    json!({ "type": "string", "pattern": "^[1-9][0-9]*[smh]$" })
}
