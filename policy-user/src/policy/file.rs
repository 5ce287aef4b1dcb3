//! The policy file as written: its keys and what kind of value each takes. The only code that names serde_yaml.
//!
//! Nothing is judged here, and a value of the wrong kind ends nothing: it is kept as such, so that `validate` can
//! report all that is wrong at once.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{
    Deserialize, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Value, json};

use super::schema;

mod numbers;
mod sections;

pub use numbers::Numbers;
pub use sections::{
    Detection, Email, Exception, Exec, File, Fragment, FragmentNetworks, Group, GroupDetection, Identity,
    InsideEntry, Interfaces, Log, MailServer, Metrics, Names, Networks, Ports, Quarantine, Receiver, Webhook,
};

/// What stands at a key.
#[derive(Debug, Default)]
pub enum Written<T> {
    #[default]
    Absent,
    As(T),
    /// A value of a kind that can't stand here.
    Other(Kind),
}

/// Kinds of YAML values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nothing,
    Truth,
    Number,
    Text,
    List,
    Map,
}

impl Kind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Nothing => "empty",
            Self::Truth => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::List => "a list",
            Self::Map => "keys with values",
        }
    }
}

/// A type of value the language knows.
pub trait Shape: for<'de> Deserialize<'de> {
    /// In words, for "… is expected".
    const EXPECTED: &'static str;
    /// What to write, if what stands there gives no better advice.
    const ADVICE: &'static str;
    fn accepts(kind: Kind) -> bool;
}

/// A mapping with these keys and no other.
pub trait Section: Shape {
    const KEYS: &'static [&'static str];
}

/// A value that the language's JSON Schema describes.
pub trait Described {
    fn schema() -> Value;
}

macro_rules! shape {
    ($kind:ident as $type:ty, $expected:literal, $advice:literal, $schema:literal) => {
        impl Shape for $type {
            const EXPECTED: &'static str = $expected;
            const ADVICE: &'static str = $advice;
            fn accepts(kind: Kind) -> bool {
                kind == Kind::$kind
            }
        }

        impl Described for $type {
            fn schema() -> Value {
                json!({ "type": $schema })
            }
        }
    };
}

shape!(Text as String, "text", "write text", "string");
shape!(Number as u64, "a whole number", "write a whole number that is not negative", "integer");
shape!(Truth as bool, "`true` or `false`", "write `true` or `false`", "boolean");

impl<T: Shape> Shape for Vec<Written<T>> {
    const EXPECTED: &'static str = "a list";
    const ADVICE: &'static str = "write a list, such as `[a, b]`";
    fn accepts(kind: Kind) -> bool {
        kind == Kind::List
    }
}

impl<T: Described> Described for Vec<Written<T>> {
    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }
}

/// One text or a list of them.
#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<Written<String>>),
}

impl Shape for OneOrMany {
    const EXPECTED: &'static str = "text or a list";
    const ADVICE: &'static str = "write text, or a list such as `[a, b]`";
    fn accepts(kind: Kind) -> bool {
        matches!(kind, Kind::Text | Kind::List)
    }
}

impl Described for OneOrMany {
    fn schema() -> Value {
        json!({ "anyOf": [String::schema(), Vec::<Written<String>>::schema()] })
    }
}

/// One word of a few. `true` is taken for the word it looks like: it is wrong, but quotes around it wouldn't help.
#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
pub enum Word {
    Text(String),
    Truth(bool),
}

impl Word {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Truth(true) => "true",
            Self::Truth(false) => "false",
        }
    }
}

impl Shape for Word {
    const EXPECTED: &'static str = "one word";
    const ADVICE: &'static str = "write one word, see policies/README.md";
    fn accepts(kind: Kind) -> bool {
        matches!(kind, Kind::Text | Kind::Truth)
    }
}

impl Described for Word {
    fn schema() -> Value {
        String::schema()
    }
}

/// An inside interface's name or pattern, alone or with what holds for it.
#[derive(Debug)]
pub enum GlobOrEntry {
    Glob(String),
    Entry(InsideEntry),
}

impl Shape for GlobOrEntry {
    const EXPECTED: &'static str = "text or keys with values";
    const ADVICE: &'static str = "write a name or pattern, or `{ match: \"guest*\", mode: audit }`";
    fn accepts(kind: Kind) -> bool {
        matches!(kind, Kind::Text | Kind::Map)
    }
}

impl Described for GlobOrEntry {
    fn schema() -> Value {
        json!({ "anyOf": [schema::interface(), InsideEntry::schema()] })
    }
}

/// Not an untagged enum: that reads into a buffer first, where a key such as `25` is a number and no longer text.
impl<'de> Deserialize<'de> for GlobOrEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = GlobOrEntry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(GlobOrEntry::EXPECTED)
            }
            fn visit_str<E: Error>(self, glob: &str) -> Result<GlobOrEntry, E> {
                Ok(GlobOrEntry::Glob(glob.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<GlobOrEntry, A::Error> {
                InsideEntry::deserialize(MapAccessDeserializer::new(map)).map(GlobOrEntry::Entry)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Reads the values; fails only where serde_yaml finds the text unreadable that the marked reading could read.
pub fn read_as<T: Shape>(text: &str) -> Result<Written<T>, Unreadable> {
    // serde_yaml takes a byte order mark in front of several keys for a document of its own.
    let plain = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_yaml::from_str(plain).map_err(|error| Unreadable {
        byte: text.len() - plain.len() + error.location().map_or(0, |location| location.index()),
        message: error.to_string(),
    })
}

/// Why the values could not be read.
#[derive(Debug)]
pub struct Unreadable {
    pub byte: usize,
    pub message: String,
}

impl<'de, T: Shape> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient(PhantomData))
    }
}

/// Takes a value of the right kind, notes the kind of any other.
struct Lenient<T>(PhantomData<T>);

impl<T: Shape> Lenient<T> {
    /// A number that doesn't fit (negative, too large) is as wrong as another kind.
    fn scalar<'de, E: Error>(kind: Kind, value: impl IntoDeserializer<'de, E>) -> Result<Written<T>, E> {
        if !T::accepts(kind) {
            return Ok(Written::Other(kind));
        }
        Ok(T::deserialize(value.into_deserializer()).map_or(Written::Other(kind), Written::As))
    }
}

impl<'de, T: Shape> Visitor<'de> for Lenient<T> {
    type Value = Written<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Self::scalar(Kind::Truth, value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Self::scalar(Kind::Number, value)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Self::Value, E> {
        Ok(Written::Other(Kind::Number))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Self::scalar(Kind::Number, value)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Self::Value, E> {
        Ok(Written::Other(Kind::Number))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Self::scalar(Kind::Number, value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Self::scalar(Kind::Text, value)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Self::scalar(Kind::Nothing, ())
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        if T::accepts(Kind::List) {
            return T::deserialize(SeqAccessDeserializer::new(list)).map(Written::As);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Written::Other(Kind::List))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        if T::accepts(Kind::Map) {
            return T::deserialize(MapAccessDeserializer::new(map)).map(Written::As);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Written::Other(Kind::Map))
    }
}
