//! The one place that asks the operating system for the time of day.

use std::fmt::Debug;
use std::time::SystemTime;

use crate::model::Timestamp;

/// Says what time it is. Stores that keep their own time (PostgreSQL) do not use it.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one home of the system's clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::default().saturating_add(since)
    }
}
