//! Reading what was written: the feed, alerts and the audit.

mod alerts;
mod audit;
mod credit;
mod feed;
mod refold;

pub use alerts::{Alert, AlertKind, AlertRules, Alerts};
pub(crate) use audit::audit;
pub use audit::{Audit, Finding};
pub(crate) use feed::feed;
pub use feed::{Cursor, FeedPage, InvalidCursor};
