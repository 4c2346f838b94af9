//! Positions in a queue as people write them: one parser for `--from`, `--to` and every other flag that takes one.
//!
//! ```text
//! first, earliest            the oldest message
//! last, latest, now          behind the newest message
//! -10m, 10m ago, -1h30m      that long ago (ms s m h d w)
//! 2026-11-22T10:00           ISO 8601; local time without a zone
//! @1763805600000             epoch milliseconds
//! 1024                       a queue offset
//! ```

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A place in a queue, or in all queues of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The oldest message there is.
    First,
    /// Behind the newest message.
    Last,
    /// The first message stored at this time or later, in epoch milliseconds.
    Time(i64),
    /// This queue offset, in every queue.
    Offset(u64),
}

/// The text is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected first, last, a time ago (-10m), a time (2026-11-22T10:00, @EPOCHMS) or a queue offset (1024)"
)]
pub struct BadPosition;

/// Reads a position; relative ones count from the system clock, local ones use the system's time zone.
pub fn parse(text: &str) -> Result<Position, BadPosition> {
    parse_at(text, Timestamp::now(), &TimeZone::system())
}

/// Reads a time, for flags where only a time makes sense (`last` is now, `first` the beginning of time).
pub fn parse_time(text: &str) -> Result<i64, String> {
    match parse(text).map_err(|bad| bad.to_string())? {
        Position::First => Ok(0),
        Position::Last => Ok(Timestamp::now().as_millisecond()),
        Position::Time(time_ms) => Ok(time_ms),
        Position::Offset(number) => Err(format!(
            "{number} is a queue offset; epoch milliseconds are @{number}"
        )),
    }
}

/// A length of time such as `5s`, `250ms` or `1h30m`.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let length_ms = duration_ms(text).ok_or("expected a length of time such as 5s, 250ms or 1h30m")?;
    Ok(std::time::Duration::from_millis(length_ms))
}

/// A time for people: local, to the millisecond, with its offset from UTC.
pub fn show_time(time_ms: i64) -> String {
    let Ok(time) = Timestamp::from_millisecond(time_ms) else {
        return format!("@{time_ms}");
    };
    time.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%dT%H:%M:%S%.3f%:z")
        .to_string()
}

fn parse_at(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Position, BadPosition> {
    let text = text.trim();
    match text {
        "first" | "earliest" => return Ok(Position::First),
        "last" | "latest" | "now" => return Ok(Position::Last),
        _ => {}
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Position::Offset).map_err(|_| BadPosition);
    }
    if let Some(epoch_ms) = text.strip_prefix('@') {
        return epoch_ms.parse().map(Position::Time).map_err(|_| BadPosition);
    }
    let ago = text
        .strip_prefix('-')
        .or_else(|| text.strip_suffix("ago").map(str::trim_end));
    if let Some(length) = ago {
        let length_ms = duration_ms(length)
            .and_then(|ms| i64::try_from(ms).ok())
            .ok_or(BadPosition)?;
        let then = now
            .checked_sub(SignedDuration::from_millis(length_ms))
            .map_err(|_| BadPosition)?;
        return Ok(Position::Time(then.as_millisecond()));
    }
    iso_time(text, zone)
        .map(|time| Position::Time(time.as_millisecond()))
        .ok_or(BadPosition)
}

fn iso_time(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(with_zone) = text.parse::<Timestamp>() {
        return Some(with_zone);
    }
    let local = text.parse::<civil::DateTime>().ok()?;
    local.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp())
}

/// Milliseconds of `1h30m`, `250ms`, `7d`. Units may come in any order; a number without a unit is refused.
fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total_ms: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        let after = rest[digits..].trim_start();
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        total_ms = total_ms.checked_add(number.checked_mul(unit_ms(&after[..letters])?)?)?;
        rest = after[letters..].trim_start();
    }
    Some(total_ms)
}

fn unit_ms(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => 1,
        "s" | "sec" | "second" | "seconds" => 1000,
        "m" | "min" | "minute" | "minutes" => 60 * 1000,
        "h" | "hour" | "hours" => 60 * 60 * 1000,
        "d" | "day" | "days" => 24 * 60 * 60 * 1000,
        "w" | "week" | "weeks" => 7 * 24 * 60 * 60 * 1000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_763_805_600_000; // 2025-11-22T10:00:00Z

    fn at_now(text: &str) -> Result<Position, BadPosition> {
        let two_hours_east = TimeZone::fixed(jiff::tz::offset(2));
        parse_at(
            text,
            Timestamp::from_millisecond(NOW_MS).expect("a time in range"),
            &two_hours_east,
        )
    }

    #[test]
    fn words_offsets_and_epochs() {
        for (text, position) in [
            ("first", Position::First),
            ("earliest", Position::First),
            ("last", Position::Last),
            ("latest", Position::Last),
            ("now", Position::Last),
            ("0", Position::Offset(0)),
            ("1024", Position::Offset(1024)),
            ("@1763805600000", Position::Time(NOW_MS)),
        ] {
            assert_eq!(at_now(text), Ok(position), "{text}");
        }
    }

    #[test]
    fn times_ago_count_from_now() {
        for (text, ago_ms) in [
            ("-10m", 600_000),
            ("10m ago", 600_000),
            ("-1h30m", 5_400_000),
            ("2 days ago", 172_800_000),
            ("-250ms", 250),
            ("-1w", 604_800_000),
        ] {
            assert_eq!(at_now(text), Ok(Position::Time(NOW_MS - ago_ms)), "{text}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_local() {
        assert_eq!(at_now("2025-11-22T12:00"), Ok(Position::Time(NOW_MS)));
        assert_eq!(
            at_now("2025-11-22 12:00:00.250"),
            Ok(Position::Time(NOW_MS + 250))
        );
        assert_eq!(at_now("2025-11-22T10:00:00Z"), Ok(Position::Time(NOW_MS)));
        assert_eq!(at_now("2025-11-22T11:00+01:00"), Ok(Position::Time(NOW_MS)));
        assert_eq!(at_now("2025-11-22"), Ok(Position::Time(NOW_MS - 12 * 3_600_000)));
    }

    #[test]
    fn what_is_no_position_is_refused() {
        let wrong = [
            "",
            "soon",
            "-10",
            "-m",
            "10m",
            "@",
            "@x",
            "2025-13-01",
            "99999999999999999999",
            "-99999999999w",
        ];
        for text in wrong {
            assert_eq!(at_now(text), Err(BadPosition), "{text}");
        }
    }

    #[test]
    fn a_length_of_time_needs_units() {
        assert_eq!(parse_duration("1m30s"), Ok(std::time::Duration::from_secs(90)));
        assert!(parse_duration("5").is_err());
    }
}
