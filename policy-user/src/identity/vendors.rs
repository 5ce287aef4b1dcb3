//! The maker of a network card, from the IEEE's lists as Debian's package `ieee-data` installs them.

use std::collections::HashMap;
use std::fs;
use std::sync::LazyLock;

use crate::attempt::Mac;

/// Lists of assignments, those of the longest prefixes first: a maker of few cards gets 36 or 28 bits of a block whose
/// first 24 bits belong to the registry itself.
const LISTS: [&str; 3] =
    ["/usr/share/ieee-data/oui36.csv", "/usr/share/ieee-data/mam.csv", "/usr/share/ieee-data/oui.csv"];

/// Longer names only widen tables.
const LONGEST: usize = 40;

/// Hexadecimal digits of the prefix -> maker. Read once, at the first question.
static MAKERS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let lists = LISTS.iter().filter_map(|path| fs::read(path).ok());
    lists.flat_map(|list| parse(&String::from_utf8_lossy(&list))).collect()
});

/// The maker, or that the address was made up (the bit for local administration, IEEE 802 §8.4); `None` where neither is
/// known.
pub fn of(mac: Mac) -> Option<String> {
    if mac.0[0] & 2 != 0 {
        return Some("locally administered".to_owned());
    }
    let digits: String = mac.0.iter().map(|byte| format!("{byte:02X}")).collect();
    [9, 7, 6].into_iter().find_map(|length| MAKERS.get(&digits[..length]).cloned())
}

/// Lines of `registry,assignment,organisation,address`; the organisation may be quoted.
fn parse(list: &str) -> Vec<(String, String)> {
    let entry = |line: &str| {
        let (_, rest) = line.split_once(',')?;
        let (assignment, rest) = rest.split_once(',')?;
        let name = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once("\",").map(|(name, _)| name)?,
            None => rest.split_once(',').map_or(rest, |(name, _)| name),
        };
        let hexadecimal = assignment.len() >= 6 && assignment.bytes().all(|b| b.is_ascii_hexdigit());
        hexadecimal.then(|| (assignment.to_ascii_uppercase(), name.trim().chars().take(LONGEST).collect()))
    };
    list.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_read_with_quotes_and_without() {
        let list = "Registry,Assignment,Organization Name,Organization Address\n\
            MA-L,00D0EF,IGT,9295 PROTOTYPE DRIVE\n\
            MA-S,70B3D5ABC,\"Acme, Inc.\",\"1 Road, Town\"\n\
            MA-L,broken\n";
        let expected = [("00D0EF", "IGT"), ("70B3D5ABC", "Acme, Inc.")];
        assert_eq!(parse(list), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn an_address_of_local_administration_has_no_maker() {
        assert_eq!(of(Mac([2, 0, 0, 0, 0, 0x77])).as_deref(), Some("locally administered"));
    }
}
