//! The reference of every key as Markdown, made from the JSON Schema and so from the declarations of the keys themselves.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::schema;

/// All keys of a policy and of a fragment.
pub fn document() -> String {
    let mut out = String::from(
        "# Every key of the policy language\n\nMade by `smtpfence schema --markdown`; a test compares. How the keys work \
         together is told in [policies/README.md](../policies/README.md).\n",
    );
    let mut told = Vec::new();
    section("The policy file", "", &schema::document(), &mut told, &mut out);
    section("A fragment", "", &schema::fragment(), &mut told, &mut out);
    out
}

/// A table of the keys, then the sections that stand at them; a section that several keys take is told once.
fn section(title: &str, path: &str, schema: &Value, told: &mut Vec<Value>, out: &mut String) {
    let Some(keys) = schema["properties"].as_object() else { return };
    let about = schema["description"].as_str().unwrap_or_default();
    // Writing to a String can't fail.
    let _ = write!(out, "\n## {title}\n\n{about}\n\n| key | value | meaning |\n| --- | --- | --- |\n");
    for (key, value) in keys {
        let required = requires(schema, key);
        let must = if required { "**required**. " } else { "" };
        let default = value.get("default").map(|it| format!(" Default: {}.", code(it))).unwrap_or_default();
        let about = value["description"].as_str().unwrap_or_default();
        let _ = writeln!(out, "| `{key}` | {} | {must}{about}{default} |", kind(value).replace('|', "\\|"));
    }
    for (key, value) in keys {
        let Some(inner) = mapping(value) else { continue };
        if told.contains(&inner["properties"]) {
            continue;
        }
        told.push(inner["properties"].clone());
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        section(&format!("`{path}`"), &path, inner, told, out);
    }
}

fn requires(schema: &Value, key: &str) -> bool {
    schema["required"].as_array().is_some_and(|list| list.iter().any(|it| it == key))
}

/// The mapping that stands at a key, itself or as an entry of a list.
fn mapping(value: &Value) -> Option<&Value> {
    let either = value["anyOf"].as_array().into_iter().flatten();
    either
        .chain([value, &value["items"]])
        .find(|it| it["properties"].is_object())
        .or_else(|| value.get("items").and_then(|items| items["anyOf"].as_array()?.iter().find_map(mapping)))
}

/// What can stand at a key, in few words.
fn kind(value: &Value) -> String {
    let Some(value) = value.as_object() else { return "anything".to_owned() };
    if let Some(only) = value.get("const") {
        return code(only);
    }
    if let Some(words) = value.get("enum").and_then(Value::as_array) {
        return words.iter().map(code).collect::<Vec<_>>().join(", ");
    }
    if let Some(either) = value.get("anyOf").filter(|_| !value.contains_key("type")).and_then(Value::as_array)
    {
        return either.iter().map(kind).collect::<Vec<_>>().join(", or ");
    }
    plain(value)
}

fn code(value: &Value) -> String {
    match value.as_str() {
        Some(text) => format!("`{text}`"),
        None => format!("`{value}`"),
    }
}

fn plain(value: &Map<String, Value>) -> String {
    match value.get("type").and_then(Value::as_str) {
        Some("array") if value.get("maxItems").is_some_and(|most| most == 0) => "`[]`".to_owned(),
        Some("array") => {
            let most = value.get("maxItems").map(|most| format!(", at most {most}")).unwrap_or_default();
            format!("list of {}{most}", value.get("items").map_or_else(String::new, kind))
        }
        Some("object") => "keys".to_owned(),
        Some("integer") => match (value.get("minimum"), value.get("maximum")) {
            (Some(least), Some(most)) => format!("number from {least} to {most}"),
            _ => "number".to_owned(),
        },
        Some("string") => "text".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        _ if value.contains_key("not") => "nothing".to_owned(),
        _ => "anything".to_owned(),
    }
}
