//! Points in time as admins write them, and as they are shown to them.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// `24h`, `7d`: so long ago; `2026-11-24`: the beginning of that day here; or a time with its zone.
pub fn ago_or_at(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(date) = text.parse::<Date>() {
        return TimeZone::system()
            .to_ambiguous_zoned_datetime(date.at(0, 0, 0, 0))
            .compatible()
            .map(|zoned| zoned.timestamp())
            .map_err(|error| error.to_string());
    }
    let help = |_| {
        "write how long ago (30m, 24h, 7d), a date (2026-11-24) or a time (2026-11-24T09:00:00Z)".to_owned()
    };
    let seconds = super::seconds(text).map_err(help)?;
    Timestamp::now().checked_sub(SignedDuration::from_secs(seconds.abs())).map_err(|error| error.to_string())
}

/// Local time with its zone, and how long ago.
pub fn shown(time: Timestamp) -> String {
    super::ago(&serde_json::Value::String(time.to_string()))
}

/// For columns: local time, with the date unless that is today, and how long ago; the heading names the [`zone`].
pub fn brief(time: Timestamp) -> String {
    let zoned = |time: Timestamp| time.to_zoned_datetime(TimeZone::system());
    let today = zoned(time).date() == zoned(Timestamp::now()).date();
    let format = if today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    format!("{} ({})", zoned(time).strftime(format), super::relative(time))
}

/// For documents, which are read later: local time to the minute.
pub fn minute(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// What the local time zone is called now.
pub fn zone() -> String {
    Timestamp::now().to_zoned_datetime(TimeZone::system()).strftime("%Z").to_string()
}
