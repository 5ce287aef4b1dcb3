//! The end of an exception: a date, meaning the end of that day where the gateway is, or an instant with its zone.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The first instant after `text`; or what to write instead.
pub fn parse(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    const HELP: &str =
        "write a date such as 2026-12-31, or a time with its zone such as 2026-12-31T18:00:00+01:00";
    if is_date(text) {
        let date: Date = text.parse().map_err(|_| "there is no such day; check day and month".to_owned())?;
        let next = date.checked_add(1.day()).and_then(|next| next.to_zoned_datetime(zone.clone()));
        return next
            .and_then(|next| next.start_of_day())
            .map(|next| next.timestamp())
            .map_err(|_| HELP.to_owned());
    }
    if let Some(date) = usual_elsewhere(text) {
        return Err(format!("write {date}"));
    }
    // An annotation such as [Europe/Berlin] could contradict the offset.
    if text.contains('[') {
        return Err(HELP.to_owned());
    }
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    let local = text.replacen(' ', "T", 1);
    if local.parse::<jiff::civil::DateTime>().is_ok() && local.contains('T') {
        return Err(format!(
            "add the time zone: {local}Z for UTC, or {local}+01:00 for one hour ahead of it"
        ));
    }
    Err(HELP.to_owned())
}

/// Four digits, two, two.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts[..], [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2))
}

/// 31.12.2026 in the order of the language.
fn usual_elsewhere(text: &str) -> Option<Date> {
    let parts: Vec<i16> = text.split('.').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    match parts[..] {
        [day, month, year] if year >= 1000 => {
            Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let zone = TimeZone::get("Europe/Berlin").unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(1)));
        parse(text, &zone).map_or_else(|help| help, |instant| instant.to_string())
    }

    #[test]
    fn a_date_holds_until_its_day_is_over() {
        assert_eq!(read("2026-12-31"), "2026-12-31T23:00:00Z");
        assert_eq!(read("2026-12-31T18:00:00Z"), "2026-12-31T18:00:00Z");
        assert_eq!(read("2026-12-31T18:00+01:00"), "2026-12-31T17:00:00Z");
    }

    #[test]
    fn what_is_ambiguous_is_refused_with_advice() {
        assert_eq!(read("31.12.2026"), "write 2026-12-31");
        assert_eq!(read("2026-02-30"), "there is no such day; check day and month");
        assert!(read("2026-12-31 18:00").starts_with("add the time zone: 2026-12-31T18:00Z"));
        for text in [
            "2026-12-31T18:00:00+01:00[Europe/Berlin]",
            "tomorrow",
            "",
            "2026-1-1",
            "12/31/2026",
            "-2026-12-31",
        ] {
            assert!(read(text).starts_with("write a date such as"), "{text:?}: {}", read(text));
        }
    }
}
