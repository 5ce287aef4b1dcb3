//! An exception as YAML, in the styles that policies are written in.

use super::NewException;

/// Words that some YAML reader takes for something else than text.
const NOT_TEXT: [&str; 12] =
    ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan", "none"];

/// Keys below each other, the first one behind the dash:
///
/// ```yaml
///   - name: scanner
///     from: [10.25.0.77]
/// ```
pub fn block(new: &NewException, before_dash: &str, before_key: &str, line_end: &str) -> String {
    let dash = format!("{before_dash}-{}", &before_key[1.min(before_key.len())..]);
    let below = " ".repeat(dash.len());
    let lines = keys(new, false).into_iter().enumerate().map(|(index, (key, value))| {
        let start = if index == 0 { &dash } else { &below };
        format!("{start}{key}: {value}{line_end}")
    });
    lines.collect()
}

/// One line in braces; `json`: with quotes around everything, as in a file that is JSON.
pub fn flow(new: &NewException, json: bool) -> String {
    let quote = if json { "\"" } else { "" };
    let pairs: Vec<String> =
        keys(new, json).into_iter().map(|(key, value)| format!("{quote}{key}{quote}: {value}")).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn keys(new: &NewException, json: bool) -> [(&'static str, String); 6] {
    let text = |text: &str| if json { quoted(text) } else { scalar(text) };
    let list = |list: &[String]| {
        let entries: Vec<String> = list.iter().map(|entry| text(entry)).collect();
        format!("[{}]", entries.join(", "))
    };
    [
        ("name", text(&new.name)),
        ("from", list(&new.from)),
        ("to", list(&new.to)),
        ("until", text(&new.until)),
        ("reason", text(&new.reason)),
        ("owner", text(&new.owner)),
    ]
}

/// Text that no reader can take for anything else, in quotes where that needs them.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " ._/@+-".contains(c);
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    // An IPv4 address or network, a date: as everybody writes them.
    let number_like = text.starts_with(|c: char| c.is_ascii_digit());
    let address_or_date = number_like
        && digits >= 4
        && (text.matches('.').count() == 3 || text.matches('-').count() == 2)
        && text.chars().all(|c| c.is_ascii_digit() || "./-".contains(c));
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(plain)
        && !text.ends_with(' ')
        && !NOT_TEXT.contains(&text.to_ascii_lowercase().as_str());
    if word || address_or_date { text.to_owned() } else { quoted(text) }
}

/// YAML's double quotes understand all that JSON's do.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_text_stands_without_quotes() {
        for plain in
            ["scanner-3", "10.25.0.77", "10.25.0.0/24", "2026-12-31", "it-ops@example.com", "legacy scanner"]
        {
            assert_eq!(scalar(plain), plain);
        }
        for other in [
            "",
            "7",
            "1.5",
            "1e3",
            "0x10",
            "yes",
            "Null",
            "~",
            "fd25::77",
            "a: b",
            "a #b",
            "*",
            "&a",
            "- a",
            "[a]",
            " a",
            "a ",
            "2026-12-31T18:00:00+01:00",
            "say \"no\"",
            "Müller",
            "ticket 4711, urgent",
        ] {
            assert!(scalar(other).starts_with('"'), "{other}");
        }
    }
}
