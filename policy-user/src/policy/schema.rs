//! The JSON Schema of the policy language, for editors: made from the declarations of the keys, so that it can't drift.
//!
//! It knows less than `validate`, which alone decides: a schema can't see that two addresses are the same.

use serde_json::{Map, Value, json};

use super::file::{Described, File, Fragment};

/// The schema of a policy file, draft 2020-12.
pub fn document() -> Value {
    titled("smtpfence policy", File::schema())
}

/// The schema of a fragment that a policy includes.
pub fn fragment() -> Value {
    titled("smtpfence policy fragment", Fragment::schema())
}

fn titled(title: &str, mut schema: Value) -> Value {
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(title);
    schema
}

/// A mapping with these keys (each with its description and schema) and no other.
pub(super) fn section<const N: usize>(about: &str, keys: [(&str, &str, Value); N], extra: Value) -> Value {
    let properties = keys.into_iter().map(|(key, about, mut schema)| {
        schema["description"] = json!(about.trim());
        (key.to_owned(), schema)
    });
    let properties: Map<String, Value> = properties.collect();
    let mut schema = json!({
        "description": about.trim(),
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if let (Some(schema), Value::Object(extra)) = (schema.as_object_mut(), extra) {
        schema.extend(extra);
    }
    schema
}

/// The same with what holds where the key is left out.
pub(super) fn or(default: impl Into<Value>, mut schema: Value) -> Value {
    schema["default"] = default.into();
    schema
}

pub(super) fn words(words: &[&str]) -> Value {
    json!({ "enum": words })
}

pub(super) fn name() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" })
}

/// What stands in no other directory's place, see `validate::is_directory_name`.
pub(super) fn directory() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$" })
}

/// One line for people.
pub(super) fn text() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 200 })
}

pub(super) fn interface() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 15 })
}

pub(super) fn interfaces(entry: Value, fewest: usize) -> Value {
    json!({ "type": "array", "items": entry, "minItems": fewest, "maxItems": 256 })
}

/// Only what no address, network or range can have is refused here: names, and blanks.
pub(super) fn networks(fewest: usize) -> Value {
    json!({
        "type": "array",
        "items": { "type": "string", "pattern": "^[0-9A-Fa-f:./-]+$" },
        "minItems": fewest,
    })
}

pub(super) fn ports(fewest: usize, most: usize) -> Value {
    json!({
        "type": "array",
        "items": { "type": "integer", "minimum": 1, "maximum": 65535 },
        "minItems": fewest,
        "maxItems": most,
    })
}

pub(super) fn mac() -> Value {
    json!({ "type": "string", "pattern": "^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$" })
}

pub(super) fn date() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}" })
}

pub(super) fn duration() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+[hdw]$" })
}
