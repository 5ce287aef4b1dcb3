//! How long an exception lasts, as people write it: hours, days or weeks.

/// Of days and hours, since only days follow the calendar; a week is seven days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Days(i64),
    Hours(i64),
}

/// A year, leap day included: what lasts longer is no exception.
const MAX_DAYS: i64 = 366;

/// What `text` says; or why it is refused, and what to write instead.
pub fn parse(text: &str) -> Result<Length, (String, String)> {
    const HELP: &str = "write a whole number of hours, days or weeks: 12h, 14d or 2w";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let refuse = |help: String| Err((format!("{} is not a length", super::quoted(text)), help));
    let Some(count) = number.parse::<i64>().ok().filter(|count| *count <= MAX_DAYS * 24) else {
        let long = number.len() > 2 && unit_of(unit).is_some();
        return if long { Err(too_long(text)) } else { refuse(HELP.to_owned()) };
    };
    let length = match unit {
        "h" => Length::Hours(count),
        "d" => Length::Days(count),
        "w" => Length::Days(count * 7),
        "" => return refuse(format!("add the unit: {number}d for days, or {number}h for hours")),
        other => {
            return refuse(unit_of(other).map_or(HELP.to_owned(), |unit| format!("write {number}{unit}")));
        }
    };
    let hours = match length {
        Length::Hours(hours) => hours,
        Length::Days(days) => days * 24,
    };
    match hours {
        0 => Err((format!("{} is no time at all", super::quoted(text)), HELP.to_owned())),
        hours if hours > MAX_DAYS * 24 => Err(too_long(text)),
        _ => Ok(length),
    }
}

fn too_long(text: &str) -> (String, String) {
    let message = format!("{} is longer than {MAX_DAYS} days", super::quoted(text));
    (message, "write a shorter time, after which somebody looks at it again".to_owned())
}

/// Units that are written out, or in capitals.
fn unit_of(text: &str) -> Option<&'static str> {
    match text.trim().to_ascii_lowercase().as_str() {
        "h" | "hour" | "hours" => Some("h"),
        "d" | "day" | "days" => Some("d"),
        "w" | "week" | "weeks" => Some("w"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_days_and_weeks_are_read() {
        for (text, length) in [
            ("12h", Length::Hours(12)),
            ("14d", Length::Days(14)),
            ("2w", Length::Days(14)),
            ("366d", Length::Days(366)),
            ("8784h", Length::Hours(8784)),
        ] {
            assert_eq!(parse(text), Ok(length));
        }
    }

    #[test]
    fn everything_else_is_refused_with_advice() {
        for (text, advice) in [
            ("14", "add the unit: 14d for days, or 14h for hours"),
            ("14 days", "write 14d"),
            ("2W", "write 2w"),
            ("14m", "write a whole number of hours, days or weeks: 12h, 14d or 2w"),
            ("1y", "write a whole number of hours, days or weeks: 12h, 14d or 2w"),
            ("1.5d", "write a whole number of hours, days or weeks: 12h, 14d or 2w"),
            ("-1d", "write a whole number of hours, days or weeks: 12h, 14d or 2w"),
            ("", "write a whole number of hours, days or weeks: 12h, 14d or 2w"),
            ("0d", "write a whole number of hours, days or weeks: 12h, 14d or 2w"),
            ("367d", "write a shorter time, after which somebody looks at it again"),
            ("53w", "write a shorter time, after which somebody looks at it again"),
            ("99999999999999999999d", "write a shorter time, after which somebody looks at it again"),
        ] {
            assert_eq!(parse(text).unwrap_err().1, advice, "{text:?}");
        }
    }
}
