//! A mapping of names to numbers, for sections whose keys another part of the program knows.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::{Described, Kind, Shape, Written};
use crate::detect::Limits;

/// More than there are limits; beyond it all are unknown anyway.
const MOST: usize = 64;

/// As written, in the order of the file.
#[derive(Debug, Default)]
pub struct Numbers(pub Vec<(String, Written<u64>)>);

impl Shape for Numbers {
    const EXPECTED: &'static str = "names with numbers";
    const ADVICE: &'static str = "write names with numbers, such as `{ sites_hour: 20 }`";
    fn accepts(kind: Kind) -> bool {
        kind == Kind::Map
    }
}

impl Described for Numbers {
    fn schema() -> Value {
        let number = |(name, about): (&&str, &&str)| {
            let schema = json!({ "type": "integer", "minimum": 0, "description": about.trim() });
            ((*name).to_owned(), schema)
        };
        let properties: Map<_, _> = Limits::NAMES.iter().zip(Limits::MEANINGS).map(number).collect();
        json!({ "type": "object", "properties": properties, "additionalProperties": false })
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Numbers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Numbers, A::Error> {
                let mut numbers = Vec::new();
                while let Some((name, number)) = map.next_entry::<String, Written<u64>>()? {
                    let twice = numbers.iter().any(|(known, _)| *known == name);
                    if !twice && numbers.len() < MOST {
                        numbers.push((name, number));
                    }
                }
                Ok(Numbers(numbers))
            }
        }
        deserializer.deserialize_map(Names)
    }
}
