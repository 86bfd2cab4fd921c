//! Windows of time a budget is a limit for: computed from the time, never reset by anybody.

use std::fmt;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp as Instant, ToSpan};
use serde::{Serialize, Serializer};

use super::Timestamp;
use super::asset::clip;

/// The time zones of the release this was built with: the same wherever it runs.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone by its IANA name, such as `Europe/Berlin`.
///
/// ```
/// use prepaid::model::Zone;
///
/// assert_eq!("europe/berlin".parse::<Zone>()?.name(), "Europe/Berlin");
/// assert!("Europe/Atlantis".parse::<Zone>().is_err());
/// # Ok::<(), prepaid::model::InvalidWindow>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A window that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidWindow {
    /// No time zone of this name.
    #[error("unknown time zone, name one of the IANA database such as Europe/Berlin: {0:?}")]
    UnknownZone(String),
    /// No month has this day.
    #[error("anchor day is not 1 to 31: {0}")]
    AnchorDay(u8),
    /// Shorter than a second, or longer than the calendar.
    #[error("window is not 1 second to 100 years long: {0:?}")]
    Length(Duration),
    /// Not a window's text.
    #[error("not a window, such as `day Europe/Berlin`: {0:?}")]
    Malformed(String),
}

/// The day a week begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[expect(missing_docs, reason = "they are the days of the week")]
#[serde(rename_all = "snake_case")]
pub enum Weekday {
    #[default]
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// The window of time a budget is a limit for.
///
/// Days, weeks and months begin at the first moment of a day in their time zone, whatever its clocks do; a month without
/// its anchor day begins on its last day. [`Window::every`] counts from 1970-01-01T00:00:00Z.
///
/// ```
/// use std::time::Duration;
/// use prepaid::{Timestamp, model::{Window, Zone}};
///
/// let berlin: Zone = "Europe/Berlin".parse()?;
/// let day = Window::day(berlin).at(Timestamp::from_micros(0));
/// assert_eq!(day.start, Timestamp::from_micros(-3_600_000_000));
/// assert_eq!(day.end, Some(Timestamp::from_micros(23 * 3_600_000_000)));
/// assert!(Window::every(Duration::ZERO).is_err());
/// # Ok::<(), prepaid::model::InvalidWindow>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Total,
    Day(Calendar),
    Week(Weekday, Calendar),
    Month(u8, Calendar),
    Every(Duration),
}

/// A zone's days, and the period of its window that was found last: the calendar costs a microsecond, and is asked
/// several times for every request.
#[derive(Debug)]
struct Calendar {
    zone: Zone,
    last: Mutex<Option<Period>>,
}

/// From when until when one window lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its first moment, which is also its name.
    pub start: Timestamp,
    /// The first moment after it; none: it never ends.
    pub end: Option<Timestamp>,
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

impl Window {
    /// All time.
    pub const TOTAL: Self = Self(Kind::Total);

    /// Calendar days.
    pub fn day(zone: Zone) -> Self {
        Self(Kind::Day(zone.into()))
    }

    /// Weeks that begin with `first`.
    pub fn week(first: Weekday, zone: Zone) -> Self {
        Self(Kind::Week(first, zone.into()))
    }

    /// Months that begin on day `anchor`, 1 to 31; in a month that is shorter, on its last day.
    ///
    /// # Errors
    /// [`InvalidWindow::AnchorDay`].
    pub fn month(anchor: u8, zone: Zone) -> Result<Self, InvalidWindow> {
        if (1..=31).contains(&anchor) {
            Ok(Self(Kind::Month(anchor, zone.into())))
        } else {
            Err(InvalidWindow::AnchorDay(anchor))
        }
    }

    /// Windows of one length, beginning at multiples of it; whole microseconds, from one second up.
    ///
    /// # Errors
    /// [`InvalidWindow::Length`].
    pub fn every(length: Duration) -> Result<Self, InvalidWindow> {
        let whole = length.subsec_nanos().is_multiple_of(1_000);
        if whole && (SHORTEST..=LONGEST).contains(&length) {
            Ok(Self(Kind::Every(length)))
        } else {
            Err(InvalidWindow::Length(length))
        }
    }

    /// The window `now` lies in. Where the calendar ends, after the year 9999, it is all time.
    pub fn at(&self, now: Timestamp) -> Period {
        const ALL_TIME: Period = Period { start: Timestamp::from_micros(0), end: None };
        match &self.0 {
            Kind::Total => ALL_TIME,
            Kind::Every(length) => every(*length, now),
            Kind::Day(days) => days.period(now, |today| Some((today, today.tomorrow().ok()?))).unwrap_or(ALL_TIME),
            Kind::Week(first, days) => days.period(now, |today| week(*first, today)).unwrap_or(ALL_TIME),
            Kind::Month(anchor, days) => days.period(now, |today| month(*anchor, today)).unwrap_or(ALL_TIME),
        }
    }
}

