//! Finds a blocked attempt in a log of JSON lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use crate::failure::Failure;
use crate::store::{Filter, Reader, Row};

/// What of an attempt an exception is made from; see `docs/events.md`.
#[derive(Debug, Deserialize)]
pub struct Attempt {
    #[serde(default)]
    id: String,
    event: String,
    /// Neither can be read from a packet that is cut off.
    client: Option<String>,
    destination: Option<String>,
    reason: String,
    rule: Option<String>,
}

impl Attempt {
    /// Client and destination; an error where an exception would change nothing, with what would.
    pub fn ends(&self) -> Result<(String, String), Failure> {
        let client = self.client.clone().unwrap_or_default();
        let destination = self.destination.clone().unwrap_or_default();
        let (shown, rule) = (client.escape_debug(), self.rule.as_deref().unwrap_or("?").escape_debug());
        let instead = match self.reason.as_str() {
            "quarantined" => {
                format!("quarantine goes before exceptions: run `smtpfence release {shown}` first")
            }
            "spoofed-mail-server" => {
                format!("{shown} is the mail server {rule}: correct its `mac` or `interface`")
            }
            "destination-not-allowed" => {
                format!("{shown} is the mail server {rule}: add the destination to its `to`")
            }
            "unreadable" | "ambiguous-fragment" => "such packets are denied whoever sends them".to_owned(),
            "uncovered-ingress" => "name the interface it came in through in `interfaces.inside`".to_owned(),
            "local-process" => "a process of the gateway sent it: see `gateway_mail`".to_owned(),
            _ => return Ok((client, destination)),
        };
        Err(Failure::Rejected(format!("an exception does not help against {}: {instead}", self.reason)))
    }
}

/// Where an attempt may be found.
pub struct Logs<'a> {
    /// The file that was named; `-` is standard input.
    pub told: Option<&'a Path>,
    pub state_dir: &'a Path,
    /// `log.file` of the policy.
    pub policy: Option<&'a Path>,
}

/// The attempt `wanted`: FILE:LINE, or an ID in one of `logs`.
pub fn find(wanted: &str, logs: &Logs<'_>) -> Result<Attempt, Failure> {
    if let Some((file, line)) = wanted.rsplit_once(':')
        && let Ok(line) = line.parse::<usize>()
    {
        return at_line(Path::new(file), line);
    }
    if let Some(log) = logs.told {
        return with_id(wanted, log);
    }
    match (stored(wanted, logs.state_dir)?, logs.policy) {
        (Some(attempt), _) => Ok(attempt),
        (None, Some(log)) => with_id(wanted, log),
        (None, None) => Err(Failure::Rejected(format!(
            "no attempt with the ID {wanted:?} is stored in {}, and the policy has no log.file: `smtpfence log` shows the \
             IDs; or add --log FILE, or `--log -` behind `journalctl -u smtpfence -o cat |`",
            logs.state_dir.display()
        ))),
    }
}

/// The stored attempt whose ID begins so; none where nothing is stored.
fn stored(id: &str, state_dir: &Path) -> Result<Option<Attempt>, Failure> {
    let usable = id.len() >= 4 && id.len() <= 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let reader = Reader::open(state_dir);
    if !usable || !reader.exists() {
        return Ok(None);
    }
    let filter = Filter { id: Some(id.to_owned()), ..Filter::default() };
    let mut found = reader.log(&filter, 2)?;
    found.dedup_by(|a, b| a.attempt.id == b.attempt.id);
    if found.len() > 1 {
        return Err(Failure::Rejected(format!("more than one ID begins with {id}: write more of it")));
    }
    Ok(found.pop().map(|Row { attempt, .. }| Attempt {
        id: attempt.id,
        event: attempt.event.to_owned(),
        client: attempt.client.map(|ip| ip.to_string()),
        destination: attempt.destination.map(|ip| ip.to_string()),
        reason: attempt.reason.to_owned(),
        rule: attempt.rule,
    }))
}

fn at_line(path: &Path, number: usize) -> Result<Attempt, Failure> {
    let rejected = |what: String| Failure::Rejected(format!("line {number} of {} {what}", path.display()));
    let missing = || rejected("does not exist".to_owned());
    let before = number.checked_sub(1).ok_or_else(missing)?;
    let line = lines(path)?.nth(before).ok_or_else(missing)??;
    read(&line).ok_or_else(|| {
        rejected("is no blocked attempt; attempts are JSON objects with \"event\": \"attempt\"".to_owned())
    })
}

fn with_id(id: &str, path: &Path) -> Result<Attempt, Failure> {
    let mut found: Option<Attempt> = None;
    if id.len() >= 4 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        for line in lines(path)? {
            let line = line?;
            // Logs are long: what does not contain it need not be parsed.
            let Some(attempt) = line.contains(id).then(|| read(&line)).flatten() else { continue };
            if !attempt.id.starts_with(id) {
                continue;
            }
            if found.as_ref().is_some_and(|first| first.id != attempt.id) {
                return Err(Failure::Rejected(format!(
                    "more than one ID begins with {id}: write more of it"
                )));
            }
            found = Some(attempt);
        }
    }
    found.ok_or_else(|| {
        Failure::Rejected(format!(
            "{} has no attempt with the ID {id:?}; the `id` of each attempt stands in its JSON line",
            path.display()
        ))
    })
}

fn read(line: &str) -> Option<Attempt> {
    serde_json::from_str::<Attempt>(line).ok().filter(|attempt| attempt.event == "attempt")
}

fn lines(path: &Path) -> Result<Box<dyn Iterator<Item = Result<String, Failure>>>, Failure> {
    let path = path.to_owned();
    let source: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(&path).map_err(|error| Failure::io("read", &path, &error))?))
    };
    let text = |line: io::Result<Vec<u8>>| line.map(|line| String::from_utf8_lossy(&line).into_owned());
    Ok(Box::new(
        source.split(b'\n').map(move |line| text(line).map_err(|error| Failure::io("read", &path, &error))),
    ))
}
