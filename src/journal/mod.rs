//! Reading what was written: the feed, alerts, the audit, and archives of what was pruned.

mod alerts;
pub mod archive;
mod audit;
mod chronicle;
mod credit;
mod feed;
mod refold;

pub use alerts::{Alert, AlertKind, AlertRules, Alerts};
pub(crate) use audit::audit;
pub use audit::{Audit, Finding};
pub use feed::{Cursor, FeedPage, InvalidCursor};
pub(crate) use feed::{feed, oldest};
