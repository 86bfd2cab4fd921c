//! Hours of the day at which a provider takes other rates. The time of the request is an argument; nothing here knows
//! what time it is.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::rates::Band;
use super::{PriceError, clip};
use crate::model::Timestamp;

/// Hours of the day in UTC, on some days of the week.
///
/// ```
/// use prepaid::Timestamp;
/// use prepaid::pricing::Hours;
///
/// let nights = Hours::utc(&["16:30-00:30"])?;
/// let weekends = Hours::utc(&["00:00-00:00"])?.on(&[6, 7])?.in_zone("Asia/Shanghai")?;
/// let hours = nights.and(weekends);
/// let at = |text: &str| Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond());
/// assert!(hours.contain(at("2026-08-19T00:29:59.999999Z")));
/// assert!(!hours.contain(at("2026-08-19T00:30:00Z")));
/// assert!(hours.contain(at("2026-08-22T12:00:00Z"))); // a Saturday
/// # Ok::<(), prepaid::pricing::PriceError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hours(Vec<Window>);

/// Rates that hold at certain hours.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OffPeak {
    pub(super) hours: Hours,
    pub(super) bands: Vec<Band>,
}

/// From a minute of the day to before another, past midnight where that is not later; all day where it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    from: u16,
    to: u16,
    /// Monday is 1; every day, where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    weekdays: Vec<i8>,
    /// Where it is that day of the week; UTC, where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

const DAY_MINUTES: u16 = 24 * 60;

impl Hours {
    /// The hours `HH:MM-HH:MM`, in UTC, on every day of the week. The end is not in them; one that is not later than the
    /// start is on the next day, and `00:00-00:00` is all day.
    ///
    /// # Errors
    /// [`PriceError::MalformedHours`], naming the input.
    pub fn utc(spans: &[&str]) -> Result<Self, PriceError> {
        let window = |span: &&str| {
            let (from, to) = span.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)))?;
            Some(Window { from, to, weekdays: Vec::new(), zone: None })
        };
        let malformed = |span: &&str| PriceError::MalformedHours(clip(span));
        spans.iter().map(|span| window(span).ok_or_else(|| malformed(span))).collect::<Result<_, _>>().map(Self)
    }

    /// Only on these days of the week, Monday being 1. Whatever is past midnight belongs to the day it is then.
    ///
    /// # Errors
    /// [`PriceError::MalformedHours`] for a day that is not 1 to 7.
    pub fn on(mut self, weekdays: &[i8]) -> Result<Self, PriceError> {
        if let Some(day) = weekdays.iter().find(|day| !(1..=7).contains(*day)) {
            return Err(PriceError::MalformedHours(format!("weekday {day}")));
        }
        self.0.iter_mut().for_each(|window| weekdays.clone_into(&mut window.weekdays));
        Ok(self)
    }

    /// The day of the week is that of this place (IANA name); the hours stay those of UTC.
    ///
    /// # Errors
    /// [`PriceError::MalformedHours`] if there is no such time zone.
    pub fn in_zone(mut self, zone: &str) -> Result<Self, PriceError> {
        TimeZone::get(zone).map_err(|_| PriceError::MalformedHours(clip(zone)))?;
        self.0.iter_mut().for_each(|window| window.zone = Some(zone.to_owned()));
        Ok(self)
    }

    /// These hours and the others.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether `time` is within them.
    pub fn contain(&self, time: Timestamp) -> bool {
        self.0.iter().any(|window| window.contains(time))
    }

    /// Whether what was read can have been written here.
    pub(super) fn is_sound(&self) -> bool {
        self.0.iter().all(|window| {
            let zone = window.zone.as_deref().is_none_or(|zone| TimeZone::get(zone).is_ok());
            zone && window.from.max(window.to) <= DAY_MINUTES && window.weekdays.iter().all(|day| (1..=7).contains(day))
        })
    }
}

impl Window {
    fn contains(&self, time: Timestamp) -> bool {
        const MINUTE_MICROS: i64 = 60_000_000;
        let minute = time.as_micros().div_euclid(MINUTE_MICROS).rem_euclid(i64::from(DAY_MINUTES));
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        let is_open = if from < to { from <= minute && minute < to } else { from <= minute || minute < to };
        is_open && (self.weekdays.is_empty() || self.weekday(time).is_some_and(|day| self.weekdays.contains(&day)))
    }

    fn weekday(&self, time: Timestamp) -> Option<i8> {
        let zone = match &self.zone {
            Some(name) => TimeZone::get(name).ok()?,
            None => TimeZone::UTC,
        };
        let time = jiff::Timestamp::from_microsecond(time.as_micros()).ok()?;
        Some(time.to_zoned(zone).weekday().to_monday_one_offset())
    }
}

/// `HH:MM`, up to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let minute = hours.checked_mul(60)?.checked_add(minutes)?;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}
