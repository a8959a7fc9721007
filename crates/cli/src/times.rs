//! Times as people write them: `now`, `+10m`, `2026-12-01T10:00:00Z`, and spans such as `1h` or `90s`.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

/// An instant as it was written: some are told from now on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum When {
    /// So long from now.
    In(Duration),
    /// Then.
    At(DateTime<Utc>),
}

impl When {
    /// The instant, where it is `now`.
    pub(crate) fn from(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::In(span) => now + span,
            Self::At(at) => at,
        }
    }
}

/// `now`, `+<span>` or RFC 3339.
///
/// # Errors
/// It is none of them.
pub(crate) fn instant(text: &str) -> Result<When, String> {
    if text == "now" {
        return Ok(When::In(Duration::ZERO));
    }
    if let Some(later) = text.strip_prefix('+') {
        return span(later).map(When::In);
    }
    let at = DateTime::parse_from_rfc3339(text).map_err(|_| "use now, +10m, or a time such as 2026-12-01T10:00:00Z")?;
    Ok(When::At(at.to_utc()))
}

/// `90s`, `10m`, `1h 30m`, `2days`; at most a hundred years.
///
/// # Errors
/// It is no span.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(36_525 * 86_400);
    let span = humantime::parse_duration(text).map_err(|_| "use a span such as 90s, 10m or 1h30m")?;
    if span <= LONGEST { Ok(span) } else { Err("that is more than a hundred years".to_owned()) }
}

/// [`span`], in whole seconds; a bare number is seconds too.
///
/// # Errors
/// It is no span.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    text.parse().or_else(|_| span(text).map(|span| span.as_secs()))
}

/// As the API takes it.
pub(crate) fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// This machine's time.
pub(crate) fn now() -> DateTime<Utc> {
    let now_ms = i64::try_from(boot::clock::now_ms()).unwrap_or(i64::MAX);
    DateTime::from_timestamp_millis(now_ms).unwrap_or_default()
}

/// A time of the API to the second, for a column.
pub(crate) fn shown(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_now_or_later_or_then() {
        let now = DateTime::from_timestamp_millis(1_763_000_000_123).unwrap();
        for (text, at) in [
            ("now", "2025-11-13T02:13:20.123Z"),
            ("+10m", "2025-11-13T02:23:20.123Z"),
            ("+1h 30m", "2025-11-13T03:43:20.123Z"),
            ("2026-12-01T10:00:00Z", "2026-12-01T10:00:00.000Z"),
            ("2026-12-01T10:00:00.5+02:00", "2026-12-01T08:00:00.500Z"),
        ] {
            assert_eq!(rfc3339(instant(text).unwrap().from(now)), at, "{text}");
        }
        for wrong in ["", "+", "10m", "+ten", "tomorrow", "2026-12-01", "2026-12-01T10:00:00", "+200years"] {
            assert!(instant(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds_are_a_number_or_a_span() {
        assert_eq!([seconds("90"), seconds("15m"), seconds("0")], [Ok(90), Ok(900), Ok(0)]);
        assert!(seconds("soon").is_err());
    }
}
