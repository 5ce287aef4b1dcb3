//! `smtpfence allow --list`: the exceptions of the policy file and the time they have left.

use std::io::{self, Write as _};

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::{OutputFormat, ago, printed};
use crate::failure::Failure;
use crate::policy::{Exception, Policy};

pub fn print(policy: &Policy, format: OutputFormat) -> Result<(), Failure> {
    let now = Timestamp::now();
    let shown = match format {
        OutputFormat::Json => {
            let list: Vec<Value> =
                policy.exceptions.iter().map(|exception| as_json(exception, now)).collect();
            format!("{:#}\n", json!(list))
        }
        OutputFormat::Human => human(&policy.exceptions, now),
    };
    printed(io::stdout().write_all(shown.as_bytes()))
}

fn as_json(exception: &Exception, now: Timestamp) -> Value {
    let left = exception.until.duration_since(now).as_secs().max(0);
    json!({
        "name": exception.name,
        "from": texts(&exception.from),
        "to": texts(&exception.to),
        "until": exception.until,
        "seconds_left": left,
        "expired": exception.until <= now,
        "reason": exception.reason,
        "owner": exception.owner,
        "file": exception.file,
        "line": exception.line,
    })
}

fn human(exceptions: &[Exception], now: Timestamp) -> String {
    if exceptions.is_empty() {
        return "the policy has no exceptions\n".to_owned();
    }
    let mut out = String::new();
    for exception in exceptions {
        let expired = exception.until <= now;
        let until = ago(&json!(exception.until));
        out.push_str(&format!(
            "{}{}\n",
            exception.name,
            if expired { "  EXPIRED, permits nothing" } else { "" }
        ));
        out.push_str(&format!("  from    {}\n", texts(&exception.from).join(", ")));
        out.push_str(&format!("  to      {}\n", texts(&exception.to).join(", ")));
        out.push_str(&format!("  until   {until}\n"));
        let owner = exception.owner.as_deref().unwrap_or("-");
        out.push_str(&format!("  reason  {} (owner {owner})\n", exception.reason));
    }
    out
}

fn texts(nets: &[IpNet]) -> Vec<String> {
    let shown = |net: &IpNet| {
        if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
    };
    nets.iter().map(shown).collect()
}
