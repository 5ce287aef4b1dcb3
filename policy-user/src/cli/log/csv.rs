//! Attempts as CSV, harmless to the spreadsheet that opens it.

use std::io::{self, Write};

use serde_json::Value;

use crate::store::Row;

/// The fields of `docs/events.md`, in this order.
const COLUMNS: [&str; 22] = [
    "sequence",
    "time",
    "id",
    "verdict",
    "reason",
    "interface",
    "ifindex",
    "vlan",
    "client",
    "client_mac",
    "client_port",
    "destination",
    "destination_port",
    "to_name",
    "destination_mac",
    "tcp_flags",
    "tcp_sequence",
    "packets",
    "unlisted",
    "rule",
    "policy",
    "revision",
];

pub fn write(out: &mut impl Write, rows: &[Row], headings: bool) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    if headings {
        writer.write_record(COLUMNS)?;
    }
    for row in rows {
        let value = serde_json::to_value(row)?;
        writer.write_record(COLUMNS.map(|column| cell(&value[column])))?;
    }
    writer.flush()
}

/// A spreadsheet takes a cell that begins with one of these for a formula; control characters are nobody's name.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => {
            let text: String = text
                .chars()
                .flat_map(|c| {
                    if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
                        .chars()
                        .collect::<Vec<_>>()
                })
                .collect();
            if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_a_line_break() {
        assert_eq!(cell(&Value::from("=cmd()")), "'=cmd()");
        assert_eq!(cell(&Value::from("a\r\n\u{1b}[2J")), "a\\r\\n\\u{1b}[2J");
        assert_eq!(cell(&Value::from(-5)), "-5");
    }
}
