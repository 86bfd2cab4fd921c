//! Windows of time by another road than the ledger's: day by day through the calendar of their zone.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::model::Window;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// From when until when the window lasts that `now` lies in, in microseconds; until none: it never ends.
pub(super) fn window(window: &Window, now: i128) -> (i128, Option<i128>) {
    // Where the calendar ends all time is one window.
    in_calendar(&window.to_string(), now).unwrap_or((0, None))
}

fn in_calendar(window: &str, now: i128) -> Option<(i128, Option<i128>)> {
    let words: Vec<_> = window.split(' ').collect();
    match words.as_slice() {
        ["every", length] => {
            let length: i128 = length.trim_end_matches("us").parse().ok()?;
            let start = now.div_euclid(length) * length;
            Some((start, Some(start + length)))
        }
        ["day", zone] => days(zone, now, |_| true),
        ["week", first, zone] => {
            let names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
            let first = names.iter().position(|name| name == first)?;
            days(zone, now, |day| usize::try_from(day.weekday().since(Weekday::Monday)) == Ok(first))
        }
        ["month", anchor, zone] => {
            let anchor: i8 = anchor.parse().ok()?;
            days(zone, now, |day| day.day() == anchor.min(day.days_in_month()))
        }
        _ => None,
    }
}

/// The last day that `begins` a window and had begun by `now`, and the next.
fn days(zone: &str, now: i128, begins: impl Fn(Date) -> bool) -> Option<(i128, Option<i128>)> {
    let zone = ZONES.get(zone).ok()?;
    let today = Timestamp::from_microsecond(i64::try_from(now).ok()?).ok()?.to_zoned(zone.clone()).date();
    // Clocks that are put back over midnight show yesterday's date once more: today has begun all the same.
    let mut day = today.tomorrow().ok()?;
    while !begins(day) || first_moment(day, &zone)? > now {
        day = day.yesterday().ok()?;
    }
    let start = first_moment(day, &zone)?;
    let mut next = day.tomorrow().ok()?;
    while !begins(next) {
        next = next.tomorrow().ok()?;
    }
    Some((start, Some(first_moment(next, &zone)?)))
}

fn first_moment(day: Date, zone: &TimeZone) -> Option<i128> {
    let start = day.at(12, 0, 0, 0).to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
    Some(i128::from(start.timestamp().as_microsecond()))
}