impl Period {
    /// Whether a moment lies in it.
    pub fn contains(&self, now: Timestamp) -> bool {
        self.start <= now && self.end.is_none_or(|end| now < end)
    }

    /// How long it lasts from `now` on; none: for ever.
    pub fn left(&self, now: Timestamp) -> Option<Duration> {
        self.end.map(|end| end.saturating_since(now))
    }
}

fn every(length: Duration, now: Timestamp) -> Period {
    let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    let since = now.as_micros().checked_rem_euclid(micros).unwrap_or(0);
    let start = Timestamp::from_micros(now.as_micros().saturating_sub(since));
    Period { start, end: Some(start.saturating_add(length)) }
}

/// The first days of the week `today` is in and of the next.
fn week(first: Weekday, today: Date) -> Option<(Date, Date)> {
    let begins = first.offset();
    let since = today.weekday().to_monday_zero_offset().checked_sub(begins)?.rem_euclid(7);
    let start = today.checked_sub(i64::from(since).days()).ok()?;
    Some((start, start.checked_add(7.days()).ok()?))
}

/// The first days of the month `today` is in, by its anchor day, and of the next.
fn month(anchor: u8, today: Date) -> Option<(Date, Date)> {
    let anchor = i8::try_from(anchor).ok()?;
    let anchored = |first: Date| first.with().day(anchor.min(first.days_in_month())).build().ok();
    let this = today.first_of_month();
    let next = this.checked_add(1.month()).ok()?;
    let begins = anchored(this)?;
    if today >= begins {
        Some((begins, anchored(next)?))
    } else {
        Some((anchored(this.checked_sub(1.month()).ok()?)?, begins))
    }
}

impl Calendar {
    /// The period `now` lies in, where `days` names the first day of the one of today and of the next: always the same
    /// `days`.
    fn period(&self, now: Timestamp, days: impl Fn(Date) -> Option<(Date, Date)>) -> Option<Period> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|period| !period.contains(now)) {
            *last = self.zone.period(now, days);
        }
        *last
    }
}

impl From<Zone> for Calendar {
    fn from(zone: Zone) -> Self {
        Self { zone, last: Mutex::default() }
    }
}

impl Clone for Calendar {
    fn clone(&self) -> Self {
        self.zone.clone().into()
    }
}

impl PartialEq for Calendar {
    fn eq(&self, other: &Self) -> bool {
        self.zone == other.zone
    }
}

impl Eq for Calendar {}

impl Zone {
    /// The zone's name in the IANA database.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The period `now` lies in, where `days` names the first day of the one of today and of the next.
    fn period(&self, now: Timestamp, days: impl Fn(Date) -> Option<(Date, Date)>) -> Option<Period> {
        let today = Instant::from_microsecond(now.as_micros()).ok()?.to_zoned(self.0.clone()).date();
        let (first, next) = days(today)?;
        let (start, end) = (self.begins(first)?, self.begins(next)?);
        // Clocks that were put back over midnight: by the date it is yesterday once more, but today has begun.
        let (start, end) = if now >= end { (end, self.begins(days(next)?.1)?) } else { (start, end) };
        Some(Period { start, end: Some(end) })
    }

    /// The first moment of a day.
    fn begins(&self, day: Date) -> Option<Timestamp> {
        let first = day.to_zoned(self.0.clone()).ok()?.timestamp();
        Some(Timestamp::from_micros(first.as_microsecond()))
    }
}

impl Weekday {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Monday, "monday"),
        (Self::Tuesday, "tuesday"),
        (Self::Wednesday, "wednesday"),
        (Self::Thursday, "thursday"),
        (Self::Friday, "friday"),
        (Self::Saturday, "saturday"),
        (Self::Sunday, "sunday"),
    ];

    /// Days after Monday.
    fn offset(self) -> i8 {
        match self {
            Self::Monday => 0,
            Self::Tuesday => 1,
            Self::Wednesday => 2,
            Self::Thursday => 3,
            Self::Friday => 4,
            Self::Saturday => 5,
            Self::Sunday => 6,
        }
    }
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(day, _)| day == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Zone {
    type Err = InvalidWindow;

    fn from_str(name: &str) -> Result<Self, InvalidWindow> {
        let zone = ZONES.get(name).map_err(|_| InvalidWindow::UnknownZone(clip(name)))?;
        zone.iana_name().ok_or_else(|| InvalidWindow::UnknownZone(clip(name)))?;
        Ok(Self(zone))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Window {
    /// The text it is stored as: `total`, `day Europe/Berlin`, `week monday UTC`, `month 31 UTC`, `every 60000000us`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Total => f.write_str("total"),
            Kind::Day(days) => write!(f, "day {}", days.zone),
            Kind::Week(first, days) => write!(f, "week {first} {}", days.zone),
            Kind::Month(anchor, days) => write!(f, "month {anchor} {}", days.zone),
            Kind::Every(length) => write!(f, "every {}us", length.as_micros()),
        }
    }
}

