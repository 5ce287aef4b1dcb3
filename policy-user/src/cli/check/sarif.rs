//! A judgement as SARIF 2.1.0, which code scanning shows beside the lines of a change.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::Loaded;
use crate::policy::{Diagnostic, LoadError, Place, Severity, path_of};

pub fn log(policy: &Path, loaded: &Loaded) -> Value {
    let (text, list) = match loaded {
        Ok((loaded, warnings)) => (loaded.text.as_str(), warnings.clone()),
        Err(error @ LoadError::Invalid { text, .. }) => (text.as_str(), error.diagnostics(policy)),
        Err(error) => ("", error.diagnostics(policy)),
    };
    let ids: Vec<&str> = list.iter().map(|it| it.code).collect::<BTreeSet<_>>().into_iter().collect();
    let results: Vec<Value> = list.iter().map(|it| result(it, &ids, policy, text)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "smtpfence",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>(),
                },
            },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(diagnostic: &Diagnostic, ids: &[&str], policy: &Path, text: &str) -> Value {
    let separator = if diagnostic.help.is_empty() { "" } else { "; " };
    let mut result = json!({
        "ruleId": diagnostic.code,
        "ruleIndex": ids.iter().position(|id| *id == diagnostic.code),
        "level": match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": { "text": format!("{}{separator}{}", diagnostic.message, diagnostic.help) },
        "locations": [location(diagnostic.place.as_ref(), policy, text)],
    });
    if let Some((place, label)) = &diagnostic.related {
        let mut related = location(Some(place), policy, text);
        related["message"] = json!({ "text": label });
        result["relatedLocations"] = json!([related]);
    }
    result
}

fn location(place: Option<&Place>, policy: &Path, text: &str) -> Value {
    let path = path_of(policy, place.and_then(|place| place.file.as_deref()));
    let mut location = json!({ "artifactLocation": { "uri": uri(&path) } });
    if let Some(place) = place {
        let length = text.get(place.bytes.clone()).map_or(0, |marked| marked.chars().count());
        location["region"] = json!({
            "startLine": place.line,
            "startColumn": place.column,
            "endColumn": place.column + length.max(1),
        });
    }
    json!({ "physicalLocation": location })
}

/// A relative path stays relative: the reader knows the root of the repository.
fn uri(path: &Path) -> String {
    let scheme = if path.is_absolute() { "file://" } else { "" };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let bytes = path.as_os_str().as_encoded_bytes().iter();
    let escaped = bytes.map(|byte| match plain(*byte) {
        true => char::from(*byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    scheme.to_owned() + &escaped.collect::<String>()
}
