//! Points in time as people write them: a date, meaning a day where the gateway is, or an instant with its zone.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::length::Length;

/// A day, whose place in time depends on the zone, or an instant, whose doesn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Day(Date),
    Instant(Timestamp),
}

const HELP: &str =
    "write a date such as 2026-12-31, or a time with its zone such as 2026-12-31T18:00:00+01:00";

impl Point {
    /// The first instant at which a permit until this point no longer holds: a day counts to its end.
    pub fn end(self, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Day(date) => start_of(date.checked_add(1.day()).ok()?, zone),
            Self::Instant(instant) => Some(instant),
        }
    }

    /// The first instant of it.
    pub fn start(self, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Day(date) => start_of(date, zone),
            Self::Instant(instant) => Some(instant),
        }
    }

    /// Where something of this length that begins here ends. Days after a day are days of the calendar, so that summer
    /// time moves no end to 23 or 1 o'clock; after an instant they have 24 hours.
    pub fn plus(self, length: Length, zone: &TimeZone) -> Option<Timestamp> {
        match (self, length) {
            (Self::Day(date), Length::Days(days)) => start_of(date.checked_add(days.days()).ok()?, zone),
            (_, Length::Days(days)) => self.later(days * 24, zone),
            (_, Length::Hours(hours)) => self.later(hours, zone),
        }
    }

    fn later(self, hours: i64, zone: &TimeZone) -> Option<Timestamp> {
        self.start(zone)?.checked_add(SignedDuration::from_hours(hours)).ok()
    }
}

fn start_of(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    let start = date.to_zoned_datetime(zone.clone()).and_then(|day| day.start_of_day()).ok()?;
    Some(start.timestamp())
}

/// What `text` names; or what to write instead.
pub fn parse(text: &str) -> Result<Point, String> {
    if is_date(text) {
        return text
            .parse()
            .map(Point::Day)
            .map_err(|_| "there is no such day; check day and month".to_owned());
    }
    if let Some(date) = usual_elsewhere(text) {
        return Err(format!("write {date}"));
    }
    // An annotation such as [Europe/Berlin] could contradict the offset.
    if text.contains('[') {
        return Err(HELP.to_owned());
    }
    if let Ok(instant) = text.parse() {
        return Ok(Point::Instant(instant));
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

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(1)))
    }

    fn read(text: &str) -> String {
        parse(text).map_or_else(|help| help, |point| point.end(&berlin()).unwrap().to_string())
    }

    #[test]
    fn a_length_ends_days_later_at_the_same_time_of_day() {
        let end = |since: &str, length| parse(since).unwrap().plus(length, &berlin()).unwrap().to_string();
        assert_eq!(end("2026-11-24", Length::Days(14)), "2026-12-07T23:00:00Z");
        assert_eq!(end("2026-11-24", Length::Hours(12)), "2026-11-24T11:00:00Z");
        assert_eq!(end("2026-11-24T18:00:00+01:00", Length::Days(1)), "2026-11-25T17:00:00Z");
    }

    #[test]
    fn the_end_of_time_is_no_point() {
        let last = parse("9999-12-31").unwrap();
        assert_eq!((last.end(&TimeZone::UTC), last.plus(Length::Days(1), &TimeZone::UTC)), (None, None));
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