impl FromStr for Window {
    type Err = InvalidWindow;

    /// Reads what [`Window`] prints.
    fn from_str(text: &str) -> Result<Self, InvalidWindow> {
        let malformed = || InvalidWindow::Malformed(clip(text));
        let words: Vec<_> = text.split(' ').collect();
        match words.as_slice() {
            ["total"] => Ok(Self::TOTAL),
            ["day", zone] => Ok(Self::day(zone.parse()?)),
            ["week", first, zone] => {
                let first = Weekday::ALL.iter().find(|(_, name)| name == first).ok_or_else(malformed)?;
                Ok(Self::week(first.0, zone.parse()?))
            }
            ["month", anchor, zone] => Self::month(anchor.parse().map_err(|_| malformed())?, zone.parse()?),
            ["every", length] => {
                let micros = length.strip_suffix("us").and_then(|digits| digits.parse().ok()).ok_or_else(malformed)?;
                Self::every(Duration::from_micros(micros))
            }
            _ => Err(malformed()),
        }
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Timestamp {
        Timestamp::from_micros(text.parse::<Instant>().unwrap().as_microsecond())
    }

    fn period(window: &str, now: &str) -> (String, String) {
        let found = window.parse::<Window>().unwrap().at(instant(now));
        let print = |at: Timestamp| Instant::from_microsecond(at.as_micros()).unwrap().to_string();
        (print(found.start), found.end.map(print).unwrap_or_default())
    }

    #[test]
    fn windows_begin_where_the_calendar_of_their_zone_says() {
        let cases = [
            ("day UTC", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"),
            ("day UTC", "2026-03-01T23:59:59.999999Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"),
            // Clocks forward: 23 hours; back: 25.
            ("day Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            ("day Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            // No midnight: the day begins at one o'clock.
            ("day America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"),
            // No 30th of December at all.
            ("day Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"),
            ("day Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
            // Back over midnight, at one past: the new day had begun and goes on.
            ("day America/St_Johns", "2010-11-07T02:29:00Z", "2010-11-06T02:30:00Z", "2010-11-07T02:30:00Z"),
            ("day America/St_Johns", "2010-11-07T03:00:00Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"),
            ("week monday UTC", "2026-03-01T12:00:00Z", "2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z"),
            ("week sunday UTC", "2026-03-01T12:00:00Z", "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z"),
            ("month 1 Asia/Tokyo", "2026-02-28T15:00:00Z", "2026-02-28T15:00:00Z", "2026-03-31T15:00:00Z"),
            ("month 31 UTC", "2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2024-03-31T00:00:00Z"),
            ("month 31 UTC", "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"),
            ("month 31 UTC", "2026-03-30T23:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"),
            ("month 15 UTC", "2026-01-14T23:00:00Z", "2025-12-15T00:00:00Z", "2026-01-15T00:00:00Z"),
            ("every 60000000us", "1969-12-31T23:59:59Z", "1969-12-31T23:59:00Z", "1970-01-01T00:00:00Z"),
            ("every 1000000us", "2026-03-01T12:00:00.5Z", "2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z"),
        ];
        for (window, now, start, end) in cases {
            assert_eq!(period(window, now), (start.to_owned(), end.to_owned()), "{window} at {now}");
        }
    }

    #[test]
    fn what_was_found_last_is_no_answer_for_another_period() {
        for text in ["day America/St_Johns", "week sunday Pacific/Apia", "month 31 Europe/Berlin"] {
            let window: Window = text.parse().unwrap();
            // An hour on, a week back, and so on: over every edge in both directions.
            let mut now = instant("2010-11-30T00:00:00Z");
            for step in 0..20_000 {
                assert_eq!(window.at(now), text.parse::<Window>().unwrap().at(now), "{text} at {now:?}");
                assert!(window.at(now).contains(now), "{text} at {now:?}");
                let hours = if step % 100 == 99 { -168 } else { 3 };
                now = Timestamp::from_micros(now.as_micros() + hours * 3_600_000_000);
            }
        }
    }

    #[test]
    fn windows_read_back() {
        for text in ["total", "day Europe/Berlin", "week wednesday UTC", "month 31 Asia/Kathmandu", "every 1500000us"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        let bad = ["", "day", "day Europe/Atlantis", "week someday UTC", "month 0 UTC", "month 32 UTC", "every 0us"];
        for text in bad.into_iter().chain(["every 999999us", "every -1us", "hour UTC", "day ", "Day UTC"]) {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
        let huge = "x".repeat(1 << 20);
        assert!(huge.parse::<Zone>().unwrap_err().to_string().len() < 400);
    }

    #[test]
    fn outside_of_the_calendar_all_time_is_one_window() {
        let end_of_time = "day UTC".parse::<Window>().unwrap().at(Timestamp::from_micros(i64::MAX));
        assert_eq!(end_of_time, Period { start: Timestamp::default(), end: None });
    }
}
